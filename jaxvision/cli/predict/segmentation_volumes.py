"""The class of each voxel of volumes: slices are predicted and put together again."""

import dataclasses
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Int, UInt8, UInt16, UInt32

from jaxvision.cli.predict import segmentation_frames, volume_answers
from jaxvision.cli.predict.predictor import Entry
from jaxvision.cli.predict.report import Progress
from jaxvision.cli.predict.segmentation_answers import Spacing, Tally
from jaxvision.cli.predict.segmentation_files import MOST_OBJECTS, Preview, Writer
from jaxvision.cli.predict.segmentation_views import Strip, Tiling, Views
from jaxvision.cli.predict.volume_files import Slices, VolumeFile
from jaxvision.core.types import Json
from jaxvision.data import decode
from jaxvision.data.protocol import Unreadable
from jaxvision.data.windows import Window
from jaxvision.viz import figures

_MOST_SLICES = 8  # of a batch

Picture = UInt8[np.ndarray, '_ _ 3']
Labels = UInt8[np.ndarray, 'd h w']
Objects = Int[np.ndarray, 'd h w']


@dataclasses.dataclass(frozen=True)
class Paths:
    """The files of one volume.

    Attributes:
        labels: the class of each voxel, stored as the volume is.
        objects: the number of the object of each voxel; None: no objects.
        table: the classes in a CSV table.
        picture: the slice that shows the most, painted; None: it is not drawn.
    """

    labels: Path
    objects: Path | None
    table: Path
    picture: Path | None

    @classmethod
    def of(
        cls, base: Path, file: VolumeFile, has_objects: bool, draws: bool
    ) -> 'Paths':
        """Name the files of a volume.

        Args:
            base: OUT/NAME.png, whose suffix is replaced.
            file: the volume.
            has_objects: whether the network predicts objects.
            draws: whether pictures are drawn.
        """

        def place(ending: str) -> Path:
            return base.with_name(base.stem + ending)

        return cls(
            labels=place(f'-labels{file.suffix}'),
            objects=place(f'-objects{file.suffix}') if has_objects else None,
            table=place('-classes.csv'),
            picture=place('-slice.png') if draws else None,
        )

    @property
    def all(self) -> list[Path]:
        """The files that will be written."""
        paths = (self.labels, self.objects, self.table, self.picture)
        return [path for path in paths if path is not None]


@dataclasses.dataclass(kw_only=True)
class _Found:
    """What has been found in the slices of a volume so far.

    Attributes:
        labels: the class of each voxel.
        objects: the number of the object of each voxel; None: no objects.
        tally: of the classes.
        instances: the objects, each with its slice.
        picture: of the slice that shows the most; None: none yet.
        shown: the voxels of that slice that are not of the first class.
    """

    labels: Labels
    objects: Objects | None
    tally: Tally
    instances: list[Json] = dataclasses.field(default_factory=list)
    picture: Picture | None = None
    shown: int = -1


