"""What follows after ten frames of two bouncing digits: a ConvLSTM encoder-forecaster. Of 1,000
clips of held-out digits, on 2 cores of an AMD EPYC, one seed:

    jaxvision train --config video_prediction
        a squared error of 104.4 a frame (summed over its pixels), 0.375 of what repeating the last
        frame has, where a black frame has 0.619; SSIM 0.537; 15 min 25 s
        (after 15,000 of the 20,000 clips and 16 min 0.389)
"""

from jaxvision.core import config as configs


def get_config(source='moving_digits/prediction'):
    config = configs.default('video_prediction')
    config.data.source, config.data.image_size, config.data.batch_size = source, 64, 8
    config.model.name, config.model.variant = 'forecaster', '64-64'
    config.model.options = {'patch': 8, 'reach': 6}
    config.optimizer.lr, config.optimizer.schedule = 3e-3, 'one_cycle'
    config.optimizer.clip = 0.05  # ten times as much as gradients usually have
    config.train.steps = '20000 examples'
    config.train.eval_every = config.train.checkpoint_every = '5000 examples'
    return config
