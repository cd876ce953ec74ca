"""A close look at sources that are no folders of images."""

import weakref

import numpy as np
import pytest

from jaxvision.core.types import Example
from jaxvision.data import decode, inspection
from jaxvision.data.noise import Noise
from jaxvision.data.protocol import RowSource, SourceInfo


class Clips(RowSource):
    """Videos that begin with the same black frame."""

    def __init__(self, levels, split):
        self._levels = levels
        self.info = SourceInfo(
            name='clips',
            split=split,
            class_names=(),
            image_shape=(4, 4, 1),
            multi_label=False,
            fingerprint='',
            holds=('video',),
        )

    def __len__(self) -> int:
        return len(self._levels)

    def __getitem__(self, row: int) -> Example:
        clip = np.zeros((3, 4, 4, 1), np.uint8)
        clip[1:] = self._levels[row]
        return {'video': clip}


@pytest.mark.parametrize('threads', [0, 2])
def test_videos_are_compared_as_a_whole(threads):
    sources = {'train': Clips([1, 2, 2], 'train'), 'test': Clips([3, 2], 'test')}
    report = inspection.inspect(sources, threads=threads)
    assert report.splits['train'].equal == [
        ('clips train, row 1', 'clips train, row 2')
    ]
    assert report.splits['test'].equal == []
    assert report.splits['test'].in_training == [
        ('clips train, row 1', 'clips test, row 1')
    ]


def test_unknown_labels_count_for_no_class():
    class Secret(Noise):
        """A test split whose labels are kept secret, as some of TFDS are, but for one."""

        def labels(self):
            return np.array([-1, 2, -1], np.int32)

    sources = {'train': Noise(4, 3, 9), 'test': Secret(4, 3, 3)}
    report = inspection.inspect(sources, threads=0)
    assert report.splits['test'].class_counts == {'0': 0, '1': 0, '2': 1}
    assert sum(report.splits['train'].class_counts.values()) == 9


@pytest.mark.parametrize('near', [False, True])
def test_only_the_pictures_of_the_report_stay_in_memory(near, monkeypatch):
    thumbnail = decode.thumbnail
    alive = weakref.WeakSet()
    most_alive = 0

    class Thumbnail(np.ndarray):
        """A thumbnail that can be watched: an array has no hash, this has its identity."""

        __hash__ = object.__hash__

    def watched_thumbnail(*arguments):
        nonlocal most_alive
        result = thumbnail(*arguments).view(Thumbnail)
        alive.add(result)
        most_alive = max(most_alive, len(alive))
        return result

    monkeypatch.setattr(decode, 'thumbnail', watched_thumbnail)
    sources = {
        'train': Clips(list(range(50)), 'train'),
        'test': Clips(list(range(50, 80)), 'test'),
    }
    report = inspection.inspect(sources, near=near, pictures=3, threads=0)
    assert [len(pictures) for pictures in report.pictures.values()] == [3]
    assert most_alive <= 4
