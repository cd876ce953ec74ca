"""Layers that the models share: normalisation, dropout, drop path, heads, and option checks."""

import re
from collections.abc import Callable, Iterable, Sequence
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from jaxvision.core import keys as named_keys
from jaxvision.core.errors import UserError, not_a_choice
from jaxvision.models.types import Images, Keys, Labels

Features = Float[Array, '*b c']
Examples = Float[Array, 'b *rest']

# He et al. 2015.
he_normal = nn.initializers.variance_scaling(2.0, 'fan_out', 'normal')


class BatchNorm(nn.Module):
    """Batch normalisation over all axes but the last (Ioffe and Szegedy 2015).

    Its variables and values equal those of `flax.linen.BatchNorm`. It is computed as one scale and
    one shift for each channel, which XLA runs faster on a CPU, forwards and backwards. Statistics
    are computed in float32 at least.

    Attributes:
        use_running_average: True to normalise with the running statistics. False to normalise
            with those of the batch, and to update the running ones in 'batch_stats', which must
            then be mutable. True in a call overrides False here, but not the reverse.
        momentum: fraction of the running statistics that an update keeps.
        epsilon: added to the variance.
        dtype: of the output.
        param_dtype: of the parameters.
        scale_init: initialiser of the scale.
        is_frozen: whether scale and bias have no gradient. The running statistics stay
            only with `use_running_average`.
    """

    use_running_average: bool
    momentum: float = 0.9
    epsilon: float = 1e-5
    dtype: DTypeLike = jnp.float32
    param_dtype: DTypeLike = jnp.float32
    scale_init: Callable = nn.initializers.ones
    is_frozen: bool = False

    @nn.compact
    def __call__(self, x: Features, use_running_average: bool = False) -> Features:
        channels = x.shape[-1:]
        precise = jnp.promote_types(self.param_dtype, jnp.float32)
        scale = self.param('scale', self.scale_init, channels, self.param_dtype)
        bias = self.param('bias', nn.initializers.zeros, channels, self.param_dtype)
        statistic = partial(self.variable, 'batch_stats')
        running_mean = statistic('mean', jnp.zeros, channels, precise)
        running_var = statistic('var', jnp.ones, channels, precise)

        x = x.astype(precise)
        if self.use_running_average or use_running_average:
            mean = running_mean.value
            var = running_var.value
        else:
            axes = range(x.ndim - 1)
            mean = x.mean(axes)
            var = jnp.maximum(0, jnp.square(x).mean(axes) - jnp.square(mean))
            if not self.is_initializing():
                m = self.momentum
                running_mean.value = m * running_mean.value + (1 - m) * mean
                running_var.value = m * running_var.value + (1 - m) * var

        if self.is_frozen:
            scale = lax.stop_gradient(scale)
            bias = lax.stop_gradient(bias)
        gain = scale * lax.rsqrt(var + self.epsilon)
        shift = bias - mean * gain
        return (x * gain + shift).astype(self.dtype)


class ConditionalNorm(nn.Module):
    """Batch norm with scale and shift from a condition of each example.

    The condition [B, D] is a one-hot class (Dumoulin et al. 2017) or a latent (Chen et
    al. 2019), of about unit length. With None instead this is batch norm. A call is
    `norm(x, condition)`.

    Attributes:
        train: True to normalise with the statistics of the batch and to update the running
            ones, False to normalise with the running ones.
        dtype: of the computation.
        param_dtype: of the parameters.
    """

    train: bool
    dtype: DTypeLike
    param_dtype: DTypeLike

    @nn.compact
    def __call__(self, x: Images, condition: Float[Array, 'b d'] | None) -> Images:
        types = dict(dtype=self.dtype, param_dtype=self.param_dtype)
        x = BatchNorm(not self.train, name='norm', **types)(x)
        if condition is None:
            return x
        modulation = nn.Dense(
            2 * x.shape[-1],
            use_bias=False,
            kernel_init=nn.initializers.normal(0.1),
            name='own',
            **types,
        )(condition)
        modulation = modulation[:, None, None]
        scale, shift = jnp.split(modulation, 2, -1)
        return x * (1 + scale) + shift


