"""Figures and answers of video summaries: key frames, scores and a short video."""

import numpy as np
from jaxtyping import Bool, Float, Int

from jaxvision.core.rows import evenly_spaced
from jaxvision.core.task import Pictures, ReadExample, Shown
from jaxvision.core.types import Example, Records
from jaxvision.data import video, video_times
from jaxvision.tasks.video_summary import selection
from jaxvision.viz import figures

_MOST_KEY_FRAMES = 24


def show(inputs: Example, outputs: Records) -> Shown:
    """Summarise the video of a user.

    Args:
        inputs: a prepared example with 'video_mask' [T] and 'spans' [T, 2]. 'original' is the
            path of the video, which is read again; it may be missing.
        outputs: outputs of `Task.predict` for one video, 'scores' and 'features'.

    Returns:
        (answer, pictures). The answer has 'kept', the selected parts as [start, end] in
        seconds, and 'key_frames', their times as texts 'M:SS.S'. It also has the 'scores' of
        the sampled frames, and the lengths of video and summary, 'seconds' and
        'seconds_kept'. The pictures are a storyboard (''), a plot 'scores.png', a file
        key-TIME.png for each of up to 24 key frames, and the short video 'summary.mp4'. They
        are None without 'original'.
    """
    mask = inputs['video_mask'] > 0
    scores = outputs['scores'][mask].astype(np.float64)
    spans = inputs['spans'][mask]
    boundaries, selected = selection.shorten(scores, outputs['features'][mask])
    key_frames = _best_key_frames(scores, boundaries, selected)
    middles = spans[key_frames].mean(1)
    times = [_clock(float(seconds)) for seconds in middles]
    kept = []
    for first, end in selection.find_segments(selected):
        kept.append([float(spans[first, 0]), float(spans[end - 1, 1])])
    answer = {
        'seconds': float(spans[-1, 1] - spans[0, 0]),
        'seconds_kept': sum(end - start for start, end in kept),
        'key_frames': times,
        'kept': kept,
        'scores': scores.round(6).tolist(),
    }
    if 'original' not in inputs:
        return answer, None
    path = inputs['original']
    edges = video_times.edges(path)
    pictures = list(video.read(path, video_times.at(edges, middles)))
    rows, durations = video_times.cut(edges, kept)
    key_pictures = {
        f'key-{time.replace(":", ".")}.png': picture
        for time, picture in zip(times, pictures, strict=True)
    }
    return answer, {
        '': figures.gallery(pictures, times),
        'scores.png': figures.scores(spans.mean(1), scores, selected),
        **key_pictures,
        'summary.mp4': (video.stream(path, rows), video.rate(path), durations),
    }


def _best_key_frames(
    scores: Float[np.ndarray, 't'],
    boundaries: selection.Boundaries,
    selected: Bool[np.ndarray, 't'],
) -> Int[np.ndarray, 'k']:
    """Return the key frames with the highest scores, in order of time."""
    key_frames = selection.key_frames(scores, boundaries, selected)
    order = np.argsort(-scores[key_frames], kind='stable')
    return np.sort(key_frames[order[:_MOST_KEY_FRAMES]])


def draw_scores(records: Records, example: ReadExample) -> Pictures:
    """Plot the scores, the summary and, if known, the importance of up to four videos.

    Args:
        records: records of an evaluation: 'index', 'scores', 'features', 'video_mask'
            and optionally 'importance'.
        example: not used.

    Returns:
        {'scores': one plot below the other}, for videos that are evenly spaced in the split.
        The axis of time has the numbers of the sampled frames, not seconds.
    """
    pictures = []
    for i in evenly_spaced(len(records['index']), 4):
        mask = records['video_mask'][i] > 0
        scores = records['scores'][i][mask].astype(np.float64)
        _, selected = selection.shorten(scores, records['features'][i][mask])
        importance = None
        if 'importance' in records:
            importance = records['importance'][i][mask]
        times = np.arange(len(scores))
        pictures.append(figures.scores(times, scores, selected, importance))
    return {'scores': np.concatenate(pictures)}


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds, 1), 60)
    return f'{minutes:.0f}:{seconds:04.1f}'
