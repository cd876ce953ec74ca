"""The class of each pixel of an image of any size, in strips from the top down.

An image is seen as a whole on the network's canvas, or in tiles at the image's own resolution.
Mirror images and several scales may be averaged.
"""

import dataclasses
import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float, Integer, UInt8

from jaxvision.cli.predict.model import Model
from jaxvision.core.errors import UserError
from jaxvision.core.types import Example, Records
from jaxvision.data import decode, depth, dicom_files, files, image_rows, resizing
from jaxvision.data.windows import Window
from jaxvision.image import blending, contrast, label_maps, tiles
from jaxvision.image.types import Size
from jaxvision.tasks.shared import placement

Pixels = UInt8[np.ndarray, '_ _ c']
# Probabilities of the K classes, and with objects their centrality and border.
Values = Float[np.ndarray, '_ _ v']

# Numbers of a strip, and of the outputs of a batch, that are in memory at once.
_STRIP = 2**21
_BATCH = 2**24
# Pixels of the rows that are counted, drawn and written at once.
_SOME = 2**19
# The coarsest stride of networks for which tiles begin at its multiples, pixels.
_COARSEST = 32


@dataclasses.dataclass(frozen=True)
class Strip:
    """Some rows of a prediction at the original image's size.

    Attributes:
        top: the first of the rows.
        labels: the class of each pixel.
        confidence: the probability of this class.
        objects: [n, W, 4]: the probability of an object, its centrality less its border,
            its most likely class (1 to K - 1), and the probability of this class. None:
            the network predicts no objects.
    """

    top: int
    labels: Integer[np.ndarray, '_ w']
    confidence: Float[np.ndarray, '_ w']
    objects: Float[np.ndarray, '_ w 4'] | None


