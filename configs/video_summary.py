"""Video summary."""

from jaxvision import config as configs


def get_config(source='moving_digits/events'):
    config = configs.default('video_summary')
    config.data.source, config.data.image_size, config.data.batch_size = source, 64, 16
    config.model.name, config.model.variant = 'frame_scorer', '16-32-64'
    config.optimizer.lr, config.optimizer.schedule = 2e-3, 'one_cycle'
    config.optimizer.clip = 1.0
    config.train.steps = '4000 examples'
    config.train.eval_every = config.train.checkpoint_every = '2000 examples'
    return config
