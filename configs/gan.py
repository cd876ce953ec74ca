"""A conditional GAN."""

from jaxvision import config as configs


def get_config(source='mnist5k'):
    config = configs.default('gan')
    config.data.source, config.data.batch_size = source, 64
    config.model.name, config.model.variant = 'r3gan', '128x2-64x2-32x2'
    config.model.options = {'discriminator': '128-64-32', 'patch': 2, 'expansion': 1.0,
                            'norm': 'batch'}
    config.task.r1 = config.task.r2 = 0.5
    config.optimizer.name, config.optimizer.lr = 'adamw', 1e-3
    config.optimizer.schedule, config.optimizer.ema = 'cosine', 0.998
    config.optimizer.options = dict(b1=0.0, b2=0.99)
    config.train.steps = '2800'
    config.train.eval_every = config.train.checkpoint_every = '700'
    return config
