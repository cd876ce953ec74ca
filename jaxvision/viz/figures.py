"""Pictures for people: learning curves, confusion matrices and galleries, as uint8 [H, W, 3].

Drawn with matplotlib's objects alone, never pyplot: no window, no global state. It is imported
where it is used, because loading it takes longer than a restart should.
"""

import functools
import math
import os
import textwrap
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Integer, Num, UInt8

from jaxvision.core.files import atomic_path

Picture = UInt8[np.ndarray, 'h w 3']

DOTS_PER_INCH = 100
MOST_PANELS = 8
MOST_LABELS = 40
LONGEST_LABEL = 22
BAR, MARGIN = 24, 10  # pixels


def curves(rows: Sequence[dict[str, float | int]]) -> Picture:
    """Learning curves of `metrics.jsonl`'s rows, {'step': 100, 'train/loss': 0.1, ...}.

    One panel a metric, training and evaluation together: the loss, then what evaluation measures,
    then the rest, at most 8 panels. Timings (perf/) and values that are not finite are left out.
    """
    names = _metrics_by_use(rows)[:MOST_PANELS]
    if not names:
        return _message('no metrics were logged yet')
    columns = min(2, len(names))
    lines = math.ceil(len(names) / columns)
    figure = _figure(6.5 * columns, 3.2 * lines)
    for place, name in enumerate(names, start=1):
        _curve(figure.add_subplot(lines, columns, place), rows, name)
    return _render(figure)


def matrix(counts: Integer[np.ndarray, 'k k'], class_names: Sequence[str]) -> Picture:
    """A confusion matrix, rows the true classes: right answers in blue, mistakes in red.

    The colour says how large a share of its row a cell is. Up to 20 classes the counts are printed
    in the cells; of many classes only some are labelled.
    Raises ValueError where there is not one name a class.
    """
    classes = len(counts)
    if len(class_names) != classes:
        raise ValueError(
            f'{classes} classes in the matrix, but {len(class_names)} class names'
        )
    names = [_shortened(name) for name in class_names]
    side = float(np.clip(0.5 * classes, 3, 10 if classes <= 500 else 12))
    text = 0.085 * max(map(len, names))
    figure = _figure(side + 2 + text, side + 1 + text)
    axes = figure.add_subplot()
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    _cells(figure, axes, shares)
    _class_labels(axes, names)
    right, total = np.trace(counts), counts.sum()
    axes.set_title(f'{right} of {total} right ({right / max(total, 1):.1%})')
    if classes <= 20:
        _counts(axes, counts, shares)
    return _render(figure)


def gallery(
    images: Sequence[UInt8[np.ndarray, '_ _ _']],
    captions: Sequence[str],
    columns: int = 6,
) -> Picture:
    """Images (uint8 [H, W, 1 or 3], of any sizes) side by side, a caption under each.

    Raises ValueError where there is not one caption an image.
    """
    if len(images) != len(captions):
        raise ValueError(f'{len(images)} images, but {len(captions)} captions')
    if not images:
        return _message('nothing to show')
    columns = min(columns, len(images))
    cell = min(2.0, 16 / columns)
    tall = cell * min(1, max(image.shape[0] / image.shape[1] for image in images))
    captions = [_wrapped(caption, int(13 * cell)) for caption in captions]
    text = 0.1 + 0.17 * max(caption.count('\n') + 1 for caption in captions)
    lines = math.ceil(len(images) / columns)
    figure = _figure(cell * columns, (tall + text) * lines)
    for place, (image, caption) in enumerate(zip(images, captions), start=1):
        axes = figure.add_subplot(lines, columns, place)
        axes.imshow(np.broadcast_to(image, (*image.shape[:2], 3)))
        axes.set_xlabel(caption, fontsize=9, parse_math=False)
        axes.set(xticks=[], yticks=[])
    return _render(figure)


def attention(
    image: UInt8[np.ndarray, '_ _ _'],
    words: Sequence[str],
    weights: Num[np.ndarray, 'n y x'],
) -> Picture:
    """An image, and for each word the image as brightly as it was looked at, the word under it."""
    from PIL import Image

    height, width, _ = image.shape
    seen = []
    for looked in weights[: len(words)]:
        bright = Image.fromarray((looked / max(looked.max(), 1e-6)).astype(np.float32))
        bright = np.asarray(bright.resize((width, height), Image.Resampling.BICUBIC))
        seen.append(
            (image * (0.2 + 0.8 * np.clip(bright, 0, 1)[..., None])).astype(np.uint8)
        )
    return gallery([image, *seen], ['', *words], columns=8)


