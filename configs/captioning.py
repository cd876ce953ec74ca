"""Show, Attend and Tell on coloured digits: what, how large, of which colour, and where.

    python -m jaxvision.main --config configs/captioning.py
"""

from jaxvision import config as configs


def get_config(source='digit_scenes/64'):
    config = configs.default('captioning')
    config.data.source, config.data.image_size, config.data.batch_size = source, 64, 64
    config.model.name, config.model.variant = 'cnn', '24x1-48x1-96x2-128x2'
    config.optimizer.lr, config.optimizer.schedule = 2e-3, 'one_cycle'
    config.optimizer.weight_decay, config.optimizer.clip = 0.02, 1.0
    config.train.steps = '150000 examples'
    config.train.eval_every = config.train.checkpoint_every = '50000 examples'
    return config
