"""Inpainting.

    python -m jaxvision.main --config configs/inpainting.py
    python -m jaxvision.main --config configs/inpainting.py:photos
"""

from jaxvision import config as configs


def get_config(source='mnist5k'):
    config = configs.default('inpainting')
    config.data.source, config.data.batch_size = source, 32
    config.model.name, config.model.variant = 'unet', '16x1-48-96-128'
    config.model.options = {'convolution': 'plain'}
    config.task.augment.translate = 0.1
    config.optimizer.lr, config.optimizer.schedule = 3e-3, 'one_cycle'
    config.optimizer.weight_decay, config.optimizer.clip = 0.02, 1.0
    config.optimizer.ema = 0.995
    config.train.steps = '2000'
    config.train.eval_every = config.train.checkpoint_every = '500'
    return _photos(config) if source == 'photos' else config


def _photos(config):
    config.data.image_size, config.data.batch_size = 128, 16
    config.task.mask, config.task.crop = 'free_form', 64
    config.task.augment.flip = True
    config.task.augment.translate = 0.0
    return config
