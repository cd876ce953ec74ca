"""Images restored at their own size: cut into overlapping tiles, answered, joined again.

One image is in memory at a time, 8 bits a channel. Of the restored one, and of the tiles and the
answers for them, there are only some rows.
"""

import argparse
from collections.abc import Iterable, Iterator
from itertools import compress, islice
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, UInt8

from jaxvision.cli.predict.images import LARGEST_SIDE
from jaxvision.cli.predict.model import Model
from jaxvision.cli.predict.report import Plan, Progress, attempt
from jaxvision.core.errors import UserError
from jaxvision.data import decode, files
from jaxvision.data.protocol import Unreadable
from jaxvision.image import tiles
from jaxvision.viz import figures, png

HOLE = (230, 40, 120)  # in the annotated picture


def plan(model: Model, options: argparse.Namespace, paths: list[str]) -> Plan:
    """For each file the restored image, whole, and one that compares it with what it was.

    Raises UserError where there is no --mask and the model fills holes, or the other way round.
    """
    fills = 'mask' in model.spec['inputs']
    if fills and not options.mask:
        raise UserError(
            f'{model.name} fills holes: give --mask, an image that is white in the '
            'hole, or a folder of such with the names of the files'
        )
    if options.mask and not fills:
        raise UserError(f'{model.name} takes no --mask')
    masks = Masks(options.mask) if fills else None
    compared = (
        []
        if options.no_pictures
        else [f'{Path(path).stem}-compared.png' for path in paths]
    )
    names = files.picture_paths([*paths, *compared], Path(options.out))
    restored, pictures = names[: len(paths)], names[len(paths) :] or [None] * len(paths)
    entries = (
        [_restore(model, masks, options.batch_size, *each)]
        for each in zip(paths, restored, pictures)
    )
    return Plan('file', paths, names, entries)


class Masks:
    """Where the mask of a file is: a file serves for all; of a folder, the one with its name, or
    with its name but for the suffix."""

    def __init__(self, place: str):
        path = Path(place)
        if not path.exists():
            raise UserError(f'--mask: there is no file or folder {place}')
        self._path, self._by_stem = path, {}
        for file in sorted(path.iterdir()) if path.is_dir() else ():
            if file.is_file() and not file.name.startswith('.'):
                self._by_stem.setdefault(file.stem, []).append(file)

    def read(self, file: str, shape: tuple[int, int]) -> Bool[np.ndarray, 'h w']:
        """True in the hole of an image of this shape; raises Unreadable with the reason."""
        mask = self._find(Path(file))
        try:
            hole = decode.decode(files.read(str(mask)), 1)[..., 0] > 127
        except Unreadable as error:
            raise Unreadable(f'its mask {mask}: {error}') from error
        if hole.shape != shape:
            (height, width), (h, w) = shape, hole.shape
            raise Unreadable(
                f'its mask {mask} is {w}x{h} pixels, and the image, upright, '
                f'{width}x{height}'
            )
        if hole.all() or not hole.any():
            color = 'white' if hole.all() else 'black'
            raise Unreadable(
                f'its mask {mask} is {color} all over: white (or transparent) is the '
                'hole, black what is kept'
            )
        return hole

    def _find(self, file: Path) -> Path:
        if not self._path.is_dir():
            return self._path
        candidates = self._by_stem.get(file.stem, [])
        same = [mask for mask in candidates if mask.name == file.name]
        if len(same or candidates) != 1:
            several = ', '.join(mask.name for mask in candidates)
            raise Unreadable(
                f'{self._path} holds several masks for it: {several}'
                if candidates
                else f'{self._path} holds no mask {file.stem}.*'
            )
        return (same or candidates)[0]


