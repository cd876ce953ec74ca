"""Restored images of any size: cut into overlapping tiles, predicted, joined again.

One image is in memory at a time, 8 bits a channel. Of its tiles, their outputs and the
restored image, only some rows are in memory.
"""

import argparse
import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import compress, islice
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, UInt8

from jaxvision.cli.predict.file_by_file import attempt
from jaxvision.cli.predict.images import LARGEST_SIDE
from jaxvision.cli.predict.masks import Masks
from jaxvision.cli.predict.model import Model
from jaxvision.cli.predict.predictor import Entry, Request, check_inputs, misplaced
from jaxvision.cli.predict.report import Progress
from jaxvision.core.errors import UserError
from jaxvision.core.task import (
    Tiling,
)
from jaxvision.core.types import Example
from jaxvision.data import decode, files, image_layers
from jaxvision.data.protocol import Unreadable
from jaxvision.image import tiles
from jaxvision.viz import figures, png

DOES = 'restores images'
FILES = 'images'
OWNER = 'a run that fills holes'

HOLE_COLOR = (230, 40, 120)  # in the picture that compares

Image = UInt8[np.ndarray, 'h w c']
Hole = Bool[np.ndarray, 'h w']
Rows = UInt8[np.ndarray, '_ w c']


@dataclasses.dataclass(frozen=True)
class Options:
    """The arguments.

    Attributes:
        mask: an image that is white in the hole, or a folder of masks; empty: none.
    """

    mask: str = ''


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add --mask."""
    group = parser.add_argument_group(
        'super-resolution and inpainting',
        'Images have any size; they are restored tile by tile. OUT gets the restored\n'
        'image, NAME.png, and NAME-compared.png, before and after. Transparency and the\n'
        'colour profile are kept; colours that no PNG describes become sRGB.',
    )
    group.add_argument(
        '--mask',
        metavar='FILE',
        help='for a run that fills holes: an image that is white in the hole, as large as '
        'the image upright; or a folder of masks with the names of the files, whatever '
        'the suffix. Outside the hole no pixel changes',
    )


def make(model: Model, request: Request, options: Options) -> 'Restoration':
    """Restore each image, and draw a picture that compares.

    Args:
        model: a restoration run.
        request: with the paths of the images.
        options: with the mask.

    Raises:
        UserError: A run that fills holes has no mask, or another run has one.
    """
    check_inputs(model, {'image'}, {'image', 'mask'})
    if model.task.tiling is None:
        raise UserError(
            f"{model.name}: its predictor 'restoration' expected a task with a tiling. "
            'Declare Task(tiling=Tiling(...)).'
        )
    fills_holes = 'mask' in model.spec.inputs
    if fills_holes and not options.mask:
        raise UserError(
            f'--mask: expected an image that is white in the hole, or a folder of masks. '
            f'{model.name} fills holes.'
        )
    if options.mask and not fills_holes:
        raise misplaced('mask', OWNER, f'{model.name} has no holes to fill')
    compared = [f'{Path(path).stem}-compared.png' for path in request.paths]
    if not request.pictures:
        compared = []
    outputs = files.picture_paths([*request.paths, *compared], request.out)
    count = len(request.paths)
    return Restoration(
        model=model,
        tiling=model.task.tiling,
        masks=Masks(options.mask) if fills_holes else None,
        batch_size=request.batch_size,
        names=request.paths,
        outputs=outputs,
        restored=outputs[:count],
        pictures=outputs[count:],
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Restoration:
    """A predictor that restores one image after the other.

    Attributes:
        model: a restoration run.
        tiling: how images are cut.
        masks: of the holes; None where the run fills none.
        batch_size: tiles that are predicted at once.
        names: the user's files.
        outputs: as `Predictor`.
        restored: where the restored images go.
        pictures: where the pictures that compare go; empty: none are drawn.
        about: as `Predictor`.
    """

    model: Model
    tiling: Tiling
    masks: Masks | None
    batch_size: int
    names: Sequence[str]
    outputs: Sequence[Path]
    restored: Sequence[Path]
    pictures: Sequence[Path]
    about: Entry = dataclasses.field(default_factory=dict)
    column: str = 'file'

    def predict(self) -> Iterator[list[Entry]]:
        """As `Predictor`."""
        for row, path in enumerate(self.names):
            picture = self.pictures[row] if self.pictures else None
            yield [self._predict(path, self.restored[row], picture)]

    def _predict(self, path: str, restored: Path, compared: Path | None) -> Entry:
        """Read an image, restore it, save it and what compares: its entry."""
        picture, reason = attempt(lambda: self._read(path))
        if reason:
            return {'file': path, 'error': reason}
        height, width = (self.tiling.scale * side for side in picture.size)
        thumbnail = Thumbnail(height, width)
        rows = thumbnail.watch(self._restore(path, picture))
        png.write(restored, (height, width, picture.channels), rows, picture.color)
        answer = {'width': width, 'height': height}
        if picture.note:
            answer['colours'] = picture.note
        entry = {'file': path, 'answer': answer, 'restored': str(restored)}
        if compared is None:
            return entry
        figures.save(compared, compare(picture, thumbnail.picture()))
        return {**entry, 'picture': str(compared)}

    def _read(self, path: str) -> 'Picture':
        """The user's image.

        Raises:
            Unreadable: The network cannot restore it.
        """
        _, _, channels = self.model.spec.inputs['image'].shape
        read = image_layers.read(files.read(path), channels)
        image = read.pixels
        if channels == 1:
            colored = (image != image[..., :1]).any(-1)
            if read.alpha is not None:
                colored &= read.alpha > 0
            if colored.any():
                raise Unreadable(
                    'it has colours, and this run was trained on grey images'
                )
            image = image[..., :1]
        hole = None
        if self.masks is not None:
            hole = self.masks.read(path, image.shape[:2])
            self._check_hole(hole)
        return Picture(
            image=image, alpha=read.alpha, hole=hole, color=read.color, note=read.note
        )

    def _check_hole(self, hole: Hole) -> None:
        """Check that every tile has pixels outside the hole."""
        height, width = self._tile_size
        for top, left in self._corners(hole.shape):
            if hole[top : top + height, left : left + width].all():
                raise Unreadable(
                    'its hole leaves nothing to go by: the network sees '
                    f'{width}x{height} pixels at once'
                )

    def _restore(self, path: str, picture: 'Picture') -> Iterator[Rows]:
        """The restored image from the top down; outside the hole it is the image."""
        corners = self._corners(picture.size)
        progress = Progress(len(corners), 'tiles', f'{path}: ')
        joined = tiles.join_rows(
            self._predict_tiles(self._cut(picture, corners), progress),
            corners,
            picture.size,
            self.tiling.overlap,
            self.tiling.scale,
            self.tiling.blend,
        )
        top = 0
        for part in joined:
            part = np.clip(np.rint(part), 0, 255).astype(np.uint8)
            yield picture.completed(part, top, self.tiling.scale)
            top += len(part)

    def _cut(self, picture: 'Picture', corners: tiles.Corners) -> Iterator[Example]:
        """The inputs of each tile."""
        height, width = self._tile_size
        image = picture.image
        if picture.alpha is not None:
            image = image_layers.without_invisible(image, picture.alpha)
        wholes = {'image': tiles.pad(image, self._tile_size)}
        if picture.hole is not None:
            mask = self.model.spec.inputs['mask']
            white = 255 if mask.dtype == 'uint8' else 1
            pixels = white * picture.hole[..., None].astype(mask.dtype)
            wholes['mask'] = tiles.pad(pixels, self._tile_size)
        for top, left in corners:
            cut = {
                name: whole[top : top + height, left : left + width]
                for name, whole in wholes.items()
            }
            if picture.hole is not None:
                cut['mask'] = cut['mask'].reshape(mask.shape)
            yield cut

    def _predict_tiles(
        self, cuts: Iterator[Example], progress: Progress
    ) -> Iterator[Float[np.ndarray, 'th tw c']]:
        """The output of each tile; a tile without a hole stays as it is."""
        done = 0
        while batch := list(islice(cuts, self.batch_size)):
            holed = ['mask' not in cut or bool(cut['mask'].any()) for cut in batch]
            # Few programs serve any number of tiles.
            power_of_two = 1 << max(sum(holed) - 1, 0).bit_length()
            examples = list(compress(batch, holed))
            outputs = iter(self.model.predict_each(examples, power_of_two))
            for cut, is_holed in zip(batch, holed, strict=True):
                tile = next(outputs)['image'] if is_holed else cut['image']
                yield tile.astype(np.float32)
            done += len(batch)
            progress.show(done)

    @property
    def _tile_size(self) -> tuple[int, int]:
        height, width, _ = self.model.spec.inputs['image'].shape
        return height, width

    def _corners(self, size: tuple[int, int]) -> tiles.Corners:
        return tiles.corners(size, self._tile_size, self.tiling.overlap)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Picture:
    """A user's image on its way through the network.

    Attributes:
        image: its pixels as they are stored, grey or RGB.
        alpha: its transparency; None where every pixel is opaque.
        hole: what is to be filled; None: nothing.
        color: the chunks of a PNG that tell what the colours mean.
        note: what was done with its colours; empty: nothing.
    """

    image: Image
    alpha: image_layers.Alpha | None
    hole: Hole | None
    color: Mapping[bytes, bytes]
    note: str

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        height, width, _ = self.image.shape
        return height, width

    @property
    def channels(self) -> int:
        """Of the restored image, with alpha."""
        return self.image.shape[-1] + (self.alpha is not None)

    def completed(
        self, rows: Rows, top: int, scale: int
    ) -> UInt8[np.ndarray, 'n w c2']:
        """Put back into restored rows what the network does not see.

        Args:
            rows: what the network made.
            top: the number of the first row.
            scale: the factor by which they are larger than the image.
        """
        bottom = top + len(rows)
        alpha = None
        if self.alpha is not None:
            alpha = image_layers.enlarged_rows(self.alpha, scale, top, bottom)
        if self.hole is not None:
            hole = self.hole[top:bottom]
            rows = np.where(hole[..., None], rows, self.image[top:bottom])
            # What is filled is to be seen.
            alpha = None if alpha is None else np.where(hole, np.uint8(255), alpha)
        return rows if alpha is None else np.dstack([rows, alpha])


def compare(
    picture: Picture, restored: UInt8[np.ndarray, 'h2 w2 3']
) -> UInt8[np.ndarray, '_ _ 3']:
    """Draw an image beside what was made of it.

    Args:
        picture: the user's, in which the hole is marked.
        restored: a thumbnail of the restored image.
    """
    image = picture.image
    alpha = picture.alpha
    if picture.hole is not None:
        image = np.where(picture.hole[..., None], np.uint8(HOLE_COLOR), image)
        alpha = None if alpha is None else alpha | (255 * picture.hole).astype(np.uint8)
    if alpha is not None:
        image = np.dstack([image, alpha])
    return figures.beside(decode.thumbnail(image, 3, LARGEST_SIDE), restored)


class Thumbnail:
    """A small picture of an image of which only some rows at a time go by."""

    def __init__(self, height: int, width: int):
        """Begin a thumbnail of an image of this height and width, in pixels."""
        shrink = min(1, LARGEST_SIDE / max(height, width))
        self._height = max(1, round(shrink * height))
        self._width = max(1, round(shrink * width))
        self._strips = []

    def watch(self, rows: Iterable[Rows]) -> Iterator[Rows]:
        """Yield the same rows."""
        for part in rows:
            self._strips.append(decode.resize(part, len(part), self._width))
            yield part

    def picture(self) -> UInt8[np.ndarray, 'h w 3']:
        """The thumbnail, once all rows went by."""
        strips = np.concatenate(self._strips)
        return decode.decode(decode.resize(strips, self._height, self._width), 3)
