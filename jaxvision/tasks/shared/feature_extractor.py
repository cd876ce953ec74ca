"""Trained networks as judges: what metrics and perceptual losses see in an image."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax
from ml_collections import ConfigDict

from jaxvision.core import config as configs
from jaxvision.core.errors import UserError, unknown
from jaxvision.core.task import RequiredNetwork, Weights
from jaxvision.image import color, resize
from jaxvision.models.backbones.inception import InceptionV3
from jaxvision.pretrained import convert, flax_variables
from jaxvision.pretrained.formats import tensor_file
from jaxvision.tasks.shared.networks import make_model


def required(config, judge: str) -> RequiredNetwork:
    """The network that `task.judge` names: a run's folder, or 'own' for `own(config.data)`."""
    if judge == 'own':
        return RequiredNetwork(config=own(config.data))
    return RequiredNetwork(run=judge)


def own(data) -> ConfigDict:
    """The package's own classifier of a source's classes: a small network that metrics and
    perceptual losses stand on where nobody gives a better one."""
    config = configs.default('classification')
    config.data.update(data)
    devices = jax.device_count()  # whatever the task's own batch is
    config.data.batch_size = -(-64 // devices) * devices
    config.data.per_class, config.data.synthetic = 0, ''
    config.model.name, config.model.variant = 'cnn', '16-32-64'
    config.task.augment.translate = 0.08
    config.optimizer.lr, config.optimizer.schedule = 4e-3, 'one_cycle'
    config.optimizer.weight_decay = 0.05
    config.train.steps = '100000 examples'
    config.train.eval_every = config.train.checkpoint_every = '50000 examples'
    return config


def perceive(network: dict, layer: str, dtype=jnp.float32) -> Callable:
    """A trained classifier's named intermediates, 'logits' among them, of images of any size:

        (variables, images [B, H, W, C] in [0, 1]) -> {name: [B, ...]}

    `network` is its {'config', 'spec'}. Grey is repeated into colours, colours are averaged to grey,
    and images that are larger or smaller by up to a third are cropped or padded, others resized.

    Raises:
        UserError: it has no intermediate `layer`.
    """
    model, known = _opened(network, dtype)
    spec = network['spec']
    shape = spec['inputs']['image']['shape']
    if layer not in known:
        raise unknown(
            f'{network["config"]["model"]["name"]!r} has no intermediate', layer, known
        )

    def intermediates(variables, images):
        images = jax.vmap(lambda image: _as_shape(image, shape))(images)
        images = color.normalize(images, spec['mean'], spec['deviation'])
        _, named = model.apply(
            {
                'params': variables['params']['model'],
                **variables['model_state']['model'],
            },
            images,
        )
        return named

    return intermediates


def _opened(network: dict, dtype) -> tuple:
    """The classifier, and the shapes of its intermediates."""
    config, spec = configs.stored(network['config']), network['spec']
    if config.task.name != 'classification':
        raise UserError(
            f'a run of task {config.task.name!r} sees no features: give a classifier'
        )
    config.model.dtype = config.model.param_dtype = jnp.dtype(dtype).name
    model = make_model(config, num_classes=len(spec['class_names']))
    blank = jnp.zeros((1, *spec['inputs']['image']['shape']))
    return model, jax.eval_shape(model.init_with_output, jax.random.key(0), blank)[0][1]


def inception(file: str) -> RequiredNetwork:
    """Inception-v3 as the FID has it, whose PyTorch file (pt_inception-2015-12-05) a person gives."""

    def init():
        return InceptionV3().init(jax.random.key(0), jnp.zeros((1, 107, 107, 3)))

    def read():
        leaves = convert.from_torch(
            tensor_file.read(file), lambda module: module.replace('.', '/')
        )
        return flax_variables.fit(leaves, jax.eval_shape(init))

    return RequiredNetwork(weights=Weights(read, init))


def _as_shape(image, shape: list[int]):
    height, width, channels = image.shape
    if channels != shape[2]:
        image = jnp.broadcast_to(
            image.mean(-1, keepdims=True), (height, width, shape[2])
        )
    sides = tuple(zip(shape[:2], (height, width)))
    if all(
        2 / 3 <= wanted / side <= 4 / 3 and (wanted - side) % 2 == 0
        for wanted, side in sides
    ):
        margins = [((wanted - side) // 2,) * 2 + (0,) for wanted, side in sides]
        return lax.pad(image, jnp.zeros((), image.dtype), [*margins, (0, 0, 0)])
    return resize.resize(image, tuple(shape[:2]))