def _restore(
    model: Model,
    masks: Masks | None,
    size: int,
    file: str,
    restored: Path,
    picture: Path | None,
) -> dict:
    """What predictions.json says of a file; the restored image and the comparison are saved."""

    def read() -> tuple:
        image = decode.decode(files.read(file), 3)
        if model.spec['inputs']['image']['shape'][-1] == 1:
            if (image != image[..., :1]).any():
                raise Unreadable(
                    'it has colours, and this run has seen grey images alone'
                )
            image = image[..., :1]
        if masks is None:
            return image, None
        hole, (height, width) = masks.read(file, image.shape[:2]), _tile_size(model)
        corners = tiles.corners(
            image.shape[:2], (height, width), model.spec['restores']['overlap']
        )
        if any(
            hole[top : top + height, left : left + width].all() for top, left in corners
        ):
            raise Unreadable(
                'its hole leaves nothing to go by: the network sees '
                f'{width}x{height} pixels at once'
            )
        return image, hole

    found, reason = attempt(read)
    if found is None:
        return {'file': file, 'error': reason}
    image, hole = found
    scale = model.spec['restores']['scale']
    height, width = (scale * length for length in image.shape[:2])
    after = Thumbnail(height, width)
    rows = _rows(model, file, image, hole, size)
    png.write(restored, (height, width, image.shape[-1]), after.watching(rows))
    entry = {
        'file': file,
        'answer': {'width': width, 'height': height},
        'restored': str(restored),
    }
    if picture is None:
        return entry
    if hole is not None:
        image = np.where(hole[..., None], np.uint8(HOLE), image)
    figures.save(
        picture,
        figures.beside(decode.thumbnail(image, 3, LARGEST_SIDE), after.picture()),
    )
    return {**entry, 'picture': str(picture)}


class Thumbnail:
    """A small picture of an image of which only some rows at a time go by."""

    def __init__(self, height: int, width: int):
        shrink = min(1, LARGEST_SIDE / max(height, width))
        self._height, self._width = (
            max(1, round(shrink * side)) for side in (height, width)
        )
        self._strips = []

    def watching(
        self, rows: Iterable[UInt8[np.ndarray, '_ w c']]
    ) -> Iterator[UInt8[np.ndarray, '_ w c']]:
        for part in rows:
            self._strips.append(decode.resize(part, len(part), self._width))
            yield part

    def picture(self) -> UInt8[np.ndarray, 'h w 3']:
        return decode.decode(
            decode.resize(np.concatenate(self._strips), self._height, self._width), 3
        )


def _rows(
    model: Model,
    file: str,
    image: UInt8[np.ndarray, 'h w c'],
    hole: Bool[np.ndarray, 'h w'] | None,
    size: int,
) -> Iterator[UInt8[np.ndarray, '_ W c']]:
    """The restored image from the top down; outside of the hole it is the image's own."""
    rule, top = model.spec['restores'], 0
    corners = tiles.corners(image.shape[:2], _tile_size(model), rule['overlap'])
    progress = Progress(len(corners), 'tiles', f'{file}: ')
    answers = _answers(model, _cut(model, image, hole, corners), size, progress)
    for part in tiles.join_rows(
        answers,
        corners,
        image.shape[:2],
        rule['overlap'],
        rule['scale'],
        rule.get('blend', 0),
    ):
        part = np.clip(np.rint(part), 0, 255).astype(np.uint8)
        if hole is not None:
            here = slice(top, top + len(part))
            part, top = np.where(hole[here, :, None], part, image[here]), here.stop
        yield part


def _tile_size(model: Model) -> tuple[int, int]:
    height, width, _ = model.spec['inputs']['image']['shape']
    return height, width


def _cut(
    model: Model,
    image: UInt8[np.ndarray, 'h w c'],
    hole: Bool[np.ndarray, 'h w'] | None,
    corners: tiles.Corners,
) -> Iterator[dict]:
    """The inputs that each tile makes."""
    height, width = size = _tile_size(model)
    wholes = {'image': tiles.pad(image, size)}
    if hole is not None:
        about = model.spec['inputs']['mask']
        white = 255 if about['dtype'] == 'uint8' else 1
        wholes['mask'] = tiles.pad(white * hole[..., None].astype(about['dtype']), size)
    for top, left in corners:
        cut = {
            name: whole[top : top + height, left : left + width]
            for name, whole in wholes.items()
        }
        if hole is not None:
            cut['mask'] = cut['mask'].reshape(about['shape'])
        yield cut


def _answers(
    model: Model, cuts: Iterator[dict], size: int, progress: Progress
) -> Iterator[Float[np.ndarray, 'th tw c']]:
    """What is answered for each tile, `size` of them at once; one without a hole stays as it is."""
    done = 0
    while batch := list(islice(cuts, size)):
        is_asked = ['mask' not in cut or bool(cut['mask'].any()) for cut in batch]
        power_of_two = (
            1 << max(sum(is_asked) - 1, 0).bit_length()
        )  # few programs for any number
        answers = iter(model.answer_each(list(compress(batch, is_asked)), power_of_two))
        for cut, asked in zip(batch, is_asked):
            yield (next(answers)['image'] if asked else cut['image']).astype(np.float32)
        done += len(batch)
        progress.show(done)