class Dropout(nn.Module):
    """Dropout with one random mask for each example (Srivastava et al. 2014).

    Each value becomes 0 with the probability `rate`, in [0, 1). The others are scaled
    by 1 / (1 - rate). The mask depends on the example's key and on the path of this
    layer. It therefore does not change with the order of a batch, with sharding or with
    accumulation. A call is `dropout(x, keys)`, with one key for each example. Without
    keys this is the identity.
    """

    rate: float

    @nn.compact
    def __call__(self, x: Examples, keys: Keys = None) -> Examples:
        path = '/'.join(self.path)
        return _drop(x, keys, self.rate, path, x.shape[1:])


class DropPath(nn.Module):
    """Stochastic depth: drop the whole branch `x` of an example (Huang et al. 2016).

    `rate` is the probability that all values of an example become 0, in [0, 1). Kept
    branches are scaled by 1 / (1 - rate). The choice depends on the example's key and
    on the path of this layer. A call is `drop_path(x, keys)`, with one key for each
    example. Without keys this is the identity.
    """

    rate: float

    @nn.compact
    def __call__(self, x: Examples, keys: Keys = None) -> Examples:
        path = '/'.join(self.path)
        one_for_all = (1,) * (x.ndim - 1)
        return _drop(x, keys, self.rate, path, one_for_all)


def _drop(
    x: Examples,
    keys: Keys,
    rate: float,
    name: str,
    mask_shape: tuple[int, ...],
) -> Examples:
    """Set a random part of each example to 0, and scale the rest by 1 / (1 - rate)."""
    if keys is None or rate == 0:
        return x
    keep = partial(jax.random.bernoulli, p=1 - rate, shape=mask_shape)
    layer_keys = named_keys.fold_name(keys, name)
    mask = jax.vmap(keep)(layer_keys)
    return jnp.where(mask, x / (1 - rate), 0).astype(x.dtype)


def normalization(
    kind: str,
    train: bool,
    dtype: DTypeLike,
    param_dtype: DTypeLike,
    momentum: float = 0.9,
    epsilon: float = 1e-5,
) -> Callable[..., nn.Module]:
    """Build the constructor of a model's normalisation layers.

    Args:
        kind: 'batch'; 'group' (Wu and He 2018), which has 32 groups and needs a multiple of 32
            channels; or 'frozen', batch norm that training does not change.
        train: True for the statistics of the batch, False for the running averages.
            Group norm ignores it, and frozen batch norm always uses the running
            averages.
        dtype: of the computation.
        param_dtype: of the parameters.
        momentum: fraction of the running averages that a training step keeps. Only
            'batch' uses it.
        epsilon: added to the variance.

    Returns:
        A function that builds a norm from its `name` and further fields.

    Raises:
        UserError: The kind is unknown.
    """
    one_of('norm', kind, ('batch', 'group', 'frozen'))
    common = dict(epsilon=epsilon, dtype=dtype, param_dtype=param_dtype)
    if kind == 'group':
        return partial(nn.GroupNorm, **common)
    return partial(
        BatchNorm,
        use_running_average=kind == 'frozen' or not train,
        momentum=momentum,
        is_frozen=kind == 'frozen',
        **common,
    )


def head(num_classes: int, param_dtype: DTypeLike) -> Callable[[Array], Array]:
    """Build the last linear layer, which computes in the dtype of its parameters.

    It starts with small weights, so that all classes start about equally likely (Goyal et al.
    2017). Call it in a compact method, where it creates the submodule 'head'.

    Args:
        num_classes: length of the logits.
        param_dtype: of the parameters and of the computation.

    Returns:
        A map from features [..., D] to logits [..., num_classes]. For 0 classes it is the
        identity without parameters, for models that serve as feature extractors.
    """
    if not num_classes:
        return _identity
    return nn.Dense(
        num_classes,
        kernel_init=nn.initializers.normal(0.01),
        dtype=param_dtype,
        param_dtype=param_dtype,
        name='head',
    )


