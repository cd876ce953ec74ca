"""Results of batches in a folder, so that a killed evaluation goes on."""

import hashlib
import json
import os
import shutil
import zipfile
from collections.abc import Iterator, MutableMapping
from pathlib import Path

import numpy as np

from jaxvision.core.errors import UserError
from jaxvision.core.files import atomic_write, write_json
from jaxvision.core.types import Json, Records


class Batches(MutableMapping[str, Records]):
    """Records by name, each in a file NAME.npz of a folder.

    A file is complete or absent at any moment. A file that cannot be read counts as
    absent, and is computed again.
    """

    def __init__(self, folder: Path):
        """Open a folder, which is made at the first record."""
        self._folder = folder

    def _path(self, name: str) -> Path:
        return self._folder / f'{name}.npz'

    def __getitem__(self, name: str) -> Records:
        try:
            with np.load(self._path(name)) as arrays:
                return dict(arrays)
        except (OSError, ValueError, zipfile.BadZipFile) as error:
            raise KeyError(name) from error

    def __setitem__(self, name: str, records: Records) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        with atomic_write(self._path(name), 'wb') as file:
            np.savez(file, **records)

    def __delitem__(self, name: str) -> None:
        self._path(name).unlink()

    def __iter__(self) -> Iterator[str]:
        return (path.stem for path in self._folder.glob('*.npz'))

    def __len__(self) -> int:
        return sum(1 for _ in self)


def open_batches(out: Path, arguments: Json) -> tuple[Batches, Path]:
    """Open the batches of an evaluation with these arguments.

    Args:
        out: the output folder of the evaluation.
        arguments: everything on which the results depend.

    Returns:
        (batches, their folder OUT/batches-HASH).
    """
    text = json.dumps(arguments, sort_keys=True)
    digest = hashlib.sha256(text.encode()).hexdigest()[:12]
    folder = out / f'batches-{digest}'
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / 'arguments.json', arguments)
    return Batches(folder), folder


def remove(folder: Path) -> None:
    """Remove the batches of a finished evaluation."""
    shutil.rmtree(folder, ignore_errors=True)


def check_replaceable(out: Path, report: str) -> None:
    """Refuse to write into a folder with files that the same command did not write.

    Args:
        out: the output folder, which may be missing.
        report: the file name of the command's report.

    Raises:
        UserError: The folder is a file, or holds other files.
    """
    if not out.exists():
        return
    if not out.is_dir():
        raise UserError(
            f'--out={out}: expected a folder. It is a file. Give another one.'
        )
    contents = os.listdir(out)
    is_own = report in contents or any(name.startswith('batches-') for name in contents)
    if contents and not is_own:
        raise UserError(
            f'--out={out}: expected an empty folder or one with {report}. Give another '
            '--out.'
        )
