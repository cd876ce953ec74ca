"""What readers of annotation files share: safe reading, safe names, and where the images lie.

Annotation files may come from strangers. A name in them is never read outside of its folder.
"""

import json
import math
import os
import reprlib
import stat
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from jaxvision.core.errors import UserError
from jaxvision.core.types import Json, Value

_LONGEST = 200  # characters of a value in a message


def read_bytes(path: Path) -> bytes:
    """Read an annotation file.

    Raises:
        UserError: The path is no file, or the file cannot be read.
    """
    try:
        status = os.stat(path)
        if not stat.S_ISREG(status.st_mode):
            raise UserError(f'{path}: expected a file')
        return path.read_bytes()
    except OSError as error:
        raise UserError(f'{path} cannot be read: {error.strerror}') from error


def read_json(path: Path) -> Json:
    """Read a JSON file that holds an object; {} stands for any other value.

    Raises:
        UserError: The file cannot be read, or is no JSON.
    """
    try:
        parsed = json.loads(read_bytes(path))
    except UserError:
        raise
    except (ValueError, RecursionError) as error:
        raise UserError(f'{path} is no JSON: {error}') from error
    return as_object(parsed)


def as_object(value: Value) -> Json:
    """A JSON value as an object; {} if it is none."""
    if isinstance(value, dict):
        return value
    return {}


def as_list(value: Value) -> list[Value]:
    """A JSON value as a list; [] if it is none."""
    if isinstance(value, list):
        return value
    return []


def shown(value: Value) -> str:
    """The `repr` of a value for messages, cut off after 200 characters.

    Long texts have '...' in their middle, long lists at their end. An integer that
    Python refuses to write is 'a huge number'.
    """
    short = reprlib.Repr()
    short.maxother = short.maxstring = short.maxlong = 60
    short.maxlevel = 2
    try:
        text = short.repr(value)
    except ValueError:  # An integer of more digits than Python writes.
        return 'a huge number'
    return text.encode(errors='backslashreplace').decode()[:_LONGEST]


def clean_text(text: str) -> str:
    """A text with `?` for each lone surrogate, which UTF-8 cannot encode."""
    return text.encode(errors='replace').decode()


def inside(annotations: Path | str, folder: Path, name: str) -> Path:
    """Find the path of a file that an annotation file names. The file need not exist.

    Args:
        annotations: the annotation file, for the message.
        folder: where the file has to lie, at any depth.
        name: relative to the folder, or absolute and inside it. `\\` may stand for `/`.

    Returns:
        The path of the file, which begins with `folder` unless `name` is absolute.

    Raises:
        UserError: The name leads out of the folder, or has a part `..`.
    """
    path = PurePosixPath(name.replace('\\', '/'))
    is_outside = path.is_absolute() and not path.is_relative_to(folder.absolute())
    if is_outside or '..' in path.parts:
        raise UserError(
            f'{annotations}: the file {shown(name)} does not lie in its folder {folder}, '
            'or its path has `..`. Write its path relative to that folder, without `..`'
        )
    return folder / path


def is_file(path: Path) -> bool:
    """Whether a path is a file; False at names at which pathlib raises an error."""
    return os.path.isfile(path)


def check_files(
    annotations: Path | str, folder: Path, paths: Sequence[Path], remedy: str
) -> None:
    """Check that all images of an annotation file are files.

    Args:
        annotations: the annotation file, for the message.
        folder: of the images.
        paths: of the images.
        remedy: what a user should do, as the end of the message.

    Raises:
        UserError: An image is missing.
    """
    missing = [path for path in paths if not is_file(path)]
    if not missing:
        return
    first = os.path.relpath(os.fspath(missing[0]).replace('\0', '?'), folder)
    raise UserError(
        f'{annotations}: {len(missing)} of {len(paths)} images are not in {folder}, such '
        f'as {shown(first)}. {remedy}'
    )


def image_folder(annotations: Path, images: str, prefix: str) -> Path:
    """Find the folder of the images of a file in COCO's layout.

    Args:
        annotations: the annotation file, such as annotations/instances_val2017.json.
        images: `data.images`; empty: the folder of the file, or the parent of a folder
            `annotations`.
        prefix: what the name of the file has before that of the folder, such as 'instances_'.

    Returns:
        The folder, or one in it with the name of the file without `prefix`: val2017 or
        images/val2017.

    Raises:
        UserError: There is no such folder.
    """
    folder = Path(images).expanduser()
    if not images:
        folder = annotations.parent
        if folder.name == 'annotations':
            folder = folder.parent
    if not folder.is_dir():
        raise UserError(
            f'data.images={folder}: there is no such folder. Name the folder of the images'
        )
    name = annotations.stem.removeprefix(prefix)
    for candidate in (folder / name, folder / 'images' / name):
        if candidate.is_dir():
            return candidate
    return folder


def number(value: Value) -> float | None:
    """A number of an annotation file as a float; None if the value is no int or float.

    True, False and texts are no numbers. A number that is too large for a float is
    infinite.
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value)
    except OverflowError:
        return math.copysign(math.inf, value > 0 or -1)


def parsed_number(text: str | None) -> float | None:
    """A number of a text file; None if it is no number. `nan` and `inf` are numbers."""
    try:
        return float(text or '')
    except ValueError:
        return None


def parsed_size(height: Value, width: Value) -> tuple[int, int] | None:
    """The size (height, width) of an image that an annotation gives, rounded down.

    It is None if a side is no number, not finite, or below 1.

    Args:
        height: a number, or the text of one. Some programs write 0 for an unknown size.
        width: a number, or the text of one.
    """
    sides = []
    for side in (height, width):
        value = number(side)
        if isinstance(side, str):
            value = parsed_number(side)
        if value is None or not math.isfinite(value) or value < 1:
            return None
        sides.append(int(value))
    return sides[0], sides[1]
