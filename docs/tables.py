"""Write the result tables of README.md and docs/ from docs/results.json.

A page holds a table between two markers:

    <!-- table: classification -->
    <!-- end -->

The name is a task of `results.json`, or `headline` for one row a task.

    python docs/tables.py                  rewrite every table
    python docs/tables.py --check          exit with 1 if a page is out of date
    python docs/tables.py --command NAME   print the command which regenerates a result
    python docs/tables.py --names          list the names of all results
"""

import argparse
import difflib
import json
import os
import re
import sys
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

DOCS = Path(__file__).resolve().parent
RESULTS = DOCS / 'results.json'
HEADLINE = 'headline'
NOT_RECORDED = '–'

COLUMNS = (
    'dataset',
    'model',
    'metric',
    'value',
    'seeds',
    'steps',
    'time',
    'hardware',
    'command',
)
KEYS = {'name', 'task', 'std', *COLUMNS}
# `ci95` is half the width of a 95 % confidence interval, `stderr` a standard error,
# and `headline` the config which stands for the task in the README.
OPTIONAL_KEYS = {'ci95', 'stderr', HEADLINE}

TITLES = {
    'classification': 'Image classification',
    'transfer': 'Transfer learning',
    'detection': 'Object detection',
    'segmentation': 'Segmentation',
    'few_shot': 'Few-shot learning',
    'gan': 'Image generation (GAN)',
    'super_resolution': 'Super-resolution',
    'inpainting': 'Inpainting',
    'captioning': 'Captioning',
    'video': 'Video classification',
    'video_prediction': 'Video prediction',
    'video_summary': 'Video summarisation',
}

TABLE = re.compile(
    r'(?P<start><!-- table: (?P<name>\w+) -->\n).*?(?P<end><!-- end -->)', re.DOTALL
)

Row = dict[str, Any]


def read_results(path: Path = RESULTS) -> list[Row]:
    """Read and check the results.

    Numbers with a decimal point keep their digits: 0.90 stays 0.90.

    Raises:
        ValueError: a row has a missing or unknown key, or a name has two commands.
    """
    rows = json.loads(path.read_text(encoding='utf-8'), parse_float=Decimal)
    commands: dict[str, str] = {}
    for number, row in enumerate(rows):
        missing = KEYS - row.keys()
        unknown = row.keys() - KEYS - OPTIONAL_KEYS
        if missing or unknown:
            raise ValueError(
                f'{path.name}, row {number}: missing keys {sorted(missing)}, '
                f'unknown keys {sorted(unknown)}'
            )
        command = commands.setdefault(row['name'], row['command'])
        if command != row['command']:
            raise ValueError(f'{path.name}: {row["name"]} has two commands')
    return rows


def find_pages() -> list[Path]:
    """List the Markdown pages which may hold tables."""
    return [DOCS.parent / 'README.md', *sorted(DOCS.rglob('*.md'))]


def render_results(rows: list[Row]) -> str:
    """Format rows as a Markdown table with one line a result."""
    lines = [[_cell(row, column) for column in COLUMNS] for row in rows]
    return _markdown(COLUMNS, lines)


def render_headline(rows: list[Row], page: Path) -> str:
    """Format one row a task, with a link from `page` to the page of the task."""
    columns = ('task', 'dataset', 'config', 'metric', 'value')
    lines = []
    for row in rows:
        target = DOCS / 'results' / f'{row["task"]}.md'
        link = Path(os.path.relpath(target, page.parent)).as_posix()
        task = f'[{TITLES[row["task"]]}]({link})'
        config = f'`{row[HEADLINE]}`'
        value = _cell(row, 'value')
        lines.append([task, row['dataset'], config, row['metric'], value])
    return _markdown(columns, lines)


def render_page(text: str, page: Path, rows: list[Row]) -> str:
    """Replace every table of a page's text.

    Raises:
        ValueError: the page names a table which has no results.
    """

    def replace(match: re.Match[str]) -> str:
        name = match['name']
        if name == HEADLINE:
            selected = [row for row in rows if HEADLINE in row]
            table = render_headline(selected, page)
        else:
            selected = [row for row in rows if row['task'] == name]
            table = render_results(selected)
        if not selected:
            raise ValueError(f'{page.name}: no results for table {name!r}')
        return f'{match["start"]}\n{table}\n{match["end"]}'

    return TABLE.sub(replace, text)


def find_command(rows: list[Row], name: str) -> str:
    """Return the command which regenerates a result.

    Raises:
        ValueError: no result has this name.
    """
    commands = {row['name']: row['command'] for row in rows}
    if name not in commands:
        near = difflib.get_close_matches(name, commands, 1, 0.4)
        hint = f' Did you mean {near[0]!r}?' if near else ''
        raise ValueError(f'no result is named {name!r}.{hint} See --names.')
    return commands[name]


def _cell(row: Row, column: str) -> str:
    value = row[column]
    if value is None:
        return NOT_RECORDED
    if column == 'command':
        return f'`{value}`'
    if column != 'value':
        return f'{value:,}' if isinstance(value, int) else str(value)
    text = str(value).lower()
    if row['std'] is not None:
        return f'{text} ± {row["std"]}'
    if 'ci95' in row:
        return f'{text} ± {row["ci95"]} (CI)'
    if 'stderr' in row:
        return f'{text} ± {row["stderr"]} (SE)'
    return text


def _markdown(columns: tuple[str, ...], lines: list[list[str]]) -> str:
    table = [list(columns), ['---'] * len(columns), *lines]
    return ''.join(f'| {" | ".join(line)} |\n' for line in table)


def _outdated(rows: list[Row]) -> Iterator[tuple[Path, str]]:
    """Yield every page whose tables differ from the results, with its new text."""
    for page in find_pages():
        text = page.read_text(encoding='utf-8')
        new = render_page(text, page, rows)
        if new != text:
            yield page, new


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    action = parser.add_mutually_exclusive_group()
    action.add_argument('--check', action='store_true', help='write nothing')
    action.add_argument('--command', metavar='NAME', help='print one command')
    action.add_argument('--names', action='store_true', help='list all results')
    options = parser.parse_args()
    try:
        rows = read_results()
        if options.command:
            print(find_command(rows, options.command))
            return 0
        if options.names:
            print('\n'.join(sorted({row['name'] for row in rows})))
            return 0
        outdated = list(_outdated(rows))
    except ValueError as error:
        print(f'error: {error}', file=sys.stderr)
        return 2
    for page, text in outdated:
        if options.check:
            print(f'{page.relative_to(DOCS.parent)}: out of date', file=sys.stderr)
        else:
            page.write_text(text, encoding='utf-8')
            print(f'{page.relative_to(DOCS.parent)}: tables rewritten')
    if options.check and outdated:
        print('Run python docs/tables.py.', file=sys.stderr)
        return 1
    return 0


if __name__ == '__main__':
    sys.exit(main())
