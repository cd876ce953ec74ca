"""Figures as uint8 [H, W, 3]: learning curves, confusion matrices, galleries, bars and grids.

The figures use matplotlib's objects and never pyplot: no window, no global state. Functions import
matplotlib and Pillow themselves, because loading these takes longer than a restart should.
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
LONGEST_LABEL = 22  # characters
BAR = 24  # height of a bar's line in pixels
MARGIN = 10  # pixels
SMALL = 280  # Images with a shorter longest side are enlarged, in pixels.


def curves(rows: Sequence[dict[str, float | int]]) -> Picture:
    """Learning curves of the rows of `metrics.jsonl`, {'step': 100, 'train/loss': 0.1, ...}.

    Each metric has a panel for training and evaluation together. The loss comes first, the
    evaluation's metrics follow, at most 8 panels in all. Timings (perf/) and values that are not
    finite are left out.
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
    """A confusion matrix, a row for each true class, a column for each predicted one.

    Correct predictions are blue and mistakes red. The colour shows a cell's fraction of its row.
    Up to 20 classes, the cells show their counts. Of many classes, only some have a label.

    Raises:
        ValueError: The number of class names is not the number of classes.
    """
    classes = len(counts)
    if len(class_names) != classes:
        raise ValueError(
            f'{classes} classes in the matrix, but {len(class_names)} class names'
        )
    names = [_shortened(name) for name in class_names]
    side = float(np.clip(0.5 * classes, 3, 10 if classes <= 500 else 12))
    label_space = 0.085 * max(map(len, names))
    figure = _figure(side + 2 + label_space, side + 1 + label_space)
    axes = figure.add_subplot()
    fractions = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    _cells(figure, axes, fractions)
    _class_labels(axes, names)
    correct = np.trace(counts)
    total = counts.sum()
    axes.set_title(f'{correct} of {total} right ({correct / max(total, 1):.1%})')
    if classes <= 20:
        _counts(axes, counts, fractions)
    return _render(figure)


def gallery(
    images: Sequence[UInt8[np.ndarray, '_ _ _']],
    captions: Sequence[str],
    columns: int = 6,
) -> Picture:
    """Images side by side, each with a caption below it.

    Args:
        images: uint8 [H, W, 1 or 3], of any sizes.
        captions: the caption of each image. Long ones are wrapped and cut.
        columns: the most images on a line.

    Raises:
        ValueError: The number of captions is not the number of images.
    """
    if len(images) != len(captions):
        raise ValueError(f'{len(images)} images, but {len(captions)} captions')
    if not images:
        return _message('nothing to show')
    columns = min(columns, len(images))
    width = min(2.0, 16 / columns)  # inches
    height = width * min(1, max(image.shape[0] / image.shape[1] for image in images))
    captions = [_wrapped(caption, int(13 * width)) for caption in captions]
    most_lines = max(caption.count('\n') + 1 for caption in captions)
    caption_height = 0.1 + 0.17 * most_lines
    lines = math.ceil(len(images) / columns)
    figure = _figure(width * columns, (height + caption_height) * lines)
    for place, (image, caption) in enumerate(zip(images, captions, strict=True)):
        axes = figure.add_subplot(lines, columns, place + 1)
        axes.imshow(np.broadcast_to(image, (*image.shape[:2], 3)))
        axes.set_xlabel(caption, fontsize=9, parse_math=False)
        axes.set(xticks=[], yticks=[])
    return _render(figure)


