"""Video prediction: the frames that follow some frames of a video."""

import dataclasses
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, Int, UInt8

from jaxvision.core import keys
from jaxvision.core.errors import UserError
from jaxvision.core.fields import Config, Field, Fields
from jaxvision.core.intervals import steps
from jaxvision.core.spec import ArraySpec, Preprocessing, Spec
from jaxvision.core.state import TrainState, create
from jaxvision.core.task import (
    Evaluation,
    Network,
    Pictures,
    Scalars,
    Shown,
    Task,
    Update,
)
from jaxvision.core.types import Batch, Example, Module, Prepare, Records, Tree
from jaxvision.data import video
from jaxvision.data.protocol import Source, Unreadable
from jaxvision.image import color
from jaxvision.metrics import restoration
from jaxvision.tasks.shared import video_input
from jaxvision.tasks.shared.networks import make_model
from jaxvision.train import optimizers, update
from jaxvision.viz import figures


def _l1_and_mse(errors: Float[Array, '*shape']) -> Float[Array, '*shape']:
    return jnp.abs(errors) + jnp.square(errors)


LOSSES = {'l1': jnp.abs, 'mse': jnp.square, 'l1+mse': _l1_and_mse}

FIELDS: Fields = {
    'frames_in': Field(10, 'Frames that the model is given.', least=2),
    'frames_out': Field(10, 'Frames that the model predicts.', least=1),
    'stride': Field(
        1,
        'Every so many frames of the video, one is used; at a variable rate: every so many '
        'of the commonest intervals.',
        least=1,
    ),
    'loss': Field('mse', 'Loss of the pixels.', choices=tuple(LOSSES)),
    'sampling': Field(
        0.5,
        'Fraction of the training in which true frames stand in for predicted ones, '
        'less and less often; 0: never.',
        least=0,
        most=1,
    ),
}


def describe(config: Config, source: Source) -> Spec:
    """Describe the frames that are given and predicted.

    Frames of one size stay as they are. Others become the central square, resized to
    `data.image_size`.
    """
    options = config.task
    info = source.info
    info.check_holds('video')
    if info.frames is not None and info.frames < _span(options):
        raise UserError(
            f'task.stride={options.stride}: expected at most {info.frames} frames in all, '
            f'as {info.name} has clips of {info.frames} frames; frames_in, frames_out and '
            f'stride ask for {_span(options)}. Lower one of them'
        )
    preprocessing = Preprocessing.of_dataset(
        info.image_shape, config.data.image_size, 'central_square'
    )
    image_shape = (*preprocessing.size, info.image_shape[2])
    return Spec(
        inputs={'video': ArraySpec((options.frames_in, *image_shape))},
        targets={'future': ArraySpec((options.frames_out, *image_shape))},
        preprocessing=preprocessing,
    )