def _identity(value):
    return value


def projection_score(
    x: Float[Array, 'b c'],
    label: Labels | None,
    classes: int,
    param_dtype: DTypeLike,
    normalized: Callable = _identity,
) -> Float[Array, 'b']:
    """Score of a projection discriminator (Miyato and Koyama 2018).

    The score is a linear function of the features. With classes, the product of the features with
    the embedding of the label is added. Call it in a compact method, where it creates the
    submodules 'head' and, with classes, 'of_class'.

    Args:
        x: features, [B, C].
        label: the class of each example, [B]. It is not used without classes, and may be None.
        classes: the number of classes, 0 for none.
        param_dtype: of the parameters and of the computation.
        normalized: `(layer) -> layer`, for example with spectral normalisation.

    Returns:
        One score for each example, [B].
    """
    dense = partial(nn.Dense, dtype=param_dtype, param_dtype=param_dtype)
    score = normalized(dense(1, name='head'))(x)[:, 0]
    if not classes:
        return score
    # The product with a class embedding is the output of a linear layer for that class.
    products = normalized(dense(classes, use_bias=False, name='of_class'))(x)
    one_hot = jax.nn.one_hot(label, classes)
    return score + jnp.sum(products * one_hot, -1)


def stages(
    model: str, variant: str, depth: int, field: str = 'model.variant'
) -> tuple[tuple[int, int], ...]:
    """Parse a variant such as '16-32-64' or '16x1-64x2' into widths and numbers of layers.

    Args:
        model: the model's name, for the error.
        variant: the width of each stage, and optionally its number of layers after an 'x'.
        depth: number of layers of a stage without an 'x'.
        field: the config field of the variant, for the error.

    Returns:
        (width, layers) of each stage.

    Raises:
        UserError: The variant is not such a list.
    """
    if not re.fullmatch(r'(-[1-9]\d*(x[1-9]\d*)?)+', '-' + variant):
        raise UserError(
            f"{field}={variant!r}: expected the widths of {model}'s stages. "
            "Write them as '16-32-64'."
        )
    widths_and_layers = []
    for stage in variant.split('-'):
        width, _, layers = stage.partition('x')
        widths_and_layers.append((int(width), int(layers or depth)))
    return tuple(widths_and_layers)


def widths(model: str, variant: str) -> tuple[int, ...]:
    """Parse a variant such as '16-32-64' into widths, for stages of one layer each.

    Args:
        model: the model's name, for the error.
        variant: the width of each stage. '16x1' is '16'.

    Raises:
        UserError: The variant is not such a list, or a stage has several layers.
    """
    widths_and_layers = stages(model, variant, 1)
    if any(number > 1 for _, number in widths_and_layers):
        raise UserError(
            f"model.variant={variant!r}: expected the widths of {model}'s stages, which have "
            "one layer each. Write them as '16-32-64', without an 'x'."
        )
    return tuple(width for width, _ in widths_and_layers)


def square_side(image_shape: Sequence[int]) -> int:
    """Side in pixels of square images of shape (height, width, channels).

    Raises:
        UserError: Height and width differ.
    """
    height, width, _ = image_shape
    if height != width:
        raise UserError(
            f'image_shape={tuple(image_shape)}: expected square images. Pad or resize them.'
        )
    return height


def one_of(field: str, value: object, choices: Iterable) -> None:
    """Check that a model's variant or option is one of its choices.

    Args:
        field: 'variant' or the name of an option.
        value: the value to check.
        choices: all valid values.

    Raises:
        UserError: The value is none of the choices. The message lists them.
    """
    if value in choices:
        return
    if field == 'variant':
        raise not_a_choice('model.variant', value, choices)
    raise not_a_choice(f'model.options.{field}', value, choices)
