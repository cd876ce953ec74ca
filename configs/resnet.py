"""ResNet-18 on small pictures; 'imagenet2012': ResNet-50 as it is usually trained.

    python -m jaxvision.main --config configs/resnet.py --config.data.source=folder:PHOTOS

2,000 JPEGs of Fashion-MNIST of unequal sizes, of which 397 are held out: 85.1 % top-1, one image
more than an RBF SVM on the pixels (84.9 %), in 22 min 9 s on 2 cores of an Intel Xeon; 15 epochs
give 84.9 %, configs/cnn.py 87.4 % in 2 min (tests/bench/against_svm.py; one seed each).
"""

from jaxvision import config as configs


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
    config.task.resize, config.task.crop_scale, config.task.augment.flip = 'center_crop', 0.08, True
    config.task.augment.translate, config.task.label_smoothing = 0.0, 0.1
    config.optimizer.name, config.optimizer.lr, config.optimizer.weight_decay = 'sgd', 0.4, 5e-5
    config.optimizer.schedule, config.optimizer.warmup = 'cosine', '5 epochs'
    config.train.steps, config.train.eval_every = '90 epochs', '1 epoch'
    return config
