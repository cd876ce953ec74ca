"""One trial of a sweep: a training that can stop early, and be continued."""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

from jaxvision.core.errors import UserError
from jaxvision.core.fields import Config
from jaxvision.core.types import MetricValues

if TYPE_CHECKING:  # Importing the command must stay quick.
    from jaxvision.train.training import OnEvaluation


@dataclasses.dataclass(frozen=True, kw_only=True)
class Outcome:
    """The outcome of a trial.

    Attributes:
        finished: whether it trained as long as asked. False: a signal stopped it, and it
            is saved.
        step: number of steps taken in all.
        metric: the metric that judges a trial, such as 'validation/accuracy'; '-NAME':
            less is better; '' without a validation split.
        metrics: {name: value} of the last evaluation, {} if a signal stopped it before.
    """

    finished: bool
    step: int
    metric: str
    metrics: MetricValues


def trial(
    config: Config,
    workdir: str | Path,
    *,
    until: str = '',
    measure_test: bool = False,
    on_eval: 'OnEvaluation | None' = None,
) -> Outcome:
    """Train a trial, or continue it from its last checkpoint in `workdir`.

    Other programs may call it, such as the workers of a search engine.

    Args:
        config: the config of the trial, which is not changed.
        workdir: the run folder of the trial.
        until: an interval, such as '5000 examples', after which the trial ends for now;
            '': the end of `train.steps`. Schedules keep their full length.
        measure_test: whether the test split is measured at the end. Searches leave it
            out, because the test split must not select.
        on_eval: `on_eval(step, metrics)`, called after each evaluation during training,
            with metrics such as {'validation/accuracy': 0.9}.

    Returns:
        The outcome. A metric is that of the last evaluation, not the best one.

    Raises:
        Diverged: A loss or a gradient is not finite.
        UserError: A field is wrong, or the run folder is damaged.
    """
    from jaxvision.train import loop
    from jaxvision.train.writers import read_rows

    result = loop.run(config, workdir, on_eval, until=until, measure_test=measure_test)
    if not result.finished:
        return Outcome(finished=False, step=result.step, metric=result.best, metrics={})
    rows = read_rows(Path(workdir, 'metrics.jsonl'))
    if not any(row['step'] == result.step and _is_evaluation(row) for row in rows):
        raise UserError(
            f'{workdir}: metrics.jsonl has no evaluation of step {result.step}. Remove the '
            'folder to train again.'
        )
    metrics = {
        name: value for name, value in result.metrics.items() if _is_metric(name)
    }
    return Outcome(finished=True, step=result.step, metric=result.best, metrics=metrics)


def _is_evaluation(row: MetricValues) -> bool:
    return any(map(_is_metric, row))


def _is_metric(name: str) -> bool:
    return name.startswith(('validation/', 'eval/'))
