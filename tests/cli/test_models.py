import pytest

from jaxvision.cli import command
from jaxvision.cli.models import LISTINGS, count_parameters, publishers
from jaxvision.models import NAMES
from jaxvision.pretrained.weights_file import FAMILIES


def test_every_model_is_listed():
    assert LISTINGS.keys() == NAMES.keys()


@pytest.mark.parametrize(
    'name, variant',
    [
        (name, variant)
        for name, listing in LISTINGS.items()
        for variant in (listing.variants[0], listing.variants[-1])
    ],
)
def test_listed_variants_can_be_built_and_counted(name, variant):
    assert count_parameters(name, variant) > 100


@pytest.mark.parametrize(
    'name, variant, count',
    [
        # As torchvision documents them.
        ('resnet', '18', 11_689_512),
        ('resnet', '50', 25_557_032),
        ('vgg', '16', 138_357_544),
        ('vit', 'B/16', 86_567_656),
        ('mobilenet_v2', '1.0', 3_504_872),
        ('convnext', 'T', 28_589_128),
        ('efficientnet', 'B0', 5_288_548),
    ],
)
def test_counts_are_those_of_the_publishers(name, variant, count):
    assert count_parameters(name, variant) == count


def test_publishers_are_those_of_the_formats_that_are_read():
    assert {name for name in NAMES if publishers(name)} == set(FAMILIES)
    assert 'torchvision' in ' '.join(publishers('resnet'))


def test_the_command_lists_all_and_shows_one(capsys):
    assert command.main(['models', 'resnet']) == 0
    text = capsys.readouterr().out
    assert '25,557,032 parameters' in text
    assert '--config.model.options.stem=imagenet' in text
    assert command.main(['models', 'resnett']) == 2
    assert "did you mean 'resnet'?" in capsys.readouterr().err
