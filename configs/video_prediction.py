"""What follows after ten frames of two bouncing digits."""

from jaxvision import config as configs


def get_config(source='moving_digits/prediction'):
    config = configs.default('video_prediction')
    config.data.source, config.data.image_size, config.data.batch_size = source, 64, 8
    config.model.name, config.model.variant = 'forecaster', '64-64'
    config.model.options = {'patch': 8, 'reach': 6}
    config.optimizer.lr, config.optimizer.schedule = 3e-3, 'one_cycle'
    config.optimizer.clip = 0.05  # ten times as much as gradients usually have
    config.train.steps = '20000 examples'
    config.train.eval_every = config.train.checkpoint_every = '5000 examples'
    return config
