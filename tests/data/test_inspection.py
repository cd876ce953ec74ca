"""A close look at sources that are no folders of images."""

import numpy as np
import pytest

from jaxvision.core.types import Example
from jaxvision.data import inspection
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
