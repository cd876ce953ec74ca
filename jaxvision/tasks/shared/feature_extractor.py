"""Feature extractors: intermediates of trained classifiers, for metrics and perceptual losses."""

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
from jaxvision.models.types import Intermediates
from jaxvision.pretrained import convert, flax_variables
from jaxvision.pretrained.formats import tensor_file
from jaxvision.tasks.shared.networks import make_model


def required(config: Config, name: str) -> RequiredNetwork:
    """Return the classifier that `task.feature_extractor` names.

    Args:
        config: config of the task that uses the features.
        name: the folder of a run, or 'small_cnn': a small classifier of the task's
            dataset. The engine opens the run, or trains that classifier, later.
    """
    if name == 'small_cnn':
        return RequiredNetwork(config=small_classifier(config.data))
    return RequiredNetwork(run=name)


def small_classifier(data: Config) -> Config:
    """Return the config of a run that trains a small classifier, as feature extractor.

    `data` is the `config.data` of another run. It is copied, but the classifier is trained on all
    examples per class, without generated images, with another batch size.
    """
    config = configs.default('classification')
    config.data.update(data)
    # 64, rounded up to a multiple of the devices. The task may have another batch size.
    devices = jax.device_count()
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
) -> Callable[[Tree, Float[Array, 'b h w c']], Intermediates]:
    """Build a function that computes the intermediates of a trained classifier.

    Images are converted to the classifier's input. Grey images are repeated to three
    channels, colour images are averaged to one. Images of 3/4 to 3/2 of the input's height
    and width are cropped, or padded with zeros, around the centre. Others are resized, and so
    are images that differ from the input by an odd number of pixels along an axis.

    Args:
        network: the run of the classifier.
        layer: name of an intermediate that is needed. It is only checked.
        dtype: dtype of the computation.

    Returns:
        `(variables, images [B, H, W, C] in [0, 1]) -> {name: intermediate}`, with all
        intermediates of the model. `variables` are `TrainState.variables` of the classifier.

    Raises:
        UserError: The run is not a classifier, or its model has no intermediate `layer`.
    """
    model, intermediates = _open_classifier(network, dtype)
    if layer not in intermediates:
        name = network.config['model']['name']
        raise unknown(
            f'task.layer: model {name!r} has no intermediate', layer, intermediates
        )
    shape = network.spec.inputs['image'].shape
    preprocessing = network.spec.preprocessing

    def extract(variables, images):
        images = jax.vmap(lambda image: _as_shape(image, shape))(images)
        images = color.normalize(images, preprocessing.mean, preprocessing.std)
        model_state = variables['model_state']['model']
        _, intermediates = model.apply(
            {'params': variables['params']['model'], **model_state}, images
        )
        return intermediates

    return extract


def _open_classifier(
    network: NetworkSpec, dtype: DTypeLike
) -> tuple[Any, dict[str, Any]]:
    """Build the model of a classifier's run. Also return the shapes of its intermediates."""
    config = configs.stored(network.config)
    if config.task.name != 'classification':
        raise UserError(
            'feature extractor: expected a run of the task classification, but it is a run of '
            f'the task {config.task.name}. Choose the run of an image classifier.'
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
    """Return the Inception-v3 of the published FID, with weights from a file.

    The file is not opened here, but when the engine reads the weights.

    Args:
        file: path of pt_inception-2015-12-05-*.pth.
    """

    def init():
        return InceptionV3().init(jax.random.key(0), jnp.zeros((1, 107, 107, 3)))

    def read():
        leaves = convert.from_torch(
            tensor_file.read(file), lambda module: module.replace('.', '/')
        )
        return flax_variables.fit(leaves, jax.eval_shape(init))

    return RequiredNetwork(weights=Weights(read, init))


def _as_shape(image: Array, shape: tuple[int, ...]) -> Array:
    """Convert channels, then crop, pad or resize an image to a shape (height, width, channels)."""
    height, width, channels = image.shape
    if channels != shape[2]:
        image = jnp.broadcast_to(
            image.mean(-1, keepdims=True), (height, width, shape[2])
        )
    size = tuple(shape[:2])
    margins = []
    for side, target in zip((height, width), size, strict=True):
        missing = target - side
        if missing % 2 or not 2 / 3 <= target / side <= 4 / 3:
            return resize.resize(image, size)
        # A negative margin crops.
        margins.append((missing // 2, missing // 2, 0))
    return lax.pad(image, jnp.zeros((), image.dtype), [*margins, (0, 0, 0)])
