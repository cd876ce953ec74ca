"""Predictions file by file: read and prepare, predict in padded batches, draw, save."""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TypeVar

from jaxvision.cli.predict.predictor import Entry
from jaxvision.core.task import Drawn, Shown
from jaxvision.core.types import Example, Records
from jaxvision.data import pipeline
from jaxvision.data.protocol import Unreadable

# The most numbers of an output that JSON lists, if the task has no `show`.
LARGEST_ARRAY = 100

T = TypeVar('T')


@dataclasses.dataclass(frozen=True, kw_only=True)
class File:
    """A file between reading and the report.

    Attributes:
        path: as the user gave it.
        picture: path of the picture; None: the file gets no picture.
        example: the prepared input; None: the file cannot be read.
        reason: why the file cannot be read; '' if it can.
        outputs: outputs of the network for this file; None before the prediction.
    """

    path: str
    picture: Path | None
    example: Example | None = None
    reason: str = ''
    outputs: Records | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class FilePredictor:
    """A predictor with one entry for each file.

    A batch and a few further files are in memory at a time.

    Attributes:
        names: the user's files.
        pictures: path of the picture of each file; empty: no pictures.
        outputs: the files and folders that will be written beside predictions.json.
        batch_size: size of a batch; fewer files make one smaller batch.
        threads: number of threads that read, draw and save.
        read: `(path, draws) -> example` reads and prepares a file. If `draws`, the example
            also holds the arrays that `show` draws.
        predict_each: `(examples, size) -> [outputs of each example]`, for up to `size`
            examples.
        show: `(example, outputs) -> (answer, drawing or None)` for one file.
        save: `(path, drawing) -> entry` writes a drawing and returns its part of the entry.
        about: the part of predictions.json that holds for all entries.
        column: name of the first column of the table.
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
        """Predict for a batch of files at a time, and write their pictures.

        Yields:
            The entries of a batch, in the order of `names`. A file has the reason under
            'error' if it cannot be read or prepared, or if `show` or `save` raises
            `Unreadable`. It does not stop the others.
        """
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
        """Add the outputs of the readable files."""
        examples = [file.example for file in batch if file.example is not None]
        outputs = iter(self.predict_each(examples, size))
        predicted = []
        for file in batch:
            if file.example is not None:
                file = dataclasses.replace(file, outputs=next(outputs))
            predicted.append(file)
        return predicted

    def _finish_all(self, files: list[File]) -> list[Entry]:
        """Draw and save the pictures of files in threads, and return the entries."""

        def finish(row):
            return self._finish(files[row])

        return list(pipeline.read_ahead(finish, 0, len(files), self.threads))

    def _finish(self, file: File) -> Entry:
        """Draw and save the picture of a file, and return its entry."""
        if file.example is None:
            return {'file': file.path, 'error': file.reason}
        try:
            answer, drawing = self.show(file.example, file.outputs)
            saved = {}
            if drawing is not None:
                saved = self.save(file.picture, drawing)
        except Unreadable as error:  # A video is read again for its pictures.
            return {'file': file.path, 'error': str(error)}
        return {'file': file.path, 'answer': answer, **saved}


def attempt(read: Callable[[], T]) -> tuple[T | None, str]:
    """Call a function, and turn any `Exception` into a reason.

    Returns:
        (the result, ''), or (None, the reason). It is the text of an `Unreadable`, and
        has the form 'ValueError: text' for another error.
    """
    try:
        return read(), ''
    except Unreadable as error:
        return None, str(error)
    except Exception as error:  # A bad file must not stop the prediction of the others.
        return None, f'{type(error).__name__}: {error}'


def show_outputs(inputs: Example, outputs: Records) -> Shown:
    """List the outputs of a task without `show`.

    Args:
        inputs: the prepared example, which is not used.
        outputs: {name: array} of one example.

    Returns:
        ({name: nested lists of numbers}, None). An array of more than 100 numbers is
        replaced by {'shape': list of sizes, 'dtype': name}.
    """
    answer = {}
    for name, array in outputs.items():
        if array.size <= LARGEST_ARRAY:
            answer[name] = array.tolist()
        else:
            answer[name] = {'shape': list(array.shape), 'dtype': str(array.dtype)}
    return answer, None
