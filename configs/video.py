"""Video classification with an LRCN: recognise the motions of two digits.

The 10 classes are pairs of motions. No single frame shows the class. Results are the top-1
accuracy on 1,000 clips of held-out digits, for one seed, on 2 cores of an AMD EPYC.

    jaxvision train --config video
        98.5 %, 5 min 12 s
        89.1 % after 40,000 of the 100,000 training clips, 95.7 % after 60,000

    jaxvision train --config video --config.model.name=frame_average
        10.4 %, which is chance: this model classifies each frame alone.

    jaxvision train --config video:videos:VIDEOS
        A folder of videos, with one subfolder a class.
"""

from jaxvision.core import config as configs


def get_config(source='moving_digits/motions'):
    """Config of an LRCN for the dataset `source`."""
    config = configs.default('video')
    config.data.source = source
    config.data.image_size = 64
    config.data.batch_size = 32
    config.model.name = 'lrcn'
    config.model.variant = '16-32-64'
    config.model.options = {'shrink': 2, 'patch': 2}
    config.optimizer.lr = 4e-3
    config.optimizer.schedule = 'one_cycle'
    config.optimizer.clip = 1.0
    config.train.steps = '100000 examples'
    config.train.eval_every = '20000 examples'
    config.train.checkpoint_every = '20000 examples'
    return config
