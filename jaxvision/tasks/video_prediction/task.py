"""Video prediction: predict the next frames of a video."""

import dataclasses

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, Int

from jaxvision.core import keys
from jaxvision.core.errors import UserError
from jaxvision.core.fields import Config, Field, Fields
from jaxvision.core.intervals import steps
from jaxvision.core.spec import ArraySpec, Preprocessing, Spec
from jaxvision.core.state import TrainState, create
from jaxvision.core.task import Evaluation, Network, Scalars, Task, Update
from jaxvision.core.types import Batch, Module, Prepare, Tree
from jaxvision.data import video
from jaxvision.data.protocol import Source, Unreadable
from jaxvision.image import color
from jaxvision.metrics import restoration
from jaxvision.tasks.shared import video_input
from jaxvision.tasks.shared.networks import make_model
from jaxvision.tasks.video_prediction import metrics
from jaxvision.train import optimizers, update

# One number.
Scalar = Float[Array, '']


def _l1_and_mse(errors: Float[Array, '*shape']) -> Float[Array, '*shape']:
    return jnp.abs(errors) + jnp.square(errors)


LOSSES = {'l1': jnp.abs, 'mse': jnp.square, 'l1+mse': _l1_and_mse}

FIELDS: Fields = {
    'frames_in': Field(10, 'Number of input frames.', least=2),
    'frames_out': Field(10, 'Number of predicted frames.', least=1),
    'stride': Field(
        1,
        'Every stride-th frame of the video is used. At a variable frame rate, frames are '
        'first sampled at the most common interval.',
        least=1,
    ),
    'loss': Field('mse', 'Pixel loss.', choices=tuple(LOSSES)),
    'sampling': Field(
        0.5,
        'Scheduled sampling: fraction of the training during which true frames replace '
        'predicted frames, with falling probability; 0: never.',
        least=0,
        most=1,
    ),
}


