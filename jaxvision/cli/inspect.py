"""Check a dataset before training.

examples:
  jaxvision inspect folder:PHOTOS
  jaxvision inspect folder:PHOTOS --validation 10% --near --out report
  jaxvision inspect fashion_mnist --dir DATA --json

The command reads and decodes every example. The report lists the splits, the examples of each
class and the image sizes. It names examples that are unreadable or duplicate, and test examples
that are also training examples. --out DIR writes the report as index.html, with pictures of each
class, and as report.json. For images with boxes, it also counts the boxes by size, and measures how
well the anchors or the cells of a detector cover them (--config). For images with masks, it counts
the pixels of each class.

exit codes:
  0    no warnings
  1    warnings
  2    a mistake in the arguments or the dataset
"""

import argparse
import dataclasses
import functools
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from jaxvision.cli import invocation
from jaxvision.core.errors import UserError
from jaxvision.core.files import write_json, write_text
from jaxvision.core.types import Json

if TYPE_CHECKING:  # --help needs none of the libraries that read data.
    from collections.abc import Sequence

    from jaxvision.core.types import Split
    from jaxvision.data.decode import Pixels
    from jaxvision.data.inspection import Report, SplitReport
    from jaxvision.data.protocol import Source
    from jaxvision.viz import page

_MOST_LISTED = 5  # examples of each finding on the screen
_MOST_CLASSES = 8  # classes or sizes on a line
_MOST_ON_PAGE = 100  # examples of each finding on the page
_COLUMNS = 6  # pictures on a line of the page
_LARGE_COLUMNS = 3  # of images with boxes


def main(arguments: list[str] | None = None) -> int:
    """Inspect a dataset and print a report.

    Args:
        arguments: as on the command line; None: the arguments of the process.

    Returns:
        The exit code: 0 without warnings, 1 with warnings, 2 for a mistake of the user.
        It is 130 after Ctrl-C, and 1 if the reader of the output has gone.

    Raises:
        SystemExit: The arguments are malformed, or contain --help.
    """
    if arguments is None:
        arguments = sys.argv[1:]
    options = _parse(arguments)
    return invocation.run(functools.partial(_run, options))


def _run(options: argparse.Namespace) -> int:
    report = _inspect(options)
    if options.json:
        print(json.dumps(as_json(report), indent=1))
    else:
        print('\n'.join(console_lines(report)))
    if options.out:
        _write(options.out, options.source, report)
    return int(bool(report.warnings))


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = invocation.parser('inspect', __doc__)
    parser.add_argument(
        'source', metavar='SOURCE', help='dataset, as data.source of a config'
    )
    parser.add_argument('--dir', default='', help='folder with TFDS datasets')
    parser.add_argument(
        '--images',
        default='',
        metavar='DIR',
        help='folder of the images, as data.images of a config',
    )
    parser.add_argument(
        '--validation',
        default='',
        metavar='PART',
        help='validation split, as data.validation of a config, such as 10%% or none',
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
        help='pictures of each class on the page (%(default)s)',
    )
    parser.add_argument(
        '--threads',
        type=int,
        default=2,
        metavar='N',
        help='threads that read and decode (%(default)s)',
    )
    parser.add_argument(
        '--config',
        default='',
        metavar='CONFIG',
        help='config of the detector that is compared with the boxes, as for `jaxvision '
        'train` (detection:SOURCE)',
    )
    parser.add_argument('--json', action='store_true', help='print the report as JSON')
    parser.add_argument(
        '--out', metavar='DIR', type=Path, help='folder for index.html and report.json'
    )
    return parser.parse_args(arguments)


