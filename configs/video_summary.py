"""Video summary."""

from jaxvision import config as configs


def get_config(source='moving_digits/events'):
    config = configs.default('video_summary')
    config.data.source, config.data.image_size, config.data.batch_size = source, 64, 16
    config.model.name, config.model.variant = 'frame_scorer', '8-16-32'
    config.model.options = {'shrink': 2, 'patch': 2, 'pool': 'flat'}
    config.optimizer.lr, config.optimizer.schedule = 4e-3, 'one_cycle'
    config.optimizer.clip = 1.0
    config.train.steps = '6000 examples'
    config.train.eval_every = config.train.checkpoint_every = '2000 examples'
    return config
