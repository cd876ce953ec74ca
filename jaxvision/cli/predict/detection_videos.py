"""Objects in videos, frame by frame, with numbers that follow them if a tracker is installed.

A few frames are in memory at a time. Trackforge's ByteTrack (arXiv 2110.06864) joins the detections
of the frames. It also follows an object whose score falls below the threshold for some frames.
"""

import collections
import contextlib
import dataclasses
import itertools
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

import numpy as np
from jaxtyping import Float, UInt8

from jaxvision.boxes.merging import Detections
from jaxvision.cli.predict import detection_answers
from jaxvision.cli.predict.finding import Finder, Image
from jaxvision.cli.predict.predictor import Entry
from jaxvision.cli.predict.report import Progress
from jaxvision.core.files import atomic_write
from jaxvision.core.types import Json
from jaxvision.data import video, video_times
from jaxvision.data.protocol import Unreadable

# One number for each detection.
Values = Float[np.ndarray, 'k']

# A frame with boxes, enlarged if it is small.
Drawn = UInt8[np.ndarray, 'h2 w2 3']

_MOST_FRAMES = 8  # of a batch
_LEAST_SCORE = 0.1  # with which a detection may continue a track, as in ByteTrack
_REMEMBERED = 1.0  # seconds for which a hidden object keeps its number


class Tracker:
    """Numbers the objects of a video: one ByteTrack for each class."""

    def __init__(self, scores: Values, rate: float):
        """Begin a video.

        Args:
            scores: for each class, the least score with which a new object gets a
                number.
            rate: frames a second.

        Raises:
            ModuleNotFoundError: Trackforge is not installed.
        """
        import trackforge

        self._trackers = [
            trackforge.BYTETRACK(
                track_thresh=float(score),
                det_thresh=float(score),
                track_buffer=max(1, round(_REMEMBERED * rate)),
            )
            for score in scores
        ]
        self._numbers: dict[tuple[int, int], int] = {}

    def follow(self, found: Detections) -> list[int | None]:
        """Number the objects of the next frame: those seen before keep their numbers.

        Args:
            found: in the frame, also those below the threshold.

        Returns:
            The number of each detection, unique over all classes, from 1; None: it
            belongs to no track.
        """
        numbers: list[int | None] = [None] * len(found.scores)
        for label, tracker in enumerate(self._trackers):
            rows = np.flatnonzero(found.classes == label).tolist()
            detections = []
            for row in rows:
                ymin, xmin, ymax, xmax = found.boxes[row].tolist()
                sides = [xmin, ymin, xmax - xmin, ymax - ymin]
                detections.append((sides, float(found.scores[row]), label))
            for track, _, _, _, place in tracker.update(detections):
                if place is not None:
                    key = (label, track)
                    numbers[rows[place]] = self._numbers.setdefault(
                        key, len(self._numbers) + 1
                    )
        return numbers


@dataclasses.dataclass(frozen=True, kw_only=True)
class Videos:
    """A predictor of the objects in videos.

    Attributes:
        finder: finds the objects of a frame.
        scores: for each class, the least score of an object that is given. An object
            with a number is given below it too.
        names: the user's videos.
        places: OUT/NAME.png for each, whose suffix is replaced.
        draws: whether to write the videos with boxes.
    """

    finder: Finder
    scores: Values
    names: Sequence[str]
    places: Sequence[Path]
    draws: bool

    @property
    def outputs(self) -> list[Path]:
        """The files beside predictions.json: NAME.jsonl, and NAME.mp4 if `draws`."""
        suffixes = ['.jsonl', '.mp4'] if self.draws else ['.jsonl']
        return [
            place.with_suffix(suffix)
            for place, suffix in itertools.product(self.places, suffixes)
        ]

    def predict(self) -> Iterator[list[Entry]]:
        """Predict for one video at a time, and write its files.

        Yields:
            A list with the entry of one video, in the order of `names`. An unreadable
            video has the reason under 'error', and does not stop the others.
        """
        for name, place in zip(self.names, self.places, strict=True):
            try:
                yield [self._predict(name, place)]
            except Unreadable as error:
                yield [{'file': name, 'error': str(error)}]

    def _predict(self, path: str, place: Path) -> Entry:
        """Search a video, write its lines and its drawn frames, and return its entry.

        Args:
            path: of the video.
            place: OUT/NAME.png.

        Raises:
            Unreadable: The video is damaged.
        """
        edges = video_times.edges(path)
        durations = np.diff(edges)
        rate = float(len(durations) / (edges[-1] - edges[0]))
        lines = place.with_suffix('.jsonl')
        saved = [lines]
        with atomic_write(lines, durable=False) as file:
            search = _Search(self, path, file, edges, _tracker(self.scores, rate))
            if self.draws:
                clip = place.with_suffix('.mp4')
                drawn = search.frames()
                saved.append(video.write_clip(clip, drawn, rate, durations.tolist()))
            else:
                collections.deque(search.frames(), maxlen=0)
        return {
            'file': path,
            'answer': search.answer(),
            'saved': [str(written) for written in saved],
        }


