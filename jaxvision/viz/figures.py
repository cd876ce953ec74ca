"""Figures as uint8 [H, W, 3]: learning curves, confusion matrices, galleries, bars and grids.

The figures use the objects of matplotlib and never pyplot, so there are no windows and no global
state. Each function imports matplotlib and Pillow itself. Their import is slow, and a restarted run
should start fast.
"""

import itertools
import math
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Integer, Num, UInt8

from jaxvision.core.files import atomic_path
from jaxvision.viz import canvas, text
from jaxvision.viz.canvas import Picture

# Images of any size, with 1 or 3 channels, and with 3.
AnyImage = UInt8[np.ndarray, '_ _ _']
ColorImage = UInt8[np.ndarray, '_ _ 3']
Counts = Integer[np.ndarray, 'k k']
Fractions = Float[np.ndarray, 'k k']
# Rows of metrics.jsonl, such as {'step': 100, 'train/loss': 0.1}.
Rows = Sequence[dict[str, float | int]]

# The splits of a panel's curves, in the order of its legend.
SPLIT_COLORS = {'train': 'C0', 'validation': 'C2', 'eval': 'C1'}
MOST_PANELS = 8
MOST_MARKERS = 30
MOST_LABELS = 40
MOST_CLASSES_WITH_COUNTS = 20
BAR = 24  # height of a bar's line, pixels
MARGIN = 10  # pixels
TEXT_COLOR = '#222222'
# A small image is enlarged by the largest whole factor that keeps its longest side within this
# many pixels. Images of more than half this side stay as they are.
ENLARGED_SIDE = 280


def curves(rows: Rows) -> Picture:
    """Draw the learning curves of the rows of `metrics.jsonl`.

    Each metric has one panel, with a curve for each split that measured it: 'train/',
    'validation/', and 'eval/', the test split. The loss comes first, then the metrics
    of evaluations, at most 8 panels. Timings (perf/) and values that are not finite
    are left out. Without metrics the picture is a message.
    """
    names = _metrics_by_use(rows)[:MOST_PANELS]
    if not names:
        return canvas.message('no metrics were logged yet')
    columns = min(2, len(names))
    lines = math.ceil(len(names) / columns)
    figure = canvas.empty(6.5 * columns, 3.2 * lines)
    for place, name in enumerate(names, start=1):
        _curve(figure.add_subplot(lines, columns, place), rows, name)
    return canvas.render(figure)


def matrix(counts: Counts, class_names: Sequence[str]) -> Picture:
    """Draw a confusion matrix, with a row for each true class and a column for each predicted one.

    Correct predictions are blue and errors red. The colour shows the fraction of the row. With at
    most 20 classes, the cells show their counts, except 0. With more than 40, only some classes
    have a label.

    Raises:
        ValueError: The numbers of classes and class names differ.
    """
    classes = len(counts)
    if len(class_names) != classes:
        raise ValueError(
            f'class_names has {len(class_names)} names, but the matrix has {classes} classes'
        )
    names = [text.shortened(name) for name in class_names]
    largest_side = 10  # inches
    if classes > 500:
        largest_side = 12
    side = float(np.clip(0.5 * classes, 3, largest_side))
    longest = max(map(len, names))
    side_with_labels = side + 0.085 * longest
    figure = canvas.empty(side_with_labels + 2, side_with_labels + 1)
    axes = figure.add_subplot()
    row_sums = counts.sum(axis=1, keepdims=True)
    fractions = counts / np.maximum(row_sums, 1)
    _cells(figure, axes, fractions)
    _class_labels(axes, names)
    correct = np.trace(counts)
    total = counts.sum()
    accuracy = correct / max(total, 1)
    axes.set_title(f'{correct} of {total} correct ({accuracy:.1%})')
    if classes <= MOST_CLASSES_WITH_COUNTS:
        _counts(axes, counts, fractions)
    return canvas.render(figure)


def gallery(
    images: Sequence[AnyImage],
    captions: Sequence[str],
    columns: int = 6,
) -> Picture:
    """Draw images side by side, each with a caption below it.

    Args:
        images: uint8 [H, W, 1 or 3], of any sizes.
        captions: the caption of each image. A long caption is wrapped and cut.
        columns: largest number of images on a line.

    Returns:
        The picture; a message if there are no images.

    Raises:
        ValueError: The numbers of images and captions differ.
    """
    if len(images) != len(captions):
        raise ValueError(
            f'captions has {len(captions)} captions, but there are {len(images)} images'
        )
    if not images:
        return canvas.message('nothing to show')
    columns = min(columns, len(images))
    width = min(2.0, 16 / columns)  # inches
    ratios = [image.shape[0] / image.shape[1] for image in images]
    height = width * min(1, max(ratios))
    characters = int(13 * width)
    captions = [text.wrapped(caption, characters) for caption in captions]
    most_lines = 1 + max(caption.count('\n') for caption in captions)
    caption_height = 0.1 + 0.17 * most_lines
    lines = math.ceil(len(images) / columns)
    figure = canvas.empty(width * columns, (height + caption_height) * lines)
    for place, (image, caption) in enumerate(zip(images, captions, strict=True)):
        axes = figure.add_subplot(lines, columns, place + 1)
        rgb_shape = (*image.shape[:2], 3)
        axes.imshow(np.broadcast_to(image, rgb_shape))
        axes.set_xlabel(caption, fontsize=9, parse_math=False)
        axes.set(xticks=[], yticks=[])
    return canvas.render(figure)


