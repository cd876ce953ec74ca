"""A fake classifier of `digits`: a linear softmax, whose programs compile in a moment."""

import jax
import jax.numpy as jnp

from jaxvision.core import state
from jaxvision.core.fields import Field
from jaxvision.core.spec import ArraySpec, Spec
from jaxvision.core.task import Evaluation, Task
from jaxvision.train import optimizers, update

FIELDS = {
    'scale': Field(1.0, 'Factor of the loss, which may be infinite.'),
    'networks': Field(1, 'Number of networks that are trained in turn.'),
    'salt': Field(0, 'Above 0: initialise at random, with this number in the key.'),
    'has_loss': Field(True, 'Whether the update reports a loss.'),
}
NAMES = ('model', 'critic')


def describe(config, source):
    return Spec(
        inputs={'image': ArraySpec((8, 8, 1))},
        targets={'label': ArraySpec((), 'int32')},
    )


def classify(params, batch):
    pixels = batch['image'].reshape(-1, 64) / 255
    return jax.nn.log_softmax(pixels @ params['kernel'])


def losses(params, batch):
    logits = classify(params, batch)
    return -jnp.take_along_axis(logits, batch['label'][:, None], 1)[:, 0]


def make(config, spec):
    tx, lr = optimizers.make(config, spec.examples)
    names = NAMES[: config.task.networks]

    def init(key, batch):
        kernel = jnp.zeros((64, 10))
        if config.task.salt:
            key_of_kernel = jax.random.fold_in(key, config.task.salt)
            kernel = 0.3 * jax.random.normal(key_of_kernel, kernel.shape)
        params = {name: {'kernel': kernel} for name in names}
        return state.create(key, params, dict.fromkeys(names, tx))

    def loss(params, state, batch, key):
        values = losses(params, batch) * config.task.scale
        return {'cross_entropy': (values, jnp.ones_like(values))}, {}

    def evaluate(state, batch):
        params = state.params['model']
        classes = classify(params, batch).argmax(1)
        return {
            'loss': losses(params, batch),
            'correct': classes == batch['label'],
        }

    def summarize(records):
        return {
            'loss': float(records['loss'].mean()),
            'accuracy': float(records['correct'].mean()),
        }

    descend = update.in_turn(*(update.from_loss(loss, tx, name) for name in names))
    descend = update.with_learning_rate(descend, lr)

    def silent(state, batch):
        state, scalars = descend(state, batch)
        return state, {'norm': scalars['gradient_norm']}

    return Task(
        init=init,
        update=descend if config.task.has_loss else silent,
        evaluations={'eval': Evaluation(evaluate=evaluate, summarize=summarize)},
        predict=lambda variables, inputs: inputs,
        best='accuracy',
    )
