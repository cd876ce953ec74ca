"""The classes of a folder of masks, by its table and by the values that occur.

The rules, in this order:

1. A class with the value `objects` in classes.csv: every value above 0 is the number of an object.
2. Another classes.csv: it lists all values or colours but 255, which is ignored unless listed.
3. Masks of more than 8 bits: every value above 0 is the number of an object.
4. Masks of 8 bits with more than 32 values, each of which has the values 1 to n without a gap, or
   none: as 3.
5. Other masks of 8 bits: each value is a class, and 255 is ignored. If 0 and 255 are the only
   values, 255 is a class.
6. RGB masks of at most 64 colours: each colour is a class. Grey in RGB files is read as grey.

In masks of objects, the largest value that the file can hold is ignored, too.
"""

import collections
import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Int, UInt8

from jaxvision.core.errors import UserError
from jaxvision.core.types import BACKGROUND, IGNORED
from jaxvision.data.labelled_files import count, some
from jaxvision.data.masks_reading import Kind, StoredMask
from jaxvision.data.masks_table import NAME, OBJECTS, ClassTable
from jaxvision.data.protocol import Unreadable

OBJECT = 'object'
_MOST_CLASSES = 255
_MOST_COLORS = 64  # that are classes without a table
_MOST_LABELS = 32  # more values without gaps number objects
_WIDE_IGNORE = 65535  # of object numbers of more than 8 bits


@dataclasses.dataclass(frozen=True)
class MaskValues:
    """The values that a mask file holds.

    Attributes:
        path: the file.
        kind: the meaning of the values.
        counts: {value: number of pixels}.
    """

    path: Path
    kind: Kind
    counts: Mapping[int, int]


@dataclasses.dataclass(frozen=True)
class Reading:
    """How stored values become classes or objects.

    Attributes:
        names: the classes, in the order of their rows.
        rows: {stored number: row of the class, or 255}; empty for masks of objects.
        color_rows: {packed colour: row of the class, or 255}.
        palette_colors: whether masks are read as colours, those of a palette too.
        grey_colors: whether the colours of RGB files are grey values.
        has_objects: whether values number objects. The classes are then background and object.
        notes: what a user should know: a sentence each.
        doubts: what looks wrong: a sentence each.
    """

    names: tuple[str, ...]
    rows: Mapping[int, int] = dataclasses.field(default_factory=dict)
    color_rows: Mapping[int, int] = dataclasses.field(default_factory=dict)
    palette_colors: bool = False
    grey_colors: bool = False
    has_objects: bool = False
    notes: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()

    def plain(self, stored: StoredMask) -> StoredMask:
        """The mask, with the grey of an RGB file as numbers if all files are grey."""
        if stored.kind == 'colors' and self.grey_colors:
            return StoredMask((stored.values & 255).astype(np.uint8), 'bytes')
        return stored

    def semantic(self, stored: StoredMask) -> UInt8[np.ndarray, 'h w']:
        """The row of the class of each pixel, 255 at pixels to ignore.

        Raises:
            Unreadable: A value belongs to no class.
        """
        mask = self.plain(stored)
        if self.has_objects:
            semantic = (mask.values > 0).astype(np.uint8)
            semantic[mask.values == ignored_number(mask.kind)] = IGNORED
            return semantic
        rows = self.color_rows if mask.kind == 'colors' else self.rows
        if mask.values.dtype == np.uint8:
            table = np.array([rows.get(value, -1) for value in range(256)])
            semantic = table[mask.values]
        else:
            semantic = _looked_up(mask.values, rows)
        if semantic.min(initial=0) < 0:
            value = int(mask.values[semantic < 0][0])
            raise Unreadable(f'its {shown_value(value, mask.kind)} is no class')
        return semantic.astype(np.uint8)

    def numbers(self, stored: StoredMask) -> Int[np.ndarray, 'h w']:
        """The object of each pixel, int32: 1 to N in the order of the stored numbers, or 0."""
        mask = self.plain(stored)
        values = np.where(mask.values == ignored_number(mask.kind), 0, mask.values)
        present = np.flatnonzero(np.bincount(values.reshape(-1), minlength=1))
        stored_numbers = present[present > 0]
        table = np.zeros(int(values.max(initial=0)) + 1, np.int32)
        table[stored_numbers] = np.arange(1, len(stored_numbers) + 1)
        return table[values]


def _looked_up(
    values: Int[np.ndarray, 'h w'], rows: Mapping[int, int]
) -> Int[np.ndarray, 'h w']:
    """The row of each value, -1 for values that are no key of `rows`."""
    if not rows:
        return np.full(values.shape, -1)
    keys = np.array(sorted(rows))
    ordered = np.array([rows[key] for key in keys.tolist()])
    places = np.searchsorted(keys, values).clip(max=len(keys) - 1)
    return np.where(keys[places] == values, ordered[places], -1)


