"""What a task is: pure functions in a frozen dataclass, which the engine carries out.

A module in tasks/ has

    FIELDS                          its config fields: {name: Field, or a dict of Fields}
    describe(config, source)        -> Spec
    make(config, spec)              -> Task

and, where they are needed,

    Details                         a frozen dataclass: what its spec holds beyond `Spec`
    source(config, source, split, preprocessing)
                                    -> a source of episodes, clips or pairs; the preprocessing
                                       is the run's, None before it has begun
    describe_evaluated(config, spec, sources)
                                    -> the Spec with what the splits that are evaluated need,
                                       such as room for their captions
    requires(config)                -> {name: RequiredNetwork}
"""

import dataclasses
from collections.abc import Callable, Collection, Mapping
from typing import Any, Literal, get_args

import jax
import numpy as np
from jaxtyping import Array, Float

from jaxvision.core.errors import UserError, not_a_choice
from jaxvision.core.fields import Config
from jaxvision.core.state import TrainState
from jaxvision.core.types import Batch, Example, Json, Prepare, Records, Tree

# The metrics of a training step.
Scalars = dict[str, Array]
# Pictures by name: uint8 [h, w, 3].
Pictures = dict[str, np.ndarray]
# How a user's file is answered: one picture, several files, or nothing to draw.
Drawn = np.ndarray | dict[str, Any]
Shown = tuple[Json, Drawn | None]

Init = Callable[[jax.Array, Batch], TrainState]
Update = Callable[[TrainState, Batch], tuple[TrainState, Scalars]]
Predict = Callable[[Tree, Batch], Batch]
Evaluate = Callable[[TrainState, Batch], Batch]
# `(records, example) -> pictures`; `example(index)` is a prepared example.
Figures = Callable[[Records, Callable[[int], Example]], Pictures]
Show = Callable[[Example, Records], Shown]
# `(variables, *inputs) -> (outputs, {name: intermediate})`
Apply = Callable[..., tuple[Tree, dict[str, Array]]]

# What `predict` does with a run on the command line; see cli/predict.
Predictor = Literal['image', 'restoration', 'video', 'generator', 'support', 'none']


@dataclasses.dataclass(frozen=True, kw_only=True)
class Evaluation:
    """A map over the examples of a split, then an exact reduce.

    The engine gathers the records over the whole split, drops padding and orders the
    records by example. So a metric depends on no batch size and no number of hosts. It
    evaluates the validation split during training, if there is one, and the test split at
    the end; without a validation split the test split during training too.

    Attributes:
        evaluate: `(state, batch) -> records`, arrays [B, ...], on the device.
        summarize: `(records) -> {metric: value}`, on the host.
        metrics: the names that `summarize` returns. Empty: they are known only after the
            first evaluation, so `train.best` is checked only then.
        record: `(outputs of predict, batch) -> records`. With it an exported model is
            measured by the same metrics.
        inputs: `(batch) -> inputs of predict`, where these are made on the device.
    """

    evaluate: Evaluate
    summarize: Callable[[Records], dict[str, float]]
    metrics: Collection[str] = ()
    record: Callable[[Batch, Batch], Batch] | None = None
    inputs: Callable[[Batch], Batch] | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Fit:
    """A part of the state that is solved for on the whole training split, before step 1.

    Attributes:
        depends_on: `(state) -> tree`: the variables that the records are a function of.
            Records are cached by the content of this tree, of the examples and the spec.
        record: `(state, batch) -> records` of training examples in their deterministic form.
        solve: `(records) -> ({leaf name: array}, scalars)`, on the host. Leaves are named
            as in train/init_from.py.
    """

    depends_on: Callable[[TrainState], Tree]
    record: Evaluate
    solve: Callable[[Records], tuple[dict[str, np.ndarray], dict[str, float]]]


@dataclasses.dataclass(frozen=True)
class Weights:
    """Variables that no run of this package has made.

    Attributes:
        read: reads them from their file, on the host.
        init: draws random ones of the same shapes.
    """

    read: Callable[[], Tree]
    init: Callable[[], Tree]