def attention(
    image: UInt8[np.ndarray, '_ _ _'],
    words: Sequence[str],
    weights: Num[np.ndarray, 'n y x'],
) -> Picture:
    """An image, and a copy for each word whose brightness is the word's attention.

    Args:
        image: uint8 [H, W, 1 or 3].
        words: the words, each the caption of its copy.
        weights: the attention of each word over a grid of the image, at least 0. Each word's
            largest weight gives full brightness.
    """
    from PIL import Image

    height, width, _ = image.shape
    copies = []
    for word_weights in weights[: len(words)]:
        relative = word_weights / max(word_weights.max(), 1e-6)
        mask = Image.fromarray(relative.astype(np.float32))
        mask = mask.resize((width, height), Image.Resampling.BICUBIC)
        brightness = 0.2 + 0.8 * np.clip(np.asarray(mask), 0, 1)
        copies.append((image * brightness[..., None]).astype(np.uint8))
    return gallery([image, *copies], ['', *words], columns=8)


def scores(
    times: Num[np.ndarray, 't'],
    predicted: Float[np.ndarray, 't'],
    selected: Bool[np.ndarray, 't'],
    importance: Float[np.ndarray, 't'] | None = None,
) -> Picture:
    """The scores of a video's frames over time.

    Args:
        times: the time of each frame, at equal distances.
        predicted: the predicted score of each frame.
        selected: which frames belong to the summary. Their time is shaded.
        importance: the annotated score of each frame, if it is known.
    """
    figure = _figure(10.0, 2.0)
    axes = figure.add_subplot()
    distance = (times[-1] - times[0]) / max(len(times) - 1, 1) or 1
    axes.bar(
        times[selected],
        1,
        distance,
        transform=axes.get_xaxis_transform(),
        color='0.85',
        label='selected',
    )
    if importance is not None:
        axes.plot(times, importance, color='C1', linewidth=1.2, label='importance')
    axes.plot(times, predicted, color='C0', linewidth=1.2, label='score')
    limits = (times[0] - distance / 2, times[-1] + distance / 2)
    axes.set(xlim=limits, ylim=(0, None))
    axes.legend(loc='upper right')
    return _render(figure)