def attention(
    image: AnyImage,
    words: Sequence[str],
    weights: Num[np.ndarray, 'n y x'],
) -> Picture:
    """Draw an image, and a copy for each word that is bright where the word attends.

    Args:
        image: uint8 [H, W, 1 or 3].
        words: the captions of the copies.
        weights: attention weights >= 0 of each word, on a grid over the image. The largest
            weight of a word gives full brightness, and no weight a fifth of it.
            Weights after the last word are ignored, and fewer of them a ValueError.
    """
    from PIL import Image

    height, width, _ = image.shape
    copies = []
    for word_weights in weights[: len(words)]:
        relative = word_weights / max(word_weights.max(), 1e-6)
        mask = Image.fromarray(relative.astype(np.float32))
        mask = mask.resize((width, height), Image.Resampling.BICUBIC)
        brightness = 0.2 + 0.8 * np.clip(np.asarray(mask), 0, 1)
        copy = image * brightness[..., None]
        copies.append(copy.astype(np.uint8))
    return gallery([image, *copies], ['', *words], columns=8)


def scores(
    times: Num[np.ndarray, 't'],
    predicted: Float[np.ndarray, 't'],
    selected: Bool[np.ndarray, 't'],
    importance: Float[np.ndarray, 't'] | None = None,
) -> Picture:
    """Draw the scores of a video's frames over time, on an axis that begins at score 0.

    Args:
        times: time of each frame in seconds, at equal distances; at least one frame.
        predicted: predicted score of each frame.
        selected: True for the frames of the summary, whose time is shaded.
        importance: annotated score of each frame; None: unknown.
    """
    figure = canvas.empty(10.0, 2.0)
    axes = figure.add_subplot()
    duration = times[-1] - times[0]
    distance = duration / max(len(times) - 1, 1) or 1
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
    start = times[0] - distance / 2
    end = times[-1] + distance / 2
    axes.set(xlim=(start, end), ylim=(0, None))
    axes.legend(loc='upper right')
    return canvas.render(figure)


def bars(image: ColorImage, fractions: Sequence[tuple[str, float]]) -> Picture:
    """Draw an image above named fractions as bars. A small image is enlarged.

    Pillow draws the picture in a few milliseconds. `predict` draws one for each image.

    Args:
        image: uint8 [H, W, 3].
        fractions: (name, value in [0, 1]) of each bar, from the top down.
    """
    from PIL import Image, ImageDraw

    image = _enlarged(image)
    height, width, _ = image.shape
    page_width = max(width, 360)
    bars_height = BAR * len(fractions) + 2 * MARGIN
    page_height = height + bars_height
    page = Image.new('RGB', (page_width, page_height), 'white')
    page.paste('#e8e8e8', (0, 0, page_width, height))
    left = (page_width - width) // 2
    page.paste(Image.fromarray(image), (left, 0))
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
        top: of the line, in pixels.
        name: of the bar. A long name is cut.
        fraction: length of the bar, in [0, 1].
        color: of the bar.
    """
    font = text.font()
    left = int(0.45 * page_width)
    percentage_width = int(font.getlength('100.0 %'))
    right = page_width - MARGIN - percentage_width - 6
    length = fraction * (right - left)
    bottom = top + BAR - 5
    middle = top + BAR // 2
    label = text.cut_to_width(name, font, left - MARGIN - 10)
    draw.text((MARGIN, middle), label, TEXT_COLOR, font, 'lm')
    bar_top = top + 4
    draw.rectangle((left, bar_top, right, bottom), '#f0f0f0')
    if length >= 1:
        draw.rectangle((left, bar_top, left + length, bottom), color)
    percentage = f'{100 * fraction:.1f} %'
    end = page_width - MARGIN
    draw.text((end, middle), percentage, TEXT_COLOR, font, 'rm')


def beside(before: ColorImage, after: ColorImage) -> Picture:
    """Draw `before` on the left of `after`, both at the size of `after`.

    A white line separates them. Small images are enlarged.
    """
    from PIL import Image

    right = _enlarged(after)
    height, width, _ = right.shape
    resized = Image.fromarray(before).resize((width, height), Image.Resampling.NEAREST)
    left = np.asarray(resized)
    line = np.full((height, 4, 3), 255, np.uint8)
    return np.concatenate([left, line, right], axis=1)


def _enlarged(image: ColorImage) -> Picture:
    """Enlarge an image by a whole factor, if its longest side is at most 140 pixels."""
    longest_side = max(image.shape[:2])
    times = max(1, ENLARGED_SIDE // longest_side)
    return image.repeat(times, 0).repeat(times, 1)


def grid(images: Sequence[AnyImage], columns: int, times: int = 1) -> Picture:
    """Draw images of one size in a grid, with white lines of one pixel between them.

    Args:
        images: uint8 [H, W, 1 or 3], at least one. They fill the grid line by line, and
            the rest of the last line is white.
        columns: images on a line.
        times: factor by which the grid is enlarged: each pixel is repeated.
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
        bottom = top + height
        right = left + width
        page[top:bottom, left:right] = image
    return page.repeat(times, 0).repeat(times, 1)


