"""What follows after ten frames of two bouncing digits."""

from jaxvision import config as configs


def get_config(source='moving_digits/prediction'):
    config = configs.default('video_prediction')
    config.data.source, config.data.image_size, config.data.batch_size = source, 64, 16
    config.model.name, config.model.variant = 'forecaster', '64-64'
    config.model.options = {'patch': 4, 'window': 3, 'reach': 0}
    config.optimizer.lr, config.optimizer.schedule = 1e-3, 'one_cycle'
    config.optimizer.clip = 1.0
    config.train.steps = '10000 examples'
    config.train.eval_every = config.train.checkpoint_every = '5000 examples'
    return config