def _inspect(options: argparse.Namespace) -> 'Report':
    from ml_collections import ConfigDict

    from jaxvision.core.fields import COMMON, defaults
    from jaxvision.data import inspection
    from jaxvision.data.sources import Parts

    if options.pictures < 1:
        raise UserError(f'--pictures={options.pictures}: expected a whole number >= 1')
    if options.threads < 0:
        raise UserError(f'--threads={options.threads}: expected a whole number >= 0')
    fields = {
        'source': options.source,
        'dir': options.dir,
        'images': options.images,
        'validation': options.validation,
    }
    data = ConfigDict({**defaults(COMMON)['data'], **fields})
    names: list[Split] = ['train', 'test']
    parts = Parts(data)
    if parts.has_validation:
        names.insert(1, 'validation')
    sources: dict[Split, Source] = {name: parts.open(name) for name in names}
    for source in sources.values():
        if not {'image', 'video'} & set(source.info.holds):
            raise UserError(
                f'SOURCE={options.source}: expected a dataset of images or videos. Give '
                'another source.'
            )
    has_boxes = 'boxes' in sources['train'].info.holds
    if options.config and not has_boxes:
        raise UserError(
            f'--config={options.config}: expected a dataset with boxes. Remove --config.'
        )
    cover = None
    if has_boxes:
        from jaxvision.cli import box_coverage

        config = box_coverage.load(options.config, options.source)
        cover = functools.partial(box_coverage.measure, config, sources['train'])
    return inspection.inspect(
        sources,
        cover=cover,
        near=options.near,
        pictures=options.pictures if options.out else 0,
        threads=options.threads,
    )


def as_json(report: 'Report') -> Json:
    """Return the content of report.json: the report without its pictures.

    Its entries are 'summary', 'warnings' and 'splits', {split: fields of its
    `SplitReport`}.
    """
    splits = {
        name: dataclasses.asdict(split_report)
        for name, split_report in report.splits.items()
    }
    return {'summary': report.summary, 'warnings': report.warnings, 'splits': splits}


def console_lines(report: 'Report') -> list[str]:
    """Return the lines of the report for the screen, without line breaks.

    At most 5 examples of each finding and 8 classes or sizes are listed.
    """
    lines = [*report.summary]
    for name, split_report in report.splits.items():
        heading = f'{name}: {split_report.examples:,} examples ({split_report.name})'
        lines += ['', heading]
        lines.append(f'  sizes: {_counts_as_text(split_report.sizes)}')
        if split_report.class_counts:
            lines.append(f'  classes: {_counts_as_text(split_report.class_counts)}')
        lines += [f'  {line}' for line in _box_lines(split_report)]
        lines += [f'  {line}' for line in _mask_lines(split_report, _MOST_CLASSES)]
        for title, findings in _findings(split_report).items():
            if not findings:
                continue
            lines.append(f'  {title}: {len(findings):,}')
            lines += [f'    {finding}' for finding in findings[:_MOST_LISTED]]
            if len(findings) > _MOST_LISTED:
                lines.append(f'    and {len(findings) - _MOST_LISTED:,} more')
    lines.append('')
    lines += [f'warning: {warning}' for warning in report.warnings]
    if not report.warnings:
        lines.append('no warnings')
    return lines


def _counts_as_text(counts: dict[str, int]) -> str:
    """Write {'cat': 10, 'dog': 9, ...} as 'cat (10), dog (9) and 3 more'."""
    first = list(counts.items())[:_MOST_CLASSES]
    text = ', '.join(f'{name} ({count:,})' for name, count in first)
    if len(counts) > _MOST_CLASSES:
        text += f' and {len(counts) - _MOST_CLASSES:,} more'
    return text


def _box_lines(split_report: 'SplitReport') -> list[str]:
    """Lines on the boxes of a split; none without boxes."""
    report = split_report.boxes
    if report is None:
        return []
    lines = [
        f'boxes: {report.boxes:,} and {report.crowds:,} crowd regions; at most '
        f'{report.most:,} in an image, none in {report.images_without:,} images',
        f'boxes of each class: {_counts_as_text(report.class_counts)}',
        f'boxes by side (root of the area, pixels): {_counts_as_text(report.sides)}',
    ]
    for sentence, fraction in report.coverage.items():
        lines.append(f'boxes {sentence}: {fraction:.1%}')
    return lines


def _mask_lines(split_report: 'SplitReport', most: int) -> list[str]:
    """Lines on the label maps of a split with at most so many classes; none without maps."""
    from jaxvision.data import masks_inspection

    if split_report.masks is None:
        return []
    return masks_inspection.lines(split_report.masks, most)


