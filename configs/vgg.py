"""VGG-11 with batch norm on small pictures; the variants are 11, 13, 16 and 19.

jaxvision train --config vgg:cifar10 --config.model.variant=16
"""

from jaxvision.core import config as configs


def get_config(source='mnist5k'):
    config = configs.default('classification')
    config.data.source, config.data.batch_size = source, 64
    config.model.name, config.model.variant = 'vgg', '11'
    config.model.options = {'batch_norm': True, 'head': 'pool'}
    config.task.augment.translate, config.task.augment.flip = 0.125, source == 'cifar10'
    config.optimizer.name, config.optimizer.lr, config.optimizer.weight_decay = (
        'sgd',
        0.05,
        5e-4,
    )
    config.optimizer.schedule = 'one_cycle'
    config.train.steps = '20 epochs'
    return config
