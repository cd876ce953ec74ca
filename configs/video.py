"""Video recognition."""

from jaxvision import config as configs


def get_config(source='moving_digits/motions'):
    config = configs.default('video')
    config.data.source, config.data.image_size, config.data.batch_size = source, 64, 32
    config.model.name, config.model.variant = 'lrcn', '16-32-64'
    config.model.options = {'shrink': 2, 'patch': 2}
    config.optimizer.lr, config.optimizer.schedule = 4e-3, 'one_cycle'
    config.optimizer.clip = 1.0
    config.train.steps = '100000 examples'
    config.train.eval_every = config.train.checkpoint_every = '20000 examples'
    return config
