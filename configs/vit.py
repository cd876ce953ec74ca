"""Image classification with a small vision transformer, trained from scratch.

The result is for one seed, on 2 cores of a newer AMD EPYC.

    jaxvision train --config vit
        98.0 % top-1 on the 1,000 test digits, 3 min 10 s
"""

from jaxvision.core import config as configs


def get_config(source='mnist5k'):
    """Config of a small ViT for the dataset `source`."""
    config = configs.default('classification')
    config.data.source = source
    config.data.batch_size = 64
    config.model.name = 'vit'
    # The side of a patch divides the side of the images: 28 pixels in mnist5k, else 32.
    config.model.variant = 'Ti/4'
    config.model.options = {'depth': 4, 'pool': 'mean'}
    config.task.augment.translate = 0.08
    config.task.augment.rotate = 10.0
    config.optimizer.lr = 1e-3
    config.optimizer.warmup = '2 epochs'
    config.optimizer.weight_decay = 0.05
    config.optimizer.clip = 1.0
    config.train.steps = '1000000 examples'
    config.train.eval_every = '20000 examples'
    config.train.checkpoint_every = '20000 examples'
    if source == 'mnist5k':
        config.model.variant = 'Ti/7'
        config.train.steps = '150000 examples'
    return config