@dataclasses.dataclass(frozen=True, kw_only=True)
class RequiredNetwork:
    """A network that a task uses and does not train, from exactly one of three origins.

    Attributes:
        config: the config that it is trained with, once, into the user's cache.
        run: the folder of a run of the user's.
        weights: variables of another origin.
    """

    config: Config | None = None
    run: str = ''
    weights: Weights | None = None

    def __post_init__(self) -> None:
        origins = [self.config is not None, bool(self.run), self.weights is not None]
        if sum(origins) != 1:
            raise UserError(
                'RequiredNetwork: expected exactly one of config, run and weights'
            )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Network:
    """The network of a task as functions, for explanations, attacks and research code.

    Attributes:
        normalize: `(pixels in [0, 1]) -> the network's input`.
        apply: `(variables, *inputs) -> (outputs, {name: intermediate})`, in inference.
            `variables` are `TrainState.variables`; the first input is normalised.
    """

    normalize: Callable[[Float[Array, '...']], Float[Array, '...']]
    apply: Apply


@dataclasses.dataclass(frozen=True, kw_only=True)
class Tiling:
    """How `predict` cuts an image of any size into tiles of the input's size.

    Attributes:
        scale: output pixels per input pixel, along each axis.
        overlap: input pixels that neighbouring tiles share.
        blend: input pixels, up to `overlap`, over which one tile fades into the next.
    """

    scale: int
    overlap: int
    blend: int = 0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Task:
    """What the engine trains, evaluates and predicts with.

    Attributes:
        init: `(key, batch) -> state` before the first step.
        update: `(state, batch) -> (state, scalars)`, one training step.
        evaluations: by name. A metric is called METRIC, or NAME/METRIC where NAME is not
            'eval', with 'validation/' or 'eval/' (the test split) in front.
        main_evaluation: the evaluation whose records are drawn and whose metrics judge an
            export.
        predict: `(variables, inputs) -> outputs`, the whole inference, from images that are
            uint8 or float in [0, 255].
        predictor: what `predict` does with this run on the command line.
        tiling: of the 'restoration' predictor.
        network: the network as functions.
        best: the metric that selects a checkpoint on the validation split, '-NAME' where
            less is better.
        prepare: `(example, rng) -> example`, on the host: decodes to fixed shapes. `rng` is
            None where the result must be deterministic (evaluation, prediction).
        figures: `(records, example) -> pictures` of the main evaluation's records;
            `example(index)` is a prepared example.
        watch: whether figures are drawn after every evaluation, as NAME-STEP.
        fit: what is solved for before the first step.
        show: `(inputs, outputs) -> (answer, picture)` for a user's file, on the host.
            `inputs` is one prepared example and, where a picture is wanted, 'original':
            the user's image upright, uint8 [h, w, 3], made smaller if it was large; or the
            path of the video. `answer` is a dict that JSON holds. `picture` is uint8
            [h, w, 3], or None without 'original'. For a video it may be
            {'': picture, FILE: content}: a .png is uint8 [h, w, 3], an .mp4 or .gif is
            (frames, rate) or (frames, rate, durations) as `data.video.write_clip` takes them.
    """

    init: Init
    update: Update
    evaluations: Mapping[str, Evaluation]
    predict: Predict
    main_evaluation: str = 'eval'
    predictor: Predictor = 'none'
    tiling: Tiling | None = None
    network: Network | None = None
    best: str = ''
    prepare: Prepare | None = None
    figures: Figures | None = None
    show: Show | None = None
    watch: bool = False
    fit: Fit | None = None

    def __post_init__(self) -> None:
        if self.predictor not in get_args(Predictor):
            raise not_a_choice('predictor', self.predictor, get_args(Predictor))
        if self.evaluations and self.main_evaluation not in self.evaluations:
            raise not_a_choice(
                'main_evaluation', self.main_evaluation, list(self.evaluations)
            )

    @property
    def metrics(self) -> list[str]:
        """The metrics of all evaluations; none if one does not declare its metrics."""
        evaluations = self.evaluations.items()
        if not all(evaluation.metrics for _, evaluation in evaluations):
            return []
        return [
            metric_name(name, metric)
            for name, evaluation in evaluations
            for metric in evaluation.metrics
        ]

    @property
    def main(self) -> Evaluation:
        """The main evaluation."""
        return self.evaluations[self.main_evaluation]


def metric_name(evaluation: str, metric: str) -> str:
    """The name of an evaluation's metric, without that of the split."""
    return metric if evaluation == 'eval' else f'{evaluation}/{metric}'
