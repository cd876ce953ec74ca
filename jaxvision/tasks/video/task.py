"""Video classification with one label per clip (softmax) or several (sigmoid)."""

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt8

from jaxvision.core.fields import Config, Field, Fields
from jaxvision.core.spec import ArraySpec, Preprocessing, Spec
from jaxvision.core.task import (
    Shown,
    Task,
)
from jaxvision.core.types import Batch, Example, Prepare, Records
from jaxvision.data import video
from jaxvision.data.protocol import Source
from jaxvision.image import color
from jaxvision.tasks.shared import class_labels, fine_tuning, image_input, video_input
from jaxvision.tasks.shared.classifier import classifier
from jaxvision.viz import figures

FIELDS: Fields = {
    'frames': Field(
        20,
        'Number of frames of a clip; shorter videos are padded with black frames.',
        least=1,
    ),
    'stride': Field(
        1,
        'A clip has every stride-th frame of the video. At a variable frame rate, frames are '
        'first sampled at the most common interval.',
        least=1,
    ),
    'resize': Field(
        'stretch',
        'How frames become squares: stretched, or by a crop of the longer side '
        '(central_square).',
        choices=('stretch', 'central_square'),
    ),
    'label_smoothing': Field(
        0.0,
        'Label smoothing: probability that is spread over all classes.',
        least=0,
        below=1,
    ),
    **fine_tuning.FIELDS,
    # All frames of a clip are augmented in the same way.
    'augment': image_input.AUGMENT,
}

# Number of frames of a clip in a figure.
_STRIP_FRAMES = 5


def describe(config: Config, source: Source) -> Spec:
    """Describe the clips, classes and preprocessing of a dataset.

    Up to 64 clips are read to measure mean and std, unless pretrained weights define them.

    Raises:
        UserError: Examples have no video or no label, or do not fit the pretrained weights.
    """
    info = source.info
    info.check_holds('video', 'label')
    of_dataset = Preprocessing.of_dataset(
        info.image_shape, config.data.image_size, config.task.resize
    )
    preprocessing = image_input.as_weights(
        config, of_dataset, info.image_shape, ('stretch', 'central_square')
    )
    frames = config.task.frames
    frame = image_input.array_spec(preprocessing, info)
    spec = Spec(
        inputs={
            'video': ArraySpec((frames, *frame.shape)),
            'video_mask': ArraySpec((frames,)),
        },
        targets={'label': class_labels.array_spec(info)},
        class_names=tuple(info.class_names),
        multi_label=info.multi_label,
        preprocessing=preprocessing,
    )
    return image_input.with_statistics(
        spec,
        config,
        source,
        make_prepare(config, spec),
        video_input.unpadded_frames,
        most=64,
    )


def make(config: Config, spec: Spec) -> Task:
    """Build the task of a video classifier.

    Raises:
        UserError: The model, the optimizer or a field of `config.task` is wrong.
    """
    dtype = jnp.dtype(config.model.param_dtype)

    def pixels(inputs: Batch) -> tuple[Array, ...]:
        # The mask becomes a float first, because TFLite cannot compare uint8.
        return (
            color.to_float(jnp.asarray(inputs['video']), dtype),
            jnp.asarray(inputs['video_mask'], dtype) > 0,
        )

    return classifier(
        config,
        spec,
        pixels,
        functools.partial(augment_clips, config.task.augment),
        predictor='video',
        prepare=make_prepare(config, spec),
        figures=functools.partial(class_labels.draw_figures, spec.class_names, strip),
        show=functools.partial(show, spec.class_names, spec.multi_label),
    )


def augment_clips(
    options: Config,
    key: jax.Array,
    index: Array,
    clips: Float[Array, 'b t h w c'],
    targets: Array,
) -> tuple[Float[Array, 'b t h w c'], Array]:
    """Flip, shift and rotate clips at random, all frames of a clip in the same way.

    Args:
        options: `config.task.augment`.
        key: random key of the step.
        index: row of each example in its split [B], from which its random key is made.
        clips: clips in [0, 1].
        targets: target probability of each class [B, K].

    Returns:
        (the augmented clips, the unchanged targets).
    """
    batch, time, height, width, channels = clips.shape
    frames_as_channels = jnp.moveaxis(clips, 1, 3).reshape(
        batch, height, width, time * channels
    )
    images = image_input.augment_geometry(options, key, index, frames_as_channels)
    images = images.reshape(batch, height, width, time, channels)
    return jnp.moveaxis(images, 3, 1), targets


def make_prepare(config: Config, spec: Spec) -> Prepare:
    """Build the host function that reads a clip and its mask from a video.

    The frames of a clip are `task.stride` frames apart. In training the clip starts at
    a random frame. In evaluation it is the middle of the video.
    The function replaces 'video' by uint8 [T, H, W, C], and adds 'video_mask' uint8 [T]. A video
    with too few frames is followed by black frames, whose mask is 0.
    """
    frames, height, _, channels = spec.inputs['video'].shape
    stride = config.task.stride
    resize = video_input.make_frame_resize(spec.preprocessing)

    def prepare(example, rng):
        even_rows = video.even_rows(example['video'])
        rows = even_rows[video.clip_rows(len(even_rows), frames, stride, rng)]
        pixels = video.read(example['video'], rows, height, channels, resize)
        clip, mask = video.padded(pixels, frames)
        return {**example, 'video': clip, 'video_mask': mask.astype(np.uint8)}

    return prepare


def strip(example: Example) -> UInt8[np.ndarray, 'h w c']:
    """Draw up to five evenly spaced frames of a prepared clip, side by side.

    The black frames that fill up a short clip are left out.
    """
    clip = example['video'][example['video_mask'] > 0]
    count = min(_STRIP_FRAMES, len(clip))
    rows = np.linspace(0, len(clip) - 1, count).round().astype(int)
    return figures.grid(list(clip[rows]), columns=len(rows))


def show(
    class_names: Sequence[str], multi_label: bool, inputs: Example, outputs: Records
) -> Shown:
    """Name the most likely classes of a clip, with a strip of its frames.

    Args:
        class_names: names of the classes, in the order of the labels.
        multi_label: whether a clip has several labels.
        inputs: a prepared example. Whether it has an 'original' decides if there is a picture.
        outputs: outputs of `Task.predict` for one clip, with 'probabilities' [K].

    Returns:
        (answer, picture). The answer has 'class' and 'probability' of the most likely class,
        and 'top', a list of {'class', 'probability'} of the five most likely ones. With
        several labels it also has 'classes', all names with a probability above 0.5. The
        picture shows frames and bars for 'top', or is None.
    """
    if 'original' in inputs:
        inputs = {**inputs, 'original': strip(inputs)}
    return class_labels.show(class_names, multi_label, inputs, outputs)
