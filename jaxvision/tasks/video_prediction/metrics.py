"""Metrics of predicted frames, and the pictures of predictions."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import UInt8

from jaxvision.core.rows import evenly_spaced
from jaxvision.core.task import Pictures, ReadExample, Shown
from jaxvision.core.types import Example, MetricValues, Records
from jaxvision.metrics import restoration
from jaxvision.viz import figures


def metric_names(image_shape: Sequence[int]) -> tuple[str, ...]:
    """Return the names of the metrics of `summarize`, for frames (height, width, channels)."""
    names = ['mse', 'mse_ratio', 'mse_last_frame', 'mse_blank', 'blank_ratio']
    if has_ssim(image_shape):
        names.append('ssim')
    return tuple(names)


def has_ssim(image_shape: Sequence[int]) -> bool:
    """Whether frames (height, width, channels) are large enough for the SSIM."""
    return min(image_shape[:2]) >= restoration.WINDOW


def summarize(records: Records) -> MetricValues:
    """Average the errors over frames and videos, as is usual for Moving MNIST.

    Returns:
        mse: squared error, summed over the pixels in [0, 1] of a frame. Lower is better.
        mse_last_frame: error of the repeated last input frame.
        mse_blank: error of black frames.
        mse_ratio, blank_ratio: mse and mse_blank divided by mse_last_frame, or by 1e-10
            if no video moves. They are then huge.
        ssim: mean SSIM, only if the frames have at least 11x11 pixels.
    """

    def mean(name):
        return float(records[name].mean(dtype=np.float64))

    mse = mean('squared_error')
    last = mean('last_frame_squared_error')
    blank = mean('blank_squared_error')
    # The error is 0 in videos without motion.
    divisor = max(last, 1e-10)
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


def draw_strips(records: Records, example: ReadExample) -> Pictures:
    """Draw up to six evenly spaced videos: the input, then predicted above true frames.

    Args:
        records: records of an evaluation, with 'index' and 'predicted'.
        example: `example(index)` returns a prepared example.

    Returns:
        {'strips': the picture}.
    """
    rows = evenly_spaced(len(records['index']), 6)
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
    times = max(1, 64 // frames[0].shape[0])
    return figures.grid(frames, columns, times=times)


def show(inputs: Example, outputs: Records) -> Shown:
    """Answer with the errors for a video of a user, a strip and an animation.

    Args:
        inputs: a prepared example with 'video', 'future' and, for pictures, 'original'.
        outputs: outputs of `Task.predict` for one video.

    Returns:
        (answer, pictures). The answer has the squared errors 'mse' of the prediction and
        'mse_last_frame' of the repeated last frame. They are summed over the pixels in [0, 1] of
        a frame, and averaged over the frames. The pictures are {'': a strip,
        'foreseen.gif': (all frames, 5.0 a second)}, or None without 'original'.
    """
    truth = inputs['future'] / 255

    def error_per_frame(frames):
        errors = np.square(frames - truth).sum((1, 2, 3))
        return round(float(errors.mean()), 4)

    answer = {
        'mse': error_per_frame(outputs['video'] / 255),
        'mse_last_frame': error_per_frame(inputs['video'][-1:] / 255),
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
