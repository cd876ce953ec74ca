import numpy as np
import pytest

from jaxvision.viz import explanations, page

SIGNED = explanations.Scale(limit=2.0, signed=True, unit='contribution')
POSITIVE = explanations.Scale(limit=2.0, signed=False, unit='evidence')


@pytest.fixture
def image():
    return np.full((4, 6, 3), 100, np.uint8)


def test_zero_leaves_the_image_and_signs_have_their_hue(image):
    map_ = np.zeros((4, 6))
    map_[1, 2] = 2.0
    map_[2, 3] = -2.0
    painted = explanations.overlay(image, map_, SIGNED).astype(int)
    assert (painted[0] == 100).all()
    red, _, blue = painted[1, 2]
    assert red > blue + 50
    red, _, blue = painted[2, 3]
    assert blue > red + 50


def test_larger_values_than_the_limit_look_like_the_limit(image):
    at_limit = explanations.overlay(image, np.full((4, 6), 2.0), POSITIVE)
    above = explanations.overlay(image, np.full((4, 6), 9.0), POSITIVE)
    half = explanations.overlay(image, np.full((4, 6), 1.0), POSITIVE)
    np.testing.assert_array_equal(at_limit, above)
    assert np.abs(half.astype(int) - at_limit).max() > 20


def test_a_picture_has_a_row_for_each_map(image):
    map_ = np.linspace(-1, 1, 24).reshape(4, 6)

    def row(scale):
        return explanations.Row(image=image, map=map_, title='cat $x$', scale=scale)

    one = explanations.draw([row(SIGNED)])
    three = explanations.draw([row(SIGNED), row(SIGNED), row(POSITIVE)])
    assert one.shape[1] == three.shape[1]
    assert three.shape[0] > 2 * one.shape[0]
    assert explanations.draw([]).ndim == 3


def test_a_page_escapes_texts_and_holds_its_pictures(image):
    section = page.Section(
        heading='<b>cat & dog</b>',
        lines=['a < b'],
        table=[{'class': 'cat', 'p': '0.5'}, {'class': '<i>'}],
        picture=page.png(image),
    )
    text = page.write('title', [page.Section(lines=['first']), section])
    assert '&lt;b&gt;cat &amp; dog&lt;/b&gt;' in text
    assert '<td>&lt;i&gt;</td><td></td>' in text
    assert text.count('data:image/png;base64,') == 1
    assert '<b>' not in text