def _findings(split_report: 'SplitReport') -> dict[str, list[str]]:
    """The suspicious examples of a split: {finding: a line for each example}."""
    unreadable = split_report.unreadable.items()
    other_sizes = []
    if split_report.masks:
        other_sizes = split_report.masks.other_sizes
    return {
        'unreadable': [f'{where}: {reason}' for where, reason in unreadable],
        'of another size than the label map': other_sizes,
        'several pages or frames': split_report.with_pages,
        'duplicate': [f'{first} = {second}' for first, second in split_report.equal],
        'equal to a training example': [
            f'{example} = {training}' for training, example in split_report.in_training
        ],
        'equal to a validation example': [
            f'{example} = {validation}'
            for validation, example in split_report.in_validation
        ],
        'nearly equal to a training example': [
            f'{example} ~ {training}'
            for training, example in split_report.near_training
        ],
    }


def _write(out: Path, title: str, report: 'Report') -> None:
    from jaxvision.viz import page

    try:
        out.mkdir(parents=True, exist_ok=True)
        write_json(out / 'report.json', as_json(report))
        write_text(out / 'index.html', page.write(title, _sections(report)))
    except OSError as error:
        raise UserError(
            f'--out={out}: expected a folder that can be written ({error.strerror}). '
            'Give another folder.'
        ) from error
    print(f'in {out}: index.html and report.json', file=sys.stderr)


def _sections(report: 'Report') -> 'list[page.Section]':
    """The report as sections of a page, with its pictures.

    At most 100 examples of each finding are listed.
    """
    from jaxvision.viz import page

    good = '' if report.warnings else 'No warnings.'
    sections = [page.Section(lines=report.summary, warnings=report.warnings, good=good)]
    class_rows = _class_rows(report)
    if class_rows:
        sections.append(page.Section(heading='Classes', table=class_rows))
    for name, split_report in report.splits.items():
        sections.append(_split_section(name, split_report))
    heading = 'Training examples'
    for name, pictures in report.pictures.items():
        if pictures:
            sections.append(
                page.Section(
                    heading=heading,
                    lines=[name or 'all'],
                    picture=page.png(_sheet(pictures)),
                    alt=f'training examples of {name or "all"}',
                )
            )
            heading = ''
    return sections


def _split_section(name: str, split_report: 'SplitReport') -> 'page.Section':
    """The sizes and the suspicious examples of a split."""
    from jaxvision.viz import page

    lines = [f'sizes: {_counts_as_text(split_report.sizes)}']
    lines += _box_lines(split_report)
    lines += _mask_lines(split_report, _MOST_ON_PAGE)
    lists = {}
    for title, findings in _findings(split_report).items():
        if findings:
            lists[f'{len(findings):,} {title}'] = findings[:_MOST_ON_PAGE]
    return page.Section(
        heading=name,
        lines=[line[0].upper() + line[1:] for line in lines],
        lists=lists,
    )


def _class_rows(report: 'Report') -> list[dict[str, str]]:
    """The number of examples of each class in each split; [] without classes."""
    rows = []
    for name in report.splits['train'].class_counts:
        row = {'class': name}
        for split, split_report in report.splits.items():
            row[split] = f'{split_report.class_counts.get(name, 0):,}'
        rows.append(row)
    return rows


def _sheet(pictures: 'Sequence[Pixels]') -> 'Pixels':
    """The pictures of one class on a sheet."""
    from jaxvision.data.inspection import SIDE
    from jaxvision.viz import figures

    longest_side = max(max(picture.shape) for picture in pictures)
    columns = _COLUMNS
    if longest_side > SIDE:  # Images with boxes are larger.
        columns = _LARGE_COLUMNS
    side = max(longest_side, SIDE)
    framed = [_framed(picture, side) for picture in pictures]
    return figures.grid(framed, columns=min(columns, len(framed)))


def _framed(picture: 'Pixels', side: int) -> 'Pixels':
    """Enlarge a small picture by a whole factor, and centre it on a white square.

    Args:
        picture: at most as large as the square.
        side: of the square, pixels.
    """
    import numpy as np

    factor = max(1, side // max(picture.shape))
    enlarged = picture.repeat(factor, 0).repeat(factor, 1)
    height, width, _ = enlarged.shape
    top = (side - height) // 2
    left = (side - width) // 2
    rows = (top, side - height - top)
    columns = (left, side - width - left)
    return np.pad(enlarged, (rows, columns, (0, 0)), constant_values=255)


if __name__ == '__main__':
    sys.exit(main())
