"""Few-shot learning: classify images of new classes from a few labelled examples.

"5-way 1-shot" means episodes of five classes with one labelled image each. Results are the mean
accuracy (%) over 600 test episodes with 15 queries a class, one seed. After +- stands half the
width of the 95 % confidence interval. The baseline is the nearest centroid of raw pixels. CPU
seconds are summed over the cores of an AMD EPYC and include the evaluation, unless noted.

    jaxvision train --config few_shot
        Prototypical networks on digit_pairs; 224 CPU seconds.
                           5-way 1-shot   5-way 5-shot   20-way 1-shot
        protonet           96.3 +- 0.4    98.6 +- 0.1    88.4 +- 0.3
        (raw pixels)       60.3           82.7           36.0

    jaxvision train --config few_shot:digit_pairs,METHOD
        Other methods, each after about 150 CPU seconds of training:
        matching           99.3 +- 0.1    99.7 +- 0.1    97.3 +- 0.1
        baseline           99.0 +- 0.2    99.7 +- 0.1    96.3 +- 0.2
        anil               97.5 +- 0.3    98.4 +- 0.3    89.4 +- 0.3
        reptile            95.0 +- 0.6    98.5 +- 0.2    38.2 +- 3.0
        first_order_maml   92.8 +- 0.6    97.6 +- 0.2    63.3 +- 1.6
        maml               91.7 +- 0.6    97.0 +- 0.2    33.4 +- 1.8
        The last three train on episodes of 5 classes.

    jaxvision train --config few_shot:fashion_mnist --config.data.dir=DATA \\
            --config.task.class_split_seed=0
        Six classes for training, four new ones; 58 CPU seconds for each class split.
        class_split_seed           0      1      2      3      4
        4-way 1-shot            51.0   61.6   77.4   71.8   71.1
        (raw pixels)            46.3   62.2   69.6   66.4   72.5
        4-way 5-shot            58.1   68.3   86.5   83.3   81.6
        (raw pixels)            56.1   71.0   85.0   81.2   83.4
        The intervals are +- 0.4 to 0.8.

    jaxvision train --config few_shot:SOURCE,pretrained
        Compares ImageNet features of EfficientNet-Lite0 without training. Not measured.
"""

from jaxvision.core import config as configs
from jaxvision.core.errors import unknown


def get_config(argument='digit_pairs'):
    """Config of a few-shot run; `argument` is SOURCE or SOURCE,METHOD."""
    source, _, method = argument.partition(',')
    methods = {
        '': _comparison,
        'matching': _comparison,
        'baseline': _baseline,
        'anil': _anil,
        'pretrained': _comparison,
        'maml': _maml,
        'first_order_maml': _maml,
        'reptile': _reptile,
    }
    if method not in methods:
        raise unknown('there is no method', method, methods)
    config = configs.default('few_shot')
    config.data.source = source
    config.data.image_size = 56
    config.data.batch_size = 1
    # digit_pairs has 10 validation classes, too few for 20-way episodes.
    config.data.validation = 'none'
    config.task.method = method or 'protonet'
    config.task.augment.translate = 0.1
    config.optimizer.lr = 2e-3
    config.optimizer.schedule = 'one_cycle'
    config.train.steps = '1000'
    config.train.eval_every = '1000'
    config.train.checkpoint_every = '250'
    methods[method](config)
    if source.startswith('fashion_mnist'):
        _fashion_mnist(config)
    if method == 'pretrained':
        _pretrained(config)
    return config


def _fashion_mnist(config):
    """Train on six of the ten classes, test on the other four."""
    config.data.image_size = 28
    config.task.ways = 6
    config.task.shots = 5
    config.task.queries = 5
    config.task.evaluations = '4x1,4x5'
    config.task.augment.flip = True
    config.train.steps = '600'
    config.train.eval_every = '600'
    config.train.checkpoint_every = '200'


def _pretrained(config):
    """Compare features of ImageNet weights without training."""
    config.data.image_size = 96
    config.model.name = 'efficientnet'
    config.model.variant = 'Lite0'
    config.model.options = {'padding': 'same', 'epsilon': 1e-3}
    config.task.method = 'baseline'
    config.task.layer = 'pooled'
    config.train.init_from = 'efficientnet_lite0'
    config.train.init_new = 'model/head'
    config.train.steps = '0'


def _comparison(config):
    config.model.name = 'cnn'
    config.model.variant = '16x1-32x1-64x1-64x1-64x1'
    config.task.layer = 'stage5'


def _baseline(config):
    """Train on 60 of the 70 classes with two images each, like an ordinary classifier."""
    _comparison(config)
    config.task.ways = 60
    config.task.shots = 1
    config.task.queries = 1


def _anil(config):
    _comparison(config)
    config.task.inner_lr = 0.05
    config.task.test_steps = 5


def _maml(config):
    config.data.batch_size = 4
    config.model.name = 'strided'
    config.model.variant = '64-64-64'
    config.model.options = {'patch': 4, 'pool': 'flat', 'in_loop': True}
    config.task.ways = 5
    config.task.shots = 1
    config.task.queries = 5
    config.task.inner_lr = 0.01
    config.optimizer.lr = 1e-3
    config.optimizer.clip = 1.0
    config.train.steps = '600'
    config.train.eval_every = '600'


def _reptile(config):
    _maml(config)
    config.task.shots = 5
    config.task.queries = 5
    config.task.inner_lr = 0.03
    config.optimizer.lr = 2e-3
    config.optimizer.clip = 0.0
    config.optimizer.schedule = 'linear'
