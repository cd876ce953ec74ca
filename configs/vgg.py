"""Image classification with VGG-11 and batch norm. Not measured.

The variants are 11, 13, 16 and 19:

    jaxvision train --config vgg:cifar10 --config.model.variant=16
"""

from jaxvision.core import config as configs


def get_config(source='mnist5k'):
    """Config of a VGG for the dataset `source`."""
    config = configs.default('classification')
    config.data.source = source
    config.data.batch_size = 64
    config.model.name = 'vgg'
    config.model.variant = '11'
    config.model.options = {'batch_norm': True, 'head': 'pool'}
    config.task.augment.translate = 0.125
    config.task.augment.flip = source == 'cifar10'
    config.optimizer.name = 'sgd'
    config.optimizer.lr = 0.05
    config.optimizer.weight_decay = 5e-4
    config.optimizer.schedule = 'one_cycle'
    config.train.steps = '20 epochs'
    return config
