"""The masks of a user's images: one for all, or a folder with one for each."""

from pathlib import Path

import numpy as np
from jaxtyping import Bool

from jaxvision.core.errors import UserError
from jaxvision.data import decode, files
from jaxvision.data.protocol import Unreadable


class Masks:
    """A mask for all files, or a folder of masks, each with its file's name or stem."""

    def __init__(self, place: str):
        """List the folder, if it is one.

        Args:
            place: the file or folder.

        Raises:
            UserError: There is none.
        """
        self._path = Path(place)
        if not self._path.exists():
            raise UserError(
                f'--mask={place}: expected an image or a folder of masks. There is no such '
                'file or folder.'
            )
        self._by_stem: dict[str, list[Path]] = {}
        for file in sorted(self._path.iterdir()) if self._path.is_dir() else ():
            if file.is_file() and not file.name.startswith('.'):
                self._by_stem.setdefault(file.stem, []).append(file)

    def read(self, path: str, size: tuple[int, int]) -> Bool[np.ndarray, 'h w']:
        """Read the mask of a file, True in the hole.

        Args:
            path: of the file.
            size: (height, width) of its image, upright.

        Raises:
            Unreadable: There is no mask, it has another size, or it is all hole or none.
        """
        mask = self._find(Path(path))
        try:
            hole = decode.decode(files.read(str(mask)), 1)[..., 0] > 127
        except Unreadable as error:
            raise Unreadable(f'its mask {mask}: {error}') from error
        if hole.shape != size:
            height, width = size
            mask_height, mask_width = hole.shape
            raise Unreadable(
                f'its mask {mask} is {mask_width}x{mask_height} pixels, and the image, '
                f'upright, {width}x{height}'
            )
        if hole.all() or not hole.any():
            color = 'white' if hole.all() else 'black'
            raise Unreadable(
                f'its mask {mask} is {color} all over: expected white (or transparent) '
                'in the hole, black elsewhere'
            )
        return hole

    def _find(self, path: Path) -> Path:
        if not self._path.is_dir():
            return self._path
        candidates = self._by_stem.get(path.stem, [])
        same_name = [mask for mask in candidates if mask.name == path.name]
        if len(same_name or candidates) == 1:
            return (same_name or candidates)[0]
        if not candidates:
            raise Unreadable(f'{self._path} holds no mask {path.stem}.*')
        several = ', '.join(mask.name for mask in candidates)
        raise Unreadable(f'{self._path} holds several masks for it: {several}')
