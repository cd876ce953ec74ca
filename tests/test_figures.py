import os
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from jaxvision import figures


def rows(**metrics):
    names = {name.replace('__', '/'): value for name, value in metrics.items()}
    return [{'step': step, **{name: value / step for name, value in names.items()}}
            for step in (10, 20, 30)]


def solid(*color):
    return np.full((8, 8, len(color)), color, np.uint8)


def where(picture, *color):
    """Rows and columns of the pixels that have exactly this colour."""
    return np.nonzero((picture == color).all(-1))


def reddish(picture):
    return (picture[..., 0].astype(int) - picture[..., 2] > 60).sum()


PICTURES = {
    'no curves': lambda: figures.curves([]),
    'one row': lambda: figures.curves([{'step': 0, 'eval/accuracy': 0.1}]),
    'curves': lambda: figures.curves(rows(train__loss=2.0, eval__loss=3.0, eval__accuracy=1.0)),
    'not finite': lambda: figures.curves(rows(train__loss=np.nan, eval__nll=np.inf, eval__f1=1)),
    'two classes': lambda: figures.matrix(np.array([[9, 1], [0, 0]]), ['cat', 'dog']),
    'long names': lambda: figures.matrix(np.eye(3, dtype=int), ['a_long_class_name_' * 3] * 3),
    'dollars': lambda: figures.matrix(np.eye(2, dtype=int), [r'$\5', '$']),
    '100 classes': lambda: figures.matrix(np.eye(100, dtype=int), [str(k) for k in range(100)]),
    'no mistakes': lambda: figures.gallery([], []),
    'one image': lambda: figures.gallery([solid(7)], ['true 4, said 9 (99 %)']),
    'sizes and channels': lambda: figures.gallery(
        [solid(1), np.zeros((30, 9, 3), np.uint8)] * 9, [r'$\5 $', 'many long words ' * 9] * 9
    ),
}


@pytest.mark.parametrize('name', PICTURES)
def test_pictures_fit_their_frame_and_a_screen_and_are_repeatable(name):
    picture = PICTURES[name]()
    assert picture.dtype == np.uint8 and picture.ndim == 3 and picture.shape[2] == 3
    assert picture.shape[1] <= 1600
    assert (picture < 128).any(), 'an empty page'
    for edge in (picture[:2], picture[-2:], picture[:, :2], picture[:, -2:]):
        assert (edge == 255).all(), 'something is cut off'
    np.testing.assert_array_equal(picture, PICTURES[name]())


def test_more_metrics_make_a_taller_picture_up_to_eight_panels():
    names = [f'eval__metric_{k}' for k in range(12)]
    heights = [len(figures.curves(rows(**dict.fromkeys(names[:n], 1.0)))) for n in (2, 4, 8, 12)]
    assert heights[0] < heights[1] < heights[2] == heights[3]


def test_training_and_evaluation_share_a_panel():
    shared = figures.curves(rows(train__loss=1.0, eval__loss=2.0))
    assert shared.shape == figures.curves(rows(train__loss=1.0)).shape
    assert len(where(shared, 0x1F, 0x77, 0xB4)[0]) and len(where(shared, 0xFF, 0x7F, 0x0E)[0])


def test_the_loss_comes_first_and_what_evaluation_measures_before_the_rest():
    np.testing.assert_array_equal(
        figures.curves(rows(train__norm=1.0, eval__f1=2.0, train__loss=3.0)),
        figures.curves(rows(train__loss=3.0, eval__f1=2.0, train__norm=1.0)),
    )


def test_timings_are_left_out():
    np.testing.assert_array_equal(
        figures.curves(rows(train__loss=1.0, perf__images_per_second=900.0)),
        figures.curves(rows(train__loss=1.0)),
    )


def test_mistakes_are_red_and_right_answers_are_not():
    right, wrong = np.diag([5, 5]), np.array([[0, 5], [5, 0]])
    extra = reddish(figures.matrix(wrong, ['a', 'b'])) - reddish(figures.matrix(right, ['a', 'b']))
    assert extra > 100 * 100  # two cells of more than 70 x 70 pixels; the colour bar cancels


def test_a_matrix_is_read_with_true_classes_down_and_predictions_across():
    picture = figures.matrix(np.array([[0, 5], [0, 5]]), ['a', 'b'])
    cells = picture[100:350, 100:420]
    assert reddish(cells[:125, 160:]) > 1000
    assert reddish(cells[125:]) == 0


@pytest.mark.parametrize('classes, printed', [(20, True), (21, False)])
def test_counts_are_printed_up_to_twenty_classes(classes, printed):
    names = [str(k) for k in range(classes)]
    once, twice = (figures.matrix(n * np.eye(classes, dtype=int), names)[80:] for n in (1, 2))
    assert (once != twice).any() == printed


def test_a_gallery_keeps_the_order_of_its_images():
    colors = [(255, 0, 0), (0, 255, 0), (0, 0, 255)]
    picture = figures.gallery([solid(*color) for color in colors], ['', '', ''], columns=2)
    red, green, blue = (np.mean(where(picture, *color), axis=1) for color in colors)
    assert red[1] < green[1] and red[0] == green[0]
    assert red[0] < blue[0] and red[1] == blue[1]


def test_a_caption_is_under_its_image():
    plain, said = (figures.gallery([solid(0, 255, 0)], [text]) for text in ('true 4', 'true 9'))
    assert np.nonzero(plain != said)[0].min() > where(said, 0, 255, 0)[0].max()


@pytest.mark.parametrize('draw', [
    lambda: figures.gallery([solid(0)], []),
    lambda: figures.matrix(np.eye(3, dtype=int), ['a', 'b']),
])
def test_names_that_do_not_match_are_refused(draw):
    with pytest.raises(ValueError, match='but'):
        draw()


def test_save_writes_a_png_that_reads_back(tmp_path):
    picture = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
    figures.save(tmp_path / 'a.png', picture)
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / 'a.png')), picture)
    assert os.listdir(tmp_path) == ['a.png']


def test_a_save_that_fails_keeps_the_old_picture_and_leaves_nothing_behind(tmp_path, monkeypatch):
    figures.save(tmp_path / 'a.png', solid(1, 2, 3))

    def full_disk(self, file, format):
        file.write_bytes(b'half')
        raise OSError('No space left on device')

    monkeypatch.setattr(Image.Image, 'save', full_disk)
    with pytest.raises(OSError, match='space'):
        figures.save(tmp_path / 'a.png', solid(9, 9, 9))
    assert os.listdir(tmp_path) == ['a.png']
    assert np.asarray(Image.open(tmp_path / 'a.png'))[0, 0].tolist() == [1, 2, 3]


def test_importing_is_cheap_and_drawing_leaves_pyplot_alone():
    program = (
        'import sys; from jaxvision import figures; assert "matplotlib" not in sys.modules; '
        'figures.curves([]); assert "matplotlib.pyplot" not in sys.modules'
    )
    subprocess.run([sys.executable, '-c', program], check=True)
