"""Segmentation: the class of each pixel, and objects.

jaxvision train --config segmentation
    generated scenes of one to three digits, 64x64 pixels, 11 classes
"""

from jaxvision.core import config as configs
from jaxvision.core.errors import unknown


def get_config(argument='digit_scenes/64'):
    source, _, recipe = argument.partition(',')
    if recipe and recipe not in _RECIPES:
        raise unknown('there is no recipe', recipe, _RECIPES)
    config = configs.default('segmentation')
    config.data.source = source
    config.model.name = 'segmentation_unet'
    config.optimizer.schedule = 'cosine'
    config.optimizer.ema = 0.998
    config.optimizer.clip = 10.0
    config.optimizer.lr = 3e-3
    config.optimizer.weight_decay = 0.05
    if source.startswith('digit_scenes'):
        _digit_scenes(config)
    else:
        _photographs(config)
    if recipe:
        _RECIPES[recipe](config)
    return config


def _digit_scenes(config):
    config.data.image_size = 128
    config.data.batch_size = 16
    config.model.variant = 'cnn:16x1-32x1-64x1-96'
    config.optimizer.warmup = '3000 examples'
    config.train.steps = '3000'
    config.train.eval_every = '1500'
    config.train.checkpoint_every = '1500'


def _photographs(config):
    config.data.image_size = 320
    config.data.batch_size = 8
    config.model.variant = 'cnn:16x1-32x1-64x1-96x1-128'
    config.task.augment.flip = True
    config.task.augment.scale = 0.5
    config.task.augment.color = 0.2
    config.optimizer.warmup = '2 epochs'
    config.train.steps = '100 epochs'
    config.train.eval_every = '25 epochs'
    config.train.checkpoint_every = '25 epochs'


def _objects(config):
    config.task.objects = True


_RECIPES = {'objects': _objects}
