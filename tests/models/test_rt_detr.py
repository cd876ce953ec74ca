"""RT-DETR: attention to points of feature maps, the selection of queries, and their order."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.random_weights import random_leaves
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from jaxvision.core.errors import UserError
from jaxvision.models.backbones import resnet
from jaxvision.models.blocks import deformable_attention, selection
from jaxvision.models.detectors import query_decoder, rt_detr
from jaxvision.models.detectors.transformer_layers import Settings

SHAPES = ((7, 5), (4, 3), (1, 2))
CELLS = 7 * 5 + 4 * 3 + 1 * 2
HEADS, POINTS, WIDTH = 2, 3, 8


@pytest.mark.parametrize('reach', [0.0, 0.3, 3.0])
def test_samples_are_those_of_scipy(reach):
    """Bilinear with zeros beyond the border, `reach` images beyond it."""
    rng = np.random.default_rng(0)
    values = rng.normal(size=(CELLS, HEADS, 4)).astype(np.float32)
    shape = (6, HEADS, len(SHAPES), POINTS)
    points = rng.uniform(-reach, 1 + reach, (*shape, 2)).astype(np.float32)
    weights = rng.normal(size=shape).astype(np.float32)
    sampled = deformable_attention.sample(
        jnp.asarray(values), SHAPES, jnp.asarray(points), jnp.asarray(weights)
    )
    expected = np.zeros((6, HEADS, 4))
    first = 0
    for level, size in enumerate(SHAPES):
        number = size[0] * size[1]
        maps = values[first : first + number].reshape(*size, HEADS, 4)
        first += number
        places = points[:, :, level].astype(np.float64) * size - 0.5
        for head, channel in np.ndindex(HEADS, 4):
            samples = ndimage.map_coordinates(
                maps[:, :, head, channel].astype(np.float64),
                np.moveaxis(places[:, head], -1, 0),
                order=1,
                mode='grid-constant',
            )
            products = samples * weights[:, head, level]
            expected[:, head, channel] += products.sum(axis=-1)
    np.testing.assert_allclose(sampled, expected, atol=1e-5)


def test_the_points_of_a_query_are_within_its_box_at_the_start():
    """The last point of each head is on the border, half a side from the centre."""
    layer = deformable_attention.DeformableAttention(
        SHAPES, heads=4, points=4, dtype=jnp.float32, param_dtype=jnp.float32
    )
    bias = layer._star(jax.random.key(0), (4 * 3 * 4 * 2,), jnp.float32)
    offsets = np.asarray(bias).reshape(4, 3, 4, 2)
    for level in range(3):
        np.testing.assert_allclose(
            offsets[:, level, 3] / 4, [[0, 1], [1, 0], [0, -1], [-1, 0]], atol=1e-6
        )
    np.testing.assert_allclose(offsets[:, :, 0] * 4, offsets[:, :, 3], atol=1e-6)


@settings(deadline=None, max_examples=25)
@given(
    st.lists(
        st.sampled_from([-3.0, -0.5, 0.0, 1.0, 2.5, 7.0]), min_size=12, max_size=12
    )
)
def test_the_best_values_are_chosen_in_every_form(values):
    """Of equal values the first one is better."""
    expected = sorted(range(12), key=lambda place: (-values[place], place))[:5]
    for form in (selection.best, selection.by_maxima):
        chosen, places = form(jnp.array(values), 5)
        assert np.asarray(places).tolist() == expected
        assert np.asarray(chosen).tolist() == [values[place] for place in expected]


def test_anchors_by_number():
    logits, is_used = query_decoder.grid_anchors([(80, 40), (2, 2)])
    assert logits.shape == (3204, 4)
    # The centre of the first row is nearer to the border than a hundredth.
    assert not is_used[:40].any()
    assert is_used[40:80].all()
    anchors = 1 / (1 + np.exp(-logits.astype(np.float64)))
    np.testing.assert_allclose(anchors[41], [1.5 / 80, 1.5 / 40, 0.05, 0.05], rtol=1e-5)
    np.testing.assert_allclose(anchors[3202], [0.75, 0.25, 0.1, 0.1], rtol=1e-5)
    assert (anchors[:40] == 1).all()


@pytest.fixture(scope='module')
def decoder():
    """(a decoder with random weights, the cells that it sees, its queries)."""
    types = {'dtype': jnp.float32, 'param_dtype': jnp.float32}
    module = query_decoder.QueryDecoder(
        num_classes=3, layers=2, points=POINTS, settings=Settings(HEADS, 16, **types)
    )
    keys = jax.random.split(jax.random.key(0), 4)
    memory = jax.random.normal(keys[0], (1, CELLS, WIDTH))
    queries = query_decoder.Queries(
        tokens=jax.random.normal(keys[1], (1, 9, WIDTH)),
        boxes=jax.random.uniform(keys[2], (1, 9, 4)),
        logits=jnp.zeros((1, 9, 3)),
    )
    shapes = jax.eval_shape(
        lambda key: module.init(key, memory, SHAPES, queries), keys[3]
    )
    variables = random_leaves(shapes)

    @jax.jit
    def apply(queries):
        return module.apply(variables, memory, SHAPES, queries)

    return apply, queries


def test_the_order_of_queries_does_not_matter(decoder):
    apply, queries = decoder
    order = np.random.default_rng(1).permutation(9)
    moved = query_decoder.Queries(*(array[:, order] for array in queries))
    for first, second in zip(apply(queries), apply(moved), strict=True):
        for layer, moved_layer in zip(first, second, strict=True):
            np.testing.assert_allclose(layer[:, order], moved_layer, atol=1e-5)


def test_each_layer_refines_the_boxes_of_the_one_before(decoder):
    """The gradient reaches the last boxes but one, and not the layers before."""
    apply, queries = decoder
    _, boxes = apply(queries)
    assert float(jnp.abs(boxes[1] - boxes[0]).max()) > 0.01
    assert float(jnp.abs(boxes[0] - queries.boxes).max()) > 0.01

    def last(start):
        return apply(queries._replace(boxes=start))[1][-1].sum()

    assert float(jnp.abs(jax.grad(last)(queries.boxes)).max()) == 0


def test_a_shortcut_of_vd_takes_means_of_the_cells_that_there_are():
    image = jnp.arange(15.0).reshape(1, 3, 5, 1)
    means = resnet._means(image)[0, :, :, 0]
    np.testing.assert_allclose(means, [[3, 5, 6.5], [10.5, 12.5, 14]])


@pytest.mark.parametrize(
    'options, message',
    [
        ({'width': 20}, 'width=20: expected a multiple of 4 and of heads=8'),
        ({'strides': '8-16'}, "strides='8-16': expected three strides"),
        ({'backbone': {'stem': 'shallow'}}, "'shallow'"),
    ],
)
def test_wrong_options_are_refused(options, message):
    with pytest.raises(UserError, match=message):
        rt_detr.make('r18vd', num_classes=3, **options)
