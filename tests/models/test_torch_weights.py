import re

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxvision.errors import UserError
from jaxvision.models import inception, layers, torch_weights


class Small(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = layers.Conv(5, (2, 3), name='conv')(x)
        x = layers.BatchNorm(use_running_average=True, name='norm')(x)
        return nn.Dense(4, name='head')(x.mean((1, 2)))


SHAPES = jax.eval_shape(Small().init, jax.random.key(0), jnp.zeros((1, 4, 4, 3)))
RNG = np.random.default_rng(0)
TENSORS = {name: RNG.normal(size=shape) for name, shape in {
    'body.conv.weight': (5, 3, 2, 3), 'body.conv.bias': (5,), 'body.norm.weight': (5,),
    'body.norm.bias': (5,), 'body.norm.running_mean': (5,), 'body.norm.running_var': (5,),
    'body.norm.num_batches_tracked': (), 'body.head.weight': (4, 5), 'body.head.bias': (4,),
}.items()}


def convert(tensors):
    return torch_weights.convert(tensors, SHAPES, lambda module: f'body.{module}')


def test_every_tensor_finds_its_leaf():
    variables = convert(TENSORS)
    params, statistics = variables['params'], variables['batch_stats']
    np.testing.assert_allclose(params['head']['kernel'], TENSORS['body.head.weight'].T, 1e-6)
    kernel = TENSORS['body.conv.weight']
    for o, i, y, x in np.ndindex(kernel.shape):
        assert params['conv']['kernel'][y, x, i, o] == np.float32(kernel[o, i, y, x])
    np.testing.assert_allclose(params['norm']['scale'], TENSORS['body.norm.weight'], 1e-6)
    np.testing.assert_allclose(statistics['norm']['mean'], TENSORS['body.norm.running_mean'], 1e-6)
    np.testing.assert_allclose(statistics['norm']['var'], TENSORS['body.norm.running_var'], 1e-6)
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(variables))


def test_what_does_not_match_is_listed_on_both_sides():
    tensors = dict(TENSORS, **{'aux.weight': np.zeros(2), 'body.norm.bias': np.zeros(7)})
    del tensors['body.head.bias'], tensors['body.conv.weight']
    message = ('missing: body.conv.weight, body.head.bias; unknown: aux.weight; '
               'other shapes: body.norm.bias [7] instead of [5]')
    with pytest.raises(UserError, match=re.escape(message)):
        convert(tensors)


def test_inception_lists_what_is_not_its_own():
    with pytest.raises(UserError, match='missing: Conv2d_1a_3x3.bn.bias, .*unknown: conv1.weight'):
        inception.from_torch({'conv1.weight': np.zeros((64, 3, 7, 7), np.float32)})
