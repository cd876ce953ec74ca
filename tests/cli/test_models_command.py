"""`jaxvision models`: the list, one model in detail, and a misspelt name."""

import itertools

import pytest

from jaxvision.cli import models as program
from jaxvision.models import NAMES, listing
from jaxvision.pretrained.weights_file import FAMILIES

# Counted by torchvision, timm and the authors' code.
PARAMETERS = {
    ('resnet', '50'): '25,557,032',
    ('vgg', '16'): '138,357,544',
    ('vit', 'B/16'): '86,567,656',
    ('mobilenet_v2', '1.0'): '3,504,872',
    ('efficientnet', 'B0'): '5,288,548',
    ('convnext', 'T'): '28,589,128',
}


def lines_of(capsys, *arguments):
    assert program.main([*arguments]) == 0
    return capsys.readouterr().out.splitlines()


def test_the_list_has_a_line_for_every_variant(capsys, monkeypatch):
    # Counting is the longest part, and has tests of its own.
    monkeypatch.setattr(
        listing,
        'describe',
        lambda name, variant: listing.Description(name, variant, 'tests', {}, 12345),
    )
    heading, *lines = lines_of(capsys)
    assert heading.split()[:3] == ['model', 'variant', 'parameters']
    rows = [line.split() for line in itertools.takewhile(bool, lines)]
    variants = {name: listing.variants(name) for name in NAMES}
    expected = [
        (name, variant or "''") for name, some in variants.items() for variant in some
    ]
    assert [tuple(row[:2]) for row in rows] == expected
    assert all(row[2] == '12,345' and row[-1] == 'tests' for row in rows)
    (resnet,) = {' '.join(row[3:-1]) for row in rows if row[0] == 'resnet'}
    assert resnet == 'torchvision or timm, Keras'
    assert {len(row) for row in rows if row[0] == 'dcgan'} == {4}  # No weights.


@pytest.mark.parametrize('name', dict(PARAMETERS))
def test_the_counts_are_those_of_the_authors(capsys, name):
    model, variant = name
    (line,) = [
        line
        for line in lines_of(capsys, model)
        if line.startswith(f'  {variant} ') and line.endswith(' parameters')
    ]
    assert line.split()[1] == PARAMETERS[name]


def test_a_model_is_shown_with_its_options(capsys):
    text = '\n'.join(lines_of(capsys, 'lrcn'))
    assert text.startswith('lrcn: LRCN, ')
    assert 'module: jaxvision.models.sequence.lrcn' in text
    assert 'pretrained weights: none' in text
    assert "  backbone='strided'   name of the image model" in text
    assert '  hidden=128           units of the LSTM.' in text
    assert '  **options            of the image model.' in text
    assert 'param_dtype' not in text and 'num_classes=0' not in text


def test_a_misspelt_model_names_the_nearest(capsys):
    assert program.main(['resnett']) == 2
    err = capsys.readouterr().err
    assert err.startswith("error: there is no model 'resnett'; did you mean 'resnet'?")
    assert err.count('\n') == 1


def test_publishers_are_those_of_the_formats_that_are_read():
    assert {name for name in NAMES if program.publishers(name)} == set(FAMILIES)
    assert 'torchvision' in program.publishers('resnet')
