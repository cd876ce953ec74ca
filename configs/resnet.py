"""ResNet-18 on small pictures; 'imagenet2012': ResNet-50 as it is usually trained.

    jaxvision train --config resnet --config.data.source=folder:PHOTOS

1,600 JPEGs of Fashion-MNIST of unequal sizes: 87.0 % top-1 of 5,000 others, where an RBF SVM on the
pixels has 83.2 % (tests/bench/against_svm.py --held_out 5000); of 397 others, on which its epochs
were chosen, 85.1 and 84.9 %. Of 160 images a class of CIFAR-10 53.4 % of 5,000 others, an RBF SVM
38.6 %. One seed each; 20 epochs, 10 min 15 s on 2 cores.
"""

from jaxvision.core import config as configs


def get_config(source='mnist5k'):
    config = configs.default('classification')
    config.data.source, config.data.batch_size = source, 32
    config.model.name, config.model.variant = 'resnet', '18'
    config.model.options = {'stem': 'cifar'}
    config.task.augment.translate, config.task.augment.flip = 0.04, source == 'cifar10'
    config.optimizer.lr, config.optimizer.schedule = 4e-3, 'one_cycle'
    config.optimizer.weight_decay = 0.05
    config.train.steps, config.train.eval_every = '20 epochs', '5 epochs'
    return _imagenet(config) if source == 'imagenet2012' else config


def _imagenet(config):
    config.data.image_size, config.data.batch_size, config.data.threads = 224, 1024, 16
    config.data.test_split = 'validation'
    config.model.variant, config.model.dtype = '50', 'bfloat16'
    config.model.options = {'stem': 'imagenet'}
    config.task.resize, config.task.crop_scale, config.task.augment.flip = (
        'center_crop',
        0.08,
        True,
    )
    config.task.augment.translate, config.task.label_smoothing = 0.0, 0.1
    config.optimizer.name, config.optimizer.lr, config.optimizer.weight_decay = (
        'sgd',
        0.4,
        5e-5,
    )
    config.optimizer.schedule, config.optimizer.warmup = 'cosine', '5 epochs'
    config.train.steps, config.train.eval_every = '90 epochs', '1 epoch'
    return config
