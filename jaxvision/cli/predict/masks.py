"""The masks of a user's images: one mask for all, or a folder with one for each."""

from pathlib import Path

import numpy as np
from jaxtyping import Bool

from jaxvision.core.errors import UserError
from jaxvision.data import decode, files
from jaxvision.data.protocol import Unreadable


class Masks:
    """A mask for all images, or a folder of masks, each with the name or stem of its image."""

    def __init__(self, place: str):
        """List the masks of a folder, without reading them.

        Args:
            place: path of the mask for all images, or of the folder.

        Raises:
            UserError: The file or folder does not exist.
        """
        self._path = Path(place)
        if not self._path.exists():
            raise UserError(
                f'--mask={place}: expected an image or a folder of masks. The file or folder '
                'does not exist.'
            )
        self._by_stem: dict[str, list[Path]] = {}
        if not self._path.is_dir():
            return
        for file in sorted(self._path.iterdir()):
            if file.is_file() and not file.name.startswith('.'):
                self._by_stem.setdefault(file.stem, []).append(file)

    def read(self, path: str, size: tuple[int, int]) -> Bool[np.ndarray, 'h w']:
        """Read the mask of an image.

        In a folder, a mask with the same name as the image goes before one with its
        stem.

        Args:
            path: path of the image.
            size: (height, width) of the upright image.

        Returns:
            True in the hole, where the mask is brighter than half, or transparent.

        Raises:
            Unreadable: There is no mask, there are several, or the mask has another
                size, no hole, or no other pixels.
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
                f'its mask {mask} has {mask_width}x{mask_height} pixels: expected the '
                f'{width}x{height} of the upright image'
            )
        if hole.all() or not hole.any():
            color = 'white' if hole.all() else 'black'
            raise Unreadable(
                f'its mask {mask} is {color} everywhere: expected white or transparent '
                'pixels in the hole, and black pixels elsewhere'
            )
        return hole

    def _find(self, path: Path) -> Path:
        if not self._path.is_dir():
            return self._path
        candidates = self._by_stem.get(path.stem, [])
        for mask in candidates:
            if mask.name == path.name:
                return mask
        if not candidates:
            raise Unreadable(f'there is no mask {path.stem}.* in {self._path}')
        if len(candidates) == 1:
            return candidates[0]
        names = ', '.join(mask.name for mask in candidates)
        raise Unreadable(f'there are several masks for it in {self._path}: {names}')
