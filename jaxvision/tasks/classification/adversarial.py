"""Training on perturbed images, `task.adversarial`, and the accuracy on such images."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxvision.attacks import budgets, networks, objectives, pgd
from jaxvision.attacks.types import Images, Keys, Labels, Logits, Norm, Outputs
from jaxvision.core import intervals, keys
from jaxvision.core.errors import UserError
from jaxvision.core.fields import Config, Field, Fields
from jaxvision.core.spec import Spec
from jaxvision.core.state import TrainState
from jaxvision.core.task import Evaluation
from jaxvision.core.types import Batch, MetricValues, Records, Tree
from jaxvision.losses import classification as losses
from jaxvision.losses import robust
from jaxvision.metrics import classification as metrics
from jaxvision.tasks.shared.classifier import Classifier
from jaxvision.train.update import TermsAndAux

FIELDS: Fields = {
    'kind': Field(
        '',
        "Training on perturbed images; '': none. noise: Gaussian noise, for smoothing.",
        choices=('', 'pgd', 'fgsm', 'trades', 'mart', 'noise'),
    ),
    'eps': Field(
        '8/255',
        'Largest norm of a perturbation, in pixels of [0, 1], such as 8/255 or 0.3.',
    ),
    'norm': Field('linf', 'Norm of a perturbation.', choices=('linf', 'l2')),
    'steps': Field(10, 'Steps of the attack; fgsm has one.', least=1),
    'step_size': Field(
        '',
        'Norm of a step, such as 2/255; empty: 2.5 eps / steps, and 1.25 eps for fgsm.',
    ),
    'ramp': Field(
        '0', 'Interval in which eps grows from 0 to its value.', is_interval=True
    ),
    'beta': Field(6.0, 'Weight of the divergence in trades and mart.', least=0),
    'std': Field(0.25, 'Std of the noise, in pixels of [0, 1].', above=0),
    'eval_steps': Field(
        20,
        'Steps of the attack (PGD) of the evaluation robust; 0: no such evaluation. '
        'noise has the evaluation noisy instead.',
        least=0,
    ),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Adversarial:
    """Adversarial training of a classifier.

    Attributes:
        kind: 'pgd', 'fgsm', 'trades', 'mart' or 'noise'.
        eps: largest norm of a perturbation, in pixels of [0, 1].
        norm: norm of a perturbation.
        steps: steps of the attack in training.
        step_size: norm of a step, as a fraction of eps.
        ramp: training steps in which eps grows from 0; 0: none.
        beta: weight of the divergence in TRADES and MART.
        std: std of the noise.
        eval_steps: steps of the attack in evaluation; 0: no such evaluation. Not used
            for noise.
    """

    kind: str
    eps: float
    norm: Norm
    steps: int
    step_size: float
    ramp: int
    beta: float
    std: float
    eval_steps: int

    @classmethod
    def build(cls, config: Config, spec: Spec) -> 'Adversarial | None':
        """Read `task.adversarial`; None: training is on unperturbed images.

        Raises:
            UserError: A field is wrong, or does not fit the data or another field.
        """
        options = config.task.adversarial
        if not options.kind:
            return None
        _check(config, spec)
        eps = budgets.parse_eps('task.adversarial.eps', options.eps, options.norm)
        if not eps:
            raise UserError(
                f'task.adversarial.eps={options.eps}: expected a number above 0. Set '
                'task.adversarial.kind to an empty text to train without perturbations.'
            )
        steps = 1 if options.kind == 'fgsm' else options.steps
        step_size = 1.25 if steps == 1 else 2.5 / steps
        if options.step_size:
            field = 'task.adversarial.step_size'
            step_size = budgets.parse_eps(field, options.step_size, options.norm) / eps
        return cls(
            kind=options.kind,
            eps=eps,
            norm=options.norm,
            steps=steps,
            step_size=step_size,
            ramp=intervals.steps(options.ramp, config.data.batch_size, spec.examples),
            beta=options.beta,
            std=options.std,
            eval_steps=options.eval_steps,
        )

    def loss(
        self,
        network: Classifier,
        params: Tree,
        state: TrainState,
        batch: Batch,
        key: jax.Array,
    ) -> TermsAndAux:
        """Compute the loss of perturbed examples, for `update.from_loss`.

        The attack sees the model in inference mode: running statistics, no dropout. TRADES and MART
        train on the originals and the perturbed images as one batch.

        Args:
            network: the classifier.
            params: parameters of the model.
            state: train state, with the model state.
            batch: training examples.
            key: random key of the step.

        Returns:
            The terms. 'aux' also has the scalar 'perturbed_accuracy': a sudden rise is
            catastrophic overfitting of fgsm.
        """
        pixels, others, targets = network.augmented(batch, key)
        perturbed = self.perturb(network, params, state, pixels, batch, key)
        labels = batch['label']
        index = batch['index']
        if self.kind not in ('trades', 'mart'):
            logits, aux = network.train(params, state, perturbed, others, index, key)
            entropy = losses.softmax_cross_entropy(logits, targets)
            terms = {'cross_entropy': entropy}
            after = logits
        else:
            both, aux = network.train(
                params,
                state,
                jnp.concatenate([pixels, perturbed]),
                [jnp.concatenate([other, other]) for other in others],
                jnp.concatenate([index, index]),
                key,
            )
            before, after = jnp.split(both, 2)
            terms = self._two_terms(before, after, targets, labels)
        ones = jnp.ones_like(terms['cross_entropy'])
        is_right = (jnp.argmax(after, -1) == labels).astype(ones.dtype)
        scalars = {'perturbed_accuracy': (is_right, ones)}
        weighted = {name: (values, ones) for name, values in terms.items()}
        return weighted, {**aux, 'scalars': scalars}

    def _two_terms(
        self,
        before: Outputs,
        after: Outputs,
        targets: Float[Array, 'b k'],
        labels: Labels,
    ) -> dict[str, Float[Array, 'b']]:
        """The terms of TRADES or MART, from the logits of originals and perturbed images."""
        divergence = self.beta * robust.divergence(before, after)
        if self.kind == 'trades':
            entropy = losses.softmax_cross_entropy(before, targets)
        else:
            entropy = robust.boosted_cross_entropy(after, labels)
            weights = robust.misclassification_weights(before, labels)
            divergence = divergence * weights
        return {'cross_entropy': entropy, 'divergence': divergence}

    def perturb(
        self,
        network: Classifier,
        params: Tree,
        state: TrainState,
        pixels: Images,
        batch: Batch,
        key: jax.Array,
    ) -> Images:
        """Perturb training images, each by its own random key.

        Args:
            network: the classifier.
            params: parameters of the model.
            state: train state, with the model state and the number of steps taken.
            pixels: augmented images, in [0, 1].
            batch: with 'label' and 'index'.
            key: random key of the step.

        Returns:
            Images within eps of `pixels`, without a gradient to `params`. For 'noise':
            images with noise, which leave [0, 1].
        """
        example_keys = keys.per_example(keys.stream(key, 'adversarial'), batch['index'])
        if self.kind == 'noise':
            return pixels + self.std * _normal(example_keys, pixels)
        fixed = jax.lax.stop_gradient(params)
        variables = {
            'params': {'model': fixed},
            'model_state': {'model': state.model_state['model']},
        }
        logits = networks.logits_of(network.functions, variables)
        objective = objectives.cross_entropy
        if self.kind == 'trades':
            objective = jax.tree_util.Partial(_divergence_from, logits(pixels))
        eps = jnp.float32(self.eps)
        if self.ramp:
            eps = eps * jnp.minimum((state.step + 1) / self.ramp, 1.0)
        attacked = pgd.pgd(
            logits,
            pixels,
            batch['label'],
            example_keys,
            eps=eps,
            norm=self.norm,
            steps=self.steps,
            step_size=self.step_size * eps,
            objective=objective,
            keep='last',
        )
        return jax.lax.stop_gradient(attacked.images)

    def evaluations(self, network: Classifier) -> dict[str, Evaluation]:
        """Make the evaluation 'robust', the accuracy under PGD; {} without `eval_steps`.

        For 'noise' the evaluation is 'noisy', the accuracy under noise of the same std.
        """
        if self.kind == 'noise':
            name = 'noisy'
            perturb = self._add_noise
        elif self.eval_steps:
            name = 'robust'
            perturb = self._attack
        else:
            return {}

        def evaluate(state, batch):
            pixels, *_ = network.pixels(batch)
            logits = networks.logits_of(network.functions, state.variables)
            example_keys = keys.per_example(
                keys.stream(state.key, name), batch['index']
            )
            images = perturb(logits, pixels, batch['label'], example_keys)
            return metrics.record(logits(images), batch['label'])

        return {
            name: Evaluation(
                evaluate=evaluate, summarize=_summarize, metrics=('accuracy', 'nll')
            )
        }

    def _attack(
        self, logits: Logits, pixels: Images, labels: Labels, example_keys: Keys
    ) -> Images:
        """Attack images of an evaluation by PGD."""
        return pgd.pgd(
            logits,
            pixels,
            labels,
            example_keys,
            eps=self.eps,
            norm=self.norm,
            steps=self.eval_steps,
        ).images

    def _add_noise(
        self, logits: Logits, pixels: Images, labels: Labels, example_keys: Keys
    ) -> Images:
        """Add noise to images of an evaluation. Nothing is clipped."""
        del logits, labels
        return pixels + self.std * _normal(example_keys, pixels)


def _summarize(records: Records) -> MetricValues:
    """The accuracy on perturbed images, over all examples, and the mean 'nll' in nats."""
    values = metrics.summarize(records, classes=1)
    return {name: values[name] for name in ('accuracy', 'nll')}


def _check(config: Config, spec: Spec) -> None:
    """Refuse what does not fit adversarial training."""
    kind = config.task.adversarial.kind
    augment = config.task.augment
    if spec.multi_label:
        raise UserError(
            f'task.adversarial.kind={kind!r}: expected one label an image, but images of this '
            'dataset have several. Leave it empty.'
        )
    if augment.mixup or augment.cutmix:
        raise UserError(
            f'task.adversarial.kind={kind!r}: expected no mixup and no CutMix, because an '
            'attack needs one label an image. Set them to 0, or leave it empty.'
        )


def _normal(example_keys: Keys, pixels: Images) -> Images:
    """Normal numbers for each image, from its own key."""
    draw = functools.partial(
        jax.random.normal, shape=pixels.shape[1:], dtype=pixels.dtype
    )
    return jax.vmap(draw)(example_keys)


def _divergence_from(
    original: Outputs, logits: Outputs, labels: Labels, targets: Labels
) -> Float[Array, 'b']:
    """The objective of TRADES: the divergence from the predictions of the originals."""
    del labels, targets
    return robust.divergence(original, logits)
