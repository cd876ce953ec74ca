"""Inpainting: fill a hole smoothly, then correct the filling with a U-Net.

The smooth filling has the shape of a thin plate under tension. Results are the PSNR in the hole,
for one seed, on 2 cores of an AMD EPYC. The gain is over `inpaint_biharmonic` of scikit-image,
measured with `python tests/bench/against_biharmonic.py RUN`.

    jaxvision train --config inpainting
        A box of 12x12 pixels anywhere in an MNIST digit.
        13.25 dB, gain 4.12 dB, 7 min 17 s

    jaxvision train --config inpainting:photos
        A brush over 25 % of a photograph.
        19.96 dB, gain 0.31 dB (flower 0.83, coffee 0.33, astronaut 0.15)
        10 min 24 s, on a machine with other work
        The smooth filling alone has 20.04 dB. The training photographs are too few: the learned
        correction does not generalise to other photographs.

PSNR rewards the mean of all plausible fillings, which is blurred. For a sharp filling add
--config.task.adversarial_weight=0.001 and --config.model.options.convolution=gated (or partial).
"""

from jaxvision.core import config as configs


def get_config(source='mnist5k'):
    """Config of an inpainting run on the dataset `source`."""
    config = configs.default('inpainting')
    config.data.source = source
    config.data.batch_size = 32
    config.model.name = 'unet'
    config.model.variant = '16x1-48-96-128'
    config.model.options = {'convolution': 'plain', 'norm': 'batch'}
    # No rotation: it blurs, and the network would learn to fill in blurred strokes.
    config.task.augment.translate = 0.1
    config.optimizer.lr = 4e-3
    config.optimizer.schedule = 'one_cycle'
    config.optimizer.weight_decay = 0.02
    config.optimizer.clip = 1.0
    config.optimizer.ema = 0.998
    config.train.steps = '150000 examples'
    config.train.eval_every = '30000 examples'
    config.train.checkpoint_every = '30000 examples'
    if source == 'photos':
        _photos(config)
    return config


def _photos(config):
    config.data.image_size = 128
    config.data.batch_size = 8
    config.model.options = {'convolution': 'plain'}
    config.task.mask = 'free_form'
    config.task.crop = 64
    config.task.augment.translate = 0.0
    config.task.augment.flip = True
    config.optimizer.lr = 1e-3
    config.train.steps = '30000 examples'
    config.train.eval_every = '6000 examples'
    config.train.checkpoint_every = '6000 examples'
