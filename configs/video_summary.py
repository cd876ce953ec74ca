"""Video summary."""

from jaxvision import config as configs


def get_config(source='moving_digits/events'):
    config = configs.default('video_summary')
    config.data.source, config.data.image_size, config.data.batch_size = source, 64, 16
    config.model.name = 'frame_scorer'
    config.optimizer.schedule, config.optimizer.clip = 'one_cycle', 1.0
    return _supervised(config) if source == 'moving_digits/events' else _films(config)


def _supervised(config):
    # The last map's pixels see both digits, wherever they are: whether they meet is between them.
    config.model.variant = '16-32-64'
    config.model.options = {'shrink': 2, 'patch': 4, 'pool': 'flat'}
    config.optimizer.lr = 4e-3
    config.train.steps = '8000 examples'
    config.train.eval_every = config.train.checkpoint_every = '4000 examples'
    return config


def _films(config):
    config.data.image_size = 32  # enough for what the features tell
    config.task.supervised, config.task.sees = False, 'features'
    config.task.frames, config.task.montages = 60, 2000
    config.task.share, config.task.share_weight, config.task.episodes = 0.15, 1.0, 30
    config.optimizer.lr = 1e-2
    config.train.steps = '24000 examples'
    config.train.eval_every = config.train.checkpoint_every = '8000 examples'
    return config
