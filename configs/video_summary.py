"""Video summarisation: select the frames that matter.

The importance of a frame is learned from annotations, or from a reward for diverse and
representative summaries (arXiv 1801.00054). Results are for one seed where no other is named, on
2 cores of a machine with much other work.

    jaxvision train --config video_summary
        Supervised: 8,000 training videos of two digits. A frame is important where the digits
        meet. 100 videos of held-out digits: tau-b 0.628, rho 0.774.
        Without annotations (--config.task.supervised=False): tau-b 0.005, rho 0.005, reward 1.334.
        Evenly spaced frames have a reward of 1.541, random frames 1.415. The reward prefers
        variety, which is not what makes a frame important in these videos.

    python tests/bench/summary_films.py FOLDER --held-out CLIP
    jaxvision train --config video_summary:videos:FOLDER
        Unsupervised, about 2 core minutes a clip. Reward of three of 20 frames of a clip that is
        held out of training. Random frames are the mean of 20 draws.
                            model   another seed   evenly spaced   random
        bikes               1.255   1.255          1.129           1.107
        carphone_pristine   1.021   1.021          1.009           1.004
        bigbuckbunny        1.050   1.042          1.038           1.012

        The model's inputs and the montages were chosen in a prototype on videos of held-out
        photographs (as of --held-out photographs), with 2000 montages and 1500 steps. The values
        used here, 1000 and 1250, were not tuned.
        Short videos are sampled more densely, to 20 frames. This was decided when the best
        possible rewards of the clips were known. At 2 frames a second the last two clips have 8
        and 11 frames, so a summary is one frame. The evenly spaced frame of carphone_pristine is
        then the best possible one.

        Videos in the wheel of gradio, unseen before, with the run without `bikes`:
                            model   evenly spaced   random
        a.mp4               1.519   1.138           1.371
        b.mp4               1.005   1.002           1.002
        world.mp4           1.527   1.261           1.223
"""

from jaxvision.core import config as configs


def get_config(source='moving_digits/events'):
    """Config of a frame scorer: supervised on 'moving_digits/events', else unsupervised."""
    config = configs.default('video_summary')
    config.data.source = source
    config.data.image_size = 64
    config.data.batch_size = 16
    config.model.name = 'frame_scorer'
    config.optimizer.schedule = 'one_cycle'
    config.optimizer.clip = 1.0
    if source == 'moving_digits/events':
        _supervised(config)
    else:
        _unsupervised(config)
    return config


def _supervised(config):
    # A pixel of the last feature map covers both digits, so it can show whether they meet.
    config.model.variant = '16-32-64'
    config.model.options = {'shrink': 2, 'patch': 4, 'pool': 'flat'}
    config.optimizer.lr = 4e-3
    config.train.steps = '8000 examples'
    config.train.eval_every = '4000 examples'
    config.train.checkpoint_every = '4000 examples'


def _unsupervised(config):
    # Enough for the frame features.
    config.data.image_size = 32
    config.task.supervised = False
    config.task.input = 'similarity'
    config.task.frames = 40
    config.task.montages = 1000
    config.optimizer.lr = 5e-3
    config.train.steps = '20000 examples'
    config.train.eval_every = '20000 examples'
    config.train.checkpoint_every = '20000 examples'
