"""Pictures of a sweep: scores of trials over their numbers and parameters."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from jaxvision.viz import canvas, text
from jaxvision.viz.canvas import Picture

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# The score of each trial, NaN where it has none.
Scores = Float[np.ndarray, ' trials']
# (training examples, metric) of the evaluations of a trial.
Curve = tuple[Float[np.ndarray, ' points'], Float[np.ndarray, ' points']]

_GREY = '0.75'
_BEST = 'tab:red'
_PANEL = 3.2  # inches
_COLUMNS = 3


@dataclasses.dataclass(frozen=True, kw_only=True)
class Column:
    """The values of a field in all trials, as places on an axis.

    Attributes:
        name: of the field.
        values: the place of each trial: its number, or the index of its choice.
        labels: the names of the choices; empty: the values are numbers.
        is_log: whether the axis is logarithmic.
    """

    name: str
    values: Float[np.ndarray, ' trials']
    labels: Sequence[str] = ()
    is_log: bool = False

    @property
    def fractions(self) -> Float[np.ndarray, ' trials']:
        """The values as fractions of their range on the axis, 0.5 if all are equal."""
        values = np.log(self.values) if self.is_log else self.values
        low, high = self.ends
        if self.is_log:
            low, high = np.log(low), np.log(high)
        if low == high:
            return np.full(len(values), 0.5)
        return (values - low) / (high - low)

    @property
    def ends(self) -> tuple[float, float]:
        """The values at both ends of the axis."""
        if self.labels:
            return 0.0, float(len(self.labels) - 1)
        return float(self.values.min()), float(self.values.max())


def history(
    scores: Scores, reached: Sequence[bool], metric: str, less_is_better: bool
) -> Picture:
    """Draw the metric of each trial over its number, and the best one so far.

    Args:
        scores: the metric of each trial.
        reached: whether the trial trained to its end. Only these can be the best.
        metric: its name.
        less_is_better: whether a small metric is good.
    """
    from matplotlib.ticker import MaxNLocator

    figure = canvas.empty(7.0, 3.5)
    axes = figure.add_subplot()
    numbers = np.arange(len(scores))
    is_whole = np.array(reached, bool)
    axes.scatter(numbers[is_whole], scores[is_whole], s=18, label='trial')
    if not is_whole.all():
        rest = ~is_whole
        axes.scatter(
            numbers[rest], scores[rest], s=18, color=_GREY, label='stopped early'
        )
    whole_scores = np.where(is_whole, scores, np.nan)
    if np.isfinite(whole_scores).any():
        best = _best_so_far(whole_scores, less_is_better)
        axes.step(numbers, best, where='post', color=_BEST, label='best so far')
    axes.set(xlabel='trial', ylabel=metric)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.3)
    axes.legend()
    return canvas.render(figure)


def _best_so_far(scores: Scores, less_is_better: bool) -> Scores:
    """The best finite score among the trials up to each; NaN before the first one."""
    sign = -1.0 if less_is_better else 1.0
    filled = np.where(np.isfinite(scores), sign * scores, -np.inf)
    best = np.maximum.accumulate(filled)
    return sign * np.where(np.isfinite(best), best, np.nan)


def slices(
    columns: Sequence[Column], scores: Scores, best: int, metric: str
) -> Picture:
    """Draw the metric over each field.

    Args:
        columns: the fields.
        scores: the metric of each trial after equal training, NaN where it has none.
        best: the place of the best trial; -1: none.
        metric: its name.
    """
    rows = -(-len(columns) // _COLUMNS)
    width = min(len(columns), _COLUMNS)
    figure = canvas.empty(_PANEL * width + 0.5, _PANEL * rows)
    for place, column in enumerate(columns):
        axes = figure.add_subplot(rows, width, place + 1)
        axes.scatter(column.values, scores, s=18)
        if best >= 0:
            axes.scatter(column.values[best], scores[best], s=50, color=_BEST)
        _mark(axes, column)
        axes.set_xlabel(column.name)
        axes.grid(alpha=0.3)
        if place % width == 0:
            axes.set_ylabel(metric)
    return canvas.render(figure)


def _mark(axes: 'Axes', column: Column) -> None:
    """Set the scale and the names of choices of a horizontal axis."""
    if column.is_log:
        from matplotlib import ticker

        axes.set_xscale('log')
        # Numbers at every digit of a narrow axis would overlap.
        is_narrow = np.max(column.values) < 100 * np.min(column.values)
        digits = (1, 3) if is_narrow else (1,)
        axes.xaxis.set_major_locator(ticker.LogLocator(subs=digits, numticks=6))
        axes.xaxis.set_major_formatter('{x:g}')
        axes.xaxis.set_minor_locator(ticker.NullLocator())
    if column.labels:
        labels = [text.shortened(label) for label in column.labels]
        turned = 30 if max(map(len, labels)) > 5 else 0
        side = 'right' if turned else 'center'
        axes.set_xticks(range(len(labels)), labels, rotation=turned, ha=side)
        axes.set_xlim(-0.5, len(labels) - 0.5)


def parallel(
    columns: Sequence[Column], scores: Scores, best: int, metric: str
) -> Picture:
    """Draw each trial as a line through its values of all fields, coloured by its metric.

    Args:
        columns: the fields.
        scores: the metric of each trial after equal training. Trials without one are
            grey.
        best: the place of the best trial, with a thick line; -1: none.
        metric: its name.
    """
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    figure = canvas.empty(max(7.0, 1.9 * len(columns) + 2.0), 3.8)
    axes = figure.add_subplot()
    finite = scores[np.isfinite(scores)]
    limits = (finite.min(), finite.max()) if len(finite) else (0.0, 1.0)
    colors = ScalarMappable(Normalize(*limits), 'viridis')
    heights = np.stack([column.fractions for column in columns], axis=1)
    order = np.argsort(np.where(np.isfinite(scores), scores, -np.inf))
    for number in order:
        is_known = np.isfinite(scores[number])
        color = colors.to_rgba(scores[number]) if is_known else _GREY
        width = 3.0 if number == best else 1.0
        axes.plot(heights[number], color=color, linewidth=width, alpha=0.85)
    for place, column in enumerate(columns):
        axes.axvline(place, color='0.4', linewidth=0.8)
        _name_ends(axes, place, column)
    axes.set_xticks(range(len(columns)), [column.name for column in columns])
    axes.set(yticks=[], ylim=(-0.14, 1.14), xlim=(-0.4, len(columns) - 0.6))
    for side in ('top', 'right', 'left', 'bottom'):
        axes.spines[side].set_visible(False)
    figure.colorbar(colors, ax=axes, label=metric)
    return canvas.render(figure)


def _name_ends(axes: 'Axes', place: int, column: Column) -> None:
    """Write the values of an axis of parallel coordinates: its ends, or all choices."""
    if column.labels:
        count = max(len(column.labels) - 1, 1)
        for index, label in enumerate(column.labels):
            height = index / count if len(column.labels) > 1 else 0.5
            label_text = axes.text(
                place + 0.04, height, text.shortened(label), fontsize=8, va='center'
            )
            label_text.set_bbox({'facecolor': 'white', 'edgecolor': 'none', 'pad': 1})
        return
    low, high = column.ends
    axes.text(place, -0.05, f'{low:.3g}', ha='center', va='top', fontsize=8)
    axes.text(place, 1.05, f'{high:.3g}', ha='center', va='bottom', fontsize=8)


def importance(shares: Mapping[str, float]) -> Picture:
    """Draw the importance of each field as a bar, the largest one at the top.

    Args:
        shares: {field: importance}.
    """
    figure = canvas.empty(6.0, 0.6 + 0.4 * len(shares))
    axes = figure.add_subplot()
    names = sorted(shares, key=shares.__getitem__)
    axes.barh(names, [shares[name] for name in names])
    axes.set_xlabel('importance')
    return canvas.render(figure)


def curves(trials: Mapping[int, Curve], best: int, metric: str) -> Picture:
    """Draw the metric of each trial over its training.

    Args:
        trials: {number: curve}.
        best: the number of the best trial; -1: none.
        metric: its name.
    """
    figure = canvas.empty(7.0, 3.8)
    axes = figure.add_subplot()
    for number, (examples, values) in trials.items():
        if number != best:
            marker = '' if len(examples) > 1 else '.'
            axes.plot(examples, values, color=_GREY, linewidth=1, marker=marker)
    if best in trials:
        examples, values = trials[best]
        axes.plot(examples, values, color=_BEST, marker='.', label=f'trial {best}')
        axes.legend()
    axes.set(xlabel='training examples', ylabel=metric)
    axes.grid(alpha=0.3)
    return canvas.render(figure)