def ignored_number(kind: Kind) -> int:
    """The value of pixels to ignore in masks of objects."""
    return IGNORED if kind == 'bytes' else _WIDE_IGNORE


def shown_value(value: int, kind: Kind) -> str:
    """A value for messages: 'value 7', or 'colour 255, 0, 9'."""
    if kind != 'colors':
        return f'value {value}'
    return f'colour {value >> 16}, {value >> 8 & 255}, {value & 255}'


def decide(masks: Sequence[MaskValues], table: ClassTable | None) -> Reading:
    """Decide how the masks of a dataset are read.

    Args:
        masks: the values of all readable masks.
        table: classes.csv; None: there is none.

    Raises:
        UserError: A value is in no row of the table, there is only one class, or the masks cannot
            be read as classes or objects.
    """
    if table:
        reading = _by_table(masks, table)
    else:
        reading = _by_values(masks)
    if len(reading.names) < 2:
        raise UserError(
            f'{_folder(masks)}: expected masks of two or more classes, and there is only '
            f'{", ".join(map(repr, reading.names)) or "the value to ignore"}'
        )
    return reading


def _folder(masks: Sequence[MaskValues]) -> str:
    if not masks:
        return 'the masks'
    return str(masks[0].path.parent)


def _are_grey(masks: Sequence[MaskValues]) -> bool:
    """Whether all colours of RGB files are grey."""
    colors: set[int] = set()
    for mask in masks:
        if mask.kind == 'colors':
            colors.update(mask.counts)
    return all(color == (color & 255) * 0x010101 for color in colors)


def _as_grey(masks: Sequence[MaskValues]) -> list[MaskValues]:
    """The masks, with the grey of RGB files as bytes."""
    plain = []
    for mask in masks:
        if mask.kind == 'colors':
            counts = {color & 255: pixels for color, pixels in mask.counts.items()}
            mask = MaskValues(mask.path, 'bytes', counts)
        plain.append(mask)
    return plain


def _by_table(masks: Sequence[MaskValues], table: ClassTable) -> Reading:
    """Read masks as classes.csv says."""
    are_grey = _are_grey(masks)
    if not are_grey and not table.colors:
        raise UserError(
            f'{table.path}: expected the columns r, g and b, since {_first(masks, "colors")} '
            'holds colours. Add the colour of each class'
        )
    if table.objects:
        names = (table.values.get(0, BACKGROUND), table.objects)
        return dataclasses.replace(
            _as_objects(masks, names), grey_colors=are_grey, notes=table.notes
        )
    row_of = {name: row for row, name in enumerate(table.names)}
    row_of |= dict.fromkeys(table.void, IGNORED)
    rows = {IGNORED: IGNORED, _WIDE_IGNORE: IGNORED}
    rows |= {value: row_of[name] for value, name in table.values.items()}
    reading = Reading(
        names=table.names,
        rows=rows,
        color_rows={color: row_of[name] for color, name in table.colors.items()},
        palette_colors=reads_palettes(table),
        grey_colors=are_grey and not table.colors,
        notes=table.notes,
    )
    if len(table.names) > _MOST_CLASSES:
        raise UserError(
            f'{table.path}: expected at most {_MOST_CLASSES} classes, not '
            f'{len(table.names):,}. Give one name to classes that belong together'
        )
    _check_listed(masks, reading, table)
    return reading


def reads_palettes(table: ClassTable | None) -> bool:
    """Whether grey values and palette entries are read as colours: a table has only colours."""
    return bool(table and table.colors and not table.values)


def _check_listed(
    masks: Sequence[MaskValues], reading: Reading, table: ClassTable
) -> None:
    """Check that each value is that of a class in the table."""
    unlisted: dict[str, int] = collections.Counter()
    files = []
    for mask in _as_grey(masks) if reading.grey_colors else masks:
        rows = reading.color_rows if mask.kind == 'colors' else reading.rows
        missing = [value for value in mask.counts if value not in rows]
        unlisted.update(shown_value(value, mask.kind) for value in missing)
        if missing:
            files.append(mask.path)
    if not unlisted:
        return
    hint = ''
    if table.values and max(reading.rows) != IGNORED:
        hint = (
            f'. If values number objects, write {OBJECTS!r} as the value of their class'
        )
    raise UserError(
        f'{table.path}: expected a row for each value of the masks. '
        f'{count(len(files), "mask")}, such as {files[0]}, have others: '
        f'{some(list(unlisted))}. Add them, with the name void if they have no class{hint}'
    )