@dataclasses.dataclass(frozen=True, kw_only=True)
class Volumes:
    """A predictor of the voxels of volumes.

    Attributes:
        views: of the network.
        writer: describes and paints a slice.
        tiling: tiles of a slice; None: a slice is seen as a whole.
        sources: the user's volumes.
        paths: the files of each.
    """

    views: Views
    writer: Writer
    tiling: Tiling | None
    sources: Sequence[VolumeFile]
    paths: Sequence[Paths]

    @property
    def names(self) -> list[str]:
        """The user's volumes, by their paths."""
        return [file.name for file in self.sources]

    @property
    def outputs(self) -> list[Path]:
        """The files beside predictions.json."""
        return [path for paths in self.paths for path in paths.all]

    def predict(self) -> Iterator[list[Entry]]:
        """Predict for one volume at a time, and write its files.

        Yields:
            A list with the entry of one volume, in the order of `names`. A volume that
            cannot be read has the reason under 'error', and does not stop the others.
        """
        for file, paths in zip(self.sources, self.paths, strict=True):
            try:
                yield [self._predict(file, paths)]
            except Unreadable as error:
                yield [{'file': file.name, 'error': str(error)}]

    def _predict(self, file: VolumeFile, paths: Paths) -> Entry:
        """Segment a volume, write its files, and return its entry.

        Raises:
            Unreadable: The volume is damaged.
        """
        window = self.views.model.spec.preprocessing.window
        slices, grid = file.read(Window(*window) if window else None)
        writer = self.writer
        if grid is not None and writer.spacing is None:
            y, x = grid.header().spacing or (1.0, 1.0)
            writer = dataclasses.replace(writer, spacing=Spacing(y, x, 'mm'))
        found = self._segment(slices, file.name, writer)
        names = self.writer.class_names
        answer = volume_answers.answer_of(names, found.tally, found.labels, grid)
        file.write(paths.labels, found.labels, grid)
        saved = [paths.labels, paths.table]
        if paths.objects is not None and found.objects is not None:
            file.write(paths.objects, _compact(found.objects), grid)
            saved.append(paths.objects)
            answer['instances'] = tuple(found.instances)
        volume_answers.write_table(paths.table, answer)
        entry: Entry = {
            'file': file.name,
            'answer': answer,
            'saved': [str(path) for path in saved],
        }
        if paths.picture is not None and found.picture is not None:
            figures.save(paths.picture, found.picture)
            entry['picture'] = str(paths.picture)
        return entry

    def _segment(self, slices: Slices, name: str, writer: Writer) -> _Found:
        """Segment each slice of a volume.

        Args:
            slices: of the volume.
            name: of the volume, for messages.
            writer: describes a slice.
        """
        found = _Found(
            labels=np.zeros(slices.shape, np.uint8),
            objects=np.zeros(slices.shape, np.int32)
            if self.writer.has_objects
            else None,
            tally=Tally(len(self.writer.class_names)),
        )
        size = min(self.views.batch(self.views.canvas), _MOST_SLICES)
        progress = Progress(len(slices), 'slices', f'{name}: ')
        for start in range(0, len(slices), size):
            frames = [
                np.array(part)[..., None] for part in slices[start : start + size]
            ]
            results = segmentation_frames.segmented(
                self.views, self.tiling, frames, size
            )
            for number, (frame, strips) in enumerate(results, start=start):
                _take(found, number, frame, writer, strips)
                progress.show(number + 1)
        return found


def _take(
    found: _Found,
    number: int,
    frame: UInt8[np.ndarray, 'h w 1'],
    writer: Writer,
    strips: Iterable[Strip],
) -> None:
    """Take in the prediction for a slice.

    Args:
        found: changed.
        number: of the slice.
        frame: its pixels.
        writer: describes and paints it.
        strips: of its prediction.
    """
    size = frame.shape[:2]
    preview = Preview(size)
    preview.add_image(0, decode.decode(frame, 3))
    rows: list[np.ndarray] = []
    with tempfile.TemporaryFile() as spool:
        result = writer.collect(strips, size, preview, spool, rows.append)
        if result.finder is not None and found.objects is not None:
            numbers = np.concatenate(list(result.finder.rows()))
            first = len(found.instances)
            found.objects[number] = np.where(numbers > 0, numbers + first, 0)
    found.labels[number] = np.concatenate(rows)
    found.tally.merge(result.tally)
    described = writer.describe(result, size)
    for item in described.get('instances', ()):
        place = len(found.instances) + 1
        found.instances.append({**item, 'number': place, 'slice': number})
    shown = int(np.count_nonzero(found.labels[number]))
    if shown > found.shown:
        found.shown = shown
        found.picture = writer.draw(preview)


def _compact(
    numbers: Objects,
) -> UInt16[np.ndarray, 'd h w'] | UInt32[np.ndarray, 'd h w']:
    """Numbers of objects in 16 bits, or in 32 if there are more."""
    kind = np.uint16 if numbers.max(initial=0) <= MOST_OBJECTS else np.uint32
    return numbers.astype(kind)