def save(path: str | os.PathLike, picture: Picture) -> None:
    """Write a PNG atomically, so that a killed process leaves no damaged picture.

    An older file at `path` is replaced. The folder must exist.
    """
    from PIL import Image

    with atomic_path(Path(path), durable=False) as partial:
        # The default level 6 takes five times as long and saves a tenth of the bytes.
        Image.fromarray(picture).save(partial, format='PNG', compress_level=1)


def _metrics_by_use(rows: Rows) -> list[str]:
    """Metric names without their split: the loss, the evaluation's, then the others."""
    keys = list(dict.fromkeys(itertools.chain(*rows)))
    names = []
    for split in ('eval/', 'validation/', 'train/'):
        for key in keys:
            if key.startswith(split):
                names.append(key.removeprefix(split))
    return sorted(dict.fromkeys(names), key=lambda name: name != 'loss')


def _curve(axes, rows: Rows, name: str) -> None:
    """Draw the panel of one metric.

    Args:
        axes: of matplotlib.
        rows: of `metrics.jsonl`.
        name: of the metric, without its split.
    """
    all_values = []
    for split, color in SPLIT_COLORS.items():
        steps, values = _points(rows, f'{split}/{name}')
        if values:
            has_markers = len(values) < MOST_MARKERS
            axes.plot(
                steps,
                values,
                color=color,
                marker='.' if has_markers else None,
                linewidth=1.2,
                label=f'{split}, last {values[-1]:.4g}',
            )
            all_values += values
    if 'loss' in name and all_values:
        least = min(all_values)
        if least > 0 and max(all_values) > 10 * least:
            axes.set_yscale('log')
    axes.set_title(name.replace('_', ' '), parse_math=False)
    steps = [row['step'] for row in rows]
    last_step = max(*steps, 1)
    axes.set_xlim(-0.02 * last_step, 1.02 * last_step)
    axes.set_xlabel('step')
    axes.grid(alpha=0.3)
    if all_values:
        axes.legend()


def _points(rows: Rows, key: str) -> tuple[list[int], list[float]]:
    """The steps and the finite values of a metric."""
    steps = []
    values = []
    for row in rows:
        if key in row and np.isfinite(row[key]):
            steps.append(row['step'])
            values.append(row[key])
    return steps, values


def _cells(figure, axes, fractions: Fractions) -> None:
    """Draw the coloured cells of a confusion matrix, and its colour bar.

    Args:
        figure: of matplotlib.
        axes: of the matrix.
        fractions: of each row.
    """
    # The square root makes errors visible that are a few per cent of their class.
    is_correct = np.eye(len(fractions))
    signs = np.where(is_correct, 1, -1)
    shades = np.sqrt(fractions) * signs
    # Smoothing would hide the single cells of a thousand classes.
    cells = axes.imshow(shades, cmap='RdBu', vmin=-1, vmax=1, interpolation='nearest')
    marks = np.array([1, 0.5, 0.2, 0.05])
    bar = figure.colorbar(cells, ax=axes, shrink=0.8, aspect=30)
    ticks = np.sqrt(marks)
    bar.set_ticks([*-ticks, 0, *ticks[::-1]])
    percents = [f'{mark:.0%}' for mark in marks]
    bar.set_ticklabels([*percents, '0%', *percents[::-1]])
    bar.set_label('wrong        fraction of the true class        correct')


def _class_labels(axes, names: Sequence[str]) -> None:
    """Label the rows and columns of a matrix, at most 40 of them."""
    stride = math.ceil(len(names) / MOST_LABELS)
    places = range(0, len(names), stride)
    labels = names[::stride]
    longest = max(map(len, labels))
    rotation = 0
    if longest > 3:
        rotation = 90
    axes.set_xticks(places, labels, rotation=rotation, parse_math=False)
    axes.set_yticks(places, labels, parse_math=False)
    axes.set(xlabel='predicted', ylabel='true')


def _counts(axes, counts: Counts, fractions: Fractions) -> None:
    """Write the count into each cell of a matrix that is not 0.

    Args:
        axes: of matplotlib.
        counts: of each cell.
        fractions: of each row. The text on a dark cell is white.
    """
    for (row, column), count in np.ndenumerate(counts):
        if count:
            is_dark = fractions[row, column] > 0.4
            color = 'white' if is_dark else 'black'
            axes.text(
                column, row, count, ha='center', va='center', color=color, fontsize=9
            )
