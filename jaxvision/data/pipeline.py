"""Batches from a source, with Grain: a pure function of the step, so resuming is seeking.

Global batch t is rows t * batch_size onwards of the epochs' shuffles laid end to end: a batch may
straddle two epochs and no example is dropped. Of P processes, each takes its contiguous chunk.
"""

import functools
from collections.abc import Callable, Iterator
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Int32

from jaxvision.core import keys
from jaxvision.core.errors import UserError
from jaxvision.data.protocol import Example, Source, Unreadable

Batch = dict[str, np.ndarray]
Prepare = Callable[[Example, np.random.Generator | None], Example]


@runtime_checkable
class Counter(Protocol):
    """Is told of every unreadable example that was left out; called from worker threads."""

    def add(self, where: str, error: Exception) -> None: ...


def rows(
    seed: int, examples: int, batch_size: int, step: int
) -> Int32[np.ndarray, 'b']:
    """The rows of global training batch `step`."""
    positions = np.arange(step * batch_size, (step + 1) * batch_size)
    epochs, places = np.divmod(positions, examples)
    chosen = np.empty(batch_size, np.int32)
    for epoch in range(epochs[0], epochs[-1] + 1):
        inside = epochs == epoch
        chosen[inside] = _shuffle(seed, epoch, examples)[places[inside]]
    return chosen


# A few, since the worker threads of one moment may stand on both sides of an epoch's end.
@functools.lru_cache(maxsize=4)
def _shuffle(seed: int, epoch: int, examples: int) -> Int32[np.ndarray, 'n']:
    return keys.host(seed, 'shuffle', epoch).permutation(examples).astype(np.int32)


def train_batches(
    source: Source,
    prepare: Prepare | None,
    *,
    seed: int,
    batch_size: int,
    start: int,
    stop: int,
    process: tuple[int, int] = (0, 1),
    threads: int = 2,
    on_corrupt: str = 'stop',
    counter: Counter | None = None,
) -> Iterator[Batch]:
    """This process's chunks of training batches `start` to `stop` - 1, read ahead by threads, or
    with threads=0 each when it is asked for.

    A batch is what `prepare(example, rng)` makes of each example, stacked, and 'index' int32 [B],
    the rows. rng is a function of (seed, step, row). With on_corrupt='replace' the next readable
    row takes an unreadable one's place, in 'index' too.

    Raises:
        UserError: an example cannot be read (it is named), or the batch size does not divide.
    """
    part = _chunk(batch_size, process)
    reader = _Reader(source, prepare, on_corrupt, counter)

    def batch(step: int) -> Batch:
        def rng(row: int) -> np.random.Generator:
            return keys.host(seed, 'prepare', step, row)

        return reader.full(rows(seed, len(source), batch_size, step)[part], rng)

    return read_ahead(batch, start, stop, threads)


def eval_batches(
    source: Source,
    prepare: Prepare | None,
    *,
    batch_size: int,
    process: tuple[int, int] = (0, 1),
    threads: int = 2,
    on_corrupt: str = 'stop',
    counter: Counter | None = None,
) -> Iterator[Batch]:
    """Every row once, in order: batches as in training and 'present' bool [B], False for padding.

    With on_corrupt='replace' an unreadable row is masked out too.

    Raises:
        UserError: as `train_batches`.
    """
    part = _chunk(batch_size, process)
    reader = _Reader(source, prepare, on_corrupt, counter)

    def batch(step: int) -> Batch:
        wanted = np.arange(step * batch_size, (step + 1) * batch_size, dtype=np.int32)[
            part
        ]
        inside = wanted < len(source)
        wanted = np.minimum(wanted, len(source) - 1)
        read = reader.full(wanted, lambda row: None)
        return read | {'index': wanted, 'present': inside & (read['index'] == wanted)}

    return read_ahead(batch, 0, -(-len(source) // batch_size), threads)


def _chunk(batch_size: int, process: tuple[int, int]) -> slice:
    number, processes = process
    if batch_size % processes:
        raise UserError(
            f'the batch size, {batch_size}, is not divisible by the {processes} '
            'processes'
        )
    size = batch_size // processes
    return slice(number * size, (number + 1) * size)


def read_ahead(
    read: Callable[[int], Any], start: int, stop: int, threads: int
) -> Iterator:
    """`read(start)` to `read(stop - 1)` in order, by threads that are a few items ahead."""
    if not threads:
        yield from map(read, range(start, stop))
        return
    import grain

    steps = grain.MapDataset.range(start, stop).map(read)
    ahead = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=2 * threads)
    iterator = iter(steps.to_iter_dataset(ahead))
    try:
        yield from iterator
    finally:
        iterator.close()


class _Reader:
    """Reads and prepares the rows of one batch."""

    def __init__(
        self,
        source: Source,
        prepare: Prepare | None,
        on_corrupt: str,
        counter: Counter | None,
    ):
        if on_corrupt not in ('stop', 'replace'):
            raise UserError(
                f"data.on_corrupt={on_corrupt!r}: it is 'stop' or 'replace'"
            )
        self._source = source
        self._prepare = prepare
        self._replace = on_corrupt == 'replace'
        self._counter = counter

    def full(self, wanted: Int32[np.ndarray, 'b'], rng: Callable[[int], Any]) -> Batch:
        """The wanted rows, stacked; 'index' differs from `wanted` where a row was replaced."""
        if self._prepare is None and hasattr(self._source, 'batch'):
            try:
                return self._source.batch(wanted) | {'index': wanted}
            except Unreadable:
                pass  # row by row below finds out which
        found = [
            self._readable(int(row), example, rng)
            for row, example in zip(wanted, self._read(wanted))
        ]
        used, examples = zip(*found)
        stacked = {
            name: np.stack([example[name] for example in examples])
            for name in examples[0]
        }
        return stacked | {'index': np.asarray(used, np.int32)}

    def _read(self, wanted: Int32[np.ndarray, 'b']) -> list[Example | None]:
        try:
            return self._source.read(wanted)
        except Unreadable:
            return [None] * len(wanted)

    def _readable(self, row: int, example: Example | None, rng) -> tuple[int, Example]:
        """The prepared example of the row, or of the first readable one after it."""
        for used in range(row, row + len(self._source)):
            used %= len(self._source)
            try:
                if used != row or example is None:
                    example = self._source[used]
                return used, self._prepare(
                    example, rng(used)
                ) if self._prepare else example
            except Unreadable as error:
                self._unreadable(used, error)
        raise UserError(f'{self._source.info.name}: no example can be read')

    def _unreadable(self, row: int, error: Unreadable) -> None:
        where = self._source.where(row)
        if not self._replace:
            raise UserError(
                f'cannot read {where}: {error}. Give the same command with '
                '--config.data.on_corrupt=replace to go on without it, or remove it '
                'and begin anew'
            ) from error
        if self._counter:
            self._counter.add(where, error)
