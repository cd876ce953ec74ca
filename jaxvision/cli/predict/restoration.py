"""Restored images of any size: cut into overlapping tiles, predicted and joined again.

One image with 8 bits a channel is in memory at a time. Only some rows of its tiles, of their
outputs and of the restored image are in memory.
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
from jaxvision.core.task import Tiling
from jaxvision.core.types import Example
from jaxvision.data import decode, files, image_layers, resizing
from jaxvision.data.protocol import Unreadable
from jaxvision.image import tiles
from jaxvision.viz import figures, png

DOES = 'restores images'
FILES = 'images'
OWNER = 'an inpainting run'

HOLE_COLOR = (230, 40, 120)  # of the hole in the comparison

Image = UInt8[np.ndarray, 'h w c']
Hole = Bool[np.ndarray, 'h w']
Rows = UInt8[np.ndarray, '_ w c']


@dataclasses.dataclass(frozen=True)
class Options:
    """The arguments of a restoration run.

    Attributes:
        mask: an image that is white in the hole, or a folder of such images; '': no mask.
    """

    mask: str = ''


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add --mask."""
    group = parser.add_argument_group(
        'super-resolution and inpainting',
        'Images have any size and are restored tile by tile. OUT gets the restored image\n'
        'as NAME.png, and NAME-compared.png with the images before and after. Transparency\n'
        'and the colour profile are kept. Colours that a PNG cannot describe become sRGB.',
    )
    group.add_argument(
        '--mask',
        metavar='FILE',
        help='for inpainting: an image that is white in the hole, of the size of the upright '
        'FILE, or a folder of such images with the names of the FILEs and any suffix. '
        'Pixels outside the hole stay as they are',
    )