def bars(
    image: UInt8[np.ndarray, '_ _ 3'], fractions: Sequence[tuple[str, float]]
) -> Picture:
    """An image above named fractions as bars. A small image is enlarged.

    Pillow draws it in a few milliseconds, because `predict` makes one for each image.

    Args:
        image: the image, uint8 [H, W, 3].
        fractions: (name, value in [0, 1]) of each bar from the top down.
    """
    from PIL import Image, ImageDraw

    image = _enlarged(image)
    height, width, _ = image.shape
    page_width = max(width, 360)
    page_height = height + BAR * len(fractions) + 2 * MARGIN
    page = Image.new('RGB', (page_width, page_height), 'white')
    page.paste('#e8e8e8', (0, 0, page_width, height))
    page.paste(Image.fromarray(image), ((page_width - width) // 2, 0))
    draw = ImageDraw.Draw(page)
    for place, (name, fraction) in enumerate(fractions):
        color = '#1f77b4' if place == 0 else '#9dbfd9'
        top = height + MARGIN + BAR * place
        _bar(draw, page_width, top, name, fraction, color)
    return np.asarray(page)


def _bar(
    draw, page_width: int, top: int, name: str, fraction: float, color: str
) -> None:
    """Draw one line: a name, a bar, and the fraction as a percentage.

    Args:
        draw: Pillow's drawing of the page.
        page_width: in pixels.
        top: where the line begins, in pixels.
        name: the name of the bar. It is cut to its space.
        fraction: the length of the bar, in [0, 1].
        color: of the bar.
    """
    font = _font()
    left = int(0.45 * page_width)
    right = page_width - MARGIN - int(font.getlength('100.0 %')) - 6
    length = fraction * (right - left)
    bottom = top + BAR - 5
    middle = top + BAR // 2
    text = _cut_to_width(name, font, left - MARGIN - 10)
    draw.text((MARGIN, middle), text, '#222222', font, 'lm')
    draw.rectangle((left, top + 4, right, bottom), '#f0f0f0')
    if length >= 1:
        draw.rectangle((left, top + 4, left + length, bottom), color)
    percentage = f'{100 * fraction:.1f} %'
    draw.text((page_width - MARGIN, middle), percentage, '#222222', font, 'rm')


def beside(
    before: UInt8[np.ndarray, '_ _ 3'], after: UInt8[np.ndarray, '_ _ 3']
) -> Picture:
    """Two images at the size of the second, a white line between them. Small ones are enlarged."""
    from PIL import Image

    right = _enlarged(after)
    height, width, _ = right.shape
    resized = Image.fromarray(before).resize((width, height), Image.Resampling.NEAREST)
    line = np.full((height, 4, 3), 255, np.uint8)
    return np.concatenate([np.asarray(resized), line, right], axis=1)


def _enlarged(image: UInt8[np.ndarray, '_ _ 3']) -> Picture:
    """Repeat the pixels of a small image."""
    times = max(1, SMALL // max(image.shape[:2]))
    return image.repeat(times, 0).repeat(times, 1)


def grid(
    images: Sequence[UInt8[np.ndarray, '_ _ _']], columns: int, times: int = 1
) -> Picture:
    """Images of one size in a grid, a white line of one pixel between them.

    Args:
        images: uint8 [H, W, 1 or 3].
        columns: the images on a line.
        times: how often to repeat each pixel of the whole grid along both sides.
    """
    height, width, _ = images[0].shape
    lines = math.ceil(len(images) / columns)
    page_height = lines * (height + 1) - 1
    page_width = columns * (width + 1) - 1
    page = np.full((page_height, page_width, 3), 255, np.uint8)
    for place, image in enumerate(images):
        line, column = divmod(place, columns)
        top = (height + 1) * line
        left = (width + 1) * column
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
    """Metric names without train/ or eval/: the loss, the evaluation's, then the others."""
    keys = list(dict.fromkeys(key for row in rows for key in row))
    names = []
    for split in ('eval/', 'validation/', 'train/'):
        names += [key.removeprefix(split) for key in keys if key.startswith(split)]
    return sorted(dict.fromkeys(names), key=lambda name: name != 'loss')


def _curve(axes, rows: Sequence[dict[str, float | int]], name: str) -> None:
    drawn = []
    for split, color in (('train', 'C0'), ('eval', 'C1')):
        steps, values = _points(rows, f'{split}/{name}')
        if values:
            axes.plot(
                steps,
                values,
                color=color,
                marker='.' if len(values) < 30 else None,
                linewidth=1.2,
                label=f'{split}, last {values[-1]:.4g}',
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


def _points(
    rows: Sequence[dict[str, float | int]], key: str
) -> tuple[list[int], list[float]]:
    """The steps and the finite values of a metric."""
    steps = []
    values = []
    for row in rows:
        if key in row and np.isfinite(row[key]):
            steps.append(row['step'])
            values.append(row[key])
    return steps, values


def _cells(figure, axes, fractions: Float[np.ndarray, 'k k']) -> None:
    # A square root, because the mistakes worth seeing are a few per cent of their class.
    shades = np.sqrt(fractions) * np.where(np.eye(len(fractions)), 1, -1)
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
    is_upright = max(map(len, labels)) > 3
    axes.set_xticks(shown, labels, rotation=90 if is_upright else 0, parse_math=False)
    axes.set_yticks(shown, labels, parse_math=False)
    axes.set(xlabel='predicted', ylabel='true')


def _counts(
    axes, counts: Integer[np.ndarray, 'k k'], fractions: Float[np.ndarray, 'k k']
) -> None:
    for (row, column), count in np.ndenumerate(counts):
        if count:
            color = 'white' if fractions[row, column] > 0.4 else 'black'
            axes.text(
                column, row, count, ha='center', va='center', color=color, fontsize=9
            )


@functools.cache
def _font():
    from matplotlib import get_data_path
    from PIL import ImageFont

    path = os.path.join(get_data_path(), 'fonts', 'ttf', 'DejaVuSans.ttf')
    return ImageFont.truetype(path, 14)


def _cut_to_width(name: str, font, width: int) -> str:
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
