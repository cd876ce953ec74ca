"""Super-resolution of photographs with a small EDSR, initialised as bicubic interpolation.

Three photographs (flower, coffee, astronaut) are held out. Results are the mean of their PSNR on
luma in dB and its gain over bicubic, for one seed, on 2 cores of an AMD EPYC.

    jaxvision train --config super_resolution
        x2: 34.48 dB, gain 2.20 dB, 2 min 35 s
        flower 38.13, coffee 30.44 (31.95 after 1,000 steps), astronaut 34.86

    jaxvision train --config super_resolution --config.task.scale=4
        x4: 29.91 dB, gain 1.77 dB, 2 min 43 s
        flower 32.29, coffee 28.42, astronaut 29.02

    jaxvision train --config super_resolution --config.model.variant=srresnet \\
            --config.task.adversarial_weight=0.001 --config.task.perceptual_weight=0.01
        The parts of SRGAN. Not measured.

    jaxvision train --config super_resolution:folder:PHOTOS
        A folder of images.
"""

from jaxvision.core import config as configs


def get_config(source='photos'):
    """Config of a super-resolution run on the dataset `source`."""
    config = configs.default('super_resolution')
    config.data.source = source
    config.data.image_size = 128
    config.data.batch_size = 16
    config.model.name = 'edsr'
    config.model.variant = '6x32'
    config.optimizer.lr = 2e-3
    config.optimizer.schedule = 'one_cycle'
    config.optimizer.warmup = '200'
    config.optimizer.ema = 0.999
    config.train.steps = '3000'
    config.train.eval_every = '1000'
    config.train.checkpoint_every = '1000'
    if source == 'photos':
        # The images are tiles of photographs, labelled by photograph.
        config.task.psnr_pool = 'label'
    return config
