"""Drawn layouts of folders and tables are read as docs/data.md says.

`documented_tree` and `documented_table` follow the page, and share no code with the package.
"""

import io
import os
import re
import tempfile
import unicodedata
from collections import Counter
from pathlib import Path

from hypothesis import Phase, event, given, settings
from hypothesis import strategies as st
from PIL import Image

from jaxvision.core.errors import UserError
from jaxvision.data.folder import Folder

ACCENT = 'caf\u00e9'
DECOMPOSED = 'cafe\u0301'
MEANING = dict(train='train', training='train', trainset='train', test='test')
MEANING |= dict(testing='test', val='validation', valid='validation', dev='validation')
JUNK = ('thumbs.db', 'desktop.ini', '__macosx')


class Refused(Exception):
    """The page says that such a folder is refused."""


def shown(path):
    return [
        p for p in path.iterdir() if p.name[0] != '.' and p.name.lower() not in JUNK
    ]


def meaning(name):
    return MEANING.get(re.sub('[ _.-]', '', name.lower()))


def documented_tree(root):
    folders = [path for path in shown(root) if path.is_dir()]
    splits = [(meaning(path.name), path) for path in folders if meaning(path.name)]
    counts = Counter(split for split, _ in splits)
    if splits and not counts['train']:
        raise Refused
    if splits and max(counts.values()) > 1:
        event('two folders for a split')
        raise Refused
    found = {}
    for split, folder in splits or [('train', root)]:
        for place in filter(Path.is_dir, shown(folder)):
            pending, files, written = [place], [], False
            while pending:
                for path in shown(pending.pop()):
                    if (path / 'predictions.json').exists():
                        written = True
                    elif path.is_dir():
                        pending.append(path)
                    elif path.suffix.lower() == '.png':
                        files.append(path)
            if not files and not written:
                raise Refused
            label = unicodedata.normalize('NFC', place.name)
            found |= {path: ({label}, split) for path in files}
    return found


def documented_table(root):
    data = (root / 'labels.csv').read_bytes()
    for encoding in ('utf-16' if data[:1] in b'\xff\xfe' else 'utf-8-sig', 'cp1252'):
        try:
            text = unicodedata.normalize('NFC', data.decode(encoding))
            break
        except UnicodeDecodeError:
            pass
    delimiter = next(mark for mark in ',;\t' if mark in text.splitlines()[0])
    header, *rows = [
        line.split(delimiter) for line in text.splitlines() if line.strip()
    ]
    header = [
        n.lower() if n.lower() in ('file', 'label', 'split') else n for n in header
    ]
    if len({*header}) < len(header):
        raise Refused
    found = {}
    for row in (dict(zip(header, cells, strict=True)) for cells in rows):
        split = meaning(row.pop('split', '') or 'train')
        path = Path(os.path.normpath(root / row.pop('file')))
        if 'label' in row:
            labels = {text for text in re.split('[;|]', row['label']) if text}
        else:
            labels = {name for name in row if row[name] == '1'}
        if (
            not split
            or path in found
            and (
                found[path][1] != split
                or 'label' not in row
                and found[path][0] != labels
            )
        ):
            raise Refused
        found.setdefault(path, (labels, split))[0].update(labels)
    if (
        'label' in header
        and not several(found)
        and not all(x for x, _ in found.values())
    ):
        raise Refused
    return found


def several(found):
    return any(len(labels) > 1 for labels, _ in found.values())


def check_classes(found, columns=()):
    """Each split has the classes of training, or two or more that are all new."""
    of = {'train': set(), 'validation': set(), 'test': set()}
    for labels, split in found.values():
        of[split] |= labels
    known = set(columns) or of['train']
    if not any(split == 'train' for _, split in found.values()):
        raise Refused
    new = set()
    for names in of.values():
        if not names <= known:
            if names & known or len(names) < 2 or several(found):
                raise Refused
            new |= names
    if len(known | new) < 2:
        raise Refused


def by_package(root):
    folder = Folder(root, lambda paths: [''] * len(paths))
    found = {}
    for split in folder.splits:
        source = folder.open(split)
        names = source.info.class_names
        for row, label in enumerate(source.labels()):
            chosen = [label] if label.ndim == 0 else label.nonzero()[0]
            path = Path(os.path.normpath(source.where(row)))
            found[path] = ({names[number] for number in chosen}, split)
    return found


def check(root, documented):
    try:
        expected = documented()
    except Refused:
        expected = 'refused'
    try:
        found = by_package(root)
    except UserError as error:
        assert '\n' not in str(error)
        found = 'refused'
    event('refused' if expected == 'refused' else 'read')
    assert found == expected


