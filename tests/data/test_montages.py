import dataclasses

import numpy as np
import pytest

from jaxvision.core.errors import UserError
from jaxvision.data.montages import SHOT_FRAMES, Montages
from jaxvision.data.protocol import SourceInfo, labels_of

INFO = SourceInfo('films', 'train', (), (8, 8, 3), False, 'abc', ('video',), 40)


@dataclasses.dataclass
class Shades:
    """Films of one shade each, of which red tells the number of the frame."""

    info: SourceInfo = INFO
    lengths: tuple[int, ...] = (40, 9, 2)

    def __len__(self):
        return len(self.lengths)

    def __getitem__(self, row):
        frames = np.full((40, 8, 8, 3), 50 + 50 * row, np.uint8)
        frames[..., 0] = np.arange(40)[:, None, None]
        frames[self.lengths[row] :] = 0
        return {
            'video': frames,
            'video_mask': (np.arange(40) < self.lengths[row]).astype(np.uint8),
        }

    def read(self, rows):
        return [self[row] for row in rows]

    def where(self, row):
        return f'film {row}'


def test_stretches_of_films_one_after_another():
    montages, lengths, used = Montages(Shades(), 30), set(), set()
    for example in montages.read(range(30)):
        own = example['video_mask'] > 0
        assert (np.diff(example['video_mask'].astype(int)) <= 0).all()
        assert not example['video'][~own].any()
        numbers, films = (
            example['video'][own][:, 0, 0, 0],
            example['video'][own][:, 0, 0, 1],
        )
        assert set(films) <= {50, 100, 150}
        going_on = (np.diff(films.astype(int)) == 0) & (
            np.diff(numbers.astype(int)) == 1
        )
        stretches = np.diff(
            np.flatnonzero(np.append(True, ~going_on)), append=own.sum()
        )
        assert (
            stretches.max() <= 2 * SHOT_FRAMES[1]
            and len(stretches) >= own.sum() / SHOT_FRAMES[1]
        )
        lengths.add(int(own.sum()))
        used |= set(films)
    assert min(lengths) >= 10 and max(lengths) <= 40 and len(lengths) > 8
    assert used == {50, 100, 150}


def test_a_montage_is_a_function_of_its_row():
    montages = Montages(Shades(), 5)
    np.testing.assert_array_equal(
        montages[3]['video'], montages.read([1, 3])[1]['video']
    )
    assert (montages[3]['video'] != montages[4]['video']).any()
    assert len(montages) == 5 and montages.info.holds == ('video', 'video_mask')
    assert montages.info.fingerprint not in (
        INFO.fingerprint,
        Montages(Shades(), 6).info.fingerprint,
    )


def test_a_stretch_shows_a_part_of_the_picture_for_all_its_frames(monkeypatch):
    ramp = np.tile(
        np.arange(8, dtype=np.uint8)[:, None] * 30, (40, 8, 1, 3)
    )  # to the right
    monkeypatch.setattr(
        Shades,
        '__getitem__',
        lambda self, row: {'video': ramp, 'video_mask': np.ones(40, np.uint8)},
    )
    clips = [
        example['video'][example['video_mask'] > 0]
        for example in Montages(Shades(lengths=(40,)), 6).read(range(6))
    ]
    rises = np.concatenate(
        [clip[:, 0, -1, 0].astype(int) - clip[:, 0, 0, 0] for clip in clips]
    )
    assert (rises > 0).any() and (rises < 0).any(), 'the mirror image too'
    assert np.abs(rises).max() <= 210 and np.abs(rises).min() < 150
    changes = np.concatenate(
        [(np.diff(clip.astype(int), axis=0) != 0).any((1, 2, 3)) for clip in clips]
    )
    assert 1 / SHOT_FRAMES[1] <= changes.mean() <= 1 / SHOT_FRAMES[0]


def test_montages_have_no_labels():
    montages = Montages(Shades(), 5)
    assert not montages.info.has_labels
    with pytest.raises(UserError, match='has no labels, but data.per_class needs them'):
        labels_of(montages, 'data.per_class')
