"""Look at a dataset before anyone trains on it.

examples:
  jaxvision inspect folder:PHOTOS
  jaxvision inspect folder:PHOTOS --validation 10% --near --out report
  jaxvision inspect fashion_mnist --dir DATA --json

Every example is read and decoded. The report says which split is which, counts the examples of
each class and their sizes, and names examples that cannot be read, that are there twice, or that
the test split shares with training. --out DIR writes it as a page, index.html, with pictures of
each class, and as report.json. Exit codes: 0 nothing looks wrong, 1 there are warnings, 2 a
mistake to mend.
"""

import argparse
import base64
import dataclasses
import functools
import html
import io
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from jaxvision.cli import invocation
from jaxvision.core.errors import UserError
from jaxvision.core.files import atomic_write, write_json
from jaxvision.core.types import Json

if TYPE_CHECKING:  # --help needs none of the libraries that read data.
    from collections.abc import Sequence

    from jaxvision.core.types import Split
    from jaxvision.data.decode import Pixels
    from jaxvision.data.inspection import Report, SplitReport
    from jaxvision.data.protocol import Source

_MOST_LISTED = 5  # examples of each kind on the screen
_COLUMNS = 6  # pictures on a line of the page


def main(arguments: list[str] | None = None) -> int:
    """Inspect a dataset, and return the exit code."""
    options = _parse(sys.argv[1:] if arguments is None else arguments)
    return invocation.run(functools.partial(_run, options))


def _run(options: argparse.Namespace) -> int:
    report = _inspect(options)
    if options.json:
        print(json.dumps(as_json(report), indent=1))
    else:
        print('\n'.join(console_lines(report)))
    if options.out:
        _write(options.out, options.source, report)
    return 1 if report.warnings else 0


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = invocation.parser('inspect', __doc__)
    parser.add_argument('source', metavar='SOURCE', help='as data.source of a config')
    parser.add_argument('--dir', default='', help='folder of TFDS datasets')
    parser.add_argument(
        '--validation',
        default='',
        metavar='PART',
        help='as data.validation: 10%%, none',
    )
    parser.add_argument(
        '--near',
        action='store_true',
        help='also find test images that are nearly equal to training images',
    )
    parser.add_argument(
        '--pictures',
        type=int,
        default=12,
        metavar='N',
        help='of each class (%(default)s)',
    )
    parser.add_argument(
        '--threads', type=int, default=2, metavar='N', help='that read (%(default)s)'
    )
    parser.add_argument('--json', action='store_true', help='print the report as JSON')
    parser.add_argument('--out', metavar='DIR', type=Path, help='write the page there')
    return parser.parse_args(arguments)


def _inspect(options: argparse.Namespace) -> 'Report':
    from ml_collections import ConfigDict

    from jaxvision.core.fields import COMMON, defaults
    from jaxvision.data import inspection
    from jaxvision.data.sources import has_validation, open_source

    if options.pictures < 1:
        raise UserError(f'--pictures={options.pictures}: expected a whole number >= 1')
    if options.threads < 0:
        raise UserError(f'--threads={options.threads}: expected a whole number >= 0')
    fields = {
        'source': options.source,
        'dir': options.dir,
        'validation': options.validation,
    }
    data = ConfigDict({**defaults(COMMON)['data'], **fields})
    names: list[Split] = ['train', 'test']
    if has_validation(data):
        names.insert(1, 'validation')
    sources: dict[Split, Source] = {name: open_source(data, name) for name in names}
    for source in sources.values():
        if not {'image', 'video'} & set(source.info.holds):
            raise UserError(f'{options.source} holds no images and no videos')
    return inspection.inspect(
        sources, near=options.near, pictures=options.pictures, threads=options.threads
    )


def as_json(report: 'Report') -> Json:
    """The report without its pictures."""
    return {
        'summary': report.summary,
        'warnings': report.warnings,
        'splits': {
            split: dataclasses.asdict(found) for split, found in report.splits.items()
        },
    }


def console_lines(report: 'Report') -> list[str]:
    """The report for the screen."""
    lines = [*report.summary]
    for split, found in report.splits.items():
        lines += ['', f'{split}: {found.examples:,} examples ({found.name})']
        lines.append(f'  sizes: {_listed(found.sizes)}')
        if found.class_counts:
            lines.append(f'  classes: {_listed(found.class_counts)}')
        for title, pairs in _findings(found).items():
            if pairs:
                lines.append(f'  {title}: {len(pairs):,}')
                lines += [f'    {pair}' for pair in pairs[:_MOST_LISTED]]
                if len(pairs) > _MOST_LISTED:
                    lines.append(f'    and {len(pairs) - _MOST_LISTED:,} more')
    lines.append('')
    lines += [f'warning: {warning}' for warning in report.warnings]
    if not report.warnings:
        lines.append('nothing looks wrong')
    return lines