@dataclasses.dataclass(frozen=True)
class Tiling:
    """Square tiles at the resolution of the image.

    Attributes:
        side: of a tile, pixels.
        overlap: the least number of pixels that neighbours share.
    """

    side: int
    overlap: int

    def corners(self, size: Size) -> tiles.Corners:
        """The (top, left) of all tiles of an image, where strides of a network begin.

        The last tiles may end beyond the image.

        Args:
            size: (height, width) of the image, pixels.
        """
        multiple = math.gcd(self.side, self.side - self.overlap, _COARSEST)
        return tiles.corners(size, (self.side, self.side), self.overlap, multiple)

    def count(self, size: Size) -> int:
        """Count the tiles of an image of this (height, width), in pixels."""
        return len(self.corners(size))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Views:
    """A segmentation network that sees an image in several forms.

    Attributes:
        model: a run or an exported model.
        flips: whether to average with the mirror image.
        scales: factors of the size in which an image is seen, which are averaged.
        batch_size: images or tiles of a batch, at most.
    """

    model: Model
    flips: bool
    scales: Sequence[float]
    batch_size: int

    @property
    def channels(self) -> int:
        """Channels of the network's input, 1 or 3."""
        return self.model.spec.inputs['image'].shape[2]

    @property
    def canvas(self) -> Size:
        """(height, width) of the network's canvas, pixels."""
        return self.model.spec.preprocessing.size

    def read(self, path: str) -> decode.Encoded:
        """Read an image: its bytes, or the pixels of a DICOM file.

        Raises:
            Unreadable: The file is damaged.
        """
        if not dicom_files.is_dicom(path):
            return files.read(path)
        window = self.model.spec.preprocessing.window
        return dicom_files.pixels(Path(path), Window(*window) if window else None)

    def picture(self, encoded: decode.Encoded) -> Pixels:
        """The RGB image on which classes are painted.

        Grey of 16 bits is stretched if the network sees it so. It may be very dim otherwise.
        """
        if self.model.spec.preprocessing.contrast and depth.is_wide(encoded):
            return depth.stretched(encoded, 3)
        return decode.decode(encoded, 3)

    def batch(self, size: Size) -> int:
        """The number of images of a size whose outputs are in memory at once."""
        numbers = size[0] * size[1] * (len(self.model.spec.class_names) + 2)
        most = _BATCH // int(numbers * max(*self.scales, 1) ** 2)
        return max(1, min(self.batch_size, most))

    def prepare(self, image: decode.Encoded) -> Example:
        """Place an image on the canvas, once for each scale.

        Args:
            image: an encoded image or its pixels.

        Returns:
            {'image0': canvas, 'warp0': its matrix, ...}, and 'original_size'.
        """
        example = {}
        for place, scale in enumerate(self.scales):
            if scale == 1:
                prepared = self.model.prepare(image)
            else:
                prepared = self._prepare_scaled(image, scale)
            example[f'image{place}'] = prepared['image']
            example[f'warp{place}'] = prepared['warp']
            example['original_size'] = prepared['original_size']
        return example

    def _prepare_scaled(self, image: decode.Encoded, scale: float) -> Example:
        """Place an image on a canvas that is larger or smaller by a factor."""
        preprocessing = self.model.spec.preprocessing
        if preprocessing.contrast:
            pixels = depth.stretched(image, self.channels)
        else:
            pixels = decode.decode(image, self.channels)
        size = pixels.shape[:2]
        height, width = (max(1, round(scale * side)) for side in self.canvas)
        map_, canvas = placement.by_rule(preprocessing.resize, pixels, (height, width))
        return {
            'image': canvas,
            'warp': map_.matrix.astype(np.float32),
            'original_size': np.array(size, np.int32),
        }

    def predict_each(self, examples: Sequence[Example], size: int) -> list[Records]:
        """Predict for examples of `prepare`, as `Model.predict_each` does.

        Returns:
            For each example {'values0': [h, w, V], ...} on the canvas of each scale.
        """
        outputs: list[Records] = [{} for _ in examples]
        for place in range(len(self.scales)):
            canvases = [example[f'image{place}'] for example in examples]
            for row, values in enumerate(self._values(canvases, size)):
                outputs[row][f'values{place}'] = values
        return outputs

    def whole(self, example: Example, outputs: Records) -> Iterator[Strip]:
        """Map the predictions for a whole image back to its size, strip by strip.

        Args:
            example: of `prepare`.
            outputs: of `predict_each`.
        """
        height, width = np.asarray(example['original_size']).tolist()
        step = max(1, _STRIP // (width * outputs['values0'].shape[-1]))
        for top in range(0, height, step):
            rows = (top, min(top + step, height))
            total = np.zeros(())
            for place in range(len(self.scales)):
                matrix = np.asarray(example[f'warp{place}'], np.float64)
                values = np.asarray(outputs[f'values{place}'])
                size = (height, width)
                total = total + label_maps.to_original(values, matrix, size, rows)
            if len(self.scales) > 1:
                total = total / len(self.scales)
            yield self._strip(top, total)

    def tiled(
        self,
        image: image_rows.ImageRows,
        tiling: Tiling,
        watch: Callable[[int, Pixels], object],
        say: Callable[[int], object],
    ) -> Iterator[Strip]:
        """Predict for an image in tiles, which Gaussian weights join.

        Args:
            image: of any size.
            tiling: the tiles.
            watch: called with (first row, rows) of the image, each row once, from the
                top down.
            say: called with the number of tiles that are done, after each batch.
        """
        side = tiling.side
        corners = tiling.corners(image.size)
        cut = _cut(image, corners, side, watch)
        if self.model.spec.preprocessing.contrast and not image.is_stretched:
            counts = sum(contrast.histogram(strip) for strip in image.strips())
            table = contrast.stretching(np.asarray(counts))
            cut = (table[tile] for tile in cut)
        outputs = self._predict_tiles(cut, (side, side), say)
        parts: list[Strip] = []
        done = 0
        for block in blending.join_blocks(outputs, corners, image.size):
            parts.append(self._strip(block.top, block.values))
            done += block.values.shape[1]
            if done == image.size[1]:
                yield from _beside(parts)
                parts = []
                done = 0

    def _predict_tiles(
        self, cut: Iterator[Pixels], size: Size, say: Callable[[int], object]
    ) -> Iterator[Values]:
        """Predict for tiles in batches; each is the mean over the scales."""
        batch_size = self.batch(size)
        done = 0
        while batch := list(itertools.islice(cut, batch_size)):
            total: list[Values] = []
            for scale in self.scales:
                scaled = [_scaled(tile, scale) for tile in batch]
                values = self._values(scaled, batch_size)
                parts = [_at_size(part, size) for part in values]
                if total:
                    parts = [
                        one + other for one, other in zip(total, parts, strict=True)
                    ]
                total = parts
            for values in total:
                if len(self.scales) > 1:
                    values = values / np.float32(len(self.scales))
                yield values
            done += len(batch)
            say(done)

    def _values(self, images: Sequence[Pixels], size: int) -> list[Values]:
        """The outputs for images of one size, the mean with those of mirror images."""
        values = self._direct(images, size)
        if self.flips:
            mirrored = [np.ascontiguousarray(image[:, ::-1]) for image in images]
            pairs = zip(values, self._direct(mirrored, size), strict=True)
            values = [(one + other[:, ::-1]) / 2 for one, other in pairs]
        return values

    def _direct(self, images: Sequence[Pixels], size: int) -> list[Values]:
        examples = [{'image': image} for image in images]
        outputs = self.model.predict_each(examples, size)
        return [_stacked(output) for output in outputs]

    def _strip(self, top: int, values: Values) -> Strip:
        """Choose the class of each pixel of some rows."""
        number = len(self.model.spec.class_names)
        probabilities = values[..., :number]
        places, confidence = _largest(probabilities)
        labels = places.astype(np.uint8)
        if values.shape[-1] == number:
            return Strip(top, labels, confidence, None)
        kinds, kind_confidence = _largest(probabilities[..., 1:])
        maps = [
            1 - probabilities[..., 0],
            values[..., number] - values[..., number + 1],
            1 + kinds,
            kind_confidence,
        ]
        objects = np.stack(maps, axis=-1).astype(np.float32)
        return Strip(top, labels, confidence, objects)


def check_shapes(model: Model, scales: Sequence[float], tiling: Tiling | None) -> None:
    """Check that an exported model gets images of the size for which it was exported.

    Raises:
        UserError: It would get others.
    """
    if model.takes_any_size:
        return
    height, width, _ = model.spec.inputs['image'].shape
    if list(scales) != [1]:
        raise UserError(
            f'--scales: expected a run. {model.name} is an exported model, which takes '
            f'images of {width}x{height} pixels only. Remove --scales, or give the run.'
        )
    if tiling and (tiling.side, tiling.side) != (height, width):
        raise UserError(
            f'--tile={tiling.side}: expected the size of the images that {model.name} '
            f'takes, {width}x{height} pixels. Give it, or the folder of the run.'
        )


def _stacked(outputs: Records) -> Values:
    """The outputs for one image as one array; probabilities come first."""
    probabilities = np.asarray(outputs['probabilities'], np.float32)
    if 'center' not in outputs:
        return probabilities
    maps = [np.asarray(outputs[name], np.float32) for name in ('center', 'border')]
    return np.concatenate([probabilities, np.stack(maps, axis=-1)], axis=-1)


def _largest(
    values: Values,
) -> tuple[Integer[np.ndarray, '_ w'], Float[np.ndarray, '_ w']]:
    """(The place of the largest of the last axis, its value.)"""
    places = values.argmax(axis=-1)
    # `max` over a short axis takes several times as long.
    largest = np.take_along_axis(values, places[..., None], axis=-1)
    return places, largest[..., 0]


def _scaled(tile: Pixels, scale: float) -> Pixels:
    if scale == 1:
        return tile
    height, width = (max(1, round(scale * side)) for side in tile.shape[:2])
    return resizing.resize(tile, height, width)


def _at_size(values: Values, size: Size) -> Values:
    if values.shape[:2] == size:
        return values
    return resizing.resize_bilinear(values, *size)


def _cut(
    image: image_rows.ImageRows,
    corners: tiles.Corners,
    side: int,
    watch: Callable[[int, Pixels], object],
) -> Iterator[Pixels]:
    """Yield each tile. A tile that ends beyond the image is completed by reflection."""
    window = image_rows.Window(image.strips())
    rows = np.zeros((0, 0, 0), np.uint8)
    first = -1
    watched = 0
    for top, left in corners.tolist():
        if top != first:
            rows = window.rows(top, top + side)
            for first_row, last_row in _parts_of(
                watched, top + len(rows), rows.shape[1]
            ):
                watch(first_row, rows[first_row - top : last_row - top])
            watched = top + len(rows)
            first = top
        yield tiles.pad(rows[:, left : left + side], (side, side))


def _beside(parts: Sequence[Strip]) -> Iterator[Strip]:
    """Join neighbouring blocks to strips of some of their rows."""
    top = parts[0].top
    width = sum(part.labels.shape[1] for part in parts)
    for first, last in _parts_of(0, len(parts[0].labels), width):
        objects = None
        if parts[0].objects is not None:
            every_objects = [part.objects[first:last] for part in parts]
            objects = np.concatenate(every_objects, axis=1)
        labels = [part.labels[first:last] for part in parts]
        confidences = [part.confidence[first:last] for part in parts]
        yield Strip(
            top + first,
            np.concatenate(labels, axis=1),
            np.concatenate(confidences, axis=1),
            objects,
        )


def _parts_of(first: int, last: int, width: int) -> Iterator[tuple[int, int]]:
    """(First, last + 1) of some rows at a time, so that few pixels are converted at once."""
    step = max(1, _SOME // width)
    for top in range(first, last, step):
        yield top, min(top + step, last)
