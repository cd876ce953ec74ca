"""Image captioning with attention: Show, Attend and Tell on scenes of coloured digits.

A caption names each digit, its size, its colour and its position relative to the next digit.
A caption is true if every object and every relation is correct. All results are for 1,000
scenes of held-out digits, one seed, on 2 cores of an AMD EPYC.

    jaxvision train --config captioning
        greedy search:  91.0 % true captions, CIDEr-D 7.30, BLEU-4 0.976
        beam search, 5: 92.3 % true captions, CIDEr-D 7.37, BLEU-4 0.980
        18 min 45 s

    jaxvision train --config captioning:digit_scenes/64,self_critical
        Continues runs/captioning for 100 steps. The reward is the CIDEr-D of sampled captions.
        CIDEr-D 7.83, 7.82, 7.83 (three seeds).
        100 more steps of cross-entropy (--config.task.self_critical=false) give 7.44, 7.06, 7.47.
        The captions change to the style on which the references agree most. Perfect captions
        in this style have a CIDEr-D of 8.06.

    jaxvision train --config captioning:captions:ANNOTATIONS.json --config.data.images=IMAGES
        Photographs, with a ResNet-18 at 224 pixels. Not measured.
"""

from jaxvision.core import config as configs


def get_config(argument='digit_scenes/64'):
    """Config of a captioning run; `argument` is SOURCE or SOURCE,self_critical."""
    source = argument.removesuffix(',self_critical')
    config = configs.default('captioning')
    config.data.source = source
    config.data.batch_size = 64
    if source.startswith('digit_scenes/'):
        _digits(config)
    else:
        _photographs(config)
    if argument == source:
        _cross_entropy(config)
    else:
        _self_critical(config)
    return config


def _digits(config):
    config.data.image_size = int(config.data.source.partition('/')[2])
    config.model.name = 'cnn'
    config.model.variant = '24x1-48x1-96x2-128x2'


def _photographs(config):
    config.data.image_size = 224
    config.model.name = 'resnet'
    config.model.variant = '18'
    config.task.min_count = 5
    config.task.decoder.hidden = 512
    config.task.decoder.embedding = 256


def _cross_entropy(config):
    config.optimizer.lr = 2e-3
    config.optimizer.schedule = 'one_cycle'
    config.optimizer.weight_decay = 0.02
    config.optimizer.clip = 1.0
    config.train.steps = '150000 examples'
    config.train.eval_every = '50000 examples'
    config.train.checkpoint_every = '50000 examples'


def _self_critical(config):
    config.task.self_critical = True
    config.train.init_from = 'runs/captioning'
    config.optimizer.lr = 5e-5
    config.optimizer.schedule = 'linear'
    config.optimizer.clip = 1.0
    config.train.steps = '100'
    config.train.eval_every = '100'
    config.train.checkpoint_every = '100'
