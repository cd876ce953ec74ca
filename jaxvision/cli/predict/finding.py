"""Find the objects of an image in one or several views: tiles, mirror images, other sizes."""

import dataclasses
import itertools
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from jaxtyping import Bool, Float, UInt8

from jaxvision.boxes import merging
from jaxvision.boxes.merging import BoxMasks, Detections
from jaxvision.cli.predict.model import Model
from jaxvision.core.errors import UserError
from jaxvision.core.types import Example, Records
from jaxvision.image import tiles
from jaxvision.image.types import Size
from jaxvision.image.warp import Warp

Image = UInt8[np.ndarray, 'h w c']

_OVERLAP = 0.2  # of neighbouring tiles, as a fraction of their side
_SMALLER = 0.8  # size of a shrunk view
_GREY = 114  # around it, as around a letterboxed image
# A box this near to the border of a tile, as a fraction of its side, may be cut.
_NEAR = 0.03


@dataclasses.dataclass(frozen=True)
class Tiles:
    """Square parts of a large image.

    Attributes:
        side: of a tile, pixels of the image.
        overlap: the least number of pixels that neighbouring tiles share.
    """

    side: int
    overlap: int

    @classmethod
    def parse(cls, text: str) -> 'Tiles':
        """Read N or N:OVERLAP in pixels, OVERLAP below N; left out, it is a fifth of N.

        Raises:
            UserError: The text has another form.
        """
        side, colon, overlap = text.partition(':')
        if not colon and side.isdecimal():
            overlap = str(int(_OVERLAP * int(side)))
        if not (side.isdecimal() and overlap.isdecimal() and int(overlap) < int(side)):
            raise UserError(
                f'--tiles={text}: expected N or N:OVERLAP, whole numbers of pixels with '
                'OVERLAP less than N. Give the side of the tiles, such as --tiles 640 or '
                '--tiles 640:160.'
            )
        return cls(int(side), int(overlap))


@dataclasses.dataclass(frozen=True, kw_only=True)
class View:
    """A part or a changed form of an image.

    Attributes:
        pixels: what the network sees before its preprocessing.
        map_: from the image to the view.
        region: (ymin, xmin, ymax, xmax) of the part in the image.
        tile: number of the part, from 1; 0: the whole image.
    """

    pixels: Image
    map_: Warp
    region: tuple[int, int, int, int]
    tile: int = 0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Finder:
    """A detector for images of any size.

    Attributes:
        model: the detector.
        tiles: parts in which an image is searched, besides the whole; None: no parts.
        changes: forms in which each part is searched; their answers are averaged.
        batch_size: views of a batch.
    """

    model: Model
    tiles: Tiles | None
    changes: Sequence[Callable[[View], View]]
    batch_size: int

    @property
    def has_views(self) -> bool:
        """Whether an image can have more views than itself."""
        return self.tiles is not None or len(self.changes) > 1

    def count(self, image: Image) -> int:
        """Count the views of an image: tiles and the whole image, times the changes."""
        parts = 1
        if self.tiles:
            parts = sum(1 for _ in _parts(image, self.tiles))
        return parts * len(self.changes)

    def find(self, image: Image, say: Callable[[int], object]) -> Detections:
        """Find the objects of an image in all of its views, in pixels of the image.

        Args:
            image: upright, with 3 channels.
            say: called with the number of views that are done, after each batch.
        """
        by_change: list[list[_Seen]] = [[] for _ in self.changes]
        views = self._views(image)
        # A power of two, and one size for an image, need few compiled programs.
        power_of_two = 1 << (self.count(image) - 1).bit_length()
        size = min(power_of_two, self.batch_size)
        done = 0
        while batch := list(itertools.islice(views, size)):
            examples = [self.model.prepare(view.pixels) for _, view in batch]
            outputs = self.model.predict_each(examples, size)
            for (change, view), example, output in zip(
                batch, examples, outputs, strict=True
            ):
                found = in_view(example, output)
                by_change[change].append(_seen(found, view, image.shape[:2]))
            done += len(batch)
            say(done)
        merged = [_merge_tiles(seen) for seen in by_change]
        if len(merged) == 1:
            return merged[0]
        return merging.weighted_fusion(merging.joined(merged), views=len(merged))

    def find_in_frames(self, images: Sequence[Image]) -> list[Detections]:
        """Find the objects of some frames of a video, in pixels of each frame.

        Args:
            images: at most `batch_size` frames, upright, with 3 channels.
        """
        if self.has_views:
            return [self.find(image, lambda done: None) for image in images]
        examples = [self.model.prepare(image) for image in images]
        outputs = self.model.predict_each(examples, self.batch_size)
        return [
            in_view(example, output)
            for example, output in zip(examples, outputs, strict=True)
        ]

    def _views(self, image: Image) -> Iterator[tuple[int, View]]:
        """Yield (number of the change, view) for each part of an image."""
        parts = iter([whole(image)])
        if self.tiles:
            parts = _parts(image, self.tiles)
        for part in parts:
            for number, change in enumerate(self.changes):
                yield number, change(part)


