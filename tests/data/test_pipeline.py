import gc
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxvision.core.errors import UserError
from jaxvision.data import pipeline
from jaxvision.data.protocol import SourceInfo, Unreadable
from jaxvision.data.wrappers import InMemory


class Counting:
    """Row r is an image of r's; the rows in `bad` cannot be read."""

    def __init__(self, examples, bad=()):
        self._examples, self._bad = examples, bad
        self.info = SourceInfo(
            'counting', 'train', ('even', 'odd'), (2, 2, 1), False, '0'
        )

    def __len__(self):
        return self._examples

    def __getitem__(self, row):
        if row in self._bad:
            raise Unreadable('damaged')
        return {'image': np.full((2, 2, 1), row, np.uint8), 'label': np.int32(row % 2)}

    def read(self, rows):
        return [self[row] for row in rows]

    def labels(self):
        return np.arange(self._examples, dtype=np.int32) % 2

    def where(self, row):
        return f'row {row}'


class Lost:
    def __init__(self):
        self.places = []

    def add(self, where, error):
        self.places.append(where)


def noisy(example, rng):
    return example | {'noise': np.float32(rng.random() if rng else -1)}


def train(source, start, stop, prepare=noisy, **options):
    options = {'seed': 3, 'batch_size': 8, 'threads': 2} | options
    return list(
        pipeline.train_batches(source, prepare, start=start, stop=stop, **options)
    )


def assert_equal(batches, others):
    assert len(batches) == len(others)
    for batch, other in zip(batches, others, strict=True):
        assert batch.keys() == other.keys()
        for name in batch:
            np.testing.assert_array_equal(batch[name], other[name])


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 40), st.integers(1, 50), st.integers(0, 3))
def test_each_epoch_is_a_permutation(seed, examples, batch_size, epoch):
    steps = -(-(epoch + 1) * examples // batch_size)
    stream = np.concatenate(
        [pipeline.rows(seed, examples, batch_size, t) for t in range(steps)]
    )
    rows = stream[epoch * examples : (epoch + 1) * examples]
    np.testing.assert_array_equal(np.sort(rows), np.arange(examples))


def test_epochs_and_seeds_differ():
    epochs = [
        tuple(pipeline.rows(seed, 100, 100, t)) for seed in (0, 1) for t in (0, 1)
    ]
    assert len(set(epochs)) == 4


@pytest.mark.parametrize('wrap', [lambda source: source, InMemory])
def test_a_batch_is_a_function_of_the_step(wrap):
    whole = train(wrap(Counting(21)), 0, 9)
    assert_equal(whole, train(wrap(Counting(21)), 0, 9, threads=1))
    assert_equal(whole[4:], train(wrap(Counting(21)), 4, 9))
    for step, batch in enumerate(whole):
        np.testing.assert_array_equal(batch['index'], pipeline.rows(3, 21, 8, step))
        np.testing.assert_array_equal(batch['image'][:, 0, 0, 0], batch['index'])
        np.testing.assert_array_equal(batch['label'], batch['index'] % 2)


def test_randomness_differs_between_rows_steps_and_seeds():
    noise = np.concatenate(
        [
            batch['noise']
            for seed in (0, 1)
            for batch in train(Counting(8), 0, 3, seed=seed)
        ]
    )
    assert len(np.unique(noise)) == len(noise) == 48


@pytest.mark.parametrize('processes', [2, 4])
def test_chunks_concatenate_to_the_global_batch(processes):
    source = Counting(21)
    parts = [train(source, 0, 5, process=(p, processes)) for p in range(processes)]
    joined = [
        {name: np.concatenate([part[name] for part in step]) for name in step[0]}
        for step in zip(*parts, strict=True)
    ]
    assert_equal(joined, train(source, 0, 5))
    evaluations = [
        list(pipeline.eval_batches(source, noisy, batch_size=8, process=(p, processes)))
        for p in range(processes)
    ]
    index = np.concatenate(
        [
            batch['index'][batch['present']]
            for step in zip(*evaluations, strict=True)
            for batch in step
        ]
    )
    np.testing.assert_array_equal(index, np.arange(21))


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 30), st.integers(1, 12))
def test_evaluation_sees_each_row_once(examples, batch_size):
    batches = list(
        pipeline.eval_batches(Counting(examples), noisy, batch_size=batch_size)
    )
    assert all(batch['image'].shape == (batch_size, 2, 2, 1) for batch in batches)
    assert all((batch['noise'] == -1).all() for batch in batches)
    present = np.concatenate([batch['present'] for batch in batches])
    index = np.concatenate([batch['index'] for batch in batches])
    np.testing.assert_array_equal(index[present], np.arange(examples))
    assert present.dtype == bool and present[:examples].all()


