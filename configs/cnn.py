"""A small CNN on small pictures."""

from jaxvision import config as configs


def get_config(source='mnist5k'):
    config = configs.default('classification')
    config.data.source = source
    config.model.name, config.model.variant = 'cnn', '16-32-64'
    config.task.augment.translate = 0.08
    config.optimizer.lr, config.optimizer.schedule = 4e-3, 'one_cycle'
    config.optimizer.weight_decay = 0.05
    config.train.steps, config.train.best = '15 epochs', 'eval/accuracy'
    return config