def whole(image: Image) -> View:
    """View a whole image as it is."""
    height, width, _ = image.shape
    size = (height, width)
    return View(pixels=image, map_=Warp.identity(size), region=(0, 0, height, width))


def unchanged(view: View) -> View:
    """Return a view as it is."""
    return view


def mirrored(view: View) -> View:
    """Mirror a view left to right."""
    flip = Warp.flip(view.map_.size)
    pixels = np.ascontiguousarray(view.pixels[:, ::-1])
    return dataclasses.replace(view, pixels=pixels, map_=view.map_.then(flip))


def smaller(view: View) -> View:
    """Add grey to the right of a view and below it: a quarter of its width and height.

    The network then sees smaller objects.
    """
    height, width = view.map_.size
    below = round(height / _SMALLER) - height
    right = round(width / _SMALLER) - width
    room = ((0, below), (0, right), (0, 0))
    pixels = np.pad(view.pixels, room, constant_values=_GREY)
    canvas = Warp.crop(0, 0, (height + below, width + right))
    return dataclasses.replace(view, pixels=pixels, map_=view.map_.then(canvas))


def smaller_and_mirrored(view: View) -> View:
    """Mirror a view, and add grey to the right of it and below it."""
    return smaller(mirrored(view))


# The views of test-time augmentation.
CHANGES = (unchanged, mirrored, smaller, smaller_and_mirrored)


def in_view(example: Example, outputs: Records) -> Detections:
    """Map the valid outputs of a detector to pixels of the image that was prepared.

    Boxes are clipped to the image.

    Args:
        example: with the 'warp' and the 'original_size' of the preprocessing.
        outputs: 'boxes' [D, 4], 'scores' [D], 'classes' [D], 'valid' [D], and 'masks' [D, M, M]
            if the detector has masks.
    """
    valid = np.asarray(outputs['valid'])
    height, width = np.asarray(example['original_size']).tolist()
    prepared = Warp(np.asarray(example['warp'], np.float64), (0, 0))
    to_image = prepared.inverse((height, width))
    boxes = to_image.boxes(np.asarray(outputs['boxes'], np.float64)[valid])
    limits = np.array([height, width, height, width])
    masks = None
    if 'masks' in outputs:
        masks = BoxMasks(np.asarray(outputs['masks'], np.float32)[valid], boxes)
    return Detections(
        boxes=np.clip(boxes, 0, limits),
        scores=np.asarray(outputs['scores'], np.float64)[valid],
        classes=np.asarray(outputs['classes'], np.int32)[valid],
        masks=masks,
    )


