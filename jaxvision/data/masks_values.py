"""The values of all masks of a dataset, read once and kept in the user's cache."""

import contextlib
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from jaxvision.core.files import atomic_write, cache_folder
from jaxvision.core.types import Value
from jaxvision.data import files, masks_reading
from jaxvision.data.content import is_digest
from jaxvision.data.masks_classes import MaskValues
from jaxvision.data.masks_reading import Kind
from jaxvision.data.protocol import Unreadable

_THREADS = 4
# Raise it whenever a mask gives other values than before: the cache then counts for nothing.
_VERSION = 1

# What JSON holds of a mask: its kind, and pairs of a value and its pixels. Or why it is unreadable.
_Entry = tuple[Kind, list[tuple[int, int]]] | str


def scan(
    paths: Sequence[Path],
    contents: Sequence[str],
    palette_colors: bool = False,
    load: Callable[[int], bytes] | None = None,
) -> tuple[list[MaskValues], dict[Path, str]]:
    """Read the values of masks. What their content gave before is not read again.

    Args:
        paths: of the masks.
        contents: what identifies the content of each, as `content.identify` gives it.
        palette_colors: as for `masks_reading.read`.
        load: `(place in paths) -> the encoded mask`; None: paths are files.

    Returns:
        (the values of each readable mask, in the order of the paths; {path: why} of the others).
    """
    known: Mapping[str, _Entry] = {}
    cache = _cache_file(contents, palette_colors)
    if cache:
        known = _load(cache)
    missing = [place for place, item in enumerate(contents) if item not in known]

    def entry(place: int) -> _Entry:
        try:
            data = load(place) if load else files.read(str(paths[place]))
            mask = masks_reading.read(data, palette_colors)
        except Unreadable as error:
            return str(error)
        return mask.kind, list(masks_reading.counts(mask.values).items())

    with ThreadPoolExecutor(_THREADS) as pool:
        read = dict(zip(missing, pool.map(entry, missing), strict=True))
    values = []
    unreadable = {}
    for place, path in enumerate(paths):
        item = read[place] if place in read else known[contents[place]]
        if isinstance(item, str):
            unreadable[path] = item
        else:
            values.append(MaskValues(path, item[0], dict(item[1])))
    if cache and missing:
        _save(cache, contents, paths, values)
    return values, unreadable


def part_of(contents: Sequence[str], part: str) -> str:
    """What identifies a part of files: a digest if `contents` are digests, else ''.

    Args:
        contents: what identifies each of the files.
        part: the name of the part.
    """
    if not contents or not all(map(is_digest, contents)):
        return ''
    return hashlib.sha256(repr((list(contents), part)).encode()).hexdigest()


def _cache_file(contents: Sequence[str], palette_colors: bool) -> Path | None:
    """The file that holds the values of these masks; None if their content is not known."""
    if not contents or not all(map(is_digest, contents)):
        return None
    listed = json.dumps([_VERSION, palette_colors, sorted(set(contents))])
    name = hashlib.sha256(listed.encode()).hexdigest()[:24]
    return cache_folder('mask_values') / f'{name}.json'


def _load(cache: Path) -> dict[str, _Entry]:
    """{content: entry} of a file; {} if the file is missing or damaged."""
    # A cache that is missing or damaged costs only time.
    try:
        entries = json.loads(cache.read_text())
        return {content: _checked(entry) for content, entry in entries.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


def _checked(entry: Value) -> _Entry:
    """An entry of JSON with its types.

    Raises:
        ValueError: It is of another form.
    """
    kind, pairs = entry
    if kind not in ('bytes', 'numbers', 'colors'):
        raise ValueError(kind)
    return kind, [(int(value), int(pixels)) for value, pixels in pairs]


def _save(
    cache: Path,
    contents: Sequence[str],
    paths: Sequence[Path],
    values: Sequence[MaskValues],
) -> None:
    content_of = dict(zip(paths, contents, strict=True))
    entries = {
        content_of[mask.path]: (mask.kind, list(mask.counts.items())) for mask in values
    }
    # A cache that cannot be written costs only time.
    with contextlib.suppress(OSError):
        cache.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(cache, durable=False) as file:
            json.dump(entries, file)
