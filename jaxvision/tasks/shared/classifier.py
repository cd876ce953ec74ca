"""Classification of images or clips: the model's logits, the loss and the metrics."""

import dataclasses
import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from jaxvision.core import keys
from jaxvision.core.errors import UserError
from jaxvision.core.fields import Config
from jaxvision.core.spec import Spec
from jaxvision.core.state import TrainState, create
from jaxvision.core.task import (
    Evaluation,
    Figures,
    Fit,
    Network,
    Predictor,
    Scalars,
    Show,
    Task,
)
from jaxvision.core.types import Batch, Prepare, Tree
from jaxvision.image import color
from jaxvision.losses import classification as losses
from jaxvision.metrics import classification as metrics
from jaxvision.tasks.shared import freezing
from jaxvision.tasks.shared.fine_tuning import Tuned, fit
from jaxvision.tasks.shared.networks import make_model
from jaxvision.train import optimizers, update

# `(batch) -> (pixels in [0, 1], *further inputs of the model)`
Pixels = Callable[[Batch], tuple[Array, ...]]
# `(key, index [B], pixels, targets [B, K]) -> (pixels, targets)`
Augment = Callable[[jax.Array, Array, Array, Array], tuple[Array, Array]]
# `(classifier, params, state, batch, key) -> (terms, aux)`, see `Classifier.loss`.
LossOf = Callable[
    ['Classifier', Tree, TrainState, Batch, jax.Array], update.TermsAndAux
]
# `(classifier) -> {name: evaluation}`
EvaluationsOf = Callable[['Classifier'], dict[str, Evaluation]]


