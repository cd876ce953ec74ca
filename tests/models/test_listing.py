"""Each documented variant of each model is there, as large as its authors say."""

import pytest

from jaxvision import models
from jaxvision.core.errors import UserError
from jaxvision.models import listing

# What the papers, or torchvision's documentation of them, say of 1,000 classes.
PUBLISHED = {
    ('resnet', '18'): 11_689_512,
    ('resnet', '50'): 25_557_032,
    ('vgg', '16'): 138_357_544,
    ('vit', 'B/16'): 86_567_656,
    ('convnext', 'T'): 28_589_128,
    ('mobilenet_v2', '1.0'): 3_504_872,
    ('efficientnet', 'B0'): 5_288_548,
}
EVERY = [(name, variant) for name in models.NAMES for variant in listing.variants(name)]


@pytest.mark.parametrize('name, variant', EVERY)
def test_each_variant_is_built(name, variant):
    described = listing.describe(name, variant)
    assert (described.name, described.variant) == (name, variant)
    assert described.purpose and described.parameters > 1000
    assert described.parameters == PUBLISHED.get((name, variant), described.parameters)


@pytest.mark.parametrize('name', models.NAMES)
def test_a_model_has_variants_each_once(name):
    found = listing.variants(name)
    assert found and len(set(found)) == len(found)
    assert all(isinstance(variant, str) for variant in found)


def test_all_published_sizes_are_of_listed_variants():
    assert PUBLISHED.keys() <= set(EVERY)


def test_an_unknown_name_or_variant_says_what_there_is():
    with pytest.raises(UserError, match="no model 'cn'; did you mean 'cnn'"):
        listing.variants('cn')
    with pytest.raises(UserError, match="'18'"):
        listing.describe('resnet', '19')


def test_a_model_of_ones_own_may_list_none(tmp_path, monkeypatch):
    (tmp_path / 'own_list').mkdir()
    (tmp_path / 'own_list' / 'net.py').write_text('def make(variant): ...\n')
    monkeypatch.syspath_prepend(tmp_path)
    assert listing.variants('own_list.net') == ()
