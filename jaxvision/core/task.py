"""The task: a frozen dataclass of pure functions, which the engine trains and evaluates.

A task module has

    FIELDS                          config fields: {name: Field, or a dict of Fields}
    describe(config, source)        -> Spec
    make(config, spec)              -> Task

and optionally

    Details                         a frozen dataclass: task-specific part of the spec
    source(config, source, split, preprocessing)
                                    -> a source of episodes, clips or pairs. `preprocessing` is
                                       that of the spec; None while the spec is built.
    describe_evaluated(config, spec, sources)
                                    -> the Spec, completed with facts from the evaluated
                                       splits, such as the length of their longest caption
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
from jaxvision.core.types import (
    Batch,
    Example,
    Json,
    MetricValues,
    Prepare,
    Records,
    Tree,
)

# The scalars of one training step.
Scalars = dict[str, Array]
# Pictures by name: uint8 [h, w, 3].
Pictures = dict[str, np.ndarray]
# The drawing for one file of a user: one picture, or several files by name.
Drawn = np.ndarray | dict[str, Any]
# The answer for one file of a user, and its drawing.
Shown = tuple[Json, Drawn | None]

Init = Callable[[jax.Array, Batch], TrainState]
Update = Callable[[TrainState, Batch], tuple[TrainState, Scalars]]
Predict = Callable[[Tree, Batch], Batch]
Evaluate = Callable[[TrainState, Batch], Batch]
Summarize = Callable[[Records], MetricValues]
# `(record, annotation) -> record` of one example, arrays by name
Compact = Callable[[Example, Example], Example]
# `(records) -> what calibration.json holds`
Calibrate = Callable[[Records], Json]
# `(index) -> example`, a prepared example of a split.
ReadExample = Callable[[int], Example]
# `(records, read_example) -> pictures`
Figures = Callable[[Records, ReadExample], Pictures]
Show = Callable[[Example, Records], Shown]
# `(outputs, reference) -> {output: difference}`
Compare = Callable[[Records, Records], dict[str, float]]
# `(records) -> ({leaf name: array}, scalars)`
Solve = Callable[[Records], tuple[dict[str, np.ndarray], dict[str, float]]]
# `(mask [M, M] inside a box, box [4], (height, width)) -> bool [height, width]`
Paste = Callable[[np.ndarray, np.ndarray, tuple[int, int]], np.ndarray]
# `(pixels in [0, 1]) -> the input of the network`
Normalize = Callable[[Float[Array, '...']], Float[Array, '...']]
# `(variables, *inputs) -> (outputs, {name: intermediate})`
Apply = Callable[..., tuple[Tree, dict[str, Array]]]

# `(variables, batch, images in [0, 1]) -> loss` of each example
InferenceLoss = Callable[[Tree, Batch, Array], Float[Array, 'b']]

# The behaviour of `jaxvision predict` for a run, see cli/predict.
Predictor = Literal[
    'image',
    'detector',
    'segmenter',
    'restoration',
    'video',
    'generator',
    'support',
    'none',
]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Evaluation:
    """A map over the examples of a split on the device, then an exact reduction on the host.

    The engine gathers the records of the whole split, removes padding and orders the records by
    example. So a metric depends neither on the batch size nor on the number of hosts. During
    training the engine evaluates the validation split, or the test split if there is no
    validation split. After training it evaluates the test split.

    Attributes:
        evaluate: `(state, batch) -> records`, arrays [B, ...], on the device.
        summarize: `(records) -> {metric: value}`, on the host. The arrays [N, ...] of
            the records hold all readable examples of the split, with their rows as
            'index'.
        metrics: the names that `summarize` returns. Empty: the names are unknown until the
            first evaluation, which then checks `train.best`. A metric of one class, named
            METRIC/CLASS, may be missing from a split without examples of the class.
        record: `(outputs of predict, batch) -> records`, for the same metrics of an exported
            model. None: exports are not measured.
        inputs: `(batch) -> inputs of predict`, if the inputs are made on the device.
            None: the batch holds the inputs.
        compact: `(record, annotation) -> record` of one example, on the host of the process
            that read it. It is for outputs that are too large to keep, or that are
            compared at the annotation's resolution. The first `record` is the row of what
            `evaluate` returned. `annotation` is the example of the source, whose image
            may be missing. None: records stay as they are.
        ragged: names of the arrays of `compact` whose shape differs between examples. In the
            records each is an array of objects [N], one array for each example.
        calibrate: `(records) -> JSON object`, fitted on the validation split, such as the score
            thresholds of a detector. The engine writes it to calibration.json for the
            best checkpoint, or for the last evaluated state if no metric selects one.
            It is called for `Task.main` alone, and not without a validation split.
            None: nothing is fitted.
    """

    evaluate: Evaluate
    summarize: Summarize
    metrics: Collection[str] = ()
    record: Callable[[Batch, Batch], Batch] | None = None
    inputs: Callable[[Batch], Batch] | None = None
    compact: Compact | None = None
    ragged: Collection[str] = ()
    calibrate: Calibrate | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Fit:
    """A part of the state that is solved on the whole training split, before step 1.

    Attributes:
        depends_on: `(state) -> tree` of the variables on which the records depend. A
            single process keeps records in the user's cache. Their key is this tree,
            the config's `model`, the spec with the data's fingerprint, and versions.
        record: `(state, batch) -> records` of training examples without augmentation.
        solve: `(records of all readable examples) -> ({leaf name: array}, scalars)`, on
            the host. A leaf is named 'network/path', such as 'model/head/kernel'. The
            scalars are printed.
    """

    depends_on: Callable[[TrainState], Tree]
    record: Evaluate
    solve: Solve


@dataclasses.dataclass(frozen=True)
class Weights:
    """Variables that no run of jaxvision trained, such as pretrained weights.

    Attributes:
        read: `() -> variables`, which reads them from their file, on the host.
        init: `() -> variables`, which initialises random ones of the same shapes.
    """

    read: Callable[[], Tree]
    init: Callable[[], Tree]


@dataclasses.dataclass(frozen=True, kw_only=True)
class RequiredNetwork:
    """An auxiliary network, which a task uses and does not train.

    Exactly one attribute is set.

    Attributes:
        config: the config that trains the network once, into the user's cache. Several
            processes train it into the folder of the run that requires the network.
        run: the folder of a run.
        weights: weights that no run of jaxvision trained.

    Raises:
        UserError: None of the attributes is set, or several.
    """

    config: Config | None = None
    run: str = ''
    weights: Weights | None = None

    def __post_init__(self) -> None:
        origins = [self.config is not None, bool(self.run), self.weights is not None]
        count = sum(origins)
        if count != 1:
            raise UserError(
                f'RequiredNetwork: expected exactly one of config, run and weights, got {count}'
            )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Network:
    """The network of a task as functions, for explanations, attacks and research code.

    Attributes:
        normalize: `(pixels in [0, 1]) -> the input of the network`.
        apply: `(variables, *inputs) -> (outputs, {name: intermediate})`, in inference mode.
            `variables` are `TrainState.variables`. The first input is normalised.
    """

    normalize: Normalize
    apply: Apply


@dataclasses.dataclass(frozen=True, kw_only=True)
class Tiling:
    """The division of a large image into tiles of the input size, for `predict`.

    Attributes:
        scale: output pixels per input pixel, along each axis.
        overlap: input pixels that neighbouring tiles share.
        blend: input pixels over which neighbouring tiles are blended, at most `overlap`.
    """

    scale: int
    overlap: int
    blend: int = 0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Task:
    """The functions with which the engine trains, evaluates and predicts.

    Attributes:
        init: `(key, batch) -> state` before the first step.
        update: `(state, batch) -> (state, scalars)`, one training step.
        evaluations: {name: evaluation}. The full name of a metric is SPLIT/NAME/METRIC, without
            NAME for the evaluation 'eval'. SPLIT is 'validation', or 'eval' for the test split.
        main_evaluation: the evaluation that figures and the check of an export use.
        predict: `(variables, inputs) -> outputs`, the whole inference. Images are uint8, or
            float in [0, 255].
        raw_predict: `(variables, inputs) -> outputs`, the inference without its last step, such
            as the suppression of a detector. Exports have it as their signature 'raw'. None:
            there is no such step.
        predictor: the behaviour of `jaxvision predict` for this task. 'detector' needs the outputs
            'boxes', 'scores', 'classes' and 'valid', in pixels of the prepared image, whose
            'warp' [2, 3] and 'original_size' [2] `prepare` returns. It may have the
            output 'masks', see `paste`. 'segmenter' needs the output 'probabilities'
            [B, H, W, K] on the prepared image, and the same two arrays of `prepare`. With
            objects it also needs 'center' and 'border' [B, H, W].
        paste: `(mask [M, M], box [4], (height, width)) -> bool [height, width]`, the pixels of
            an image that belong to a detected object. `mask` is a row of a detector's
            output 'masks', the probability of each cell of the box. `box` has edges in
            pixels. None: the detector has no masks.
        tiling: the tiles of the 'restoration' predictor.
        network: the network as functions.
        inference_loss: `(variables, batch, images in [0, 1]) -> loss` of each example, [B], in
            inference mode and without augmentation. `batch` holds prepared examples,
            whose images are not used. The loss of an example does not depend on the
            others. Attacks raise it. None: the task has no attack by its loss.
        best: the metric that selects a checkpoint on the validation split, named as in
            `metrics`; '-NAME': less is better; '': none.
        prepare: `(example, rng) -> example` on the host, which decodes to fixed shapes. `rng` is
            None in evaluation and prediction, which must be deterministic. None: the
            examples of the source have fixed shapes.
        figures: `(records, read_example) -> {name: picture}` of the main evaluation.
            `read_example(index)` returns a prepared example.
        compare: `(outputs, reference) -> {output: difference}` between the outputs of
            an exported model and those of the run. The keys are names of outputs. Real
            outputs differ by a fraction of their largest value, others by the fraction
            of examples. None: element by element.
        watch: whether to draw figures after every evaluation, as NAME-STEP.png, not
            only at the end.
        fit: the part of the state that is solved before the first step.
        show: `(inputs, outputs) -> (answer, picture)` for one file of a user, on the host.
            `inputs` is a prepared example. Its entry 'original' is the upright image of the
            user as uint8 [h, w, 3], made smaller if it was large, or the path of the video;
            there is none if no picture is needed. `answer` is a JSON object. `picture` is uint8
            [h, w, 3], or None without 'original'. For a video it may be {'': picture, FILE:
            content}. The content of a .png is uint8 [h, w, 3]. For an .mp4 or .gif it is
            (frames, rate) or (frames, rate, durations), see `data.video.write_clip`.
            None: `predict` lists the outputs as numbers, without a picture.

    Raises:
        UserError: `predictor` is no choice, or there is no such `main_evaluation`.
    """

    init: Init
    update: Update
    evaluations: Mapping[str, Evaluation]
    predict: Predict
    raw_predict: Predict | None = None
    main_evaluation: str = 'eval'
    predictor: Predictor = 'none'
    paste: Paste | None = None
    tiling: Tiling | None = None
    network: Network | None = None
    inference_loss: InferenceLoss | None = None
    best: str = ''
    prepare: Prepare | None = None
    figures: Figures | None = None
    show: Show | None = None
    compare: Compare | None = None
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
        """Names of the metrics of all evaluations, without the split.

        The list is empty if any evaluation declares none. A name is METRIC for the
        evaluation 'eval', otherwise EVALUATION/METRIC.
        """
        names = []
        for evaluation_name, evaluation in self.evaluations.items():
            if not evaluation.metrics:
                return []
            names += [
                metric_name(evaluation_name, metric) for metric in evaluation.metrics
            ]
        return names

    @property
    def main(self) -> Evaluation:
        """The evaluation called `main_evaluation`; a KeyError if there is none."""
        return self.evaluations[self.main_evaluation]


def metric_name(evaluation: str, metric: str) -> str:
    """Name a metric without split: METRIC for 'eval', otherwise EVALUATION/METRIC."""
    return metric if evaluation == 'eval' else f'{evaluation}/{metric}'
