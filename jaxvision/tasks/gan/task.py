"""Image generation with generative adversarial networks (GAN), with or without class labels."""

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
        0.0,
        'Weight of the R1 penalty: half the squared gradient of the score at real images.',
        least=0,
    ),
    'r2': Field(
        0.0,
        'Weight of the R2 penalty: half the squared gradient of the score at generated '
        'images.',
        least=0,
    ),
    'gradient_penalty': Field(
        0.0,
        'Weight of the gradient penalty of WGAN-GP; 10 in the paper.',
        least=0,
    ),
    'conditional': Field(True, 'Condition generator and discriminator on the class.'),
    'latent': Field(
        64, 'Size of the latent, a vector of normal random numbers.', least=1
    ),
    'critic_steps': Field(
        1,
        'Updates of the discriminator per step, each on another part of the batch.',
        least=1,
    ),
    'diffaugment': Field(
        '',
        "DiffAugment operations on real and generated images: any of 'color,translation,"
        "cutout'; empty: none.",
    ),
    'samples': Field(2000, 'Number of images that the evaluation generates.', least=10),
    'feature_extractor': Field(
        'small_cnn',
        'Feature extractor of the metrics: the folder of a classification run, or small_cnn: '
        'a small classifier, trained once on this dataset.',
    ),
    'layer': Field(
        'pooled', 'Intermediate of the feature extractor that the metrics compare.'
    ),
    'inception': Field(
        '',
        'File pt_inception-2015-12-05-*.pth, with which FID and KID are comparable to '
        'published values; empty: these metrics are left out.',
    ),
}


def source(
    config: Config, source: Source, split: Split, preprocessing: Preprocessing | None
) -> Source:
    """Add latents and labels to the images of an evaluated split.

    Args:
        config: config of the run.
        source: the images.
        split: 'train', 'validation' or 'test'; the training split is returned unchanged.
        preprocessing: not used.

    Returns:
        For 'train', `source`, unchecked. For another split, a `SampleRows` with `task.samples`
        random latents and then interpolations between latents, whatever the length of
        `source`. It opens the training split of `config.data`, too.

    Raises:
        UserError: The split is not 'train', and the training split or `source` has fewer
            than 4 images.
    """
    if split == 'train':
        return source
    return SampleRows(source, config.data, config.task.samples, config.task.latent)


def requires(config: Config) -> dict[str, RequiredNetwork]:
    """List the networks that the metrics need.

    Returns:
        {'feature_extractor': the classifier}, with 'inception' too if `task.inception` is set.
    """
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

    Images are squares of 8, 16, 32, ... pixels. Small images of one size are padded to such
    squares, other images are stretched to `data.image_size`.

    Raises:
        UserError: Examples have no image or no label. Or images have several labels, but
            `task.conditional` is True. Or images must be resized, and `data.image_size` is not
            8, 16, 32, ...
    """
    info = source.info
    info.check_holds('image', 'label')
    conditional = config.task.conditional
    if conditional and info.multi_label:
        raise UserError(
            'task.conditional=True: expected images with one label, but images of this '
            'dataset have several. Set it to false.'
        )
    preprocessing = _preprocessing(info.image_shape, config.data.image_size)
    channels = info.image_shape[2]
    inputs = {'latent': ArraySpec((config.task.latent,), 'float32')}
    class_names = ()
    if conditional:
        inputs['label'] = ArraySpec((), 'int32')
        class_names = tuple(info.class_names)
    return Spec(
        inputs=inputs,
        targets={'image': ArraySpec((*preprocessing.size, channels))},
        class_names=class_names,
        preprocessing=preprocessing,
    )


def _preprocessing(image_shape: Sequence[int | None], image_size: int) -> Preprocessing:
    """Choose how images become squares of 8, 16, 32, ... pixels in [-1, 1].

    Args:
        image_shape: (height, width, channels) of all images; None for sides that differ.
        image_size: `data.image_size`.
    """
    of_dataset = Preprocessing.of_dataset(image_shape, image_size, 'stretch')
    channels = image_shape[2]
    side = max(of_dataset.size)
    rule = of_dataset.resize
    if rule == 'none':
        rule = 'pad'
        doublings = int(np.ceil(np.log2(side / 4)))
        side = 4 * 2 ** max(1, doublings)
    elif side < 8 or side & (side - 1):
        raise UserError(
            f'data.image_size={side}: expected 8, 16, 32, ... (a power of two) for a '
            'generator. Choose one of these.'
        )
    half = (0.5,) * channels
    return Preprocessing(size=(side, side), resize=rule, mean=half, std=half)


def make(config: Config, spec: Spec) -> Task:
    """Build the task of a generator and a discriminator.

    `Task.network` is the discriminator, because this network reads images.

    Raises:
        UserError: The model or a field is wrong, such as a gradient penalty for a discriminator
            with batch norm.
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
                f'task.{name}={options[name]}: expected 0 for model.name='
                f'{config.model.name}, because its batch norm makes the score of an image '
                'depend on the other images. Set it to 0 or choose another model.'
            )
    parts = options.critic_steps * config.optimizer.accumulate
    if config.data.batch_size % parts:
        raise UserError(
            f'data.batch_size={config.data.batch_size}: expected a multiple of '
            f'task.critic_steps x optimizer.accumulate = {parts}. Change one of these fields.'
        )


def _make_update(
    config: Config,
    networks: Networks,
    generator_tx: optax.GradientTransformation,
    discriminator_tx: optax.GradientTransformation,
) -> Update:
    """Build the update: the discriminator `task.critic_steps` times, then the generator once."""
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
    update_both = update.in_turn(
        *[_on_part(discriminator, part, parts) for part in range(parts)],
        _on_part(generator, 0, parts),
    )

    def with_loss(state: TrainState, batch: Batch) -> tuple[TrainState, Scalars]:
        new_state, scalars = update_both(state, batch)
        return new_state, {**scalars, 'loss': scalars['generator/loss']}

    return with_loss


def _on_part(whole: Update, part: int, parts: int) -> Update:
    """Restrict an update to every `parts`-th example of the batch, from example `part` on.

    With this stride no example moves to another device.
    """

    def on_part(state: TrainState, batch: Batch) -> tuple[TrainState, Scalars]:
        if len(batch['index']) % parts:
            raise ValueError(
                f'a batch of {len(batch["index"])}: expected a multiple of '
                f'task.critic_steps={parts}'
            )
        return whole(state, jax.tree.map(lambda x: x[part::parts], batch))

    return on_part


def make_prepare(spec: Spec) -> Prepare:
    """Build the host function that brings images to the size of generated images.

    It changes 'image' and 'train_image' of an example, if they are there, to uint8
    squares. Small images of one size are padded with black on all sides, others are
    stretched. It uses no random numbers.
    """
    side, _, channels = spec.targets['image'].shape
    is_padded = spec.preprocessing.resize == 'pad'

    def to_size(image):
        if is_padded:
            return _padded(image, side)
        return decode.stretch(image, side, channels)

    def prepare(example, rng):
        prepared = dict(example)
        for name in ('image', 'train_image'):
            if name in example:
                prepared[name] = to_size(example[name])
        return prepared

    return prepare


def _padded(image: np.ndarray, side: int) -> np.ndarray:
    """Pad an image [H, W, C] with zeros to a square, with the image in the centre."""
    height, width, _ = image.shape
    top = (side - height) // 2
    left = (side - width) // 2
    rows = (top, side - height - top)
    columns = (left, side - width - left)
    return np.pad(image, (rows, columns, (0, 0)))
