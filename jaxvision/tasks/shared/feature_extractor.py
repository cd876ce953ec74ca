"""Features of trained networks, for metrics and perceptual losses."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from jaxvision.core import config as configs
from jaxvision.core.errors import UserError, unknown
from jaxvision.core.fields import Config
from jaxvision.core.spec import NetworkSpec
from jaxvision.core.task import RequiredNetwork, Weights
from jaxvision.core.types import Tree
from jaxvision.image import color, resize
from jaxvision.models.backbones.inception import InceptionV3
from jaxvision.pretrained import convert, flax_variables
from jaxvision.pretrained.formats import tensor_file
from jaxvision.tasks.shared.networks import make_model


def required(config: Config, named: str) -> RequiredNetwork:
    """The network that `task.feature_extractor` names.

    Args:
        config: of the task that requires it.
        named: the folder of a run, or 'small_cnn': a small classifier of the task's dataset.
    """
    if named == 'small_cnn':
        return RequiredNetwork(config=small_classifier(config.data))
    return RequiredNetwork(run=named)


def small_classifier(data: Config) -> Config:
    """The config of a small classifier of a dataset, where the user gives no better one."""
    config = configs.default('classification')
    config.data.update(data)
    devices = jax.device_count()  # whatever the task's own batch is
    config.data.batch_size = -(-64 // devices) * devices
    config.data.per_class = 0
    config.data.synthetic = ''
    config.model.name = 'cnn'
    config.model.variant = '16-32-64'
    config.task.augment.translate = 0.08
    config.optimizer.lr = 4e-3
    config.optimizer.schedule = 'one_cycle'
    config.optimizer.weight_decay = 0.05
    config.train.steps = '100000 examples'
    config.train.eval_every = '50000 examples'
    config.train.checkpoint_every = '50000 examples'
    return config


def build(
    network: NetworkSpec, layer: str, dtype: DTypeLike = jnp.float32
) -> Callable[[Tree, Float[Array, 'b h w c']], dict[str, Array]]:
    """Build `(variables, images in [0, 1]) -> {name: intermediate}` of a trained classifier.

    Grey images are repeated into colours, colours are averaged to grey. Images that are up
    to a third larger or smaller are cropped or padded, others are resized.

    Args:
        network: the classifier's run.
        layer: an intermediate that it must have.
        dtype: of its computation.

    Raises:
        UserError: The run is no classifier, or it has no such intermediate.
    """
    model, intermediates = _open_classifier(network, dtype)
    if layer not in intermediates:
        name = network.config['model']['name']
        raise unknown(f'{name!r} has no intermediate', layer, intermediates)
    shape = network.spec.inputs['image'].shape
    preprocessing = network.spec.preprocessing

    def extract(variables, images):
        images = jax.vmap(lambda image: _as_shape(image, shape))(images)
        images = color.normalize(images, preprocessing.mean, preprocessing.std)
        model_state = variables['model_state']['model']
        _, named = model.apply(
            {'params': variables['params']['model'], **model_state}, images
        )
        return named

    return extract


def _open_classifier(
    network: NetworkSpec, dtype: DTypeLike
) -> tuple[Any, dict[str, Any]]:
    """The classifier, and the shapes of its intermediates."""
    config = configs.stored(network.config)
    if config.task.name != 'classification':
        raise UserError(
            f'a run of task {config.task.name!r} has no features: expected a classifier'
        )
    config.model.dtype = jnp.dtype(dtype).name
    config.model.param_dtype = jnp.dtype(dtype).name
    model = make_model(config, num_classes=len(network.spec.class_names))
    blank = jnp.zeros((1, *network.spec.inputs['image'].shape))
    (_, intermediates), _ = jax.eval_shape(
        model.init_with_output, jax.random.key(0), blank
    )
    return model, intermediates


def inception(file: str) -> RequiredNetwork:
    """Inception-v3 as the FID has it, from a PyTorch file (pt_inception-2015-12-05)."""

    def init():
        return InceptionV3().init(jax.random.key(0), jnp.zeros((1, 107, 107, 3)))

    def read():
        leaves = convert.from_torch(
            tensor_file.read(file), lambda module: module.replace('.', '/')
        )
        return flax_variables.fit(leaves, jax.eval_shape(init))

    return RequiredNetwork(weights=Weights(read, init))


def _as_shape(image: Array, shape: tuple[int, ...]) -> Array:
    height, width, channels = image.shape
    if channels != shape[2]:
        image = jnp.broadcast_to(
            image.mean(-1, keepdims=True), (height, width, shape[2])
        )
    sides = tuple(zip(shape[:2], (height, width), strict=True))
    if all(
        2 / 3 <= wanted / side <= 4 / 3 and (wanted - side) % 2 == 0
        for wanted, side in sides
    ):
        margins = [((wanted - side) // 2,) * 2 + (0,) for wanted, side in sides]
        return lax.pad(image, jnp.zeros((), image.dtype), [*margins, (0, 0, 0)])
    return resize.resize(image, tuple(shape[:2]))
