"""Video summarisation: score every frame of a video, then keep the best shots.

The scores are learned from the importance of annotated frames, or by reinforcement learning from
a reward for diverse and representative summaries (Zhou et al. 2018, arXiv 1801.00054).
"""

import math

import jax

from jaxvision.core import keys
from jaxvision.core.errors import UserError
from jaxvision.core.fields import Config, Field, Fields
from jaxvision.core.spec import ArraySpec, Preprocessing, Spec
from jaxvision.core.state import TrainState, create
from jaxvision.core.task import (
    Network,
    RequiredNetwork,
    Task,
)
from jaxvision.core.types import Batch, Split
from jaxvision.data.montages import Montages
from jaxvision.data.protocol import Source, SourceInfo
from jaxvision.data.wrappers import Converted, in_memory_if_small
from jaxvision.tasks.shared import image_input, video_input
from jaxvision.tasks.video_summary import sampling, storyboard
from jaxvision.tasks.video_summary.scorer import Scorer
from jaxvision.train import optimizers, update

FIELDS: Fields = {
    'supervised': Field(
        True,
        'Learn the annotated importance of frames; false: maximise the reward of arXiv '
        '1801.00054, without annotations.',
    ),
    'target': Field(
        'rank',
        'Target of a frame in supervised training: the rank of its importance within the '
        'video, or the value of its importance.',
        choices=('rank', 'value'),
    ),
    'input': Field(
        'frames',
        'Input of the model: the frames, or the similarities between frames.',
        choices=('frames', 'similarity'),
    ),
    'frames': Field(
        120,
        'Largest number of frames of a video that are scored, evenly spaced in time.',
        least=1,
    ),
    'frames_per_second': Field(
        2.0,
        'Scored frames per second of a video file; a short video has at least 20 frames.',
        above=0,
    ),
    'features': Field(
        'layout',
        'Frame features for rewards and shots: layout (colours and edges), or the folder of '
        'a classification run.',
    ),
    'layer': Field('pooled', 'Intermediate of this classifier.'),
    'montages': Field(
        0,
        'Number of training montages, composed of parts of the training videos; 0: train on '
        'the videos themselves.',
        least=0,
    ),
    'episodes': Field(
        30, 'Summaries that are sampled per video and training step.', least=2
    ),
}


def source(
    config: Config, source: Source, split: Split, preprocessing: Preprocessing | None
) -> Source:
    """Sample the frames of videos, and compose montages of them if `task.montages` is set.

    Args:
        config: config of the run.
        source: the videos.
        split: 'train', 'validation' or 'test'; only training has montages.
        preprocessing: preprocessing of the run; None before the run has begun, which chooses it.

    Returns:
        A source of videos with frames of one size, in memory if it is small. A training source
        of montages has `task.montages` examples.
    """
    options = config.task
    preprocessing = preprocessing or _preprocessing(config, source.info)
    shape = _video_spec(config, source.info, preprocessing).shape
    video_bytes = math.prod(shape)
    sampled = Converted(source, sampling.make_sample(options, shape))
    videos = in_memory_if_small(sampled, video_bytes)
    if options.montages > 0 and split == 'train':
        return in_memory_if_small(Montages(videos, options.montages), video_bytes)
    return videos


def requires(config: Config) -> dict[str, RequiredNetwork]:
    """List the network that the task needs: the run that `task.features` names.

    Returns:
        {'feature_extractor': the run}, or {} if `task.features` is 'layout'.
    """
    features = config.task.features
    if features == 'layout':
        return {}
    return {'feature_extractor': RequiredNetwork(run=features)}


def describe(config: Config, source: Source) -> Spec:
    """Describe the videos of a dataset and the preprocessing of their frames.

    Up to 64 videos are read to measure mean and std, unless pretrained weights define them.

    Args:
        config: config of the run.
        source: the training videos, sampled by this module's `source`.

    Raises:
        UserError: Examples have no video or, in supervised training, no importance. Or
            `task.montages` is set in supervised training.
    """
    options = config.task
    _check(options)
    info = source.info
    needed = ['video']
    if options.supervised:
        needed.append('importance')
    info.check_holds(*needed)
    preprocessing = _preprocessing(config, info)
    video = _video_spec(config, info, preprocessing)
    targets = {}
    if 'importance' in info.holds:
        targets['importance'] = ArraySpec((options.frames,), 'float32')
    spec = Spec(
        inputs={'video': video, 'video_mask': ArraySpec((options.frames,))},
        targets=targets,
        preprocessing=preprocessing,
    )
    return image_input.with_statistics(
        spec, config, source, None, video_input.unpadded_frames, most=64
    )


def _preprocessing(config: Config, info: SourceInfo) -> Preprocessing:
    of_dataset = Preprocessing.of_dataset(
        info.image_shape, config.data.image_size, 'stretch'
    )
    return image_input.as_weights(config, of_dataset, info.image_shape, ('stretch',))


def _video_spec(
    config: Config, info: SourceInfo, preprocessing: Preprocessing
) -> ArraySpec:
    frame = image_input.array_spec(preprocessing, info)
    return ArraySpec((config.task.frames, *frame.shape))


def _check(options: Config) -> None:
    if options.supervised and options.montages:
        raise UserError(
            f'task.montages={options.montages}: expected 0, because montages have no '
            'annotated importance. Set task.supervised=False to train on montages.'
        )


def make(config: Config, spec: Spec) -> Task:
    """Build the task of a model that scores frames.

    Raises:
        UserError: The model, the optimizer or the feature extractor is wrong.
    """
    scorer = Scorer.build(config, spec)
    best = 'reward'
    if config.task.supervised:
        best = 'tau_b'
    tx, lr = optimizers.make(config, spec.examples)
    descend = update.from_loss(
        scorer.loss,
        tx,
        accumulate=config.optimizer.accumulate,
        ema=config.optimizer.ema,
    )

    def init(key: jax.Array, batch: Batch) -> TrainState:
        variables = scorer.init(keys.stream(key, 'init'), batch)
        params = {'model': variables.pop('params')}
        return create(
            key, params, {'model': tx}, {'model': variables}, ema=config.optimizer.ema
        )

    return Task(
        init=init,
        update=update.with_learning_rate(descend, lr),
        evaluations={'eval': scorer.evaluation('importance' in spec.targets)},
        predict=scorer.predict,
        predictor='video',
        network=Network(normalize=scorer.normalize, apply=scorer.apply),
        best=best,
        prepare=sampling.make_prepare(config.task, spec.inputs['video'].shape),
        figures=storyboard.draw_scores,
        show=storyboard.show,
    )
