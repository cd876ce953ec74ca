"""Episodes: functions of (seed, row), of the classes that they are given."""

import numpy as np
import pytest

from jaxvision.core.config import default
from jaxvision.core.errors import UserError
from jaxvision.data.episodes import Episodes, Form, divide
from jaxvision.data.sources import open_source


@pytest.fixture(scope='module')
def digits():
    data = default('few_shot').data
    data.source = 'digits'
    return open_source(data, 'train')


FORM = Form(ways=3, shots=2, queries=4)


def episodes(digits, seed=0, form=FORM):
    return Episodes(digits, np.array([1, 4, 7, 9]), form, 100, seed)


def test_an_episode_is_of_distinct_classes_and_images(digits):
    of_image = {
        image.tobytes(): label
        for image, label in (
            (example['image'], example['label'])
            for example in digits.read(range(len(digits)))
        )
    }
    source = episodes(digits)
    for row in range(20):
        episode = source[row]
        assert set(episode) == set(source.info.holds)
        names = [int(source.info.class_names[one]) for one in episode['classes']]
        assert len(set(names)) == 3 and set(names) <= {1, 4, 7, 9}
        shown = episode['support'].reshape(-1, 8, 8, 1)
        assert [of_image[image.tobytes()] for image in shown] == np.repeat(
            names, 2
        ).tolist()
        assert [of_image[image.tobytes()] for image in episode['query']] == [
            names[label] for label in episode['query_label']
        ]
        images = [image.tobytes() for image in (*shown, *episode['query'])]
        assert len(set(images)) == 3 * (2 + 4)


def test_an_episode_is_a_function_of_seed_and_row(digits):
    one, again, other = episodes(digits), episodes(digits), episodes(digits, seed=1)
    again[3]
    for name, array in one[5].items():
        np.testing.assert_array_equal(again[5][name], array)
    assert not np.array_equal(one[5]['query'], one[6]['query'])
    assert not np.array_equal(one[5]['query'], other[5]['query'])
    assert (
        len(
            {
                source.info.fingerprint
                for source in (one, other, episodes(digits, form=Form(3, 1, 4)))
            }
        )
        == 3
    )


def test_splits_keep_their_classes_or_divide_them():
    known, new = divide(np.array([3, 1, 1]), np.array([2, 5]), 0.4, 0)
    assert (known.tolist(), new.tolist()) == ([1, 3], [2, 5])
    shared = np.arange(10)
    parts = [divide(shared, shared, 0.4, seed) for seed in range(5)]
    for known, new in parts:
        assert (len(known), len(new)) == (6, 4)
        assert sorted([*known, *new]) == list(range(10))
    assert len({tuple(new) for _, new in parts}) > 1
    np.testing.assert_array_equal(divide(shared, shared, 0.4, 3)[1], parts[3][1])


@pytest.mark.parametrize(
    'form, said',
    [
        (Form(5, 1, 1), 'has 4 classes, and an episode 5'),
        (Form(2, 90, 90), 'an episode 90'),
    ],
)
def test_what_a_source_cannot_give_is_told(digits, form, said):
    with pytest.raises(UserError, match=said):
        episodes(digits, form=form)
