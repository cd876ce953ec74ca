import re

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxvision.core.errors import UserError
from jaxvision.models.blocks import convolution, layers
from jaxvision.pretrained import convert, flax_variables
from jaxvision.tasks.shared import feature_extractor


class Small(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = convolution.Conv(5, (2, 3), name='conv')(x)
        x = layers.BatchNorm(use_running_average=True, name='norm')(x)
        return nn.Dense(4, name='head')(x.mean((1, 2)))


SHAPES = jax.eval_shape(Small().init, jax.random.key(0), jnp.zeros((1, 4, 4, 3)))
RNG = np.random.default_rng(0)
TENSORS = {
    name: RNG.normal(size=shape).astype(np.float32)
    for name, shape in {
        'body.conv.weight': (5, 3, 2, 3),
        'body.conv.bias': (5,),
        'body.norm.weight': (5,),
        'body.norm.bias': (5,),
        'body.norm.running_mean': (5,),
        'body.norm.running_var': (5,),
        'body.norm.num_batches_tracked': (),
        'body.head.weight': (4, 5),
        'body.head.bias': (4,),
    }.items()
}
MODULES = {f'body.{name}': name for name in ('conv', 'norm', 'head')}


def leaves(tensors=TENSORS):
    return convert.from_torch(tensors, MODULES.__getitem__)


def test_every_tensor_finds_its_leaf():
    variables = flax_variables.fit(leaves(), SHAPES)
    params, statistics = variables['params'], variables['batch_stats']
    np.testing.assert_array_equal(
        params['head']['kernel'], TENSORS['body.head.weight'].T
    )
    kernel = TENSORS['body.conv.weight']
    for o, i, y, x in np.ndindex(kernel.shape):
        assert params['conv']['kernel'][y, x, i, o] == kernel[o, i, y, x]
    np.testing.assert_array_equal(params['norm']['scale'], TENSORS['body.norm.weight'])
    np.testing.assert_array_equal(
        statistics['norm']['mean'], TENSORS['body.norm.running_mean']
    )
    np.testing.assert_array_equal(
        statistics['norm']['var'], TENSORS['body.norm.running_var']
    )
    nested = flax_variables.nest(leaves())
    assert jax.tree.structure(nested) == jax.tree.structure(variables)
    jax.tree.map(np.testing.assert_array_equal, nested, variables)


def test_what_does_not_match_is_listed_on_both_sides():
    tensors = dict(
        TENSORS, **{'aux.weight': np.zeros(2), 'body.norm.bias': np.zeros(7)}
    )
    del tensors['body.head.bias'], tensors['body.conv.weight']
    message = (
        'missing: conv/kernel, head/bias; unknown: aux.weight; '
        'other shapes: norm/bias [7] instead of [5]'
    )
    with pytest.raises(UserError, match=re.escape(message)):
        flax_variables.fit(leaves(tensors), SHAPES)


def test_a_bias_before_batch_norm_is_in_its_mean():
    image = jax.random.normal(jax.random.key(1), (2, 4, 4, 3))
    variables = flax_variables.fit(leaves(), SHAPES)
    variables['batch_stats']['norm']['var'] = jnp.abs(
        variables['batch_stats']['norm']['var']
    )
    wanted = Small().apply(variables, image)
    folded = convert.fold_biases(leaves())
    assert folded.keys() == leaves().keys() - {'conv/bias'}
    variables['batch_stats']['norm']['mean'] = folded['norm/mean']
    variables['params']['conv']['bias'] = jnp.zeros(5)
    np.testing.assert_allclose(
        Small().apply(variables, image), wanted, rtol=1e-5, atol=1e-6
    )


def test_two_tensors_of_one_name_are_both_there():
    found = convert.from_torch(
        {'a.bias': np.zeros(2), 'b.bias': np.ones(2)}, lambda module: 'conv'
    )
    assert found.keys() == {'conv/bias', 'b.bias'}


def test_inception_lists_what_is_not_its_own(monkeypatch):
    tensors = {'conv1.weight': np.zeros((64, 3, 7, 7), np.float32)}
    monkeypatch.setattr(feature_extractor.tensor_file, 'read', lambda file: tensors)
    with pytest.raises(
        UserError, match='missing: Conv2d_1a_3x3/bn/bias, .*unknown: conv1/kernel'
    ):
        feature_extractor.inception('x').weights.read()
