"""Generative adversarial networks, conditional on the class or not."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from jaxvision import keys
from jaxvision.config import call, resolve
from jaxvision.data import decode
from jaxvision.errors import UserError, unknown
from jaxvision.image import augment, color
from jaxvision.losses import adversarial
from jaxvision.models import inception
from jaxvision.task import Evaluation, Task
from jaxvision.tasks import draws, features
from jaxvision.train import optimizers, update
from jaxvision.train.state import create

DEFAULTS = dict(
    loss='relativistic',   # or 'non_saturating', 'hinge', 'wasserstein'
    r1=0.0,                # weight of half the squared gradient of the score at real images,
    r2=0.0,                # and at generated ones
    gradient_penalty=0.0,  # of WGAN-GP, between the two; 10 in the paper
    conditional=True,      # generate and judge by class
    latent=64,             # numbers that an image is made of, normally distributed
    critic_steps=1,        # of the discriminator, each on its part of the batch, to one of the other
    diffaugment='',        # what both kinds of images are subjected to: 'color,translation,cutout'
    samples=2000,          # images that the evaluation generates
    judge='own',           # whose features compare them: the package's classifier of this source,
    layer='pooled',        # or a RUN; and which of its intermediates
    inception='')          # pt_inception-2015-12-05-*.pth, for the FID and KID that others report


def source(config, source, split: str):
    """What is evaluated is drawn: latents and labels beside real images."""
    return source if split == 'train' else draws.Draws(
        source, config.data, config.task.samples, config.task.latent)


def requires(config) -> dict:
    c = config.task
    judge = features.own(config.data) if c.judge == 'own' else c.judge
    more = {'inception': features.inception(c.inception)} if c.inception else {}
    return {'judge': judge, **more}


def describe(config, source) -> dict:
    """Images are padded to the next size that is 4 times a power of two, or brought to
    `data.image_size` where they are larger or unequal."""
    info, size = source.info, config.data.image_size
    height, width, channels = info.image_shape
    as_it_is = None not in (height, width) and max(height, width) <= size
    if as_it_is:
        size = 4 * 2 ** max(1, int(np.ceil(np.log2(max(height, width) / 4))))
    elif size < 8 or size & (size - 1):
        raise UserError(f'data.image_size={size}: 8, 16, 32, ... for a generator')
    conditional = config.task.conditional
    if conditional and info.multi_label:
        raise UserError('these images have several labels each: set task.conditional=false')
    label = {'label': {'shape': [], 'dtype': 'int32'}} if conditional else {}
    return {'class_names': list(info.class_names) if conditional else [],
            'image': [size, size, channels], 'padded': as_it_is,
            'inputs': {'latent': {'shape': [config.task.latent], 'dtype': 'float32'}, **label},
            'targets': {'image': {'shape': [size, size, channels], 'dtype': 'uint8'}}}


def make(config, spec: dict) -> Task:
    c = config.task
    module = resolve('models', config.model.name)
    _check(config, module)
    dtype = jnp.dtype(config.model.param_dtype)
    generator, discriminator = call(
        module.make, f'model {config.model.name!r}', spec, config.model.variant,
        dtype=jnp.dtype(config.model.dtype), param_dtype=dtype, options=config.model.options)
    tx, lr = optimizers.make(config, spec['examples'])
    critic_tx, _ = optimizers.make(config, spec['examples'], c.critic_steps)
    judged = spec['requires']['judge']
    see = features.perceive(judged, c.layer)

    def generate(params, model_state, latent, label):
        """Images in [-1, 1], and the running statistics of these."""
        image, new = generator.apply({'params': params, **model_state}, latent, label, train=True,
                                     mutable=list(model_state))
        return image, new

    def critic(params, model_state):
        """The score of images under the current weights, and the running statistics of these."""
        def score(images, label):
            (scores, _), new = discriminator.apply(
                {'params': params, **model_state}, images, label, train=True,
                mutable=list(model_state))
            return scores, new
        return score

    def init(key, batch):
        latent = jnp.zeros((2, c.latent), dtype)
        label = jnp.zeros(2, jnp.int32) if c.conditional else None
        made = generator.init(keys.stream(key, 'generator'), latent, label, train=True)
        image = jnp.zeros((2, *spec['image']), dtype)
        judged = discriminator.init(keys.stream(key, 'discriminator'), image, label, train=True)
        params = {'generator': made.pop('params'), 'discriminator': judged.pop('params')}
        averaged = ('generator',) if config.optimizer.ema else ()
        return create(key, params, {'generator': tx, 'discriminator': critic_tx},
                      {'generator': made, 'discriminator': judged}, averaged)

    def read(batch, key):
        """(real images in [-1, 1], their labels, as many latents)."""
        latent = jax.vmap(lambda key: jax.random.normal(key, (c.latent,), dtype))(
            keys.per_example(keys.stream(key, 'latent'), batch['index']))
        return 2 * color.to_float(batch['image'], dtype) - 1, batch.get('label'), latent

    def subjected(images, batch, key, name):
        if not c.diffaugment:
            return images
        each = keys.per_example(keys.stream(key, name), batch['index'])
        return 2 * jax.vmap(lambda key, image: augment.diffaugment(key, image, c.diffaugment))(
            each, (images + 1) / 2) - 1

    def discriminator_loss(params, state, batch, key):
        real, label, latent = read(batch, key)
        fake, _ = generate(state.params['generator'], state.model_state['generator'], latent, label)
        real = subjected(real, batch, key, 'real')
        fake = jax.lax.stop_gradient(subjected(fake, batch, key, 'fake'))
        score = critic(params, state.model_state['discriminator'])
        real_score, model_state = score(real, label)
        fake_score, model_state = critic(params, model_state)(fake, label)
        ones = jnp.ones(len(real), dtype)
        plain = lambda images: score(images, label)[0]
        terms = {'adversarial': adversarial.discriminator(c.loss, real_score, fake_score)}
        if c.r1:
            terms['r1'] = c.r1 / 2 * adversarial.squared_gradient(plain, real)
        if c.r2:
            terms['r2'] = c.r2 / 2 * adversarial.squared_gradient(plain, fake)
        if c.gradient_penalty:
            share = jax.vmap(lambda key: jax.random.uniform(key, (), dtype))(
                keys.per_example(keys.stream(key, 'share'), batch['index']))
            terms['gradient_penalty'] = c.gradient_penalty * adversarial.interpolation_penalty(
                plain, real, fake, share)
        scalars = {'real_score': (real_score, ones), 'fake_score': (fake_score, ones)}
        return {name: (values, ones) for name, values in terms.items()}, {
            'model_state': {'discriminator': model_state}, 'scalars': scalars}

    def generator_loss(params, state, batch, key):
        real, label, latent = read(batch, key)
        fake, model_state = generate(params, state.model_state['generator'], latent, label)
        score = critic(state.params['discriminator'], state.model_state['discriminator'])
        real_score, _ = score(subjected(real, batch, key, 'real'), label)
        fake_score, _ = score(subjected(fake, batch, key, 'fake'), label)
        values = adversarial.generator(c.loss, real_score, fake_score)
        return {'adversarial': (values, jnp.ones_like(values))}, {
            'model_state': {'generator': model_state}}

    accumulate = config.optimizer.accumulate
    descend = update.from_loss(discriminator_loss, critic_tx, 'discriminator',
                               accumulate=accumulate)
    step = update.in_turn(
        *[_on_part(descend, part, c.critic_steps) for part in range(c.critic_steps)],
        _on_part(update.from_loss(generator_loss, tx, 'generator', accumulate=accumulate,
                                  ema=config.optimizer.ema), 0, c.critic_steps))

    def with_rate(state, batch):
        new, scalars = step(state, batch)
        return new, {**scalars, 'lr': lr(state.step), 'loss': scalars['generator/loss']}

    def sample(variables, inputs):
        """Images in [0, 1]."""
        image = generator.apply(
            {'params': variables['params']['generator'], **variables['model_state']['generator']},
            jnp.asarray(inputs['latent'], dtype), inputs.get('label'))
        return jnp.clip((image + 1) / 2, 0, 1)

    def predict(variables, inputs):
        return {'image': 255 * sample(variables, inputs)}

    def evaluate(state, batch):
        judge = state.frozen['judge']
        eight_bit = jnp.round(255 * sample(state.variables, batch))  # as the real ones are
        images = {'fake': eight_bit / 255, **{
            name: color.to_float(batch[image], dtype)
            for name, image in (('real', 'image'), ('trained', 'train_image'))}}
        seen = {name: see(judge, image) for name, image in images.items()}
        records = {f'{name}_cnn': _flat(tensors[c.layer]) for name, tensors in seen.items()}
        if c.inception:
            records |= {name: inception.features(state.frozen['inception'], image)
                        for name, image in images.items()}
        return {**records, 'said': jnp.argmax(seen['fake']['logits'], -1), 'label': batch['label'],
                'sample': eight_bit.astype(jnp.uint8),
                **{name: batch[name] for name in ('train_image', 'real_row', 'train_row')}}

    comparable = c.conditional and judged['spec']['class_names'] == spec['class_names']
    summarize = functools.partial(draws.summarize, c.samples, comparable,
                                  judged.get('hash', ''))
    draw = functools.partial(draws.draw, c.samples, spec['class_names'])
    return Task(init, with_rate, {'eval': Evaluation('test', evaluate, summarize)}, predict,
                '-eval/fid_cnn', _make_prepare(spec), draw, watch=True)


def _check(config, module) -> None:
    c = config.task
    if c.loss not in adversarial.KINDS:
        raise unknown('task.loss: there is no', c.loss, adversarial.KINDS)
    for name in ('r1', 'r2', 'gradient_penalty'):
        if c[name] < 0:
            raise UserError(f'task.{name}={c[name]}: it is at least 0')
        if c[name] and getattr(module, 'JUDGES_TOGETHER', False):
            raise UserError(f'task.{name}: the gradient of one score at one image, and batch norm '
                            f'makes scores of {config.model.name!r} depend on all images; set it to '
                            '0')
    for name, least in (('latent', 1), ('critic_steps', 1), ('samples', 10)):
        if c[name] < least:
            raise UserError(f'task.{name}={c[name]}: it is at least {least}')
    if config.data.batch_size % (c.critic_steps * config.optimizer.accumulate):
        raise UserError(f'data.batch_size={config.data.batch_size} holds the batches of all '
                        f'task.critic_steps={c.critic_steps}, and does not divide by them')


def _on_part(one: update.Update, part: int, parts: int) -> update.Update:
    """The update on every `parts`-th example of the batch, so that each device keeps its own."""
    def on_part(state, batch):
        if len(batch['index']) % parts:
            raise ValueError(f'they do not divide by task.critic_steps={parts}')
        return one(state, jax.tree.map(lambda x: x[part::parts], batch))
    return on_part


def _flat(x):
    return x.reshape(len(x), -1)


def _make_prepare(spec: dict):
    """Host side: bring images, of a training example or of an evaluation's row, to the one size."""
    size, _, channels = spec['image']

    def fitting(image):
        if not spec['padded']:
            return decode.squash(image, size, channels)
        top, left = (size - image.shape[0]) // 2, (size - image.shape[1]) // 2
        pads = (top, size - image.shape[0] - top), (left, size - image.shape[1] - left), (0, 0)
        return np.pad(image, pads)

    def prepare(example, rng):
        return {name: fitting(value) if name in ('image', 'train_image') else value
                for name, value in example.items()}
    return prepare
