"""Figures: their layout, their colours and their files."""

import os
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from jaxvision.viz import figures


def rows(**metrics):
    names = {name.replace('__', '/'): value for name, value in metrics.items()}
    return [
        {'step': step, **{name: value / step for name, value in names.items()}}
        for step in (10, 20, 30)
    ]


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
    'curves': lambda: figures.curves(
        rows(train__loss=2.0, eval__loss=3.0, eval__accuracy=1.0)
    ),
    'not finite': lambda: figures.curves(
        rows(train__loss=np.nan, eval__nll=np.inf, eval__f1=1)
    ),
    'two classes': lambda: figures.matrix(np.array([[9, 1], [0, 0]]), ['cat', 'dog']),
    'long names': lambda: figures.matrix(
        np.eye(3, dtype=int), ['a_long_class_name_' * 3] * 3
    ),
    'dollars': lambda: figures.matrix(np.eye(2, dtype=int), [r'$\5', '$']),
    '100 classes': lambda: figures.matrix(
        np.eye(100, dtype=int), [str(k) for k in range(100)]
    ),
    'no mistakes': lambda: figures.gallery([], []),
    'one image': lambda: figures.gallery([solid(7)], ['true 4, predicted 9 (99 %)']),
    'sizes and channels': lambda: figures.gallery(
        [solid(1), np.zeros((30, 9, 3), np.uint8)] * 9,
        [r'$\5 $', 'many long words ' * 9] * 9,
    ),
}


@pytest.mark.parametrize('name', PICTURES)
def test_pictures_fit_a_screen_and_are_the_same_every_time(name):
    picture = PICTURES[name]()
    assert picture.dtype == np.uint8 and picture.ndim == 3 and picture.shape[2] == 3
    assert picture.shape[1] <= 1600
    assert (picture < 128).any(), 'an empty page'
    for edge in (picture[:2], picture[-2:], picture[:, :2], picture[:, -2:]):
        assert (edge == 255).all(), 'something is cut off'
    np.testing.assert_array_equal(picture, PICTURES[name]())


def test_more_metrics_make_a_taller_picture_up_to_eight_panels():
    names = [f'eval__metric_{k}' for k in range(12)]
    heights = [
        len(figures.curves(rows(**dict.fromkeys(names[:n], 1.0))))
        for n in (2, 4, 8, 12)
    ]
    assert heights[0] < heights[1] < heights[2] == heights[3]


def test_training_and_evaluation_share_a_panel():
    shared = figures.curves(rows(train__loss=1.0, eval__loss=2.0))
    assert shared.shape == figures.curves(rows(train__loss=1.0)).shape
    assert len(where(shared, 0x1F, 0x77, 0xB4)[0]) and len(
        where(shared, 0xFF, 0x7F, 0x0E)[0]
    )


def test_the_validation_split_has_a_curve_in_the_panel_of_its_metric():
    training = rows(train__loss=1.0, validation__loss=2.0, validation__accuracy=0.5)
    picture = figures.curves([*training, {'step': 30, 'eval/loss': 0.1}])
    blue, orange, green = (
        len(where(picture, *color)[0])
        for color in ((0x1F, 0x77, 0xB4), (0xFF, 0x7F, 0x0E), (0x2C, 0xA0, 0x2C))
    )
    # Two panels have a green curve over all steps. The test split has one point and a legend.
    assert green > blue > orange > 0


def test_an_image_is_enlarged_up_to_280_pixels_by_a_whole_factor():
    sides = {}
    for side in (90, 139, 140, 141, 280, 300):
        black = np.zeros((side, side // 2, 3), np.uint8)
        sides[side] = len(figures.beside(black, black))
    assert sides == {90: 270, 139: 278, 140: 280, 141: 141, 280: 280, 300: 300}


def test_the_loss_comes_first_then_the_metrics_of_the_evaluation():
    np.testing.assert_array_equal(
        figures.curves(rows(train__norm=1.0, eval__f1=2.0, train__loss=3.0)),
        figures.curves(rows(train__loss=3.0, eval__f1=2.0, train__norm=1.0)),
    )


def test_timings_are_left_out():
    np.testing.assert_array_equal(
        figures.curves(rows(train__loss=1.0, perf__images_per_second=900.0)),
        figures.curves(rows(train__loss=1.0)),
    )


def test_errors_are_red_and_correct_predictions_are_not():
    correct = figures.matrix(np.diag([5, 5]), ['a', 'b'])
    wrong = figures.matrix(np.array([[0, 5], [5, 0]]), ['a', 'b'])
    # Two cells of more than 70 x 70 pixels. The colour bars are equal.
    assert reddish(wrong) - reddish(correct) > 100 * 100


def test_a_matrix_has_a_row_for_each_true_class():
    picture = figures.matrix(np.array([[0, 5], [0, 5]]), ['a', 'b'])
    cells = picture[100:350, 100:420]
    assert reddish(cells[:125, 160:]) > 1000
    assert reddish(cells[125:]) == 0


@pytest.mark.parametrize('classes, printed', [(20, True), (21, False)])
def test_counts_are_printed_up_to_twenty_classes(classes, printed):
    names = [str(k) for k in range(classes)]
    once, twice = (
        figures.matrix(n * np.eye(classes, dtype=int), names)[80:] for n in (1, 2)
    )
    assert (once != twice).any() == printed


def test_a_gallery_keeps_the_order_of_its_images():
    colors = [(255, 0, 0), (0, 255, 0), (0, 0, 255)]
    picture = figures.gallery(
        [solid(*color) for color in colors], ['', '', ''], columns=2
    )
    red, green, blue = (np.mean(where(picture, *color), axis=1) for color in colors)
    assert red[1] < green[1] and red[0] == green[0]
    assert red[0] < blue[0] and red[1] == blue[1]


def test_a_caption_is_under_its_image():
    first, second = (
        figures.gallery([solid(0, 255, 0)], [text]) for text in ('true 4', 'true 9')
    )
    assert np.nonzero(first != second)[0].min() > where(second, 0, 255, 0)[0].max()


@pytest.mark.parametrize(
    'draw',
    [
        lambda: figures.gallery([solid(0)], []),
        lambda: figures.matrix(np.eye(3, dtype=int), ['a', 'b']),
    ],
)
def test_another_number_of_names_or_captions_is_an_error(draw):
    with pytest.raises(ValueError, match='but'):
        draw()


def test_save_writes_a_png_that_reads_back(tmp_path):
    picture = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
    figures.save(tmp_path / 'a.png', picture)
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / 'a.png')), picture)
    assert os.listdir(tmp_path) == ['a.png']


