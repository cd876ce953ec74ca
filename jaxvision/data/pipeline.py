"""Batches from a source, with Grain: a pure function of the step, so resuming is seeking.

The shuffles of all epochs are laid end to end. Global batch t is the rows from t * batch_size
onwards: a batch may straddle two epochs, and no example is dropped. Each of P processes takes its
contiguous part of a batch.
"""

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol, TypeVar, runtime_checkable

import numpy as np
from jaxtyping import Int32

from jaxvision.core import keys
from jaxvision.core.errors import UserError
from jaxvision.core.types import Example, Prepare, Records
from jaxvision.data.protocol import Source, Unreadable, at_step

Item = TypeVar('Item')


@runtime_checkable
class Counter(Protocol):
    """Counts the unreadable examples that are left out."""

    def add(self, where: str, error: Exception) -> None:
        """Count an unreadable example at each reading. Worker threads call it.

        With on_corrupt='stop' it is not called.

        Args:
            where: the name of the example in messages.
            error: why it is unreadable.
        """


def rows(
    seed: int, examples: int, batch_size: int, step: int
) -> Int32[np.ndarray, 'b']:
    """The rows of a global training batch.

    Each epoch is one shuffle of all rows. A batch may hold the end of one epoch and the
    start of the next one.

    Args:
        seed: of the shuffles.
        examples: the number of examples of the source, 1 or more.
        batch_size: the examples of a global batch.
        step: the number of the batch, from 0.
    """
    positions = np.arange(step * batch_size, (step + 1) * batch_size)
    epochs, places = np.divmod(positions, examples)
    chosen = np.empty(batch_size, np.int32)
    for epoch in range(epochs[0], epochs[-1] + 1):
        inside = epochs == epoch
        chosen[inside] = _shuffle(seed, epoch, examples)[places[inside]]
    return chosen


