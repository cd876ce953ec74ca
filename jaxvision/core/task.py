"""What a task is: pure functions in a frozen dataclass, which the engine in train/ carries out."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from jaxvision.core.state import TrainState

Batch = dict[str, Any]
Records = dict[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """A map over the examples of a split, then a reduce.

    `evaluate(state, batch) -> records`, arrays [B, ...], on the device; the engine gathers them
    over the whole split, drops padding, orders them by example and hands them to
    `summarize(records) -> {name: float}` on the host, so every metric is exact.
    `record(outputs, batch) -> records`, where the records are a function of what `Task.predict`
    answers, measures an exported model by the same metrics. `inputs(batch)` is what `Task.predict`
    is then given, where that is not in the batch but made of it on the device.
    """

    split: str
    evaluate: Callable[[TrainState, Batch], Batch]
    summarize: Callable[[Records], dict[str, float]]
    record: Callable[[Batch, Batch], Batch] | None = None
    inputs: Callable[[Batch], Batch] | None = None


@dataclasses.dataclass(frozen=True)
class Fit:
    """What is learned of the whole training split at once, before the first step.

    `record(state, batch) -> records` as an evaluation's, of training's examples in their
    deterministic form. They are kept in the user's cache: they must be a function of the examples,
    the spec and `stands_on(state) -> tree`. `solve(records) -> ({name: leaf}, scalars)` on the
    host: the leaves of the state that it settles, named as in train/init_from.py, and what is told.
    """

    stands_on: Callable[[TrainState], Any]
    record: Callable[[TrainState, Batch], Batch]
    solve: Callable[[Records], tuple[dict[str, np.ndarray], dict[str, float]]]


@dataclasses.dataclass(frozen=True)
class Task:
    """A module in tasks/ has `DEFAULTS` (its config fields), `describe(config, source) -> spec` and
    `make(config, spec) -> Task`; and, where it does not learn from single examples,
    `source(config, source, split) -> source`, a view of episodes, clips or pairs.

    init(key, batch) -> TrainState
    update(state, batch) -> (TrainState, scalars)
    evaluations: metrics are named NAME/METRIC by the evaluation's name
    predict(variables, inputs) -> outputs: the whole inference, from uint8 or float in [0, 255]
    best: the metric whose best checkpoint is kept, '-NAME' where less is better
    prepare(example, rng) -> example, on the host: decodes to fixed shapes; rng is None where it
        must be deterministic (evaluation, prediction). None: there is nothing to do
    figures(records, example) -> {name: uint8 picture} of the records of the first evaluation;
        `example(index)` is the prepared example
    watch: they are drawn after every evaluation, as NAME-STEP, and not only after the last
    fit: what is learned before the first step; then there may be none
    show(inputs, outputs) -> (answer, picture): for a person, of one example, on the host. `inputs`
        is the prepared example and, where a picture is wanted, 'original': the person's image
        upright, uint8 [h, w, 3], made smaller if it was large; or the path of the film. `answer` is
        a dict that JSON can hold, `picture` uint8 [h, w, 3], or None without 'original'. Of a film
        it may also be {'': picture, FILE: more, ...}, FILE a name in the film's own folder: a .png
        is uint8 [h, w, 3], an .mp4 or .gif (frames, rate), which `data.video.write_clip` takes
    """

    init: Callable[[Any, Batch], TrainState]
    update: Callable[[TrainState, Batch], tuple[TrainState, dict]]
    evaluations: Mapping[str, Evaluation]
    predict: Callable[[Any, Batch], Batch]
    best: str = ''
    prepare: Callable[[dict, np.random.Generator | None], dict] | None = None
    figures: (
        Callable[[Records, Callable[[int], dict]], dict[str, np.ndarray]] | None
    ) = None
    show: Callable[[dict, Records], tuple[dict, np.ndarray | None]] | None = None
    watch: bool = False
    fit: Fit | None = None
