"""Training images made of several: mosaic and mixup."""

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

from jaxvision.core.fields import Config
from jaxvision.core.intervals import steps
from jaxvision.core.types import Example, Prepare
from jaxvision.data.other_examples import Others, WithOthers
from jaxvision.data.protocol import BOX_KEYS, Source, Unreadable
from jaxvision.image import warp
from jaxvision.image.warp import Warp
from jaxvision.tasks.detection import box_masks

# Further images of a mosaic and of a mixup.
_COUNTS = {'mosaic': 3, 'mixup': 1}

# (row, column) of the point where the images of a mosaic meet.
Center = Int[np.ndarray, '2']


def images_of_one(augment: Config) -> int:
    """Count the images of which a training image is made at most: 1, 2, 4 or 5.

    Args:
        augment: the fields of `task.augment`.
    """
    return 1 + sum(count for name, count in _COUNTS.items() if augment[name])


def with_others(config: Config, source: Source) -> Source:
    """Give training examples the further examples of their mosaic or mixup.

    The fields 'mosaic' and 'mixup' of `task.augment` are the probabilities of an
    example. The last part of the steps, after the fraction `compose_until`, has none.

    Args:
        config: of the run.
        source: the training split.

    Returns:
        A source whose `at_step(step)` is a source of examples with 'others', see
        `composing`. `source` itself if the config has neither mosaic nor mixup.
    """
    augment = config.task.augment
    others = {
        name: Others(count, augment[name])
        for name, count in _COUNTS.items()
        if augment[name]
    }
    if not others:
        return source
    total = steps(config.train.steps, config.data.batch_size, len(source))
    end = round(augment.compose_until * total)
    return WithOthers(source, others, seed=config.seed, end=end)


def composing(prepare: Prepare) -> Prepare:
    """Extend a function that prepares one example, so that it makes mosaics and mixups too.

    The new function reads `example['others']`: {'mosaic': three examples, 'mixup': one
    example in a list}, of which any may be missing. It prepares them too. A mosaic is
    made before a mixup. If one of the others is unreadable, the example is prepared alone,
    without an error. A mosaic needs the generator `rng`.

    Args:
        prepare: must ignore the key 'others', and return images of one size.
    """

    def prepare_all(example: Example, rng: np.random.Generator | None) -> Example:
        prepared = prepare(example, rng)
        others = example.get('others', {})
        try:
            more = {
                name: [prepare(other, rng) for other in chosen]
                for name, chosen in others.items()
            }
        except Unreadable:
            # The unreadable example is reported where it is read for itself.
            return prepared
        if 'mosaic' in more:
            prepared = mosaic([prepared, *more['mosaic']], _center(prepared, rng))
        if 'mixup' in more:
            prepared = mixup(prepared, *more['mixup'])
        return prepared

    return prepare_all


def _center(prepared: Example, rng: np.random.Generator) -> Center:
    """Choose where four images meet, in the middle half of each side."""
    size = np.array(prepared['image'].shape[:2])
    return np.round(rng.uniform(0.25, 0.75, size=2) * size).astype(int)


def mosaic(examples: Sequence[Example], center: Center) -> Example:
    """Put four images together, which meet in a point (YOLOv4, arXiv 2004.10934).

    The result has the size of one image. Each image gives the part around its corner
    next to the point: the top left image gives its bottom right part.

    Args:
        examples: four prepared examples of one size: top left, top right, bottom left,
            bottom right.
        center: (row, column) of the point, in pixels.

    Returns:
        The first example with the pixels and the boxes of all four, for which its
        arrays must have room. A box of which less than a quarter or one square pixel is
        left is dropped.
    """
    height, width = examples[0]['image'].shape[:2]
    row, column = (int(edge) for edge in center)
    image = np.empty_like(examples[0]['image'])
    objects = []
    for number, example in enumerate(examples):
        is_lower, is_right = divmod(number, 2)
        top, bottom = ((0, row), (row, height))[is_lower]
        left, right = ((0, column), (column, width))[is_right]
        # The part of the source that has its corner at the point.
        source_top = 0 if is_lower else height - row
        source_left = 0 if is_right else width - column
        size = (bottom - top, right - left)
        image[top:bottom, left:right] = example['image'][
            source_top : source_top + size[0], source_left : source_left + size[1]
        ]
        cut = Warp.crop(source_top, source_left, size)
        objects.append(_moved(example, cut, (top, left)))
    return {**examples[0], 'image': image, **_joined(examples[0], objects)}


def mixup(example: Example, other: Example) -> Example:
    """Average two images, with the boxes of both (arXiv 1902.04103).

    Args:
        example: prepared, with room for the boxes of both.
        other: prepared, of the same size.

    Returns:
        `example` with the mean of the images, rounded half up, and the boxes of both.
    """
    total = example['image'].astype(np.uint16) + other['image']
    objects = [_present(example), _present(other)]
    image = ((total + 1) // 2).astype(np.uint8)
    return {**example, 'image': image, **_joined(example, objects)}


@dataclasses.dataclass(frozen=True)
class _Columns:
    """The boxes of an image and the other columns of `BOX_KEYS`, without padding."""

    boxes: Float[np.ndarray, 'n 4']
    others: Example


def _present(example: Example) -> _Columns:
    mask = example['box_mask']
    names = [name for name in BOX_KEYS if name != 'boxes']
    if 'box_masks' in example:
        names.append('box_masks')
    others = {name: example[name][mask] for name in names}
    return _Columns(example['boxes'][mask], others)


def _moved(example: Example, cut: Warp, corner: tuple[int, int]) -> _Columns:
    """The boxes inside a part of an image, which is placed at a corner of the canvas."""
    columns = _present(example)
    whole = cut.boxes(columns.boxes)
    clipped, keep = warp.kept_boxes(whole, cut.size)
    boxes = clipped[keep] + np.tile(corner, 2)
    others = {name: values[keep] for name, values in columns.others.items()}
    if 'box_masks' in others:
        others['box_masks'] = box_masks.cut(
            others['box_masks'], whole[keep], clipped[keep]
        )
    return _Columns(boxes.astype(np.float32), others)


def _joined(like: Example, parts: Sequence[_Columns]) -> Example:
    """Concatenate the boxes of several images and pad them as those of `like`."""
    boxes = np.concatenate([part.boxes for part in parts])
    columns = {
        'boxes': boxes,
        'truth_boxes': boxes,
        'box_mask': np.ones(len(boxes), bool),
    }
    for name in parts[0].others:
        columns[name] = np.concatenate([part.others[name] for part in parts])
    joined = {}
    for name, values in columns.items():
        joined[name] = np.zeros_like(like[name])
        joined[name][: len(values)] = values
    return joined
