"""Names of classes that a user may not have meant."""

import re
import unicodedata
from collections import defaultdict
from collections.abc import Sequence

_MISSING = frozenset(('nan', 'null', 'none', 'n/a', 'na', '<na>', '?'))


def doubtful(names: Sequence[str]) -> list[str]:
    """Notes of class names that look wrong.

    Two are nearly equal, one means a missing value, such as 'nan', or one seems to hold
    several labels.

    Args:
        names: of all classes of a dataset.

    Returns:
        A sentence for each kind that occurs, with its first example; may be empty.
    """
    return [*_nearly_equal(names), *_missing(names), *_lists(names)]


def _nearly_equal(names: Sequence[str]) -> list[str]:
    """A note of names that differ in case, spaces, separators or the form of a number alone."""
    alike = defaultdict(list)
    for name in sorted(names):
        alike[_simplified(name)].append(name)
    groups = [group for group in alike.values() if len(group) > 1]
    if not groups:
        return []
    first, second, *_ = groups[0]
    more = ''
    if len(groups) > 1:
        more = f', and {len(groups) - 1:,} more such'
    return [
        f'the classes {first!r} and {second!r} have nearly the same name: they count as '
        f'two{more}'
    ]


def _simplified(name: str) -> str:
    """A name without what people write in several ways."""
    name = unicodedata.normalize('NFKC', name).casefold()
    visible = [
        character for character in name if unicodedata.category(character) != 'Cf'
    ]
    name = re.sub(r'[\s_-]+', ' ', ''.join(visible)).strip()
    if re.fullmatch(r'[+-]?\d+(\.\d*)?', name):
        return str(float(name))
    return name


def _missing(names: Sequence[str]) -> list[str]:
    """A note of the first name that programs write for a missing value."""
    for name in names:
        if name.strip().casefold() in _MISSING:
            return [
                f'the class {name!r} may stand for missing labels: it counts as a class'
            ]
    return []


def _lists(names: Sequence[str]) -> list[str]:
    """A note of the first name that seems to hold several labels."""
    known = set(names)
    for name in names:
        parts = [part.strip() for part in name.split(',')]
        is_list = len(parts) > 1 and known.issuperset(parts)
        if is_list or re.fullmatch(r'\[.*\]|\{.*\}|\(.*\)', name.strip()):
            return [
                f'the class {name!r} may be several labels: it counts as one class. Labels '
                'of one image are joined by ;'
            ]
    return []
