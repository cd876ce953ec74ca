"""Video recognition: one label a clip (softmax) or several (sigmoid)."""

import functools

import jax.numpy as jnp
import numpy as np

from jaxvision.core.errors import UserError, unknown
from jaxvision.core.task import Task
from jaxvision.data import decode, video
from jaxvision.image import color
from jaxvision.tasks.classification import task as classification
from jaxvision.tasks.shared import fine_tuning, image_input
from jaxvision.tasks.shared.classifier import classifier
from jaxvision.viz import figures

DEFAULTS = dict(
    frames=20,  # of a clip; a shorter video is filled up, and its mask tells
    stride=1,  # every so many frames of the video are one of the clip
    resize='squash',  # how frames of other sizes become data.image_size, or 'center_crop'
    label_smoothing=0.0,
    **fine_tuning.DEFAULTS,
    augment=dict(
        flip=False,  # left to right, every other clip
        translate=0.0,  # largest shift, a share of the side, the same for all of a clip's frames
        rotate=0.0,
    ),
)  # largest angle, degrees, likewise

_SHOWN = 5  # frames of a clip in a picture


def describe(config, source) -> dict:
    """Shapes, class names, the resize rule, and the training frames' mean and deviation."""
    _check(config)
    info, size, c = source.info, config.data.image_size, config.task
    info.check_holds('video', 'label')
    height, width, channels = info.image_shape
    as_it_is = None not in (height, width) and max(height, width) <= size
    shape = [height, width, channels] if as_it_is else [size, size, channels]
    spec = {
        'class_names': list(info.class_names),
        'multi_label': info.multi_label,
        'inputs': {
            'video': {'shape': [c.frames, *shape], 'dtype': 'uint8'},
            'video_mask': {'shape': [c.frames], 'dtype': 'uint8'},
        },
        'targets': {'label': classification.target(info)},
        'resize': None if as_it_is else c.resize,
    }

    def own(batch):
        return batch['video'][(batch['video_mask'] > 0) & batch['present'][:, None]]

    return {
        **spec,
        **image_input.statistics(
            config, source, make_prepare(config, spec), own, most=64
        ),
    }


def make(config, spec: dict) -> Task:
    dtype, names = jnp.dtype(config.model.param_dtype), spec['class_names']

    def see(inputs):
        # TFLite compares no uint8.
        return (
            color.to_float(jnp.asarray(inputs['video']), dtype),
            jnp.asarray(inputs['video_mask'], dtype) > 0,
        )

    return classifier(
        config,
        spec,
        see,
        functools.partial(augmented, config.task.augment),
        prepare=make_prepare(config, spec),
        draw=functools.partial(classification.draw_figures, names, strip),
        show=functools.partial(show, names, spec['multi_label']),
    )


def augmented(options, key, index, clips, targets):
    """Clips [B, T, H, W, C] in [0, 1], each moved as a whole."""
    batch, time, height, width, channels = clips.shape
    as_channels = jnp.moveaxis(clips, 1, 3).reshape(
        batch, height, width, time * channels
    )
    moved = image_input.moved(options, key, index, as_channels)
    return jnp.moveaxis(
        moved.reshape(batch, height, width, time, channels), 3, 1
    ), targets


def make_prepare(config, spec: dict):
    """Host side: a clip of fixed shape, from anywhere in the video or from its middle."""
    frames, height, width, channels = spec['inputs']['video']['shape']
    rule, stride = spec['resize'], config.task.stride

    def as_it_is(frame, size, channels):
        """Unless it is a person's own, of another size than the data's."""
        pixels = decode.decode(frame, channels)
        same = pixels.shape[:2] == (height, width)
        return pixels if same else decode.resize(pixels, height, width)

    rules = {
        None: as_it_is,
        'squash': decode.squash,
        'center_crop': functools.partial(decode.resize_center_crop, fraction=1.0),
    }
    if rule not in rules:
        raise unknown('task.resize: there is no rule', rule, [*rules][1:])

    def prepare(example, rng):
        rows = video.clip_rows(video.count(example['video']), frames, stride, rng)
        pixels = video.read(example['video'], rows, height, channels, rules[rule])
        clip, own = video.padded(pixels, frames)
        return {**example, 'video': clip, 'video_mask': own.astype(np.uint8)}

    return prepare


def strip(example: dict) -> np.ndarray:
    """Frames of a prepared clip, spread evenly, side by side."""
    clip = example['video'][example['video_mask'] > 0]
    rows = np.linspace(0, len(clip) - 1, min(_SHOWN, len(clip))).round().astype(int)
    return figures.grid(list(clip[rows]), columns=len(rows))


def show(
    class_names: list[str], multi_label: bool, inputs: dict, outputs: dict
) -> tuple[dict, np.ndarray | None]:
    """As of an image, which here is a strip of the film."""
    if 'original' in inputs:
        inputs = {**inputs, 'original': strip(inputs)}
    return classification.show(class_names, multi_label, inputs, outputs)


def _check(config) -> None:
    image_input.check_moves(config.task.augment)
    for name in ('frames', 'stride'):
        if config.task[name] < 1:
            raise UserError(f'task.{name}={config.task[name]}: it is at least 1')