def _listed(counts: dict[str, int]) -> str:
    """'cat (10), dog (9) and 3 more'."""
    shown = [f'{name} ({count:,})' for name, count in list(counts.items())[:8]]
    left = len(counts) - len(shown)
    return ', '.join(shown) + (f' and {left:,} more' if left else '')


def _findings(found: 'SplitReport') -> dict[str, list[str]]:
    """What was found in a split, a line each, by kind."""
    return {
        'cannot be read': [
            f'{where}: {why}' for where, why in found.unreadable.items()
        ],
        'equal': [f'{one} = {other}' for one, other in found.equal],
        'equal to a training example': [
            f'{other} = {one}' for one, other in found.in_training
        ],
        'nearly equal to a training example': [
            f'{other} ~ {one}' for one, other in found.near_training
        ],
    }


def _write(out: Path, title: str, report: 'Report') -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
        write_json(out / 'report.json', as_json(report))
        with atomic_write(out / 'index.html') as file:
            file.write(page(title, report))
    except OSError as error:
        raise UserError(
            f'--out={out}: {error.strerror}. Give another folder'
        ) from error
    print(f'in {out}: index.html and report.json', file=sys.stderr)


_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 60rem;
  padding: 0 1rem; color: #1b1f24; background: #fff; }
h1 { font-size: 1.5rem; overflow-wrap: anywhere; } h2 { font-size: 1.2rem; margin-top: 2rem; }
table { border-collapse: collapse; } td, th { padding: .2rem .8rem .2rem 0; text-align: left; }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; }
.warning, .good { border-left: 4px solid; padding: .2rem .8rem; margin: .4rem 0; }
.warning { border-color: #b35900; background: #fff6ec; }
.good { border-color: #1a7f37; background: #effaf1; }
figure { margin: 0 0 1.2rem; } figcaption { font-weight: 600; }
img { image-rendering: auto; max-width: 100%; border: 1px solid #d0d7de; }
li, pre { overflow-wrap: anywhere; } pre { white-space: pre-wrap; }
"""


def page(title: str, report: 'Report') -> str:
    """The report as one HTML file, its pictures inside."""
    parts = [
        '<!doctype html><html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f'<title>{html.escape(title)}</title><style>{_STYLE}</style></head><body>',
        f'<h1>{html.escape(title)}</h1>',
        f'<pre>{html.escape(chr(10).join(report.summary))}</pre>',
    ]
    if not report.warnings:
        parts.append('<p class="good">Nothing looks wrong.</p>')
    for warning in report.warnings:
        parts.append(f'<p class="warning">{html.escape(warning)}</p>')
    parts.append(_class_table(report))
    for split, found in report.splits.items():
        parts.append(
            f'<h2>{split}</h2><p>Sizes: {html.escape(_listed(found.sizes))}</p>'
        )
        for kind, lines in _findings(found).items():
            if lines:
                items = ''.join(f'<li>{html.escape(line)}</li>' for line in lines[:100])
                heading = f'{len(lines):,} {kind}'
                parts.append(
                    f'<details open><summary>{heading}</summary><ul>{items}</ul></details>'
                )
    parts.append('<h2>Training examples</h2>')
    for name, pictures in report.pictures.items():
        if pictures:
            parts.append(_figure(name or 'all', pictures))
    return '\n'.join([*parts, '</body></html>\n'])


def _class_table(report: 'Report') -> str:
    """The number of examples of each class in each split."""
    names = list(report.splits['train'].class_counts)
    if not names:
        return ''
    head = ''.join(f'<th class="number">{split}</th>' for split in report.splits)
    rows = []
    for name in names:
        counts = [found.class_counts.get(name, 0) for found in report.splits.values()]
        cells = ''.join(f'<td class="number">{count:,}</td>' for count in counts)
        rows.append(f'<tr><td>{html.escape(name)}</td>{cells}</tr>')
    return (
        f'<h2>Classes</h2><table><tr><th>class</th>{head}</tr>{"".join(rows)}</table>'
    )


def _figure(name: str, pictures: 'Sequence[Pixels]') -> str:
    """A contact sheet of one class."""
    import numpy as np
    from PIL import Image

    from jaxvision.data.inspection import SIDE
    from jaxvision.viz import figures

    framed = []
    for picture in pictures:
        times = max(1, SIDE // max(picture.shape))
        picture = picture.repeat(times, 0).repeat(times, 1)
        height, width, _ = picture.shape
        top = (SIDE - height) // 2
        left = (SIDE - width) // 2
        margins = ((top, SIDE - height - top), (left, SIDE - width - left), (0, 0))
        framed.append(np.pad(picture, margins, constant_values=255))
    sheet = figures.grid(framed, columns=min(_COLUMNS, len(framed)))
    file = io.BytesIO()
    Image.fromarray(sheet).save(file, 'PNG')
    data = base64.b64encode(file.getvalue()).decode()
    text = html.escape(name)
    return (
        f'<figure><figcaption>{text}</figcaption>'
        f'<img alt="training examples of {text}" src="data:image/png;base64,{data}"></figure>'
    )


if __name__ == '__main__':
    sys.exit(main())