# Several, because worker threads may read on both sides of an epoch's end at the same time.
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
) -> Iterator[Records]:
    """Yield this process's part of the training batches `start` to `stop` - 1.

    Every process has to call it with the same arguments but for `process`. Close the
    iterator to stop its threads before the end.

    Args:
        source: the examples.
        prepare: `(example, generator) -> {name: array}`. The generator is a function of
            (seed, step, row). None if examples are arrays. It may raise `Unreadable`.
        seed: of the shuffles and the generators.
        batch_size: the examples of a global batch.
        start: the number of the first batch.
        stop: the number after that of the last batch.
        process: (number of this process from 0, how many processes there are).
        threads: how many threads read ahead. With 0, a batch is read when it is asked for.
        on_corrupt: 'stop', or 'replace' to take the next readable row for an unreadable one.
        counter: counts the examples that 'replace' passes over. None counts nothing.

    Yields:
        The stacked examples, and 'index' int32 [B], the rows that were read. B is the
        batch size divided by the number of processes.

    Raises:
        UserError: The processes do not divide the batch size. Or, raised by the
            iterator: an example cannot be read and `on_corrupt` is 'stop', or no
            example can be read.
    """
    part = _part(batch_size, process)

    def batch(step: int) -> Records:
        reader = _Reader(at_step(source, step), prepare, on_corrupt, counter)

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
) -> Iterator[Records]:
    """Yield this process's part of batches that hold every row once, in order.

    Close the iterator to stop its threads before the end.

    Args:
        source: the examples.
        prepare: `(example, None) -> {name: array}`, without a generator. None if
            examples are arrays. It may raise `Unreadable`.
        batch_size: the examples of a global batch.
        process: (number of this process from 0, how many processes there are).
        threads: how many threads read ahead. With 0, a batch is read when it is asked for.
        on_corrupt: 'stop', or 'replace' to leave out unreadable rows.
        counter: counts the examples that 'replace' passes over. None counts nothing.

    Yields:
        The stacked examples, 'index' int32 [B], the rows asked for, and 'present' bool
        [B]. It is False for padding, which repeats the last row, and for rows left out,
        which have the arrays of another row. B is batch_size / processes.

    Raises:
        UserError: The processes do not divide the batch size. Or, raised by the
            iterator: an example cannot be read and `on_corrupt` is 'stop', or no
            example can be read.
    """
    part = _part(batch_size, process)
    reader = _Reader(source, prepare, on_corrupt, counter)

    def no_generator(row: int) -> None:
        return None

    def batch(step: int) -> Records:
        first = step * batch_size
        positions = np.arange(first, first + batch_size, dtype=np.int32)[part]
        index = np.minimum(positions, len(source) - 1)
        read = reader.full(index, no_generator)
        present = (positions < len(source)) & (read['index'] == index)
        return {**read, 'index': index, 'present': present}

    return read_ahead(batch, 0, -(-len(source) // batch_size), threads)


def _part(batch_size: int, process: tuple[int, int]) -> slice:
    """The part of a global batch that a process reads."""
    number, processes = process
    if batch_size % processes:
        raise UserError(
            f'the batch size, {batch_size}, is not divisible by the {processes} '
            'processes. Choose a multiple of their number'
        )
    size = batch_size // processes
    return slice(number * size, (number + 1) * size)


def read_ahead(
    read: Callable[[int], Item], start: int, stop: int, threads: int
) -> Iterator[Item]:
    """Yield `read(start)` to `read(stop - 1)` in order, by threads that are some items ahead.

    Nothing is read before the first item is asked for. Close the iterator to stop the
    threads before its end.

    Args:
        read: reads an item by its number. Threads call it at the same time. The
            iterator raises its errors.
        start: the first number.
        stop: the number after the last one.
        threads: how many. With 0, an item is read when it is asked for.
    """
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


def _stacked(examples: Sequence[Example]) -> Records:
    batch = {}
    for name in examples[0]:
        batch[name] = np.stack([example[name] for example in examples])
    return batch


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

    def full(
        self, asked_rows: Int32[np.ndarray, 'b'], rng: Callable[[int], Any]
    ) -> Records:
        """Read and stack rows.

        Args:
            asked_rows: the rows to read.
            rng: the generator of a row.

        Returns:
            The stacked examples, and 'index', the rows that were read. It differs from
            `asked_rows` where a row was replaced.
        """
        if self._prepare is None and hasattr(self._source, 'batch'):
            try:
                return {**self._source.batch(asked_rows), 'index': asked_rows}
            except Unreadable:
                pass  # Reading row by row finds out which row it is.
        index = []
        examples = []
        for row, example in zip(asked_rows, self._read(asked_rows), strict=True):
            read_row, prepared = self._readable(int(row), example, rng)
            index.append(read_row)
            examples.append(prepared)
        return {**_stacked(examples), 'index': np.asarray(index, np.int32)}

    def _read(self, asked_rows: Int32[np.ndarray, 'b']) -> list[Example | None]:
        try:
            return self._source.read(asked_rows)
        except Unreadable:
            return [None] * len(asked_rows)

    def _readable(self, row: int, example: Example | None, rng) -> tuple[int, Example]:
        """Prepare the example of a row, or of the first readable row after it.

        Args:
            row: the row to begin with.
            example: its example, None if it is not read yet.
            rng: the generator of a row.

        Returns:
            The row and its prepared example.
        """
        length = len(self._source)
        for candidate in range(row, row + length):
            candidate %= length
            try:
                if candidate != row or example is None:
                    example = self._source[candidate]
                if self._prepare:
                    example = self._prepare(example, rng(candidate))
                return candidate, example
            except Unreadable as error:
                self._report_unreadable(candidate, error)
        raise UserError(
            f'{self._source.info.name}: no example can be read. Check its files with '
            'jaxvision inspect'
        )

    def _report_unreadable(self, row: int, error: Unreadable) -> None:
        where = self._source.where(row)
        if not self._replace:
            raise UserError(
                f'cannot read {where}: {error}. Give the same command with '
                '--config.data.on_corrupt=replace to go on without it, or remove it '
                'and begin anew'
            ) from error
        if self._counter:
            self._counter.add(where, error)
