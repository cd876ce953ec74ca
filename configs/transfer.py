"""Somebody else's network, tuned to a few pictures of one's own. WIP"""

from jaxvision import config as configs

METHODS = 'probe', 'full', 'last', 'lora', 'scratch'


def get_config(argument='mnist5k'):
    """SOURCE, or SOURCE,METHOD."""
    source, _, method = argument.rpartition(',')
    if method not in METHODS:
        source, method = argument, 'full'
    config = configs.default('classification')
    config.data.source, config.data.batch_size, config.data.image_size = source, 32, 112
    config.model.name, config.model.variant = 'efficientnet', 'Lite0'
    config.model.options = {'padding': 'same', 'epsilon': 1e-3, 'drop_path': 0.0}
    config.train.init_from, config.train.init_new = 'efficientnet_lite0', 'model/head'
    config.task.probe = 0.01
    config.train.steps = '0'
    return {'probe': lambda config: None, 'full': _full, 'last': _last, 'lora': _lora, 'scratch': _scratch}[method](config) or config


def _full(config):
    config.optimizer.lr, config.optimizer.schedule = 3e-4, 'one_cycle'
    config.optimizer.weight_decay = 0.05
    config.task.statistics = 'running'
    config.train.steps, config.train.eval_every = '200', '200'


def _last(config):
    _full(config)
    config.task.trained = 'last 4'


def _lora(config):
    _full(config)
    config.task.trained = 'lora 8'
    config.train.init_new = 'model/head,model/lora'


def _scratch(config):
    _full(config)
    config.train.init_from = config.train.init_new = ''
    config.task.recipe, config.task.probe = 'efficientnet_lite', 0.0
