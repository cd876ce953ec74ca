"""The names of splits: what people call training, validation and test data."""

import re
import unicodedata
from collections import defaultdict
from collections.abc import Sequence

SPLITS = ('train', 'validation', 'test')

# In lower case, without separators.
_NAMES = {
    'train': ('train', 'training'),
    'validation': ('validation', 'val', 'valid', 'dev', 'development')
    + ('eval', 'evaluation'),
    'test': ('test', 'testing', 'holdout'),
}
_SPLIT_OF: dict[str, str] = {}
for _split, _names in _NAMES.items():
    for _ending in ('', 'set', 'data'):
        _SPLIT_OF |= {f'{name}{_ending}': _split for name in _names}

_WORD = re.compile(r'[A-Z]?[a-z]+|[A-Z]+|[^A-Za-z]+')


def split_of(name: str) -> str:
    """The split that a name means, in any case; '' if it is no name of a split.

    'Training', 'train_set' and 'TRAIN' are 'train'; 'valid' and 'dev' are 'validation'.
    """
    return _SPLIT_OF.get(re.sub(r'[ _.-]', '', name).lower(), '')


def splits_in(name: str) -> set[str]:
    """The splits that words of a name mean: {'validation'} of 'val2017' or 'my_val'.

    The set is empty if no word means a split.
    """
    return _form(name)[1]


def are_splits(names: Sequence[str]) -> bool:
    """Whether the names of folders are those of splits, not of classes.

    It is enough that two names are the same but for the split, and one means 'train':
    'seg_train' and 'seg_test' beside 'seg_pred'. It is also enough that every name has
    a word for a split, and not all for the same one: 'train1' and 'val2'.
    """
    splits_of_form = defaultdict(set)
    for name in names:
        form, splits = _form(name)
        splits_of_form[form] |= splits
    groups = list(splits_of_form.values())
    if all(groups) and len(set().union(*groups)) > 1:
        return True
    return any('train' in splits and len(splits) > 1 for splits in groups)


def _form(name: str) -> tuple[str, set[str]]:
    """A name with * for the words that mean splits, and these splits."""
    form = ''
    splits = set()
    for word in _WORD.findall(name):
        split = split_of(word)
        form += '*' if split else word.lower()
        splits |= {split} - {''}
    return form, splits


def class_name(name: str) -> str:
    """A class name in Unicode's composed form; macOS decomposes the names of folders."""
    return unicodedata.normalize('NFC', name)
