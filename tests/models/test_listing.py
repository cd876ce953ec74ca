"""Every documented variant can be built, with the published number of parameters.

A variant with published weights is built in tests/pretrained/test_weights_file.py, which compares
the shape of each of its parameters with the stored shapes.
"""

import gzip
import json
import math
from pathlib import Path

import pytest

from jaxvision import models
from jaxvision.core.errors import UserError
from jaxvision.models import listing

# From the papers or the documentation of torchvision, for 1,000 classes. YOLOX is counted by its
# authors' code for COCO's 80 classes. RT-DETR is counted by transformers, with frozen batch norm,
# without the 20,736 numbers of denoising queries. FCN and DeepLabv3 have the 21 classes of VOC, and
# SegFormer the 150 of ADE20K.
PUBLISHED = {
    ('resnet', '18'): 11_689_512,
    ('resnet', '34'): 21_797_672,
    ('resnet', '50'): 25_557_032,
    ('resnet', '101'): 44_549_160,
    ('resnet', '152'): 60_192_808,
    ('vgg', '11'): 132_863_336,
    ('vgg', '13'): 133_047_848,
    ('vgg', '16'): 138_357_544,
    ('vgg', '19'): 143_667_240,
    ('vit', 'Ti/16'): 5_717_416,
    ('vit', 'S/16'): 22_050_664,
    ('vit', 'B/16'): 86_567_656,
    ('vit', 'L/16'): 304_326_632,
    ('convnext', 'T'): 28_589_128,
    ('mobilenet_v2', '1.0'): 3_504_872,
    ('efficientnet', 'B0'): 5_288_548,
    ('rt_detr', 'r18vd'): 20_163_728,
    ('rt_detr', 'r34vd'): 31_420_932,
    ('rt_detr', 'r50vd'): 42_923_884,
    ('rt_detr', 'r101vd'): 76_641_004,
    ('mit', 'b0'): 3_576_392,
    ('segformer', 'b0'): 3_752_694,
    ('segformer', 'b1'): 13_715_798,
    ('segformer', 'b2'): 27_461_974,
    ('segformer', 'b3'): 47_337_814,
    ('segformer', 'b4'): 64_108_374,
    ('segformer', 'b5'): 84_708_694,
    ('fcn', 'resnet50'): 35_322_218,
    ('fcn', 'resnet101'): 54_314_346,
    ('deeplab', 'resnet50'): 42_004_074,
    ('deeplab', 'resnet101'): 60_996_202,
    ('yolox', 'nano'): 912_159,
    ('yolox', 'tiny'): 5_055_855,
    ('yolox', 's'): 8_968_255,
    ('yolox', 'm'): 25_326_495,
    ('yolox', 'l'): 54_208_895,
    ('yolox', 'x'): 99_071_455,
}
# Built by segformer, whose variants have the same names.
BACKBONES = {('mit', f'b{number}') for number in range(1, 6)}
EVERY = [
    (name, variant)
    for name in models.NAMES
    for variant in listing.variants(name)
    if (name, variant) not in BACKBONES
]

PUBLISHED_NAMES = Path(__file__).parents[1] / 'pretrained/data/published_names.json.gz'
# Of batch norm, in files. The list does not count them.
STATISTICS = ('running_mean', 'running_var', 'num_batches_tracked')


def counts_of_files():
    """{(model, variant): the number of parameters of each of its published files}"""
    counts = {}
    files = json.loads(gzip.decompress(PUBLISHED_NAMES.read_bytes()))
    for file, shapes in files.items():
        # 'PUBLISHER NETWORK MODEL:VARIANT'; names without a variant are of smaller networks.
        if ' ' not in file:
            continue
        model, _, variant = file.split()[-1].partition(':')
        sizes = [
            math.prod(shape)
            for name, shape in shapes.items()
            if not name.endswith(STATISTICS)
        ]
        counts.setdefault((model, variant), []).append(sum(sizes))
    return counts


WITH_WEIGHTS = counts_of_files()


def is_checked_with_its_file(name, variant):
    """Whether a published file holds as many parameters as PUBLISHED says, if it says so."""
    counts = WITH_WEIGHTS.get((name, variant), [])
    if (name, variant) in PUBLISHED:
        return PUBLISHED[name, variant] in counts
    return bool(counts)


# ResNet-18 has a file. It is built here too, to compare the list with the file.
BUILT = [
    each
    for each in EVERY
    if each == ('resnet', '18') or not is_checked_with_its_file(*each)
]


@pytest.mark.parametrize('name, variant', BUILT)
def test_every_variant_can_be_built(name, variant):
    description = listing.describe(name, variant)
    assert (description.name, description.variant) == (name, variant)
    assert description.purpose and description.parameters > 1000
    assert description.parameters == PUBLISHED.get(
        (name, variant), description.parameters
    )


@pytest.mark.parametrize('name', models.NAMES)
def test_a_model_lists_each_variant_once(name):
    variants = listing.variants(name)
    assert variants and len(set(variants)) == len(variants)
    assert all(isinstance(variant, str) for variant in variants)


def test_all_published_counts_are_of_listed_variants():
    assert PUBLISHED.keys() <= set(EVERY)
    assert len(WITH_WEIGHTS.keys() & set(EVERY)) > 20


def test_an_unknown_name_or_variant_is_an_error_with_the_known_ones():
    with pytest.raises(UserError, match="no model 'cnnn'; did you mean 'cnn'"):
        listing.variants('cnnn')
    with pytest.raises(UserError, match="no model 'cnnn'; did you mean 'cnn'"):
        listing.describe('cnnn', '8-16')
    with pytest.raises(UserError, match="'18'"):
        listing.describe('resnet', '19')


def test_a_users_model_may_list_no_variants(tmp_path, monkeypatch):
    (tmp_path / 'own_list').mkdir()
    (tmp_path / 'own_list' / 'net.py').write_text('def make(variant): ...\n')
    monkeypatch.syspath_prepend(tmp_path)
    assert listing.variants('own_list.net') == ()
