"""One prediction a file: read and prepare, predict in padded batches, show, save."""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TypeVar

from jaxvision.cli.predict.predictor import Entry
from jaxvision.core.task import (
    Drawn,
    Shown,
)
from jaxvision.core.types import Example, Records
from jaxvision.data import pipeline
from jaxvision.data.protocol import Unreadable

LARGEST_ARRAY = 100  # numbers of an output that JSON lists, of a task without `show`


T = TypeVar('T')


@dataclasses.dataclass(frozen=True, kw_only=True)
class File:
    """A file on its way to a picture.

    Attributes:
        path: as the user gave it.
        picture: where its picture goes; None: none is drawn.
        example: None where the file cannot be read.
        reason: why it cannot be read.
        outputs: of the network for the example.
    """

    path: str
    picture: Path | None
    example: Example | None = None
    reason: str = ''
    outputs: Records | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class FilePredictor:
    """A predictor with one entry a file; a batch and a few files more are in memory.

    Attributes:
        names: the user's files.
        pictures: where the picture of each file goes; empty: none are drawn.
        outputs: as `Predictor`.
        batch_size: the size of a batch; fewer files make one batch of their number.
        threads: that read, draw and save.
        read: `(path, draws) -> example`, prepared; with what `show` needs if `draws`.
        predict_each: `(examples, size) -> outputs` of each, as `Model.predict_each`.
        show: as `Task.show`.
        save: `(path of the picture, what was drawn) -> what the entry says of it`.
        about: as `Predictor`.
    """

    names: Sequence[str]
    pictures: Sequence[Path]
    outputs: Sequence[Path]
    batch_size: int
    threads: int
    read: Callable[[str, bool], Example]
    predict_each: Callable[[Sequence[Example], int], list[Records]]
    show: Callable[[Example, Records], Shown]
    save: Callable[[Path, Drawn], Entry]
    about: Entry = dataclasses.field(default_factory=dict)
    column: str = 'file'

    def predict(self) -> Iterator[list[Entry]]:
        """As `Predictor`."""
        size = min(self.batch_size, len(self.names))
        files = pipeline.read_ahead(self._prepare, 0, len(self.names), self.threads)
        while batch := list(islice(files, size)):
            predicted = self._predict(batch, size)
            yield self._finish_all(predicted)

    def _prepare(self, row: int) -> File:
        """Read and prepare a file."""
        path = self.names[row]
        picture = self.pictures[row] if self.pictures else None
        draws = picture is not None
        example, reason = attempt(lambda: self.read(path, draws))
        return File(path=path, picture=picture, example=example, reason=reason)

    def _predict(self, batch: list[File], size: int) -> list[File]:
        """Add the outputs of the files that could be read."""
        examples = [file.example for file in batch if file.example is not None]
        outputs = iter(self.predict_each(examples, size))
        return [
            file
            if file.example is None
            else dataclasses.replace(file, outputs=next(outputs))
            for file in batch
        ]

    def _finish_all(self, files: list[File]) -> list[Entry]:
        """The entries of files, whose pictures are drawn and saved by the threads."""

        def finish(row):
            return self._finish(files[row])

        return list(pipeline.read_ahead(finish, 0, len(files), self.threads))

    def _finish(self, file: File) -> Entry:
        """Show and save: the entry of a file."""
        if file.example is None:
            return {'file': file.path, 'error': file.reason}
        try:
            answer, drawn = self.show(file.example, file.outputs)
            saved = {} if drawn is None else self.save(file.picture, drawn)
        except Unreadable as error:  # A video is read again for its pictures.
            return {'file': file.path, 'error': str(error)}
        return {'file': file.path, 'answer': answer, **saved}


def attempt(read: Callable[[], T]) -> tuple[T | None, str]:
    """Return (what `read` returns, '') or (None, the reason of its failure)."""
    try:
        return read(), ''
    except Unreadable as error:
        return None, str(error)
    except Exception as error:  # No file stops the others, whatever it holds.
        return None, f'{type(error).__name__}: {error}'


def show_outputs(inputs: Example, outputs: Records) -> Shown:
    """The outputs of a task without `show`; large arrays by their shape alone."""
    answer = {}
    for name, array in outputs.items():
        if array.size <= LARGEST_ARRAY:
            answer[name] = array.tolist()
        else:
            answer[name] = {'shape': list(array.shape), 'dtype': str(array.dtype)}
    return answer, None
