"""How a network learns to restore images: towards the truth, pixel by pixel, and where a person asks
for it towards what a discriminator takes for real, and what a classifier sees in the truth."""

import dataclasses
import functools
from collections.abc import Callable

import jax.numpy as jnp

from jaxvision.core import keys
from jaxvision.core.errors import UserError, unknown
from jaxvision.core.state import TrainState, create
from jaxvision.losses import adversarial
from jaxvision.models.generators import patchgan
from jaxvision.tasks.shared import feature_extractor
from jaxvision.train import optimizers, update

DEFAULTS = dict(
    loss='l1',  # or 'mse', of the pixels
    adversarial=0.0,  # weight of the discriminator's judgement; 0: there is none
    adversarial_loss='non_saturating',  # or 'hinge', 'wasserstein', 'relativistic'
    discriminator='32-64-128',  # variant of the SN-PatchGAN
    perceptual=0.0,  # weight of the squared distance between features, of
    judge='own',  # the package's classifier of this source, or a RUN, and
    layer='stage2',
)  # which of its intermediates

PIXEL_LOSSES = {'l1': jnp.abs, 'mse': jnp.square}


@dataclasses.dataclass(frozen=True)
class Damage:
    """One kind of it, and the network that undoes it. Images are in [0, 1]; `given` is whatever is
    left of them, a tree of [B, ...]."""

    blank: Callable  # batch of the spec's shapes -> (given, truth)
    read: Callable  # (state, batch) -> (given, truth), of a step the same for both players
    init: Callable  # (key, given) -> variables of the network
    restore: Callable  # (params, model_state, given) -> (image, new model_state), in training
    error: Callable  # (errors of the pixels [B, H, W, C], given) -> (values [B], weights [B])
    shown: Callable  # (image, given) -> what the discriminator sees


def make(config, spec: dict, damage: Damage) -> tuple[Callable, Callable]:
    """(init, update) of the player 'model', and of its 'discriminator' if there is one."""
    check(config.task)
    c, dtype = config.task, jnp.dtype(config.model.param_dtype)
    critic = patchgan.make(
        c.discriminator, dtype=jnp.dtype(config.model.dtype), param_dtype=dtype
    )
    see = (
        feature_extractor.perceive(spec['requires']['judge'], c.layer, dtype)
        if c.perceptual
        else None
    )
    tx, lr = optimizers.make(config, spec['examples'])

    def init(key, batch) -> TrainState:
        given, truth = damage.blank(batch)
        made = {'model': damage.init(keys.stream(key, 'init'), given)}
        if c.adversarial:
            made['discriminator'] = critic.init(
                keys.stream(key, 'discriminator'), damage.shown(truth, given)
            )
        params = {player: variables.pop('params') for player, variables in made.items()}
        averaged = ('model',) if config.optimizer.ema else ()
        return create(key, params, dict.fromkeys(params, tx), made, averaged)

    learn = functools.partial(
        update.from_loss, tx=tx, accumulate=config.optimizer.accumulate
    )
    players = [learn(_model_loss(c, damage, critic, see), ema=config.optimizer.ema)]
    if c.adversarial:
        players.insert(
            0, learn(_discriminator_loss(c, damage, critic), player='discriminator')
        )
    descend = update.in_turn(*players)

    def step(state, batch):
        new, scalars = descend(state, batch)
        return new, {**scalars, 'lr': lr(state.step)}

    return init, step


def check(options) -> None:
    for name, known in (
        ('loss', PIXEL_LOSSES),
        ('adversarial_loss', adversarial.KINDS),
    ):
        if options[name] not in known:
            raise unknown(f'task.{name}: there is no', options[name], known)
    for name in ('adversarial', 'perceptual'):
        if options[name] < 0:
            raise UserError(f'task.{name}={options[name]}: a weight, from 0 up')


def _model_loss(options, damage: Damage, critic, see: Callable | None) -> Callable:
    def loss(params, state, batch, key):
        given, truth = damage.read(state, batch)
        image, model_state = damage.restore(params, state.model_state['model'], given)
        ones = jnp.ones(len(truth), truth.dtype)
        terms = {
            options.loss: damage.error(PIXEL_LOSSES[options.loss](image - truth), given)
        }
        if options.perceptual:
            seen, wanted = (
                see(state.frozen['judge'], x)[options.layer] for x in (image, truth)
            )
            terms['perceptual'] = (
                options.perceptual * per_image(jnp.square(seen - wanted)),
                ones,
            )
        if options.adversarial:
            opponent = state.params['discriminator'], state.model_state['discriminator']
            real, fake = (
                _score(critic, *opponent, damage.shown(x, given))[0]
                for x in (truth, image)
            )
            values = adversarial.generator(options.adversarial_loss, real, fake)
            terms['adversarial'] = options.adversarial * per_image(values), ones
        return terms, {'model_state': {'model': model_state}}

    return loss


def _discriminator_loss(options, damage: Damage, critic) -> Callable:
    def loss(params, state, batch, key):
        given, truth = damage.read(state, batch)
        image, _ = damage.restore(
            state.params['model'], state.model_state['model'], given
        )
        model_state = state.model_state['discriminator']
        real, model_state = _score(
            critic, params, model_state, damage.shown(truth, given)
        )
        fake, model_state = _score(
            critic, params, model_state, damage.shown(image, given)
        )
        values = per_image(
            adversarial.discriminator(options.adversarial_loss, real, fake)
        )
        return (
            {'adversarial': (values, jnp.ones_like(values))},
            {'model_state': {'discriminator': model_state}},
        )

    return loss


def _score(critic, params, model_state, shown):
    """[B, h, w] of the patches, and what the spectral norms remember."""
    (scores, _), new = critic.apply(
        {'params': params, **model_state}, shown, train=True, mutable=list(model_state)
    )
    return scores, new


def per_image(values):
    """[B, ...] -> their means [B]."""
    return values.mean(range(1, values.ndim))