def visible_part(example: Example) -> tuple[slice, slice]:
    """Rows and columns of a prepared image that the user's image covers, without padding.

    Args:
        example: the prepared image. With 'warp' and 'original_size', it may be padded.
    """
    height, width = example['image'].shape[:2]
    if 'warp' not in example:
        return slice(0, height), slice(0, width)
    warp = Warp(np.asarray(example['warp'], np.float64), (height, width))
    size = np.asarray(example['original_size'], np.float64)
    (box,) = warp.boxes(np.array([[0.0, 0.0, *size]]))
    low = np.clip(np.floor(box[:2] + 0.5), 0, (height - 1, width - 1)).astype(int)
    high = np.clip(np.ceil(box[2:] - 0.5), low + 1, (height, width)).astype(int)
    return slice(low[0], high[0]), slice(low[1], high[1])


def visible_pixels(examples: Records) -> Bool[np.ndarray, 'b h w 1']:
    """True for the pixels of the user's images, and False for their padding.

    Args:
        examples: prepared examples, {name: array [B, ...]}, see `visible_part`.
    """
    visible = np.zeros((*examples['image'].shape[:3], 1), bool)
    for number in range(len(visible)):
        example = {name: values[number] for name, values in examples.items()}
        rows, columns = visible_part(example)
        visible[number, rows, columns] = True
    return visible


@dataclasses.dataclass(frozen=True)
class _Seen:
    """The detections of one view of an image.

    Attributes:
        detections: in pixels of the image.
        tile: number of the part.
        is_cut: whether a border of the part may cut each box.
    """

    detections: Detections
    tile: int
    is_cut: Bool[np.ndarray, 'n']


def _parts(image: Image, tiling: Tiles) -> Iterator[View]:
    """Yield the tiles of an image and then the whole image, for the largest objects."""
    height, width, _ = image.shape
    side = tiling.side
    if max(height, width) <= side:
        yield whole(image)
        return
    corners = tiles.corners((height, width), (side, side), tiling.overlap)
    for number, (top, left) in enumerate(corners.tolist(), start=1):
        pixels = image[top : top + side, left : left + side]
        size = pixels.shape[:2]
        yield View(
            pixels=pixels,
            map_=Warp.crop(top, left, size),
            region=(top, left, top + size[0], left + size[1]),
            tile=number,
        )
    # Of two equal scores the first one wins: that of a tile, whose pixels are finer.
    yield whole(image)


def _seen(found: Detections, view: View, size: Size) -> _Seen:
    """Map the detections of a view to the image.

    Args:
        found: in pixels of the view.
        view: a view.
        size: (height, width) of the image, pixels.
    """
    boxes = view.map_.inverse(size).boxes(found.boxes)
    top, left, bottom, right = view.region
    boxes = np.clip(boxes, (top, left, top, left), (bottom, right, bottom, right))
    return _Seen(
        detections=dataclasses.replace(found, boxes=boxes),
        tile=view.tile,
        is_cut=_are_cut(boxes, view.region, size),
    )


def _are_cut(
    boxes: Float[np.ndarray, 'n 4'],
    region: tuple[int, int, int, int],
    size: Size,
) -> Bool[np.ndarray, 'n']:
    """Whether a border of a part, inside of the image, may cut each box.

    Args:
        boxes: in pixels of the image.
        region: of the part.
        size: (height, width) of the image, pixels.
    """
    borders = np.array(region)
    near = _NEAR * (borders[2:] - borders[:2])
    is_near = np.abs(boxes - borders) < np.tile(near, 2)
    is_inner = borders != np.array([0, 0, *size])
    return np.any(is_near & is_inner, axis=1)


def _merge_tiles(seen: Sequence[_Seen]) -> Detections:
    """Join the detections of the parts of one image."""
    detections = merging.joined([part.detections for part in seen])
    if len(seen) == 1:
        return detections
    counts = [len(part.is_cut) for part in seen]
    numbers = np.repeat([part.tile for part in seen], counts)
    is_cut = np.concatenate([part.is_cut for part in seen])
    return merging.across_borders(detections, numbers, is_cut)