class _Search:
    """The search of one video."""

    def __init__(
        self,
        videos: Videos,
        path: str,
        file: IO,
        edges: video_times.Edges,
        tracker: Tracker | None,
    ):
        self._videos = videos
        self._path = path
        self._file = file
        self._edges = edges
        self._tracker = tracker
        self._counts: collections.Counter[str] = collections.Counter()
        self._tracks: dict[int, str] = {}
        self._size = [0, 0]

    def frames(self) -> Iterator[Drawn]:
        """Search each frame, write its line, and yield it, drawn if it is needed."""
        finder = self._videos.finder
        size = min(finder.batch_size, _MOST_FRAMES)
        finder = dataclasses.replace(finder, batch_size=size)
        progress = Progress(len(self._edges) - 1, 'frames', f'{self._path}: ')
        numbers = itertools.count()
        frames = video.stream(self._path)
        with contextlib.closing(frames):
            while batch := list(itertools.islice(frames, size)):
                found = finder.find_in_frames(batch)
                for frame, detections in zip(batch, found, strict=True):
                    number = next(numbers)
                    yield self._finish(number, frame, detections)
                    progress.show(number + 1)

    def answer(self) -> Json:
        """Describe the video: objects by class, which are tracks if there are any."""
        counts = self._counts
        if self._tracker:
            counts = collections.Counter(self._tracks.values())
        listed = [f'{count} {name}' for name, count in counts.most_common()]
        return {
            'objects': ', '.join(listed) or 'none',
            'frames': len(self._edges) - 1,
            'size': self._size,
            'tracked': self._tracker is not None,
        }

    def _finish(self, number: int, frame: Image, found: Detections) -> Drawn:
        """Track the objects of a frame, write its line, and draw it.

        Args:
            number: of the frame.
            frame: its pixels.
            found: all detections.
        """
        model = self._videos.finder.model
        least_score = min(_LEAST_SCORE, float(self._videos.scores.min()))
        found = found.at(found.scores >= least_score)
        tracks: list[int | None] = [None] * len(found.scores)
        if self._tracker:
            tracks = self._tracker.follow(found)
        is_sure = found.scores >= self._videos.scores[found.classes]
        is_tracked = np.array([track is not None for track in tracks], bool)
        given = np.flatnonzero(is_sure | is_tracked)
        found = found.at(given)
        tracks = [tracks[row] for row in given.tolist()]
        height, width, _ = frame.shape
        self._size = [width, height]
        answer = detection_answers.answer_of(model, found, (height, width))
        for detection, track in zip(answer['detections'], tracks, strict=True):
            self._counts[detection['class']] += 1
            if track is not None:
                detection['track'] = track
                self._tracks[track] = detection['class']
        seconds = round(float(self._edges[number]), 4)
        line = {'frame': number, 'time': seconds, 'detections': answer['detections']}
        self._file.write(f'{json.dumps(line)}\n')
        if not self._videos.draws:
            return frame
        ids = ['' if track is None else f'#{track} ' for track in tracks]
        return detection_answers.draw(model, frame, found, ids)


def _tracker(scores: Values, rate: float) -> Tracker | None:
    """Make a tracker, or say how to install one."""
    try:
        return Tracker(scores, rate)
    except ModuleNotFoundError:
        print(
            'objects of videos get no numbers, because the package trackforge is not '
            "installed. Install the extra `tracking`: pip install -e '.[tracking]' in a "
            'checkout of jaxvision.',
            file=sys.stderr,
        )
        return None
