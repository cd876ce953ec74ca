"""YOLOX: its variants, its cells and its arithmetic in other dtypes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxvision.core.errors import UserError
from jaxvision.models.detectors import cspdarknet, yolox


def shapes_for(height, width, variant='0.33x0.0625', **options):
    """Shapes of the variables and of what the network returns."""
    model = yolox.make(variant, num_classes=3, **options)
    image = jax.ShapeDtypeStruct((2, height, width, 3), jnp.float32)
    variables = jax.eval_shape(model.init, jax.random.key(0), image)
    return model, variables, jax.eval_shape(model.apply, variables, image)


@pytest.mark.parametrize('height, width', [(65, 97), (31, 40)])
def test_every_image_size_has_one_prediction_for_each_cell(height, width):
    model, _, (outputs, maps) = shapes_for(height, width)
    cells, strides = model.cells((height, width))
    assert outputs['edges'].shape == (2, len(cells), 4)
    assert outputs['objectness'].shape == (2, len(cells))
    assert outputs['logits'].shape == (2, len(cells), 3)
    for level, stride in enumerate((8, 16, 32), start=1):
        places = cells[strides == stride]
        map_shape = maps[f'pyramid{level}'].shape[1:3]
        np.testing.assert_array_equal(places.max(axis=0) + 1, map_shape)


def test_outputs_of_a_bfloat16_network_are_float32():
    _, _, (outputs, maps) = shapes_for(64, 64, dtype=jnp.bfloat16)
    assert {x.dtype for x in outputs.values()} == {jnp.dtype('float32')}
    assert maps['pyramid1'].dtype == jnp.bfloat16


def test_the_stem_reads_pixels_in_the_published_order():
    """Top left, bottom left, top right, bottom right, the colours of a pixel together."""
    image = jnp.arange(2 * 2 * 3.0).reshape(1, 2, 2, 3)
    channels = cspdarknet._focused(image)[0, 0, 0].astype(int).tolist()
    assert channels == [0, 1, 2, 6, 7, 8, 3, 4, 5, 9, 10, 11]


def test_an_object_is_unlikely_at_the_start():
    head = yolox.make('0.33x0.0625', num_classes=3).head
    outputs, _ = head.init_with_output(
        jax.random.key(0), [jnp.ones((1, 2, 2, 4))], False
    )
    for name in ('objectness', 'logits'):
        np.testing.assert_allclose(jax.nn.sigmoid(outputs[name]), 0.01, rtol=0.5)


@pytest.mark.parametrize('variant', ['S', '1.0', '1x0.01', 'resnet:50'])
def test_an_unknown_variant_is_refused(variant):
    with pytest.raises(UserError, match='expected nano, tiny, s, m, l, x, or factors'):
        yolox.make(variant, num_classes=3)