def _by_values(masks: Sequence[MaskValues]) -> Reading:
    """Read masks without a table by the values that occur."""
    if not _are_grey(masks):
        return _as_color_classes(masks)
    has_grey_colors = any(mask.kind == 'colors' for mask in masks)
    masks = _as_grey(masks)
    if any(mask.kind == 'numbers' for mask in masks):
        note = (
            'masks of more than 8 bits: each value above 0 is the number of an object of one '
            f'class. {NAME} may tell another reading'
        )
        reading = _as_objects(masks, (BACKGROUND, OBJECT))
    elif _number_objects(masks):
        note = (
            'each mask has the values 1 to n without a gap: each is the number of an object of '
            f'one class. {NAME} may tell another reading'
        )
        reading = _as_objects(masks, (BACKGROUND, OBJECT))
    else:
        return dataclasses.replace(_as_classes(masks), grey_colors=has_grey_colors)
    return dataclasses.replace(reading, grey_colors=has_grey_colors, notes=(note,))


def _as_objects(masks: Sequence[MaskValues], names: tuple[str, str]) -> Reading:
    """Read values above 0 as the numbers of objects.

    Raises:
        UserError: No mask has an object.
    """
    for mask in masks:
        if set(mask.counts) - {0, ignored_number(mask.kind)}:
            return Reading(names, has_objects=True)
    raise UserError(
        f'{_folder(masks)}: expected masks with the numbers of objects, and all values are 0'
    )


def _number_objects(masks: Sequence[MaskValues]) -> bool:
    """Whether masks of 8 bits are numbered 1 to n, some with more numbers than classes have."""
    numbers = []
    for mask in masks:
        positive = set(mask.counts) - {0}
        if positive and max(positive) != len(positive):
            return False
        numbers.append(len(positive))
    return max(numbers, default=0) > _MOST_LABELS and len(set(numbers)) > 1


def _as_color_classes(masks: Sequence[MaskValues]) -> Reading:
    """Read each colour of RGB files as a class."""
    if any(mask.kind != 'colors' for mask in masks):
        raise UserError(
            f'{_first(masks, "colors")} holds colours, and {_first(masks, "bytes", "numbers")} '
            f'does not: expected masks of one kind. Write {NAME} with the columns name, value, '
            'r, g and b'
        )
    colors = sorted(set().union(*(mask.counts for mask in masks)))
    if len(colors) > _MOST_COLORS:
        raise UserError(
            f'{_folder(masks)}: expected at most {_MOST_COLORS} colours in RGB masks, and there '
            f'are {len(colors):,}. Write {NAME} with the columns name, r, g and b, or export the '
            'masks without antialiasing'
        )
    note = f'RGB masks without {NAME}: each of their {len(colors)} colours is a class'
    return Reading(
        names=tuple(f'#{color:06x}' for color in colors),
        color_rows={color: row for row, color in enumerate(colors)},
        notes=(note,),
    )


def _as_classes(masks: Sequence[MaskValues]) -> Reading:
    """Read each value of masks of 8 bits as a class."""
    pixels: dict[int, int] = collections.Counter()
    for mask in masks:
        pixels.update(mask.counts)
    values = sorted(pixels)
    notes = []
    if values == [0, IGNORED]:
        notes.append('0 and 255 are the only values: both are classes')
    elif IGNORED in pixels:
        values.remove(IGNORED)
        fraction = pixels[IGNORED] / sum(pixels.values())
        notes.append(f'the value 255 is ignored: {fraction:.2%} of the pixels')
    gaps = [
        str(value) for value in range(max(values, default=0)) if value not in pixels
    ]
    if gaps and values != [0, IGNORED]:
        notes.append(
            f'values that no mask has are no classes ({len(gaps)}): {some(gaps)}'
        )
    rows = {IGNORED: IGNORED} | {value: row for row, value in enumerate(values)}
    return Reading(
        names=tuple(f'class {value}' for value in values),
        rows=rows,
        notes=tuple(notes),
        doubts=tuple(_doubts(masks, pixels)),
    )


def _doubts(masks: Sequence[MaskValues], pixels: Mapping[int, int]) -> list[str]:
    """What looks wrong in masks of 8 bits that are read as classes."""
    doubts = []
    extremes = pixels.get(0, 0) + pixels.get(IGNORED, 0)
    if len(pixels) > _MOST_LABELS and extremes > 0.8 * sum(pixels.values()):
        doubts.append(
            f'the masks have {len(pixels)} values, and nearly all pixels are 0 or 255: they may '
            'have been resized or compressed. Export them without antialiasing'
        )
    numbers = {len(set(mask.counts) - {0}) for mask in masks}
    are_gapless = all(
        max(mask.counts, default=0) <= len(set(mask.counts) - {0}) for mask in masks
    )
    if are_gapless and max(numbers, default=0) >= 8 and len(numbers) > 2:
        doubts.append(
            'each mask has the values 1 to n without a gap: they may number objects, and are read '
            f'as classes. If so, write {NAME} with the value {OBJECTS!r} for the class'
        )
    return doubts


def _first(masks: Sequence[MaskValues], *kinds: Kind) -> str:
    """The path of the first mask of some kinds."""
    return str(next(mask.path for mask in masks if mask.kind in kinds))