def classifier(
    config: Config,
    spec: Spec,
    pixels: Pixels,
    augment: Augment,
    *,
    predictor: Predictor,
    prepare: Prepare | None,
    figures: Figures,
    show: Show,
    loss: LossOf | None = None,
    evaluations: EvaluationsOf | None = None,
) -> Task:
    """Build the task of a model whose outputs are the logits of classes.

    Args:
        config: config of the run. `config.task` has the fields of `fine_tuning.FIELDS` and
            `label_smoothing`.
        spec: spec of the run, with inputs, class names and preprocessing.
        pixels: `(batch) -> (pixels in [0, 1], *further inputs of the model)`. Only the pixels
            are augmented and normalised.
        augment: `(key, index [B], pixels, targets [B, K]) -> (pixels, targets)`, random changes
            in training.
        predictor: the behaviour of `jaxvision predict`, such as 'image' or 'video'.
        prepare: `(example, rng) -> example`, which decodes on the host; None: not needed.
        figures: `(records, read_example) -> pictures` of an evaluation. Not used if an example
            has several labels.
        show: `(inputs, outputs) -> (answer, picture)` for one file of a user.
        loss: the loss; None: the cross-entropy of augmented examples.
        evaluations: makes evaluations beside the main one; None: there are none.

    Raises:
        UserError: A field of `config.model` or `config.task` is wrong.
    """
    network = Classifier.build(config, spec, pixels, augment)
    best = 'accuracy'
    if spec.multi_label:
        best = 'mean_average_precision'
        # The figures show one label and one prediction an example.
        figures = None
    tx, lr = optimizers.make(config, spec.examples, rates=network.model.rates)
    descend = update.from_loss(
        functools.partial(loss, network) if loss else network.loss,
        tx,
        accumulate=config.optimizer.accumulate,
        ema=config.optimizer.ema,
    )

    def init(key: jax.Array, batch: Batch) -> TrainState:
        init_key = keys.stream(key, 'init')
        params, model_state = network.model.init(init_key, *pixels(batch))
        return create(
            key,
            {'model': params},
            {'model': tx},
            {'model': model_state},
            ema=config.optimizer.ema,
        )

    further = evaluations(network) if evaluations else {}
    task = Task(
        init=init,
        update=update.with_learning_rate(descend, lr),
        evaluations={'eval': network.evaluation(), **further},
        predict=network.predict,
        predictor=predictor,
        network=network.functions,
        best=best,
        prepare=prepare,
        figures=figures,
        show=show,
        fit=network.probe(config.task.probe),
    )
    return freezing.freeze(task, network.model.frozen)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Classifier:
    """A classification model with its preprocessing, loss and metrics.

    Attributes:
        spec: spec of the run.
        model: the model, of which all or some parts are trained.
        pixels: `(batch) -> (pixels in [0, 1], *further inputs of the model)`.
        augment: `(key, index [B], pixels, targets [B, K]) -> (pixels, targets)`, random changes
            in training.
        smoothing: label smoothing: the probability, in [0, 1), that is spread over all classes.
        dtype: dtype of the targets.
    """

    spec: Spec
    model: Tuned
    pixels: Pixels
    augment: Augment
    smoothing: float
    dtype: DTypeLike

    @classmethod
    def build(
        cls, config: Config, spec: Spec, pixels: Pixels, augment: Augment
    ) -> 'Classifier':
        """Build the model and the loss of a config.

        Args:
            config: config of the run.
            spec: spec of the run.
            pixels: `(batch) -> (pixels in [0, 1], *further inputs of the model)`.
            augment: `(key, index [B], pixels, targets [B, K]) -> (pixels, targets)`, random
                changes in training.

        Raises:
            UserError: Label smoothing is set but an example has several labels, or the model
                is wrong.
        """
        smoothing = config.task.label_smoothing
        if smoothing and spec.multi_label:
            raise UserError(
                f'task.label_smoothing={smoothing}: expected 0, because examples of '
                'this dataset have several labels. Set it to 0.'
            )
        example = {
            name: jax.ShapeDtypeStruct((1, *array.shape), array.dtype)
            for name, array in spec.inputs.items()
        }
        model = make_model(config, num_classes=len(spec.class_names))
        inputs = jax.eval_shape(pixels, example)
        return cls(
            spec=spec,
            model=Tuned.build(config.task, model, *inputs),
            pixels=pixels,
            augment=augment,
            smoothing=smoothing,
            dtype=jnp.dtype(config.model.param_dtype),
        )

    def normalize(self, pixels: Float[Array, '...']) -> Float[Array, '...']:
        """Normalise pixels [..., C] in [0, 1] by the preprocessing's mean and std of channels."""
        preprocessing = self.spec.preprocessing
        return color.normalize(pixels, preprocessing.mean, preprocessing.std)

    def inputs(self, batch: Batch) -> tuple[Array, ...]:
        """Read the model's inputs from a batch, without augmentation.

        Returns:
            (normalised pixels, *further inputs of the model).
        """
        pixels, *others = self.pixels(batch)
        return self.normalize(pixels), *others

    def targets(self, batch: Batch) -> Float[Array, 'b k']:
        """Return the target probability of each class, [B, K].

        One label an example becomes a one-hot vector with label smoothing. Several labels are
        returned as they are, 0 or 1.
        """
        if self.spec.multi_label:
            return batch['label']
        return losses.one_hot_targets(
            batch['label'], len(self.spec.class_names), self.smoothing, self.dtype
        )

    def loss(
        self, params: Tree, state: TrainState, batch: Batch, key: jax.Array
    ) -> update.TermsAndAux:
        """Compute the cross-entropy of augmented examples, for `update.from_loss`.

        Args:
            params: parameters of the model.
            state: train state, with the model state.
            batch: training examples.
            key: random key of the step.

        Returns:
            ({'cross_entropy': (values [B] in nats, ones [B])}, {'model_state': {'model': the new
            model state}}). With several labels the values are sigmoid cross-entropies,
            averaged over the classes.
        """
        pixels, others, targets = self.augmented(batch, key)
        logits, aux = self.train(params, state, pixels, others, batch['index'], key)
        if self.spec.multi_label:
            entropy = losses.sigmoid_cross_entropy(logits, targets)
        else:
            entropy = losses.softmax_cross_entropy(logits, targets)
        return {'cross_entropy': (entropy, jnp.ones_like(entropy))}, aux

    def augmented(
        self, batch: Batch, key: jax.Array
    ) -> tuple[Array, list[Array], Float[Array, 'b k']]:
        """Augment training examples.

        Args:
            batch: training examples.
            key: random key of the step.

        Returns:
            (pixels in [0, 1], further inputs of the model, target probabilities [B, K]).
        """
        pixels, *others = self.pixels(batch)
        targets = self.targets(batch)
        pixels, targets = self.augment(key, batch['index'], pixels, targets)
        return pixels, others, targets

    def train(
        self,
        params: Tree,
        state: TrainState,
        pixels: Array,
        others: list[Array],
        index: Array,
        key: jax.Array,
    ) -> tuple[Float[Array, 'b k'], dict[str, Tree]]:
        """Apply the model in training.

        Args:
            params: parameters of the model.
            state: train state, with the model state.
            pixels: pixels in [0, 1], not normalised.
            others: further inputs of the model.
            index: row of each example in its split, [B].
            key: random key of the step.

        Returns:
            (logits, {'model_state': {'model': the new model state}}).
        """
        (logits, _), model_state = self.model.apply(
            params,
            state.model_state['model'],
            self.normalize(pixels),
            *others,
            train=True,
            mutable=list(state.model_state['model']),
            keys=keys.per_example(keys.stream(key, 'model'), index),
        )
        return logits, {'model_state': {'model': model_state}}

    @property
    def functions(self) -> Network:
        """The network as functions, see `Task.network`."""
        return Network(normalize=self.normalize, apply=self.apply)

    def apply(self, variables: Tree, *inputs: Array) -> tuple[Array, Scalars]:
        """Compute (logits [B, K], intermediates by name) from normalised inputs, in inference.

        `variables` are `TrainState.variables`.
        """
        params = variables['params']['model']
        model_state = variables['model_state']['model']
        return self.model.apply(params, model_state, *inputs)

    def predict(self, variables: Tree, inputs: Batch) -> Batch:
        """Predict the classes of images or clips.

        Args:
            variables: `TrainState.variables`.
            inputs: a batch of inputs, not yet normalised.

        Returns:
            {'logits': [B, K], 'probabilities': [B, K]}, the softmax of the logits or, with
            several labels an example, their sigmoid.
        """
        logits, _ = self.apply(variables, *self.inputs(inputs))
        if self.spec.multi_label:
            probabilities = jax.nn.sigmoid(logits)
        else:
            probabilities = jax.nn.softmax(logits)
        return {'logits': logits, 'probabilities': probabilities}

    def record(self, outputs: Batch, batch: Batch) -> Batch:
        """Make one record per example from `outputs['logits']` and `batch['label']`.

        Its arrays are those of `metrics.record` or, with several labels, of
        `metrics.record_multilabel`.
        """
        if self.spec.multi_label:
            return metrics.record_multilabel(outputs['logits'], batch['label'])
        return metrics.record(outputs['logits'], batch['label'])

    def evaluation(self) -> Evaluation:
        """Build the evaluation: accuracy and related metrics.

        With several labels an example, mean average precision and related metrics.
        """

        def evaluate(state, batch):
            return self.record(self.predict(state.variables, batch), batch)

        classes = len(self.spec.class_names)
        if self.spec.multi_label:
            summarize = metrics.summarize_multilabel
            names = metrics.MULTILABEL_NAMES
        else:
            summarize = functools.partial(metrics.summarize, classes=classes)
            names = metrics.names(classes)
        return Evaluation(
            evaluate=evaluate,
            summarize=summarize,
            metrics=names,
            record=self.record,
        )

    def probe(self, penalty: float) -> Fit | None:
        """Build the linear probe with an L2 penalty; None if `penalty` is 0."""
        if not penalty:
            return None

        def features(params, model_state, batch):
            return self.model.head_input(params, model_state, *self.inputs(batch))

        return fit(penalty, features, self.targets, self.spec.multi_label)
