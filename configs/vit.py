"""A small vision transformer, from scratch."""

from jaxvision import config as configs


def get_config(source='mnist5k'):
    config = configs.default('classification')
    config.data.source = source
    config.model.name, config.model.variant = 'vit', 'Ti/4'
    config.task.augment.translate = 0.08
    config.optimizer.lr, config.optimizer.schedule = 1e-3, 'cosine'
    config.optimizer.warmup, config.optimizer.weight_decay = '2 epochs', 0.05
    config.optimizer.clip = 1.0
    config.train.steps = '20 epochs'
    return config
