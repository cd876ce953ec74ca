"""Generative adversarial networks, conditional on the class or not."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxvision.core import keys
from jaxvision.core.errors import UserError, unknown
from jaxvision.core.registry import resolve
from jaxvision.core.state import create
from jaxvision.core.task import Evaluation, Task
from jaxvision.data import decode
from jaxvision.image import augment, color
from jaxvision.losses import adversarial
from jaxvision.models.backbones import inception
from jaxvision.tasks.gan import samples
from jaxvision.tasks.shared import feature_extractor
from jaxvision.tasks.shared.networks import make_model
from jaxvision.train import optimizers, update

DEFAULTS = dict(
    loss='relativistic',  # or 'non_saturating', 'hinge', 'wasserstein'
    r1=0.0,  # weight of half the squared gradient of the score at real images,
    r2=0.0,  # and at generated ones
    gradient_penalty=0.0,  # of WGAN-GP, between the two; 10 in the paper
    conditional=True,  # generate and judge by class
    latent=64,  # numbers that an image is made of, normally distributed
    critic_steps=1,  # of the discriminator, each on its part of the batch, to one of the other
    diffaugment='',  # what both kinds of images are subjected to: 'color,translation,cutout'
    samples=2000,  # images that the evaluation generates
    judge='own',  # whose features compare them: the package's classifier of this source,
    layer='pooled',  # or a RUN; and which of its intermediates
    inception='',
)  # pt_inception-2015-12-05-*.pth, for the FID and KID that others report


def source(config, source, split: str):
    """What is evaluated is drawn: latents and labels beside real images."""
    return (
        source
        if split == 'train'
        else samples.Draws(source, config.data, config.task.samples, config.task.latent)
    )


def requires(config) -> dict:
    networks = {'judge': feature_extractor.required(config, config.task.judge)}
    if config.task.inception:
        networks['inception'] = feature_extractor.inception(config.task.inception)
    return networks


def describe(config, source) -> dict:
    """Images are padded to the next size that is 4 times a power of two, or brought to
    `data.image_size` where they are larger or unequal."""
    info, size = source.info, config.data.image_size
    info.check_holds('image', 'label')
    height, width, channels = info.image_shape
    as_it_is = None not in (height, width) and max(height, width) <= size
    if as_it_is:
        size = 4 * 2 ** max(1, int(np.ceil(np.log2(max(height, width) / 4))))
    elif size < 8 or size & (size - 1):
        raise UserError(f'data.image_size={size}: 8, 16, 32, ... for a generator')
    conditional = config.task.conditional
    if conditional and info.multi_label:
        raise UserError(
            'these images have several labels each: set task.conditional=false'
        )
    label = {'label': {'shape': [], 'dtype': 'int32'}} if conditional else {}
    return {
        'class_names': list(info.class_names) if conditional else [],
        'image': [size, size, channels],
        'padded': as_it_is,
        'inputs': {
            'latent': {'shape': [config.task.latent], 'dtype': 'float32'},
            **label,
        },
        'targets': {'image': {'shape': [size, size, channels], 'dtype': 'uint8'}},
    }


def make(config, spec: dict) -> Task:
    c, dtype = config.task, jnp.dtype(config.model.param_dtype)
    _check(config, resolve('models', config.model.name))
    networks = Networks(
        *make_model(
            config,
            num_classes=len(spec['class_names']),
            image_shape=spec['image'],
        )
    )
    tx, lr = optimizers.make(config, spec['examples'])
    critic_tx, _ = optimizers.make(config, spec['examples'], c.critic_steps)

    def init(key, batch):
        latent, image = (
            jnp.zeros((2, *shape), dtype) for shape in ((c.latent,), spec['image'])
        )
        label = jnp.zeros(2, jnp.int32) if c.conditional else None
        made = {
            'generator': networks.generator.init(
                keys.stream(key, 'generator'), latent, label, train=True
            ),
            'discriminator': networks.discriminator.init(
                keys.stream(key, 'discriminator'), image, label, train=True
            ),
        }
        params = {player: variables.pop('params') for player, variables in made.items()}
        averaged = ('generator',) if config.optimizer.ema else ()
        return create(
            key, params, {'generator': tx, 'discriminator': critic_tx}, made, averaged
        )

    accumulate = config.optimizer.accumulate
    judge = update.from_loss(
        discriminator_loss(c, networks, dtype),
        critic_tx,
        'discriminator',
        accumulate=accumulate,
    )
    generate = update.from_loss(
        generator_loss(c, networks, dtype),
        tx,
        'generator',
        accumulate=accumulate,
        ema=config.optimizer.ema,
    )
    descend = update.in_turn(
        *[_on_part(judge, part, c.critic_steps) for part in range(c.critic_steps)],
        _on_part(generate, 0, c.critic_steps),
    )

    def step(state, batch):
        new, scalars = descend(state, batch)
        return new, {**scalars, 'lr': lr(state.step), 'loss': scalars['generator/loss']}

    def predict(variables, inputs):
        image = networks.generator.apply(
            {
                'params': variables['params']['generator'],
                **variables['model_state']['generator'],
            },
            jnp.asarray(inputs['latent'], dtype),
            inputs.get('label'),
        )
        return {'image': 255 * jnp.clip((image + 1) / 2, 0, 1)}

    draw = functools.partial(samples.draw, c.samples, spec['class_names'])
    return Task(
        init,
        step,
        {'eval': _evaluation(c, spec, predict, dtype)},
        predict,
        '-eval/fid_cnn',
        _make_prepare(spec),
        draw,
        watch=True,
    )


@dataclasses.dataclass(frozen=True)
class Networks:
    """Both players as functions of their weights; images are in [-1, 1]."""

    generator: Any
    discriminator: Any

    def generate(self, params, model_state, latent, label):
        """Images, and the running statistics of these."""
        return self.generator.apply(
            {'params': params, **model_state},
            latent,
            label,
            train=True,
            mutable=list(model_state),
        )

    def score(self, params, model_state, images, label):
        """Of each image, and the running statistics of these."""
        (scores, _), new = self.discriminator.apply(
            {'params': params, **model_state},
            images,
            label,
            train=True,
            mutable=list(model_state),
        )
        return scores, new


def discriminator_loss(options, networks: Networks, dtype) -> Callable:
    def loss(params, state, batch, key):
        real, label, latent = _read(options, dtype, batch, key)
        fake, _ = networks.generate(
            state.params['generator'], state.model_state['generator'], latent, label
        )
        real, fake = (
            _subjected(options, images, batch, key, name)
            for name, images in (('real', real), ('fake', fake))
        )
        before = state.model_state['discriminator']
        real_score, model_state = networks.score(params, before, real, label)
        fake_score, model_state = networks.score(params, model_state, fake, label)
        terms = {
            'adversarial': adversarial.discriminator(
                options.loss, real_score, fake_score
            ),
            **_penalties(
                options,
                lambda images: networks.score(params, before, images, label)[0],
                real,
                fake,
                batch,
                key,
            ),
        }
        ones = jnp.ones(len(real), dtype)
        scalars = {'real_score': (real_score, ones), 'fake_score': (fake_score, ones)}
        return {name: (values, ones) for name, values in terms.items()}, {
            'model_state': {'discriminator': model_state},
            'scalars': scalars,
        }

    return loss


def generator_loss(options, networks: Networks, dtype) -> Callable:
    def loss(params, state, batch, key):
        real, label, latent = _read(options, dtype, batch, key)
        fake, model_state = networks.generate(
            params, state.model_state['generator'], latent, label
        )
        real_score, fake_score = (
            networks.score(
                state.params['discriminator'],
                state.model_state['discriminator'],
                _subjected(options, images, batch, key, name),
                label,
            )[0]
            for name, images in (('real', real), ('fake', fake))
        )
        values = adversarial.generator(options.loss, real_score, fake_score)
        return {'adversarial': (values, jnp.ones_like(values))}, {
            'model_state': {'generator': model_state}
        }

    return loss


def _read(options, dtype, batch, key):
    """(real images in [-1, 1], their labels, as many latents)."""
    latent = jax.vmap(lambda key: jax.random.normal(key, (options.latent,), dtype))(
        keys.per_example(keys.stream(key, 'latent'), batch['index'])
    )
    return 2 * color.to_float(batch['image'], dtype) - 1, batch.get('label'), latent


def _subjected(options, images, batch, key, name: str):
    if not options.diffaugment:
        return images
    each = keys.per_example(keys.stream(key, name), batch['index'])
    return (
        2
        * jax.vmap(
            lambda key, image: augment.diffaugment(key, image, options.diffaugment)
        )(each, (images + 1) / 2)
        - 1
    )


def _penalties(options, score: Callable, real, fake, batch, key) -> dict:
    terms = {}
    if options.r1:
        terms['r1'] = options.r1 / 2 * adversarial.squared_gradient(score, real)
    if options.r2:
        terms['r2'] = options.r2 / 2 * adversarial.squared_gradient(score, fake)
    if options.gradient_penalty:
        share = jax.vmap(lambda key: jax.random.uniform(key, (), real.dtype))(
            keys.per_example(keys.stream(key, 'share'), batch['index'])
        )
        terms['gradient_penalty'] = (
            options.gradient_penalty
            * adversarial.interpolation_penalty(score, real, fake, share)
        )
    return terms


def _evaluation(options, spec: dict, predict: Callable, dtype) -> Evaluation:
    judge = spec['requires']['judge']
    see = feature_extractor.perceive(judge, options.layer)

    def evaluate(state, batch):
        eight_bit = jnp.round(
            predict(state.variables, batch)['image']
        )  # as the real ones are
        images = {
            'fake': eight_bit / 255,
            'real': color.to_float(batch['image'], dtype),
            'trained': color.to_float(batch['train_image'], dtype),
        }
        seen = {
            name: see(state.frozen['judge'], image) for name, image in images.items()
        }
        records = {
            f'{name}_cnn': tensors[options.layer].reshape(len(batch['index']), -1)
            for name, tensors in seen.items()
        }
        if options.inception:
            records |= {
                name: inception.features(state.frozen['inception'], image)
                for name, image in images.items()
            }
        return {
            **records,
            'said': jnp.argmax(seen['fake']['logits'], -1),
            'label': batch['label'],
            'sample': eight_bit.astype(jnp.uint8),
            **{name: batch[name] for name in ('train_image', 'real_row', 'train_row')},
        }

    same_classes = judge['spec']['class_names'] == spec['class_names']
    return Evaluation(
        'test',
        evaluate,
        functools.partial(
            samples.summarize,
            options.samples,
            options.conditional and same_classes,
            judge.get('hash', ''),
        ),
    )


def _check(config, module) -> None:
    c = config.task
    if c.loss not in adversarial.KINDS:
        raise unknown('task.loss: there is no', c.loss, adversarial.KINDS)
    for name in ('r1', 'r2', 'gradient_penalty'):
        if c[name] < 0:
            raise UserError(f'task.{name}={c[name]}: it is at least 0')
        if c[name] and getattr(module, 'JUDGES_TOGETHER', False):
            raise UserError(
                f'task.{name}: the gradient of one score at one image, and batch norm '
                f'makes scores of {config.model.name!r} depend on all images; set it to '
                '0'
            )
    for name, least in (('latent', 1), ('critic_steps', 1), ('samples', 10)):
        if c[name] < least:
            raise UserError(f'task.{name}={c[name]}: it is at least {least}')
    if config.data.batch_size % (c.critic_steps * config.optimizer.accumulate):
        raise UserError(
            f'data.batch_size={config.data.batch_size} holds the batches of all '
            f'task.critic_steps={c.critic_steps}, and does not divide by them'
        )


def _on_part(one: update.Update, part: int, parts: int) -> update.Update:
    """The update on every `parts`-th example of the batch, so that each device keeps its own."""

    def on_part(state, batch):
        if len(batch['index']) % parts:
            raise ValueError(f'they do not divide by task.critic_steps={parts}')
        return one(state, jax.tree.map(lambda x: x[part::parts], batch))

    return on_part


def _make_prepare(spec: dict):
    """Host side: bring images, of a training example or of an evaluation's row, to the one size."""
    size, _, channels = spec['image']

    def fitting(image):
        if not spec['padded']:
            return decode.squash(image, size, channels)
        top, left = (size - image.shape[0]) // 2, (size - image.shape[1]) // 2
        pads = (
            (top, size - image.shape[0] - top),
            (left, size - image.shape[1] - left),
            (0, 0),
        )
        return np.pad(image, pads)

    def prepare(example, rng):
        return {
            name: fitting(value) if name in ('image', 'train_image') else value
            for name, value in example.items()
        }

    return prepare
