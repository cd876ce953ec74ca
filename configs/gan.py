"""A conditional GAN: R3GAN's losses and blocks, small, with batch norm in the generator. On 2 cores
of an AMD EPYC, beside other work, one seed; in brackets real training images:

    python -m jaxvision.main --config configs/gan.py
        the class asked for 98.3 %, precision 0.90 (0.91), recall 0.61 (0.85), fid_cnn 0.33 (0.10),
        kid_cnn -0.004 (-0.020), 19 min 54 s
    python -m jaxvision.main --config configs/gan.py:fashion_mnist --config.data.dir=DATA   not measured
"""

from jaxvision import config as configs


def get_config(source='mnist5k'):
    config = configs.default('gan')
    config.data.source, config.data.batch_size = source, 64
    config.model.name, config.model.variant = 'r3gan', '128x2-64x2-32x2'
    config.model.options = {'discriminator': '128-64-32', 'patch': 2, 'expansion': 1.0,
                            'norm': 'batch'}
    config.task.r1 = config.task.r2 = 0.5
    config.optimizer.name, config.optimizer.lr = 'adamw', 1e-3
    config.optimizer.schedule, config.optimizer.ema = 'cosine', 0.998
    config.optimizer.options = dict(b1=0.0, b2=0.99)
    config.train.steps = '2800'
    config.train.eval_every = config.train.checkpoint_every = '700'
    return config