def make(config: Config, spec: Spec) -> Task:
    """Build the task of a model that predicts frames."""
    network = FramePredictor.build(config, spec)
    tx, lr = optimizers.make(config, spec.examples)
    descend = update.from_loss(
        network.loss,
        tx,
        accumulate=config.optimizer.accumulate,
        ema=config.optimizer.ema,
    )

    def init(key: jax.Array, batch: Batch) -> TrainState:
        past = color.to_float(batch['video'], network.dtype)
        variables = network.model.init(keys.stream(key, 'init'), past)
        params = {'model': variables['params']}
        return create(key, params, {'model': tx}, ema=config.optimizer.ema)

    return Task(
        init=init,
        update=update.with_learning_rate(_with_truth_fraction(descend, network), lr),
        evaluations={'eval': network.evaluation(spec)},
        predict=network.predict,
        predictor='video',
        network=Network(normalize=network.normalize, apply=network.apply),
        best='-mse',
        prepare=make_prepare(config, spec),
        figures=draw_strips,
        show=show,
        watch=True,
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class FramePredictor:
    """A model of the frames that follow, with its loss.

    Attributes:
        model: the model.
        loss_name: one of `LOSSES`.
        frames: number of frames that are predicted.
        sampling: fraction of the training in which true frames are shown.
        steps: length of the training.
        dtype: dtype of the frames.
    """

    model: Module
    loss_name: str
    frames: int
    sampling: float
    steps: int
    dtype: DTypeLike

    @classmethod
    def build(cls, config: Config, spec: Spec) -> 'FramePredictor':
        frames, *image_shape = spec.targets['future'].shape
        length = steps(config.train.steps, config.data.batch_size, spec.examples)
        return cls(
            model=make_model(config, frames=frames, image_shape=image_shape),
            loss_name=config.task.loss,
            frames=frames,
            sampling=config.task.sampling,
            steps=length,
            dtype=jnp.dtype(config.model.param_dtype),
        )

    def normalize(self, frames: Float[Array, '...']) -> Float[Array, '...']:
        """Return frames in [0, 1] as they are: the model takes these."""
        return frames

    def truth_fraction(self, step: Int[Array, '']) -> Float[Array, '']:
        """The probability that a true frame is shown at a step."""
        return truth_fraction(self.sampling, step, self.steps)

    def loss(
        self, params: Tree, state: TrainState, batch: Batch, key: jax.Array
    ) -> tuple[update.Terms, update.Aux]:
        """The error of the predicted pixels, as `update.from_loss` takes it."""
        past = color.to_float(batch['video'], self.dtype)
        future = color.to_float(batch['future'], self.dtype)
        fraction = self.truth_fraction(state.step)
        shown = draw_shown(key, batch['index'], self.frames, fraction)
        predicted, _ = self.model.apply({'params': params}, past, future, shown)
        errors = LOSSES[self.loss_name](predicted - future).mean((1, 2, 3, 4))
        return {self.loss_name: (errors, jnp.ones_like(errors))}, {}

    def apply(
        self, variables: Tree, past: Float[Array, 'b s h w c']
    ) -> tuple[Float[Array, 'b t h w c'], Scalars]:
        """The predicted frames in [0, 1], not clipped, and named intermediates."""
        return self.model.apply({'params': variables['params']['model']}, past)

    def predict(self, variables: Tree, inputs: Batch) -> Batch:
        """The predicted frames [B, T, H, W, C] in [0, 255]."""
        past = color.to_float(jnp.asarray(inputs['video']), self.dtype)
        predicted, _ = self.apply(variables, past)
        return {'video': 255 * jnp.clip(predicted, 0, 1)}

    def record(self, outputs: Batch, batch: Batch) -> Batch:
        """Squared errors [B, T], each summed over the pixels in [0, 1] of a frame.

        The records hold the errors of the prediction, of the last frame given and of a black
        frame. They hold the SSIM if its window fits into a frame.
        """
        past = color.to_float(batch['video'], self.dtype)
        truth = color.to_float(batch['future'], self.dtype)

        def squared_error(frames):
            return jnp.square(frames - truth).sum((2, 3, 4))

        predicted = outputs['video'] / 255
        records = {
            'squared_error': squared_error(predicted),
            'last_frame_squared_error': squared_error(past[:, -1:]),
            'blank_squared_error': squared_error(jnp.zeros_like(truth)),
            'predicted': jnp.round(outputs['video']).astype(jnp.uint8),
        }
        if _has_ssim(truth.shape[2:]):
            records['ssim'] = jax.vmap(jax.vmap(restoration.ssim))(predicted, truth)
        return records

    def evaluation(self, spec: Spec) -> Evaluation:
        """Errors of the predicted frames, on the test split."""

        def evaluate(state, batch):
            return self.record(self.predict(state.variables, batch), batch)

        return Evaluation(
            evaluate=evaluate,
            summarize=summarize,
            metrics=metric_names(spec.targets['future'].shape[1:]),
            record=self.record,
        )


def _with_truth_fraction(descend: Update, network: FramePredictor) -> Update:
    """Add the probability of true frames to an update's scalars, as 'truth_share'."""

    def update_and_fraction(state, batch):
        new, scalars = descend(state, batch)
        return new, {**scalars, 'truth_share': network.truth_fraction(state.step)}

    return update_and_fraction


def truth_fraction(
    sampling: float, step: int | Int[Array, ''], steps: int
) -> Float[Array, '']:
    """The probability that a true frame stands in for a predicted one.

    It falls linearly from 1 to 0: scheduled sampling (Bengio et al. 2015, arXiv 1506.03099).

    Args:
        sampling: fraction of the training until it is 0; 0: it always is.
        step: number of the step.
        steps: length of the training.
    """
    if not sampling:
        return jnp.zeros(())
    return jnp.clip(1 - step / (sampling * steps), 0, 1)


def draw_shown(
    key: jax.Array,
    index: Int[Array, 'b'],
    frames: int,
    fraction: float | Float[Array, ''],
) -> Bool[Array, 'b t']:
    """Draw which frames of each example are shown as they truly are.

    Args:
        key: random key of the step.
        index: number of each example.
        frames: number of frames that are predicted.
        fraction: probability of each frame.
    """

    def draw(example_key):
        return jax.random.bernoulli(example_key, fraction, (frames,))

    return jax.vmap(draw)(keys.per_example(keys.stream(key, 'shown'), index))


def make_prepare(config: Config, spec: Spec) -> Prepare:
    """Read frames of one size, from a random place of the video or from its middle."""
    options = config.task
    side, _, channels = spec.inputs['video'].shape[1:]
    size = None if spec.preprocessing.resize == 'none' else side
    resize = video_input.make_frame_resize(spec.preprocessing)

    def prepare(example, rng):
        even_rows = video.even_rows(example['video'])
        total = len(even_rows)
        if total < _span(options):
            raise Unreadable(
                f'it has {total} frames, of {_span(options)} that are needed'
            )
        count = options.frames_in + options.frames_out
        rows = even_rows[video.clip_rows(total, count, options.stride, rng)]
        clip = video.read(example['video'], rows, size, channels, resize)
        return {'video': clip[: options.frames_in], 'future': clip[options.frames_in :]}

    return prepare


def _span(options: Config) -> int:
    """Number of frames of a video from the first to the last of an example."""
    return (options.frames_in + options.frames_out - 1) * options.stride + 1


def metric_names(image_shape: Sequence[int]) -> tuple[str, ...]:
    """The metrics that `summarize` returns for frames of a shape."""
    ssim = ('ssim',) if _has_ssim(image_shape) else ()
    return 'mse', 'mse_ratio', 'mse_last_frame', 'mse_blank', 'blank_ratio', *ssim


def _has_ssim(image_shape: Sequence[int]) -> bool:
    return min(image_shape[:2]) >= restoration.WINDOW


def summarize(records: Records) -> dict[str, float]:
    """Mean errors over frames and videos, as they are counted for Moving MNIST.

    `mse` is the squared error summed over the pixels in [0, 1] of a frame. `mse_last_frame`
    and `mse_blank` are the errors of the last frame given and of a black frame. `mse_ratio`
    and `blank_ratio` are `mse` and `mse_blank` divided by `mse_last_frame`. `ssim` needs
    frames as large as its window.
    """

    def mean(name):
        return float(records[name].mean(dtype=np.float64))

    mse = mean('squared_error')
    last = mean('last_frame_squared_error')
    blank = mean('blank_squared_error')
    divisor = max(last, 1e-10)  # In some videos nothing moves.
    metrics = {
        'mse': mse,
        'mse_ratio': mse / divisor,
        'mse_last_frame': last,
        'mse_blank': blank,
        'blank_ratio': blank / divisor,
    }
    if 'ssim' in records:
        metrics['ssim'] = mean('ssim')
    return metrics


def draw_strips(records: Records, example: Callable[[int], Example]) -> Pictures:
    """Draw six videos: the frames given and, above the truth, those predicted."""
    count = len(records['index'])
    rows = np.unique(np.linspace(0, count - 1, 6).astype(int))
    clips = [example(int(records['index'][row])) for row in rows]
    return {'strips': _strips(clips, records['predicted'][rows])}


def _strips(
    clips: Sequence[Example], predicted: UInt8[np.ndarray, 'n t _ _ _']
) -> figures.Picture:
    frames = []
    for clip, predicted_frames in zip(clips, predicted, strict=True):
        empty = np.full_like(clip['video'], 255)
        frames += [*clip['video'], *predicted_frames, *empty, *clip['future']]
    columns = len(clips[0]['video']) + predicted.shape[1]
    return figures.grid(frames, columns, times=max(1, 64 // frames[0].shape[0]))


def show(inputs: Example, outputs: Records) -> Shown:
    """Answer with the errors of a user's video, a strip and an animation of its frames.

    The errors are those of `summarize`. The animation has the frames given and predicted.
    """
    truth = inputs['future'] / 255

    def per_frame(frames):
        return round(float(np.square(frames - truth).sum((1, 2, 3)).mean()), 4)

    answer = {
        'mse': per_frame(outputs['video'] / 255),
        'mse_last_frame': per_frame(inputs['video'][-1:] / 255),
    }
    if 'original' not in inputs:
        return answer, None
    predicted = np.round(outputs['video']).astype(np.uint8)
    frames = np.concatenate([inputs['video'], predicted])
    frames = np.broadcast_to(frames, (*frames.shape[:3], 3))
    return answer, {
        '': _strips([inputs], predicted[None]),
        'foreseen.gif': (frames, 5.0),
    }