def picture():
    file = io.BytesIO()
    Image.new('RGB', (1, 1)).save(file, 'png')
    return file.getvalue()


PICTURE = picture()


def write_images(root, names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(PICTURE)


SETTINGS = settings(
    max_examples=100,
    deadline=None,
    derandomize=True,
    phases=[Phase.generate, Phase.shrink],
)
SPLIT_FOLDERS = st.one_of(
    st.just(['']),
    st.tuples(
        st.sampled_from(['train', 'Train', 'TRAINING', 'train_set']),
        st.sampled_from(['val', 'Valid', 'dev', 'extra']),
        st.sampled_from(['test', 'Testing', 'TEST', 'more', 'val']),
    ).map(set),
    st.sets(st.sampled_from(['train', 'Train', 'valid', 'val', 'test']), min_size=1),
).map(sorted)
RARELY = st.sampled_from([False] * 9 + [True])
CLASSES = st.lists(
    st.sampled_from(['dog', 'emu fox', ACCENT, DECOMPOSED]),
    max_size=3,
    unique=True,
)
FILES = st.lists(
    st.sampled_from(
        [
            '1.png',
            '2.PNG',
            'deep/er/3.png',
            '4.png/5.png',
            '.6.png',
            '.ipynb_checkpoints/7.png',
            '__MACOSX/8.png',
            'notes.txt',
            'Thumbs.db',
            'answers/9.png',
            'answers/predictions.json',
        ]
    ),
    min_size=1,
    max_size=4,
    unique=True,
)


@SETTINGS
@given(st.data())
def test_trees_are_read_as_the_page_says(data):
    names = ['loose.png', '.Trash-1000/files/1.png']
    splits = data.draw(SPLIT_FOLDERS)
    shared = ['cat', *data.draw(CLASSES.filter(bool))]
    for split in splits:
        classes = data.draw(CLASSES) if data.draw(RARELY) else shared
        for label in classes:
            usual = [] if data.draw(RARELY) else ['1.png']
            files = {*usual, *data.draw(FILES)}
            names += [f'{split}/{label}/{file}'.lstrip('/') for file in sorted(files)]
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        write_images(root, names)

        def documented():
            found = documented_tree(root)
            check_classes(found)
            return found

        check(root, documented)


LABEL_CELLS = st.sampled_from(
    ['x', 'x', 'y', 'y', ACCENT, DECOMPOSED, 'x|y', 'y|x|y', ACCENT, '']
)
SPLIT_CELLS = st.sampled_from(['train', 'Train', '', 'TRAINING', 'dev', 'Test'])


@st.composite
def tables(draw):
    """The lines of a table, its cells not yet joined."""
    has_columns = draw(st.booleans())
    classes = ['x', draw(st.sampled_from(['y', ACCENT, DECOMPOSED, 'x']))]
    header = [draw(st.sampled_from(['file', 'File']))]
    header += classes if has_columns else [draw(st.sampled_from(['label', 'LABEL']))]
    splits = draw(st.sampled_from([None, st.just('train'), SPLIT_CELLS]))
    header += ['split'] if splits is not None else []
    rows = []
    for name in draw(st.lists(st.sampled_from('aabbcdef'), min_size=2, max_size=8)):
        row = [draw(st.sampled_from(['', '', './'])) + f'images/{name}.png']
        if has_columns:
            row += draw(st.sampled_from([['0', '1'], ['1', '0'], ['1', '1']]))
        else:
            row.append(draw(LABEL_CELLS))
        row += [draw(splits)] if splits is not None else []
        rows.append(row)
    rows += draw(st.lists(st.sampled_from(rows), max_size=2))
    return [header, *rows]


@SETTINGS
@given(
    tables(),
    st.sampled_from(',;\t'),
    st.sampled_from(['\n', '\r\n', '\n\n']),
    st.sampled_from(['utf-8', 'utf-8-sig', 'utf-16', 'cp1252']),
)
def test_tables_are_read_as_the_page_says(lines, delimiter, end, encoding):
    text = end.join(map(delimiter.join, lines)) + end
    if encoding == 'cp1252' and DECOMPOSED in text:
        encoding = 'utf-8'
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        write_images(root, [f'images/{name}.png' for name in 'abcdef'])
        (root / 'labels.csv').write_bytes(text.encode(encoding))

        def documented():
            found = documented_table(root)
            columns = [
                unicodedata.normalize('NFC', name)
                for name in lines[0]
                if name.lower() not in ('file', 'label', 'split')
            ]
            check_classes(found, columns)
            return found

        check(root, documented)
