"""Image classification with ResNet-18; `resnet:imagenet2012` is ResNet-50 with the usual recipe.

    jaxvision train --config resnet --config.data.source=folder:PHOTOS

Top-1 accuracy, one seed, 20 epochs, 10 min 15 s on 2 cores:

    1,600 JPEGs of Fashion-MNIST, of unequal sizes
        87.0 % of 5,000 other images; an RBF SVM on the pixels has 83.2 %
        (tests/bench/against_svm.py --held_out 5000)
        The number of epochs was chosen on 397 other images, with 85.1 and 84.9 %.
    160 images a class of CIFAR-10
        53.4 % of 5,000 other images; an RBF SVM on the pixels has 38.6 %
"""

from jaxvision.core import config as configs


def get_config(source='mnist5k'):
    """Config of a ResNet for the dataset `source`."""
    config = configs.default('classification')
    config.data.source = source
    config.data.batch_size = 32
    config.model.name = 'resnet'
    config.model.variant = '18'
    config.model.options = {'stem': 'cifar'}
    config.task.augment.translate = 0.04
    config.task.augment.flip = source == 'cifar10'
    config.optimizer.lr = 4e-3
    config.optimizer.schedule = 'one_cycle'
    config.optimizer.weight_decay = 0.05
    config.train.steps = '20 epochs'
    config.train.eval_every = '5 epochs'
    if source == 'imagenet2012':
        _imagenet(config)
    return config


def _imagenet(config):
    config.data.image_size = 224
    config.data.batch_size = 1024
    config.data.threads = 16
    config.data.test_split = 'validation'
    config.model.variant = '50'
    config.model.dtype = 'bfloat16'
    config.model.options = {'stem': 'imagenet'}
    config.task.resize = 'center_crop'
    config.task.crop_scale = 0.08
    config.task.augment.flip = True
    config.task.augment.translate = 0.0
    config.task.label_smoothing = 0.1
    config.optimizer.name = 'sgd'
    config.optimizer.lr = 0.4
    config.optimizer.weight_decay = 5e-5
    config.optimizer.schedule = 'cosine'
    config.optimizer.warmup = '5 epochs'
    config.train.steps = '90 epochs'
    config.train.eval_every = '1 epoch'
