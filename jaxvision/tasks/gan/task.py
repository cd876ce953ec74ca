"""Image generation with adversarial networks, conditional on the class or not."""

import functools
from collections.abc import Sequence

import jax
import numpy as np
import optax

from jaxvision.core.errors import UserError
from jaxvision.core.fields import Config, Field, Fields
from jaxvision.core.registry import resolve
from jaxvision.core.spec import ArraySpec, Preprocessing, Spec
from jaxvision.core.state import TrainState, create
from jaxvision.core.task import (
    Network,
    RequiredNetwork,
    Scalars,
    Task,
    Update,
)
from jaxvision.core.types import Batch, Prepare, Split
from jaxvision.data import decode
from jaxvision.data.protocol import Source
from jaxvision.losses import adversarial
from jaxvision.tasks.gan import evaluation, pictures
from jaxvision.tasks.gan.losses import Losses
from jaxvision.tasks.gan.networks import Networks
from jaxvision.tasks.gan.samples import SampleRows
from jaxvision.tasks.shared import feature_extractor
from jaxvision.train import optimizers, update

FIELDS: Fields = {
    'loss': Field('relativistic', 'Adversarial loss.', choices=adversarial.KINDS),
    'r1': Field(
        0.0, "Weight of half the score's squared gradient at real images.", least=0
    ),
    'r2': Field(
        0.0, "Weight of half the score's squared gradient at generated images.", least=0
    ),
    'gradient_penalty': Field(
        0.0,
        "Weight of WGAN-GP's penalty between real and generated images; 10 in the paper.",
        least=0,
    ),
    'conditional': Field(True, 'Generate and discriminate images by their class.'),
    'latent': Field(
        64, 'Size of a latent, whose numbers are normally distributed.', least=1
    ),
    'critic_steps': Field(
        1,
        'Updates of the discriminator a step, each on its own part of the batch.',
        least=1,
    ),
    'diffaugment': Field(
        '',
        "DiffAugment of real and generated images, such as 'color,translation,cutout'.",
    ),
    'samples': Field(2000, 'Images that the evaluation generates.', least=10),
    'feature_extractor': Field(
        'small_cnn',
        'Run of the classifier whose features are compared; small_cnn: a small one of this '
        'dataset, trained once.',
    ),
    'layer': Field(
        'pooled', 'Intermediate of that classifier whose values are compared.'
    ),
    'inception': Field(
        '',
        'File pt_inception-2015-12-05-*.pth, for the FID and KID that others report; '
        'empty: without these.',
    ),
}


def source(
    config: Config, source: Source, split: Split, preprocessing: Preprocessing | None
) -> Source:
    """Place latents and labels beside the images of a split that is evaluated."""
    if split == 'train':
        return source
    return SampleRows(source, config.data, config.task.samples, config.task.latent)


def requires(config: Config) -> dict[str, RequiredNetwork]:
    """The classifier whose features are compared, and Inception where it is asked for."""
    networks = {
        'feature_extractor': feature_extractor.required(
            config, config.task.feature_extractor
        )
    }
    if config.task.inception:
        networks['inception'] = feature_extractor.inception(config.task.inception)
    return networks


def describe(config: Config, source: Source) -> Spec:
    """Describe latents, labels and images.

    An image is a square whose side is 4 times a power of two. Small images of one size are
    padded to such squares, others are resized to `data.image_size`.

    Raises:
        UserError: An image has several labels, or there are no squares of this size.
    """
    info = source.info
    info.check_holds('image', 'label')
    conditional = config.task.conditional
    if conditional and info.multi_label:
        raise UserError(
            'task.conditional=True: expected an image with one label, and these have '
            'several. Set it to false.'
        )
    preprocessing = _preprocessing(info.image_shape, config.data.image_size)
    channels = info.image_shape[2]
    label = {'label': ArraySpec((), 'int32')} if conditional else {}
    return Spec(
        inputs={'latent': ArraySpec((config.task.latent,), 'float32'), **label},
        targets={'image': ArraySpec((*preprocessing.size, channels))},
        class_names=tuple(info.class_names) if conditional else (),
        preprocessing=preprocessing,
    )


def _preprocessing(image_shape: Sequence[int | None], image_size: int) -> Preprocessing:
    """How images become squares of 8, 16, 32, ... pixels in [-1, 1].

    Args:
        image_shape: (height, width, channels) of all images, None where they differ.
        image_size: `data.image_size`.
    """
    found = Preprocessing.of_dataset(image_shape, image_size, 'stretch')
    channels = image_shape[2]
    side = max(found.size)
    rule = found.resize
    if rule == 'none':
        rule = 'pad'
        side = 4 * 2 ** max(1, int(np.ceil(np.log2(side / 4))))
    elif side < 8 or side & (side - 1):
        raise UserError(
            f'data.image_size={side}: expected 8, 16, 32, ... for a generator. Choose '
            'the next one.'
        )
    half = (0.5,) * channels
    return Preprocessing(size=(side, side), resize=rule, mean=half, std=half)


