"""Show, Attend and Tell on coloured digits: which, how large, of which colour, and where.

    python -m jaxvision.main --config configs/captioning.py
    python -m jaxvision.main --config configs/captioning.py:digit_scenes/64,self_critical
        goes on from runs/captioning by the CIDEr-D of the captions that it samples
"""

from jaxvision import config as configs
from jaxvision.errors import unknown


def get_config(source_and_phase='digit_scenes/64'):
    source, _, phase = source_and_phase.partition(',')
    config = configs.default('captioning')
    config.data.source, config.data.image_size, config.data.batch_size = source, 64, 64
    config.model.name, config.model.variant = 'cnn', '24x1-48x1-96x2-128x2'
    phases = {'': _taught, 'self_critical': _self_critical}
    if phase not in phases:
        raise unknown('there is no phase', phase, phases)
    return phases[phase](config)


def _taught(config):
    config.optimizer.lr, config.optimizer.schedule = 2e-3, 'one_cycle'
    config.optimizer.weight_decay, config.optimizer.clip = 0.02, 1.0
    config.train.steps = '150000 examples'
    config.train.eval_every = config.train.checkpoint_every = '50000 examples'
    return config


def _self_critical(config):
    config.task.self_critical = True
    config.train.init_from = 'runs/captioning'
    config.optimizer.lr, config.optimizer.schedule, config.optimizer.clip = 5e-5, 'linear', 1.0
    config.train.steps = '200'
    config.train.eval_every = config.train.checkpoint_every = '100'
    return config