def describe(config: Config, source: Source) -> Spec:
    """Describe the input frames and the predicted frames.

    Frames of one size, with sides of at most `data.image_size`, are unchanged. Other
    frames become their central square, resized to `data.image_size`.

    Raises:
        UserError: Examples have no video, or all videos have the same, too small, length.
    """
    options = config.task
    info = source.info
    info.check_holds('video')
    if info.frames is not None and info.frames < _span(options):
        raise UserError(
            f'task.stride={options.stride}: expected frames_in, frames_out and stride that '
            f'span at most {info.frames} frames, the length of the clips of {info.name}, but '
            f'they span {_span(options)}. Lower one of these fields.'
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
    """Build the task of a model that predicts frames.

    Raises:
        UserError: The model or the optimizer is wrong.
    """
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
        figures=metrics.draw_strips,
        show=metrics.show,
        watch=True,
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class FramePredictor:
    """A model that predicts frames, with its loss and evaluation.

    Attributes:
        model: `(past [B, S, H, W, C], future, shown) -> (frames [B, T, H, W, C],
            intermediates)`, a Flax module. The last two inputs are given in training only.
        loss_name: 'l1', 'mse' or 'l1+mse'.
        frames: number of predicted frames.
        sampling: fraction of the training with scheduled sampling, at its begin.
        steps: length of the training in steps.
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
        """Build the model of a config.

        Raises:
            UserError: The model, its variant or an option is wrong.
        """
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
        """Return frames in [0, 1] unchanged, as the model needs them."""
        return frames

    def truth_fraction(self, step: Int[Array, '']) -> Scalar:
        """Return the probability that a true frame replaces a predicted one at a step."""
        return truth_fraction(self.sampling, step, self.steps)

    def loss(
        self, params: Tree, state: TrainState, batch: Batch, key: jax.Array
    ) -> update.TermsAndAux:
        """Compute the pixel loss of predicted frames, for `update.from_loss`.

        Args:
            params: parameters of the model.
            state: train state; its step decides the probability of true frames.
            batch: training examples.
            key: random key of the step.

        Returns:
            ({loss name: (mean over all values of the future frames [B], ones [B])}, {}).
        """
        past = color.to_float(batch['video'], self.dtype)
        future = color.to_float(batch['future'], self.dtype)
        fraction = self.truth_fraction(state.step)
        is_true = sample_true_frames(key, batch['index'], self.frames, fraction)
        predicted, _ = self.model.apply({'params': params}, past, future, is_true)
        errors = LOSSES[self.loss_name](predicted - future).mean((1, 2, 3, 4))
        return {self.loss_name: (errors, jnp.ones_like(errors))}, {}

    def apply(
        self, variables: Tree, past: Float[Array, 'b s h w c']
    ) -> tuple[Float[Array, 'b t h w c'], Scalars]:
        """Predict the frames after `past`, which is in [0, 1].

        The result is (frames, not clipped to [0, 1], {name: intermediate}).
        """
        return self.model.apply({'params': variables['params']['model']}, past)

    def predict(self, variables: Tree, inputs: Batch) -> Batch:
        """Predict the frames after `inputs['video']`, which is in [0, 255].

        The result is {'video': [B, T, H, W, C]}, clipped to [0, 255] but not rounded.
        """
        past = color.to_float(jnp.asarray(inputs['video']), self.dtype)
        predicted, _ = self.apply(variables, past)
        return {'video': 255 * jnp.clip(predicted, 0, 1)}

    def record(self, outputs: Batch, batch: Batch) -> Batch:
        """Compute the squared error of each frame [B, T], summed over its pixels in [0, 1].

        There are errors of the predicted frames ('squared_error'), of the repeated last input
        frame ('last_frame_squared_error') and of black frames ('blank_squared_error'). There is
        'ssim' [B, T] if frames have at least 11x11 pixels. 'predicted' is in uint8.
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
        if metrics.has_ssim(truth.shape[2:]):
            records['ssim'] = jax.vmap(jax.vmap(restoration.ssim))(predicted, truth)
        return records

    def evaluation(self, spec: Spec) -> Evaluation:
        """Build the evaluation: errors of the predicted frames."""

        def evaluate(state, batch):
            return self.record(self.predict(state.variables, batch), batch)

        return Evaluation(
            evaluate=evaluate,
            summarize=metrics.summarize,
            metrics=metrics.metric_names(spec.targets['future'].shape[1:]),
            record=self.record,
        )


def _with_truth_fraction(descend: Update, network: FramePredictor) -> Update:
    """Add the probability of true frames to the scalars of an update, as 'truth_share'."""

    def update_and_fraction(state, batch):
        new_state, scalars = descend(state, batch)
        fraction = network.truth_fraction(state.step)
        return new_state, {**scalars, 'truth_share': fraction}

    return update_and_fraction


def truth_fraction(sampling: float, step: int | Int[Array, ''], steps: int) -> Scalar:
    """Compute the probability that a true frame replaces a predicted one.

    It falls linearly from 1 to 0: scheduled sampling (Bengio et al. 2015, arXiv 1506.03099).

    Args:
        sampling: fraction of the training after which it is 0. With 0 it is always 0.
        step: number of the step, from 0.
        steps: length of the training in steps.
    """
    if not sampling:
        return jnp.zeros(())
    return jnp.clip(1 - step / (sampling * steps), 0, 1)


def sample_true_frames(
    key: jax.Array,
    index: Int[Array, 'b'],
    frames: int,
    fraction: float | Scalar,
) -> Bool[Array, 'b t']:
    """Sample which predicted frames are replaced by true frames: True for these.

    Args:
        key: random key of the step.
        index: row of each example in its split, from which its random key is made.
        frames: number of predicted frames.
        fraction: probability of each frame.
    """

    def sample(example_key):
        return jax.random.bernoulli(example_key, fraction, (frames,))

    example_keys = keys.per_example(keys.stream(key, 'shown'), index)
    return jax.vmap(sample)(example_keys)


def make_prepare(config: Config, spec: Spec) -> Prepare:
    """Build the host function that reads input and future frames from a video.

    The frames are `task.stride` apart. In training they start at a random frame. In
    evaluation they are the middle of the video. The function returns only 'video' and
    'future', uint8 [frames, H, W, C]. A video with too few frames is `Unreadable`.
    """
    options = config.task
    side, _, channels = spec.inputs['video'].shape[1:]
    size = None
    if spec.preprocessing.resize != 'none':
        size = side
    resize = video_input.make_frame_resize(spec.preprocessing)

    def prepare(example, rng):
        even_rows = video.even_rows(example['video'])
        total = len(even_rows)
        if total < _span(options):
            raise Unreadable(
                f'it has {total} frames, fewer than the {_span(options)} that are needed'
            )
        count = options.frames_in + options.frames_out
        rows = even_rows[video.clip_rows(total, count, options.stride, rng)]
        clip = video.read(example['video'], rows, size, channels, resize)
        return {'video': clip[: options.frames_in], 'future': clip[options.frames_in :]}

    return prepare


def _span(options: Config) -> int:
    """Count the frames of a video from the first to the last frame of an example, inclusive."""
    return (options.frames_in + options.frames_out - 1) * options.stride + 1