@pytest.mark.parametrize('wrap', [lambda source: source, InMemory])
@pytest.mark.parametrize('prepare', [None, noisy])
def test_an_unreadable_row_stops_and_is_named(wrap, prepare):
    with pytest.raises(UserError, match='row 5: damaged'):
        train(wrap(Counting(21, bad=[5])), 0, 3, prepare)
    with pytest.raises(UserError, match='row 5: damaged'):
        list(pipeline.eval_batches(wrap(Counting(21, bad=[5])), prepare, batch_size=8))


@pytest.mark.parametrize('wrap', [lambda source: source, InMemory])
@pytest.mark.parametrize('prepare', [None, noisy])
def test_an_unreadable_row_is_replaced_by_the_next(wrap, prepare):
    source, lost = wrap(Counting(21, bad=[5, 6, 20])), Lost()
    batches = train(source, 0, 21, prepare, on_corrupt='replace', counter=lost)
    stands_in = np.arange(21)
    stands_in[[5, 6, 20]] = 7, 7, 0
    for step, batch in enumerate(batches):
        np.testing.assert_array_equal(
            batch['index'], stands_in[pipeline.rows(3, 21, 8, step)]
        )
        np.testing.assert_array_equal(batch['image'][:, 0, 0, 0], batch['index'])
    # 8 epochs; looking for row 5's stand-in meets row 6 each time
    assert sorted(lost.places) == sorted(['row 5', 'row 6', 'row 6', 'row 20'] * 8)


def test_an_unreadable_row_is_masked_out_of_evaluation():
    lost = Lost()
    batches = list(
        pipeline.eval_batches(
            Counting(21, bad=[5, 20]),
            noisy,
            batch_size=8,
            on_corrupt='replace',
            counter=lost,
        )
    )
    present = np.concatenate([batch['present'] for batch in batches])
    np.testing.assert_array_equal(np.flatnonzero(~present), [5, 20, 21, 22, 23])
    np.testing.assert_array_equal(batches[0]['index'], np.arange(8))
    assert set(lost.places) == {'row 5', 'row 20'}


def test_nothing_readable_is_an_end_and_no_loop():
    with pytest.raises(UserError, match='no example can be read'):
        train(Counting(3, bad=[0, 1, 2]), 0, 1, on_corrupt='replace')


def test_mistakes_are_named_at_once():
    with pytest.raises(UserError, match='8, is not divisible by the 3'):
        pipeline.train_batches(
            Counting(9), None, seed=0, batch_size=8, start=0, stop=1, process=(0, 3)
        )
    with pytest.raises(UserError, match='skip'):
        pipeline.eval_batches(Counting(9), None, batch_size=8, on_corrupt='skip')


def test_a_bug_in_prepare_stays_what_it_is():
    def broken(example, rng):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        train(Counting(9), 0, 1, broken)


@pytest.mark.parametrize(
    'leave', [lambda batches: batches.close(), lambda batches: None]
)
def test_threads_end_with_the_iterator(leave):
    before = threading.active_count()
    batches = pipeline.train_batches(
        Counting(9), noisy, seed=0, batch_size=8, start=0, stop=1000, threads=3
    )
    next(batches)
    assert threading.active_count() > before
    threads = [thread for thread in threading.enumerate() if 'prefetch' in thread.name]
    leave(batches)
    del batches
    gc.collect()
    for thread in threads:
        thread.join(timeout=5)
        assert not thread.is_alive()