def make(model: Model, request: Request, options: Options) -> 'Restoration':
    """Make the predictor that restores images and draws comparisons.

    Args:
        model: a restoration run.
        request: with the paths of the images.
        options: the place of the masks.

    Raises:
        UserError: An inpainting run has no mask, another run has one, or the place of
            the masks does not exist. Or the task takes other inputs, or declares no
            tiling.
    """
    check_inputs(model, {'image'}, {'image', 'mask'})
    if model.task.tiling is None:
        raise UserError(
            f"{model.name}: its task has predictor='restoration': expected a tiling, too. "
            'Declare Task(tiling=Tiling(...)).'
        )
    fills_holes = 'mask' in model.spec.inputs
    if fills_holes and not options.mask:
        raise UserError(
            f'--mask: expected an image that is white in the hole, or a folder of masks. '
            f'{model.name} is an inpainting run. Give --mask FILE.'
        )
    if options.mask and not fills_holes:
        raise misplaced('mask', OWNER, f'{model.name} takes no mask')
    compared = []
    if request.pictures:
        compared = [f'{Path(path).stem}-compared.png' for path in request.paths]
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
        tiling: overlap and scale of the tiles.
        masks: the masks of the holes; None: the run is no inpainting run.
        batch_size: tiles of a batch.
        names: the user's files.
        outputs: the files that will be written beside predictions.json.
        restored: path of each restored image.
        pictures: path of each comparison; empty: no comparisons.
        about: the part of predictions.json that holds for all entries.
        column: name of the first column of the table.
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
        """Restore and write one image at a time.

        Yields:
            A list with the entry of one image, in the order of `names`. An image that
            cannot be read, or whose mask cannot, has the reason under 'error'. It does
            not stop the others.
        """
        for row, path in enumerate(self.names):
            picture = self.pictures[row] if self.pictures else None
            yield [self._predict(path, self.restored[row], picture)]

    def _predict(self, path: str, restored: Path, compared: Path | None) -> Entry:
        """Read, restore and save an image, draw the comparison, and return the entry.

        Args:
            path: of the image.
            restored: path of the restored image.
            compared: path of the comparison; None: draw none.
        """
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
        """Read an image and its mask.

        Raises:
            Unreadable: The network cannot restore the image.
        """
        _, _, channels = self.model.spec.inputs['image'].shape
        layers = image_layers.read(files.read(path), channels)
        image = layers.pixels
        if channels == 1:
            is_colored = (image != image[..., :1]).any(-1)
            if layers.alpha is not None:
                is_colored &= layers.alpha > 0
            if is_colored.any():
                raise Unreadable(
                    'it has colours: expected a grey image, because the run was trained on '
                    'grey images'
                )
            image = image[..., :1]
        hole = None
        if self.masks is not None:
            hole = self.masks.read(path, image.shape[:2])
            self._check_hole(hole)
        return Picture(
            image=image,
            alpha=layers.alpha,
            hole=hole,
            color=layers.color,
            note=layers.note,
        )

    def _check_hole(self, hole: Hole) -> None:
        """Check that every tile has pixels outside the hole."""
        height, width = self._tile_size
        for top, left in self._corners(hole.shape):
            if hole[top : top + height, left : left + width].all():
                raise Unreadable(
                    f'its hole fills a whole tile of {width}x{height} pixels: expected a '
                    'smaller hole, with known pixels in every tile'
                )

    def _restore(self, path: str, picture: 'Picture') -> Iterator[Rows]:
        """Yield rows of the restored image from the top down. Only the hole changes.

        Args:
            path: of the image, for progress.
            picture: the image.
        """
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
        """Yield the network's inputs for each tile.

        Args:
            picture: the image.
            corners: (top, left) of each tile.
        """
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
            cut = {}
            for name, whole in wholes.items():
                cut[name] = whole[top : top + height, left : left + width]
            if picture.hole is not None:
                cut['mask'] = cut['mask'].reshape(mask.shape)
            yield cut

    def _predict_tiles(
        self, cuts: Iterator[Example], progress: Progress
    ) -> Iterator[Float[np.ndarray, 'th tw c']]:
        """Yield the output of each tile. A tile without a hole is not predicted.

        Args:
            cuts: the inputs of each tile.
            progress: counts the tiles.
        """
        done = 0
        while batch := list(islice(cuts, self.batch_size)):
            has_hole = ['mask' not in cut or bool(cut['mask'].any()) for cut in batch]
            # Batches with a power of two of tiles need few compiled programs.
            power_of_two = 1 << max(sum(has_hole) - 1, 0).bit_length()
            examples = list(compress(batch, has_hole))
            outputs = iter(self.model.predict_each(examples, power_of_two))
            for cut, is_predicted in zip(batch, has_hole, strict=True):
                tile = next(outputs)['image'] if is_predicted else cut['image']
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
    """A user's image and its other layers.

    Attributes:
        image: pixels as stored, uint8 [h, w, 1 or 3].
        alpha: opacity, uint8 [h, w]; None: every pixel is opaque.
        hole: bool [h, w], True in the hole; None: no hole.
        color: the chunks of a PNG that define the colours.
        note: how the colours were changed; '': not at all.
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
        """The number of channels of the restored image, alpha included."""
        return self.image.shape[-1] + (self.alpha is not None)

    def completed(
        self, rows: Rows, top: int, scale: int
    ) -> UInt8[np.ndarray, 'n w c2']:
        """Restore alpha and the pixels outside the hole, which the network does not return.

        The hole becomes opaque.

        Args:
            rows: outputs of the network, uint8 [n, w, 1 or 3].
            top: number of the first of these rows in the restored image.
            scale: size of the rows relative to the image; 1 if there is a hole.

        Returns:
            The completed rows, with alpha as the last channel if the image has alpha.
        """
        bottom = top + len(rows)
        alpha = None
        if self.alpha is not None:
            alpha = image_layers.enlarged_rows(self.alpha, scale, top, bottom)
        if self.hole is not None:
            hole = self.hole[top:bottom]
            rows = np.where(hole[..., None], rows, self.image[top:bottom])
            if alpha is not None:
                # The filled hole is opaque.
                alpha = np.where(hole, np.uint8(255), alpha)
        if alpha is None:
            return rows
        return np.dstack([rows, alpha])


def compare(
    picture: Picture, restored: UInt8[np.ndarray, 'h2 w2 3']
) -> UInt8[np.ndarray, '_ _ 3']:
    """Draw an image on the left of its restoration, at one size, with a white line between.

    Both have the size of `restored`, which is enlarged if its longest side is at most 140
    pixels.

    Args:
        picture: the user's image. Its hole is drawn in pink.
        restored: a thumbnail of the restored image.
    """
    image = picture.image
    alpha = picture.alpha
    if picture.hole is not None:
        image = np.where(picture.hole[..., None], np.uint8(HOLE_COLOR), image)
        if alpha is not None:
            alpha = alpha | (255 * picture.hole).astype(np.uint8)
    if alpha is not None:
        image = np.dstack([image, alpha])
    return figures.beside(decode.thumbnail(image, 3, LARGEST_SIDE), restored)


class Thumbnail:
    """A thumbnail of an image whose rows arrive some at a time."""

    def __init__(self, height: int, width: int):
        """Begin a thumbnail of an image of this height and width, in pixels.

        Its longest side is at most 640 pixels.
        """
        shrink = min(1, LARGEST_SIDE / max(height, width))
        self._height = max(1, round(shrink * height))
        self._width = max(1, round(shrink * width))
        self._strips = []

    def watch(self, rows: Iterable[Rows]) -> Iterator[Rows]:
        """Yield the rows unchanged, and add them to the thumbnail.

        Rows are added only while the caller takes them from this iterator.

        Args:
            rows: the rows of the image from the top down, any number at a time.
        """
        for part in rows:
            self._strips.append(resizing.resize(part, len(part), self._width))
            yield part

    def picture(self) -> UInt8[np.ndarray, 'h w 3']:
        """Return the thumbnail as RGB. All rows must have arrived before."""
        strips = np.concatenate(self._strips)
        return decode.decode(resizing.resize(strips, self._height, self._width), 3)
