"""`jaxvision models`: the list, one model in detail, and a misspelt name."""

import itertools

import pytest

from jaxvision.cli import models as program
from jaxvision.models import NAMES, listing
from jaxvision.pretrained.weights_file import FAMILIES


def lines_of(capsys, *arguments):
    assert program.main([*arguments]) == 0
    return capsys.readouterr().out.splitlines()


@pytest.fixture
def not_counted(monkeypatch):
    """Counting takes the most time; tests/models/test_listing.py counts every variant."""

    def describe(name, variant):
        return listing.Description(name, variant, 'tests', {}, 12345)

    monkeypatch.setattr(listing, 'describe', describe)


def test_the_list_has_a_line_for_every_variant(capsys, not_counted):
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


@pytest.mark.parametrize('name', NAMES)
def test_a_model_is_shown_with_every_variant_and_its_count(capsys, not_counted, name):
    lines = [line for line in lines_of(capsys, name) if line.endswith(' parameters')]
    expected = [[variant or "''", '12,345'] for variant in listing.variants(name)]
    assert [line.split()[:2] for line in lines] == expected


def test_the_count_is_that_of_the_authors(capsys):
    lines = [' '.join(line.split()) for line in lines_of(capsys, 'mobilenet_v2')]
    assert '1.0 3,504,872 parameters' in lines


def test_a_model_is_shown_with_its_options(capsys):
    text = '\n'.join(lines_of(capsys, 'lrcn'))
    assert text.startswith('lrcn: LRCN, ')
    assert 'module: jaxvision.models.sequence.lrcn' in text
    assert 'pretrained weights: none' in text
    assert "  backbone='strided'   name of the image model" in text
    assert '  hidden=128           units of the LSTM.' in text
    assert '  **options            further keyword arguments of the image model' in text
    assert 'param_dtype' not in text and 'num_classes=0' not in text


def test_a_misspelt_model_names_the_nearest(capsys):
    assert program.main(['resnett']) == 2
    err = capsys.readouterr().err
    assert err.startswith("error: there is no model 'resnett'; did you mean 'resnet'?")
    assert err.count('\n') == 1


def test_publishers_are_those_of_the_formats_that_are_read():
    assert {name for name in NAMES if program.publishers(name)} == set(FAMILIES)
    assert 'torchvision' in program.publishers('resnet')
