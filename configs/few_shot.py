"""Few-shot learning: classes that training never saw, told by a few examples each.

Accuracy over 600 episodes of 15 queries a class, with half the width of its 95 % confidence
interval, one seed; in brackets the nearest centroid of raw pixels. CPU seconds are those of an AMD
EPYC's cores, evaluation included:

    jaxvision train --config few_shot
        digit_pairs, prototypical networks: 5-way 1-shot 96.3 +- 0.4 % (60.3), 5-shot 98.6 +- 0.1 %
        (82.7), 20-way 1-shot 88.4 +- 0.3 % (36.0); 224 CPU seconds
    jaxvision train --config few_shot:digit_pairs,METHOD
        in the same order, each after about 150 CPU seconds of training:
        matching           99.3 +- 0.1    99.7 +- 0.1    97.3 +- 0.1
        baseline           99.0 +- 0.2    99.7 +- 0.1    96.3 +- 0.2
        anil               97.5 +- 0.3    98.4 +- 0.3    89.4 +- 0.3
        reptile            95.0 +- 0.6    98.5 +- 0.2    38.2 +- 3.0
        first_order_maml   92.8 +- 0.6    97.6 +- 0.2    63.3 +- 1.6
        maml               91.7 +- 0.6    97.0 +- 0.2    33.4 +- 1.8
        the last three learn in episodes of 5 classes
    jaxvision train --config few_shot:fashion_mnist --config.data.dir=DATA \\
            --config.task.class_split_seed=0
        six classes for training, four new ones; of the divisions 0 to 4: 4-way 1-shot 51.0 (46.3),
        61.6 (62.2), 77.4 (69.6), 71.8 (66.4), 71.1 (72.5) %; 5-shot 58.1 (56.1), 68.3 (71.0), 86.5
        (85.0), 83.3 (81.2), 81.6 (83.4) %; intervals of +-0.4 to 0.8; 58 CPU seconds each
"""

from jaxvision.core import config as configs
from jaxvision.core.errors import unknown


def get_config(source_and_method='digit_pairs'):
    source, _, method = source_and_method.partition(',')
    methods = {
        '': _comparing,
        'matching': _comparing,
        'baseline': _baseline,
        'anil': _anil,
        'pretrained': _comparing,
        'maml': _maml,
        'first_order_maml': _maml,
        'reptile': _reptile,
    }
    if method not in methods:
        raise unknown('there is no method', method, methods)
    config = configs.default('few_shot')
    config.data.source, config.data.image_size, config.data.batch_size = source, 56, 1
    # digit_pairs has 10 classes for validation, fewer than the episodes of 20.
    config.data.validation = 'none'
    config.task.method = method or 'protonet'
    config.task.augment.translate = 0.1
    config.optimizer.lr, config.optimizer.schedule = 2e-3, 'one_cycle'
    config.train.steps = '1000'
    config.train.eval_every, config.train.checkpoint_every = '1000', '250'
    methods[method](config)
    if source.startswith('fashion_mnist'):
        _fashion_mnist(config)
    if method == 'pretrained':
        _pretrained(config)
    return config


def _fashion_mnist(config):
    """Of its ten classes six for training and four new ones, divided by task.class_split_seed."""
    config.data.image_size = 28
    config.task.ways, config.task.shots, config.task.queries = 6, 5, 5
    config.task.evaluations = '4x1,4x5'
    config.task.augment.flip = True
    config.train.steps = '600'
    config.train.eval_every, config.train.checkpoint_every = '600', '200'


def _pretrained(config):
    """ImageNet's features as they are, compared as the plain classifier's."""
    config.data.image_size = 96
    config.model.name, config.model.variant = 'efficientnet', 'Lite0'
    config.model.options = {'padding': 'same', 'epsilon': 1e-3}
    config.task.method, config.task.layer = 'baseline', 'pooled'
    config.train.init_from, config.train.init_new = 'efficientnet_lite0', 'model/head'
    config.train.steps = '0'


def _comparing(config):
    config.model.name, config.model.variant = 'cnn', '16x1-32x1-64x1-64x1-64x1'
    config.task.layer = 'stage5'


def _baseline(config):
    """Of 60 of the 70 classes two images each, nearly as any classifier's batch."""
    _comparing(config)
    config.task.ways, config.task.shots, config.task.queries = 60, 1, 1


def _anil(config):
    _comparing(config)
    config.task.inner_lr, config.task.test_steps = 0.05, 5


def _maml(config):
    config.data.batch_size = 4
    config.model.name, config.model.variant = 'strided', '64-64-64'
    config.model.options = {'patch': 4, 'pool': 'flat', 'in_loop': True}
    config.task.ways, config.task.shots, config.task.queries = 5, 1, 5
    config.task.inner_lr = 0.01
    config.optimizer.lr, config.optimizer.clip = 1e-3, 1.0
    config.train.steps = config.train.eval_every = '600'


def _reptile(config):
    _maml(config)
    config.task.shots, config.task.queries = 5, 5
    config.task.inner_lr = 0.03
    config.optimizer.lr, config.optimizer.clip, config.optimizer.schedule = (
        2e-3,
        0.0,
        'linear',
    )
