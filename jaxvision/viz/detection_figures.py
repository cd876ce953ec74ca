"""Figures of detectors: precision over recall, F1 over the score, and types of errors."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Integer

from jaxvision.viz import canvas, text
from jaxvision.viz.canvas import Picture

_MOST_COLORS = 10  # classes with a colour of their own; the curves of others are grey

# (x, y) of the points of a curve.
Curve = tuple[Float[np.ndarray, '_'], Float[np.ndarray, '_']]


def precision_recall(
    curves: Sequence[Curve], class_names: Sequence[str], precisions: Sequence[float]
) -> Picture:
    """Draw the precision of each class over its recall.

    The ten classes with the lowest average precision have colours and a legend. The
    others are grey.

    Args:
        curves: (recall, precision) of each class at IoU 0.5, by falling score; empty
            without detections.
        class_names: of the dataset.
        precisions: the average precision of each class at IoU 0.5, for the legend. A
            class without objects has a number below 0 and is left out.

    Returns:
        The picture; a message if no class has objects.
    """
    figure = canvas.empty(7.0, 5.0)
    axes = figure.add_subplot()
    rows = [row for row, value in enumerate(precisions) if value >= 0]
    # The worst classes have the colours.
    rows.sort(key=lambda row: precisions[row])
    for place, row in enumerate(rows):
        recall, precision = curves[row]
        name = text.shortened(class_names[row])
        label = f'{name} {precisions[row]:.3f}'
        start = np.append(1.0, precision)
        axes.plot(np.append(0.0, recall), start, **_style(place, label))
    if not rows:
        return canvas.message('no objects')
    mean = np.mean([precisions[row] for row in rows])
    axes.set_title(f'average precision at IoU 0.5, mean {mean:.3f}')
    _finish(axes, 'recall', 'precision', len(rows))
    return canvas.render(figure)


def f1(
    curves: Sequence[Curve],
    class_names: Sequence[str],
    whole: Curve,
    best: float | None,
) -> Picture:
    """Draw the F1 of each class over the score threshold.

    The ten classes with the lowest maximum have colours and a legend. The others are
    grey.

    Args:
        curves: (score, F1) of each class, by falling score. Empty curves are left out.
        class_names: of the dataset.
        whole: the curve of all classes together.
        best: the threshold with the largest F1 of all classes; None: nothing is correct.

    Returns:
        The picture; a message if all curves are empty.
    """
    figure = canvas.empty(7.0, 5.0)
    axes = figure.add_subplot()
    rows = [row for row, (scores, _) in enumerate(curves) if len(scores)]
    # The worst classes have the colours.
    rows.sort(key=lambda row: curves[row][1].max())
    for place, row in enumerate(rows):
        scores, values = curves[row]
        label = f'{text.shortened(class_names[row])} {values.max():.3f}'
        axes.plot(scores, values, **_style(place, label))
    if not rows:
        return canvas.message('no detections')
    scores, values = whole
    axes.plot(scores, values, color='black', linewidth=2.5, label='all classes')
    title = 'no correct detection'
    if best is not None:
        axes.axvline(best, color='black', linewidth=1, linestyle=':')
        title = f'largest F1 of all classes: {values.max():.3f} at score {best:.2f}'
    axes.set_title(title)
    _finish(axes, 'score threshold', 'F1', len(rows) + 1)
    return canvas.render(figure)


def errors(
    counts: Integer[np.ndarray, 'k e'],
    kinds: Sequence[str],
    class_names: Sequence[str],
    title: str,
) -> Picture:
    """Draw the number of errors of each type, divided by class.

    The ten classes with most errors have colours, and the others share grey.

    Args:
        counts: errors of each class and type.
        kinds: names of the types.
        class_names: of the dataset.
        title: of the figure.
    """
    figure = canvas.empty(7.0, 4.0)
    axes = figure.add_subplot()
    order = np.argsort(-counts.sum(axis=1), kind='stable')
    largest = order[:_MOST_COLORS]
    left = np.zeros(len(kinds))
    for place, row in enumerate(largest.tolist()):
        name = text.shortened(class_names[row])
        axes.barh(kinds, counts[row], left=left, color=f'C{place}', label=name)
        left += counts[row]
    rest = counts[order[_MOST_COLORS:]].sum(axis=0)
    if rest.any():
        axes.barh(kinds, rest, left=left, color='0.8', label='other classes')
    for place, total in enumerate(counts.sum(axis=0).tolist()):
        axes.text(total, place, f' {total:,}', va='center')
    axes.invert_yaxis()
    axes.margins(x=0.12)
    axes.set(xlabel='number of errors')
    axes.set_title(title)
    axes.legend(fontsize=8, loc='center left', bbox_to_anchor=(1, 0.5))
    return canvas.render(figure)


def _style(place: int, label: str) -> dict[str, str | float]:
    if place < _MOST_COLORS:
        return {'color': f'C{place}', 'linewidth': 1.2, 'label': label}
    return {'color': '0.8', 'linewidth': 0.8, 'zorder': 1}


def _finish(axes, x: str, y: str, curves: int) -> None:
    """Set the limits, the labels and the legend of a figure of curves.

    Args:
        axes: of matplotlib.
        x: label.
        y: label.
        curves: their number.
    """
    axes.set(xlim=(0, 1), ylim=(0, 1.02), xlabel=x, ylabel=y)
    axes.grid(alpha=0.3)
    title = None
    if curves > _MOST_COLORS + 1:
        title = f'the worst {_MOST_COLORS} classes'
    axes.legend(fontsize=8, loc='center left', bbox_to_anchor=(1, 0.5), title=title)
