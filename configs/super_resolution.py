"""A small EDSR that begins at bicubic, on crops of photographs; three photographs are held out.

    python -m jaxvision.main --config configs/super_resolution.py                   twice as large
    python -m jaxvision.main --config configs/super_resolution.py --config.task.scale=4
    python -m jaxvision.main --config configs/super_resolution.py:folder:PHOTOS     your own
"""

from jaxvision import config as configs


def get_config(source='photos'):
    config = configs.default('super_resolution')
    config.data.source, config.data.image_size, config.data.batch_size = source, 128, 16
    config.model.name, config.model.variant = 'edsr', '6x32'
    config.optimizer.lr, config.optimizer.schedule = 2e-3, 'one_cycle'
    config.optimizer.warmup, config.optimizer.ema = '200', 0.999
    config.train.steps = '5000'
    config.train.eval_every = config.train.checkpoint_every = '1000'
    if source == 'photos':
        config.task.pool = 'label'  # whose images are the tiles of one photograph
    return config
