"""A small CNN on small pictures."""

from jaxvision import config as configs

STEPS = {'mnist5k': '25 epochs', 'fashion_mnist': '20 epochs'}


def get_config(source='mnist5k'):
    config = configs.default('classification')
    config.data.source = source
    config.model.name, config.model.variant = 'cnn', '16-32-64'
    config.task.augment.translate, config.task.augment.flip = 0.08, source == 'fashion_mnist'
    config.optimizer.lr, config.optimizer.schedule = 4e-3, 'one_cycle'
    config.optimizer.weight_decay = 0.05
    config.train.steps = STEPS.get(source, '400000 examples')
    config.train.eval_every = config.train.checkpoint_every = '20000 examples'
    config.train.best = 'eval/accuracy'
    return config
