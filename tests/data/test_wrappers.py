"""Every wrapper gives the rows of its source, and states only what it changes."""

import dataclasses

import numpy as np
import pytest

from jaxvision.core.errors import UserError
from jaxvision.data import wrappers
from jaxvision.data.noise import Noise
from jaxvision.data.protocol import (
    Dataset,
    LabelledSource,
    RowSource,
    Source,
    check_split,
    labels_of,
)
from jaxvision.data.wrappers import InMemory, in_memory_if_small

SIZE = 8


def noise():
    return Noise(size=4, classes=3, examples=SIZE)


WRAPPED = {
    'source': noise,
    'wrapper': lambda: wrappers.Wrapper(noise()),
    'subset': lambda: wrappers.Subset(noise(), np.arange(SIZE)[::-1], 'reversed'),
    'numbered': lambda: wrappers.Numbered(noise()),
    'converted': lambda: wrappers.Converted(
        noise(), lambda example: {**example, 'x': 1}
    ),
    'decoded': lambda: wrappers.decoded(noise()),
    'in_memory': lambda: InMemory(noise()),
    'twice': lambda: wrappers.Numbered(InMemory(noise())),
    'mixed': lambda: wrappers.Mixed(
        noise(), np.ones((8, 4, 4, 3), np.uint8), np.full(8, 2, np.int32), 0.5, 'made'
    ),
}


@pytest.mark.parametrize('name', WRAPPED)
def test_a_wrapper_is_a_labelled_source(name):
    source = WRAPPED[name]()
    assert isinstance(source, Source) and isinstance(source, LabelledSource)
    rows = [5, 0, 5, 3]
    by_array = source.read(np.array(rows, np.int32))  # as the pipeline asks for them
    for row, example, same in zip(rows, source.read(rows), by_array, strict=True):
        again = source[row]
        assert example.keys() == again.keys() >= set(source.info.holds)
        for key, value in example.items():
            np.testing.assert_array_equal(value, again[key])
            np.testing.assert_array_equal(value, same[key])
        assert example['label'] == source.labels()[row]
        assert str(SIZE - 1 - row if name == 'subset' else row) in source.where(row)
    assert labels_of(source, 'this').shape == (len(source),)


@pytest.mark.parametrize('name', sorted(set(WRAPPED) - {'mixed'}))
def test_a_wrapper_has_the_rows_of_its_source(name):
    source = WRAPPED[name]()
    plain = noise()
    rows = list(range(SIZE))[:: -1 if name == 'subset' else 1]
    np.testing.assert_array_equal(source.labels(), plain.labels()[rows])
    for row in range(SIZE):
        np.testing.assert_array_equal(source[row]['image'], plain[rows[row]]['image'])


@pytest.mark.parametrize('name', WRAPPED)
def test_no_rows_are_no_examples(name):
    assert WRAPPED[name]().read([]) == []


def test_a_batch_of_no_rows_has_the_keys_and_shapes_of_the_others():
    source = InMemory(noise())
    for rows in ([], np.arange(0)):
        empty = source.batch(rows)
        assert {name: array.shape for name, array in empty.items()} == {
            'image': (0, 4, 4, 3),
            'label': (0,),
        }
    np.testing.assert_array_equal(source.batch([2])['image'], noise()[2]['image'][None])


def test_examples_of_a_numbered_source_hold_their_row():
    source = wrappers.Numbered(noise())
    assert source.info.holds == ('image', 'label', 'row')
    assert [source[3]['row'], *(e['row'] for e in source.read([6, 1]))] == [3, 6, 1]
    assert source[3]['row'].dtype == np.int32


class Unlabelled(RowSource):
    info = dataclasses.replace(noise().info, name='toy', holds=('image',))

    def __len__(self):
        return SIZE

    def __getitem__(self, row):
        return {'image': noise()[row]['image']}


@pytest.mark.parametrize(
    'wrap',
    [
        lambda source: source,
        wrappers.Numbered,
        InMemory,
        lambda source: wrappers.Subset(source, np.arange(3), 'few'),
    ],
)
def test_a_source_without_labels_is_a_source_and_says_so(wrap):
    source = wrap(Unlabelled())
    assert isinstance(source, Source) and not source.info.has_labels
    assert len(source.read([0, 2])) == 2
    assert source.where(2) == 'toy train, row 2'
    with pytest.raises(
        UserError,
        match='toy has no labels, but data.per_class=3 needs them: it holds image',
    ):
        labels_of(source, 'data.per_class=3')


def test_a_base_of_sources_is_no_labelled_one():
    assert not isinstance(Unlabelled(), LabelledSource)
    assert not isinstance(Unlabelled(), Dataset)


def test_a_split_that_is_missing_is_named_beside_those_there_are():
    check_split('toy', 'train', ('train', 'val'))
    with pytest.raises(UserError, match="^toy has no split 'test'; it has train, val$"):
        check_split('toy', 'test', ('train', 'val'))


def test_a_source_of_a_gibibyte_stays_in_memory_and_a_larger_one_does_not():
    source = noise()
    assert isinstance(in_memory_if_small(source, 2**30 // SIZE), InMemory)
    assert in_memory_if_small(source, 2**30 // SIZE + 1) is source


def test_captions_fill_no_array():
    source = noise()
    source.info = dataclasses.replace(source.info, holds=('image', 'captions'))
    assert in_memory_if_small(source, 48) is source