def make(config: Config, spec: Spec) -> Task:
    """Build the task of a generator and a discriminator.

    Its `network` is the discriminator, which is the one that reads images.
    """
    _check(config)
    options = config.task
    networks = Networks.build(config, spec)
    generator_tx, lr = optimizers.make(config, spec.examples)
    discriminator_tx, _ = optimizers.make(config, spec.examples, options.critic_steps)
    descend = _make_update(config, networks, generator_tx, discriminator_tx)

    def init(key: jax.Array, batch: Batch) -> TrainState:
        params, model_state = networks.init(key)
        return create(
            key,
            params,
            {'generator': generator_tx, 'discriminator': discriminator_tx},
            model_state,
            ema=config.optimizer.ema,
            averaged=('generator',),
        )

    return Task(
        init=init,
        update=update.with_learning_rate(descend, lr),
        evaluations={
            'eval': evaluation.make(options, spec, networks.predict, networks.dtype)
        },
        predict=networks.predict,
        predictor='generator',
        network=Network(normalize=networks.normalize, apply=networks.discriminate),
        best='-fid_cnn',
        prepare=make_prepare(spec),
        figures=functools.partial(
            pictures.draw, samples=options.samples, class_names=spec.class_names
        ),
        watch=True,
    )


def _check(config: Config) -> None:
    options = config.task
    module = resolve('models', config.model.name)
    for name in ('r1', 'r2', 'gradient_penalty'):
        if options[name] and getattr(module, 'SCORE_DEPENDS_ON_BATCH', False):
            raise UserError(
                f'task.{name}={options[name]}: expected 0, since the batch norm of '
                f'model.name={config.model.name} makes the score of one image depend on '
                'all images. Set it to 0 or choose another model.'
            )
    parts = options.critic_steps * config.optimizer.accumulate
    if config.data.batch_size % parts:
        raise UserError(
            f'data.batch_size={config.data.batch_size}: expected a multiple of '
            f'task.critic_steps x optimizer.accumulate = {parts}. Change one of the three.'
        )


def _make_update(
    config: Config,
    networks: Networks,
    generator_tx: optax.GradientTransformation,
    discriminator_tx: optax.GradientTransformation,
) -> Update:
    """Update the discriminator `critic_steps` times, then the generator once."""
    losses = Losses(options=config.task, networks=networks)
    discriminator = update.from_loss(
        losses.discriminator,
        discriminator_tx,
        'discriminator',
        accumulate=config.optimizer.accumulate,
    )
    generator = update.from_loss(
        losses.generator,
        generator_tx,
        'generator',
        accumulate=config.optimizer.accumulate,
        ema=config.optimizer.ema,
    )
    parts = config.task.critic_steps
    in_turn = update.in_turn(
        *[_on_part(discriminator, part, parts) for part in range(parts)],
        _on_part(generator, 0, parts),
    )

    def with_loss(state: TrainState, batch: Batch) -> tuple[TrainState, Scalars]:
        new, scalars = in_turn(state, batch)
        return new, {**scalars, 'loss': scalars['generator/loss']}

    return with_loss


def _on_part(whole: Update, part: int, parts: int) -> Update:
    """The update on every `parts`-th example, so that each device keeps its own examples."""

    def on_part(state: TrainState, batch: Batch) -> tuple[TrainState, Scalars]:
        if len(batch['index']) % parts:
            raise ValueError(f'they do not divide by task.critic_steps={parts}')
        return whole(state, jax.tree.map(lambda x: x[part::parts], batch))

    return on_part


def make_prepare(spec: Spec) -> Prepare:
    """Bring the images of an example or of an evaluation's row to one size, on the host."""
    side, _, channels = spec.targets['image'].shape
    is_padded = spec.preprocessing.resize == 'pad'

    def to_size(image):
        if is_padded:
            return _padded(image, side)
        return decode.stretch(image, side, channels)

    def prepare(example, rng):
        images = {name for name in ('image', 'train_image') if name in example}
        return {**example, **{name: to_size(example[name]) for name in images}}

    return prepare


def _padded(image: np.ndarray, side: int) -> np.ndarray:
    """Pad an image [H, W, C] to a square with zeros around it."""
    height, width, _ = image.shape
    top = (side - height) // 2
    left = (side - width) // 2
    margins = ((top, side - height - top), (left, side - width - left), (0, 0))
    return np.pad(image, margins)