def test_a_save_that_fails_keeps_the_old_picture_and_leaves_nothing_behind(
    tmp_path, monkeypatch
):
    figures.save(tmp_path / 'a.png', solid(1, 2, 3))

    def full_disk(self, file, **options):
        file.write_bytes(b'half')
        raise OSError('No space left on device')

    monkeypatch.setattr(Image.Image, 'save', full_disk)
    with pytest.raises(OSError, match='space'):
        figures.save(tmp_path / 'a.png', solid(9, 9, 9))
    assert os.listdir(tmp_path) == ['a.png']
    assert np.asarray(Image.open(tmp_path / 'a.png'))[0, 0].tolist() == [1, 2, 3]


@pytest.mark.parametrize('fraction', [0.0, 0.004, 0.25, 0.5, 1.0])
def test_a_bar_is_as_long_as_its_fraction(fraction):
    def length(fraction):
        picture = figures.bars(solid(0, 0, 0), [('', fraction)])
        rows, columns = where(picture, 0x1F, 0x77, 0xB4)
        return len(set(columns))

    assert length(fraction) == pytest.approx(fraction * length(1.0), abs=1)


def test_bars_stand_under_the_whole_image():
    image = np.random.default_rng(0).integers(0, 256, (300, 500, 3), np.uint8)
    picture = figures.bars(image, [('cat', 1.0)])
    np.testing.assert_array_equal(picture[:300], image)
    small = figures.bars(image[:8, :10], [('cat', 1.0)])  # enlarged, in the middle
    np.testing.assert_array_equal(small[14:224:28, 54:334:28][:, :9], image[:8, :9])


@pytest.mark.parametrize(
    'name', ['a long name ' * 9, 'x' * 99, 'two\nlines \udcff', '', '\n']
)
def test_a_name_stays_on_its_line_and_off_its_bar(name):
    picture = figures.bars(
        np.full((70, 600, 3), 255, np.uint8), [(name, 1.0), ('', 0.0)]
    )
    assert (picture[:, :270][:, -10:] == 255).all() and (
        picture[70 + 34 :, :270] == 255
    ).all()
    assert (picture[70:, :270] < 128).any() == bool(name.strip())


@pytest.mark.parametrize('name', ['Кошка', 'γάτα', 'قطة', 'naïve'])
def test_names_in_other_scripts_are_drawn(name):
    """The font draws a box for a missing letter, such as a private-use one."""
    picture, boxes = (
        figures.bars(solid(0, 0, 0), [(text, 0.0)])
        for text in (name, '\U000f0000' * len(name))
    )
    assert (picture != boxes).any()
    # More colours than ruled lines have.
    assert len(np.unique(picture[:, :150].reshape(-1, 3), axis=0)) > 5


def test_importing_is_cheap_and_drawing_leaves_pyplot_alone():
    program = (
        'import sys; from jaxvision.viz import figures; assert "matplotlib" not in sys.modules; '
        'figures.curves([]); assert "matplotlib.pyplot" not in sys.modules'
    )
    subprocess.run([sys.executable, '-c', program], check=True)


def test_a_storyboard_of_wide_frames_is_as_low_as_they_are():
    wide, square = (
        figures.gallery([np.zeros((8, width, 3), np.uint8)] * 6, ['1.5 s'] * 6, 3)
        for width in (16, 8)
    )
    assert wide.shape[1] == square.shape[1] and wide.shape[0] < 0.7 * square.shape[0]
    wide_black = (wide == 0).all(-1).mean()
    square_black = (square == 0).all(-1).mean()
    assert wide_black == pytest.approx(square_black, abs=0.15)
    assert min(wide_black, square_black) > 0.5