def scores(
    times: Num[np.ndarray, 't'],
    found: Float[np.ndarray, 't'],
    selected: Bool[np.ndarray, 't'],
    wanted: Float[np.ndarray, 't'] | None = None,
) -> Picture:
    """The scores of a video's frames, at equal distances in time; what is selected of it shaded, and
    what they were to be if that is known."""
    figure = _figure(10.0, 2.0)
    axes = figure.add_subplot()
    apart = (times[-1] - times[0]) / max(len(times) - 1, 1) or 1
    axes.bar(
        times[selected],
        1,
        apart,
        transform=axes.get_xaxis_transform(),
        color='0.85',
        label='selected',
    )
    if wanted is not None:
        axes.plot(times, wanted, color='C1', linewidth=1.2, label='importance')
    axes.plot(times, found, color='C0', linewidth=1.2, label='score')
    axes.set(xlim=(times[0] - apart / 2, times[-1] + apart / 2), ylim=(0, None))
    axes.legend(loc='upper right')
    return _render(figure)


def bars(
    image: UInt8[np.ndarray, '_ _ 3'], shares: Sequence[tuple[str, float]]
) -> Picture:
    """An image over a strip of named shares, each in [0, 1], as bars; small images are enlarged.

    Drawn by Pillow, in a few milliseconds: it is done for each of many images.
    """
    from PIL import Image, ImageDraw

    height, width, _ = image.shape
    times = max(1, 280 // max(height, width))
    height, width = height * times, width * times
    page_width = max(width, 360)
    page = Image.new(
        'RGB', (page_width, height + BAR * len(shares) + 2 * MARGIN), 'white'
    )
    enlarged = Image.fromarray(image).resize((width, height), Image.Resampling.NEAREST)
    page.paste('#e8e8e8', (0, 0, page_width, height))
    page.paste(enlarged, ((page_width - width) // 2, 0))
    draw, font = ImageDraw.Draw(page), _font()
    left, right = (
        int(0.45 * page_width),
        page_width - MARGIN - int(font.getlength('100.0 %')) - 6,
    )
    for place, (name, share) in enumerate(shares):
        top = height + MARGIN + BAR * place
        middle = top + BAR // 2
        color = '#1f77b4' if place == 0 else '#9dbfd9'
        draw.text(
            (MARGIN, middle),
            _fitting(name, font, left - MARGIN - 10),
            '#222222',
            font,
            'lm',
        )
        draw.rectangle((left, top + 4, right, top + BAR - 5), '#f0f0f0')
        if share * (right - left) >= 1:
            draw.rectangle(
                (left, top + 4, left + share * (right - left), top + BAR - 5), color
            )
        draw.text(
            (page_width - MARGIN, middle), f'{100 * share:.1f} %', '#222222', font, 'rm'
        )
    return np.asarray(page)


def beside(
    before: UInt8[np.ndarray, '_ _ 3'], after: UInt8[np.ndarray, '_ _ 3']
) -> Picture:
    """Two images at one height, a white line between them; small ones are enlarged."""
    from PIL import Image

    height, width, _ = after.shape
    times = max(1, 280 // max(height, width))
    left, right = (
        np.asarray(
            Image.fromarray(image).resize(
                (width * times, height * times), Image.Resampling.NEAREST
            )
        )
        for image in (before, after)
    )
    return np.concatenate(
        [left, np.full((height * times, 4, 3), 255, np.uint8), right], axis=1
    )


def grid(
    images: Sequence[UInt8[np.ndarray, '_ _ _']], columns: int, times: int = 1
) -> Picture:
    """Images of one size, grey or RGB, in lines of `columns`, a white pixel between them; all of it
    `times` as large."""
    height, width, _ = images[0].shape
    lines = math.ceil(len(images) / columns)
    page = np.full(
        (lines * (height + 1) - 1, columns * (width + 1) - 1, 3), 255, np.uint8
    )
    for place, image in enumerate(images):
        top, left = (height + 1) * (place // columns), (width + 1) * (place % columns)
        page[top : top + height, left : left + width] = image
    return page.repeat(times, 0).repeat(times, 1)


def save(path: str | os.PathLike, picture: Picture) -> None:
    """Write a PNG atomically: a killed process leaves no damaged picture."""
    from PIL import Image

    with atomic_path(Path(path), durable=False) as partial:
        # Level 6, the default, takes five times as long and saves a tenth of the bytes.
        Image.fromarray(picture).save(partial, format='PNG', compress_level=1)


def _figure(width: float, height: float):
    """An empty figure of a size in inches."""
    from matplotlib.figure import Figure

    figure = Figure((width, height), dpi=DOTS_PER_INCH, layout='constrained')
    figure.get_layout_engine().set(w_pad=0.08, h_pad=0.08)
    return figure


def _render(figure) -> Picture:
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.array(canvas.buffer_rgba())[..., :3].copy()


def _message(text: str) -> Picture:
    figure = _figure(4.0, 1.0)
    figure.text(0.5, 0.5, text, ha='center', va='center')
    return _render(figure)


def _metrics_by_use(rows: Sequence[dict[str, float | int]]) -> list[str]:
    """Names without their train/ or eval/, the loss first, then the evaluation's, in row order."""
    found = dict.fromkeys(key for row in rows for key in row)
    by_split = {
        split: [key.removeprefix(split) for key in found if key.startswith(split)]
        for split in ('eval/', 'train/')
    }
    names = list(dict.fromkeys(by_split['eval/'] + by_split['train/']))
    return sorted(names, key=lambda name: name != 'loss')


def _curve(axes, rows: Sequence[dict[str, float | int]], name: str) -> None:
    drawn = []
    for split, color in (('train', 'C0'), ('eval', 'C1')):
        points = [
            (row['step'], row[f'{split}/{name}'])
            for row in rows
            if f'{split}/{name}' in row
        ]
        points = [(step, value) for step, value in points if np.isfinite(value)]
        if points:
            steps, values = zip(*points)
            mark = '.' if len(points) < 30 else None
            label = f'{split}, last {values[-1]:.4g}'
            axes.plot(
                steps, values, color=color, marker=mark, linewidth=1.2, label=label
            )
            drawn += values
    if 'loss' in name and drawn and min(drawn) > 0 and max(drawn) > 10 * min(drawn):
        axes.set_yscale('log')
    axes.set_title(name.replace('_', ' '), parse_math=False)
    last_step = max(*(row['step'] for row in rows), 1)
    axes.set_xlim(-0.02 * last_step, 1.02 * last_step)
    axes.set_xlabel('step')
    axes.grid(alpha=0.3)
    if drawn:
        axes.legend()


def _cells(figure, axes, shares: Float[np.ndarray, 'k k']) -> None:
    # A square root, because the mistakes worth seeing are a few per cent of their class.
    shades = np.sqrt(shares) * np.where(np.eye(len(shares)), 1, -1)
    # Nearest, because any smoothing fades the single cells of a thousand classes away.
    cells = axes.imshow(shades, cmap='RdBu', vmin=-1, vmax=1, interpolation='nearest')
    marks = np.array([1, 0.5, 0.2, 0.05])
    bar = figure.colorbar(cells, ax=axes, shrink=0.8, aspect=30)
    bar.set_ticks([*-np.sqrt(marks), 0, *np.sqrt(marks[::-1])])
    percents = [f'{mark:.0%}' for mark in marks]
    bar.set_ticklabels([*percents, '0%', *percents[::-1]])
    bar.set_label('mistaken        share of the true class        right')


def _class_labels(axes, names: Sequence[str]) -> None:
    shown = range(0, len(names), math.ceil(len(names) / MOST_LABELS))
    labels = [names[k] for k in shown]
    upright = max(map(len, labels)) > 3
    axes.set_xticks(shown, labels, rotation=90 if upright else 0, parse_math=False)
    axes.set_yticks(shown, labels, parse_math=False)
    axes.set(xlabel='predicted', ylabel='true')


def _counts(
    axes, counts: Integer[np.ndarray, 'k k'], shares: Float[np.ndarray, 'k k']
) -> None:
    for (row, column), count in np.ndenumerate(counts):
        if count:
            color = 'white' if shares[row, column] > 0.4 else 'black'
            axes.text(
                column, row, count, ha='center', va='center', color=color, fontsize=9
            )


@functools.cache
def _font():
    from matplotlib import get_data_path
    from PIL import ImageFont

    return ImageFont.truetype(
        os.path.join(get_data_path(), 'fonts', 'ttf', 'DejaVuSans.ttf'), 14
    )


def _fitting(name: str, font, width: int) -> str:
    """As much of a name as `width` pixels hold, on one line."""
    name = ' '.join(name.encode(errors='replace').decode().split())
    if font.getlength(name) <= width:
        return name
    while name and font.getlength(name + '…') > width:
        name = name[:-1]
    return name.rstrip() + '…'


def _shortened(name: str) -> str:
    return name if len(name) <= LONGEST_LABEL else name[: LONGEST_LABEL - 1] + '…'


def _wrapped(caption: str, width: int) -> str:
    return '\n'.join(textwrap.wrap(caption, width, max_lines=3, placeholder=' …'))
