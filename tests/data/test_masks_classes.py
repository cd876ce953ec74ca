"""The classes of masks: by their table, or by the values that occur."""

import numpy as np
import pytest
from helpers.box_files import opened
from helpers.mask_files import labels, write_mask, write_pair

from jaxvision.core.errors import UserError

RED = (255, 0, 0)
BLACK = (0, 0, 0)
WHITE = (255, 255, 255)


def write_table(root, *lines):
    (root / 'classes.csv').write_text('\n'.join(lines))


def semantic(source, row=0):
    return source[row]['semantic'].tolist()


def test_without_a_table_the_values_that_occur_are_classes(tmp_path):
    write_pair(tmp_path, 'a', labels([0, 2, 255]))
    write_pair(tmp_path, 'b', labels([2, 5, 0]))
    source = opened(f'masks:{tmp_path}')
    info = source.info
    assert info.semantic_names == info.class_names == ('class 0', 'class 2', 'class 5')
    assert info.holds == ('image', 'semantic')
    assert semantic(source, 0) == [[0, 1, 255]] and semantic(source, 1) == [[1, 2, 0]]
    assert source[0]['semantic'].dtype == np.uint8
    assert info.notes == (
        'the value 255 is ignored: 16.67% of the pixels',
        'values that no mask has are no classes (3): 1, 3, 4',
    )


def test_classes_of_all_splits_count(tmp_path):
    write_pair(tmp_path, 'a', labels([0, 1]), 'train')
    write_pair(tmp_path, 'b', labels([0, 2]), 'test')
    source = opened(f'masks:{tmp_path}')
    assert source.info.semantic_names == ('class 0', 'class 1', 'class 2')
    assert 'train: classes without a pixel (1): class 2' in source.info.notes
    assert semantic(opened(f'masks:{tmp_path}', 'test')) == [[0, 2]]


def test_masks_of_0_and_255_have_two_classes(tmp_path):
    write_pair(tmp_path, 'a', labels([0, 255]))
    write_pair(tmp_path, 'b', labels([0, 0]))
    source = opened(f'masks:{tmp_path}')
    assert source.info.semantic_names == ('class 0', 'class 255')
    assert semantic(source) == [[0, 1]]
    assert '0 and 255 are the only values: both are classes' in source.info.notes


@pytest.mark.parametrize(
    'lines',
    [
        ('name,value', 'sky,1', 'road,7', 'void,0'),
        ('Value;Class', '7;road', '0;Ignore', '1;sky'),
        ('id\tname\tnote', '1\tsky\tx', '7\troad\t', '0\tunlabelled\t'),
    ],
)
def test_a_table_of_values(tmp_path, lines):
    write_pair(tmp_path, 'a', labels([0, 1, 7, 255]))
    write_table(tmp_path, *lines)
    source = opened(f'masks:{tmp_path}')
    assert source.info.semantic_names == ('sky', 'road')
    assert semantic(source) == [[255, 0, 1, 255]]
    assert any('are ignored: they neither train' in note for note in source.info.notes)


def test_a_void_class_counts_where_only_one_other_remains(tmp_path):
    write_pair(tmp_path, 'a', labels([0, 1]))
    write_table(tmp_path, 'name,value', 'void,0', 'cat,1')
    assert opened(f'masks:{tmp_path}').info.semantic_names == ('void', 'cat')


def test_a_table_may_list_255_and_several_values_of_a_class(tmp_path):
    write_pair(tmp_path, 'a', labels([0, 3, 4, 255]))
    write_table(tmp_path, 'name,value', 'back,0', 'car,3', 'car,4', 'edge,255')
    source = opened(f'masks:{tmp_path}')
    assert source.info.semantic_names == ('back', 'car', 'edge')
    assert semantic(source) == [[0, 1, 1, 2]]
    assert any('1 class in several rows' in note for note in source.info.notes)


def test_names_alone_are_numbered_from_0(tmp_path):
    write_pair(tmp_path, 'a', labels([1, 0]))
    write_table(tmp_path, 'name', 'sky', 'road')
    source = opened(f'masks:{tmp_path}')
    assert source.info.semantic_names == ('sky', 'road') and semantic(source) == [
        [1, 0]
    ]


@pytest.mark.parametrize('palette', [False, True])
def test_a_table_of_colors(tmp_path, palette):
    table = ('name,r,g,b', 'wall,255,255,255', 'lamp,255,0,0', 'void,0,0,0')
    write_table(tmp_path, *table)
    if palette:
        colors = {9: RED, 4: WHITE, 0: BLACK}
        write_pair(tmp_path, 'a', labels([9, 4, 0]), palette=colors)
    else:
        write_pair(tmp_path, 'a', labels([RED, WHITE, BLACK]))
    source = opened(f'masks:{tmp_path}')
    assert source.info.semantic_names == ('wall', 'lamp')
    assert semantic(source) == [[1, 0, 255]]


def test_values_and_colors_of_one_table(tmp_path):
    """A black RGB mask is looked up by its colour, which is not that of the value 0."""
    table = ('name,value,r,g,b', 'a,0,255,0,0', 'b,1,0,0,0')
    write_table(tmp_path, *table)
    write_pair(tmp_path, 'black', labels([BLACK, BLACK]))
    write_pair(tmp_path, 'grey', labels([0, 1]))
    source = opened(f'masks:{tmp_path}')
    assert [semantic(source, row) for row in range(2)] == [[[1, 1]], [[0, 1]]]


def test_grey_in_rgb_files_is_grey(tmp_path):
    write_pair(tmp_path, 'a', labels([(1, 1, 1), (0, 0, 0), (255, 255, 255)]))
    write_pair(tmp_path, 'b', labels([1, 1, 0]))
    source = opened(f'masks:{tmp_path}')
    assert source.info.semantic_names == ('class 0', 'class 1')
    assert semantic(source) == [[1, 0, 255]] and semantic(source, 1) == [[1, 1, 0]]


def test_colors_without_a_table_are_classes(tmp_path):
    write_pair(tmp_path, 'a', labels([RED, BLACK]))
    source = opened(f'masks:{tmp_path}')
    assert source.info.semantic_names == ('#000000', '#ff0000')
    assert semantic(source) == [[1, 0]]


def test_sixteen_bits_with_a_table_are_classes(tmp_path):
    write_pair(tmp_path, 'a', labels([0, 300, 255], dtype=np.uint16))
    write_table(tmp_path, 'name,value', 'back,0', 'car,300')
    source = opened(f'masks:{tmp_path}')
    assert source.info.holds == ('image', 'semantic')
    assert semantic(source) == [[0, 1, 255]]


@pytest.mark.parametrize(
    'mask, lines, message',
    [
        ([0, 1, 9], ['name,value', 'a,0', 'b,1'], r'1 mask, such as .*a\.png, have'),
        ([0, 1, 9], ['name,value', 'a,0', 'b,1'], 'have others: value 9'),
        ([RED], ['name,r,g,b', 'a,1,2,3', 'b,0,0,0'], 'colour 255, 0, 0'),
        ([RED], ['name,value', 'a,0', 'b,1'], 'expected the columns r, g and b'),
        ([0, 1], ['name,value', 'a,0', 'b,0'], 'line 3: the value 0 is there twice'),
        (
            [0, 1],
            ['name,value', 'a,0', 'b,x'],
            "line 3: .* in the column `value`, not 'x'",
        ),
        ([0, 1], ['name,value', 'a,0', 'b,-1'], "not '-1'"),
        ([0, 1], ['name,value', 'a,0', 'b,1e9'], "not '1e9'"),
        ([0, 1], ['name,value', 'a,0', 'b'], "not ''"),
        ([0, 1], ['name,value', 'a,0', ',1'], 'line 3: expected the name of a class'),
        ([0, 1], ['name,value', 'a,0', 'b,65536'], 'from 0 to 65535'),
        ([0, 1], ['name,r,g,b', 'a,0,0,0', 'b,256,0,0'], 'from 0 to 255 in the col'),
        (
            [0, 1],
            ['name,r,g,b', 'a,0,0,0', 'b,0,0,0'],
            'the colour 0, 0, 0 is there tw',
        ),
        ([0, 1], ['name,r,g', 'a,0,0', 'b,1,1'], 'expected the columns name and value'),
        ([0, 1], ['value', '0', '1'], 'expected the columns name and value'),
        ([0, 1], ['name,value,id', 'a,0,0'], "two columns for 'value'"),
        ([0, 1], ['name,value'], 'has no classes'),
        ([0, 1], [''], 'expected the columns name and value'),
        (
            [0, 1],
            ['name,value', 'a,0', 'a,1'],
            'two or more classes, and there is only',
        ),
        (
            [0, 1],
            ['name,value', 'a,objects', 'b,objects'],
            "one class with the value 'o",
        ),
        (
            [0, 1],
            ['name,value', 'a,objects', 'b,1'],
            "one class with the value 'objects'",
        ),
        ([0, 0], None, "there is only 'class 0'"),
        ([255, 255], None, 'there is only the value to ignore'),
        ([0, 0], ['name,value', 'cell,objects'], 'and all values are 0'),
    ],
)
def test_tables_and_masks_that_do_not_fit(tmp_path, mask, lines, message):
    write_pair(tmp_path, 'a', labels(mask))
    if lines:
        write_table(tmp_path, *lines)
    with pytest.raises(UserError, match=message):
        opened(f'masks:{tmp_path}')


def test_many_colors_are_no_classes(tmp_path):
    colors = np.random.default_rng(0).integers(0, 255, (9, 9, 3), np.uint8)
    write_pair(tmp_path, 'a', colors)
    with pytest.raises(UserError, match='at most 64 colours in RGB masks'):
        opened(f'masks:{tmp_path}')


def test_colors_and_numbers_do_not_mix(tmp_path):
    write_pair(tmp_path, 'a', labels([0, 1]))
    write_pair(tmp_path, 'b', labels([RED, BLACK]))
    with pytest.raises(UserError, match=r'b\.png holds colours, and .*a\.png does not'):
        opened(f'masks:{tmp_path}')


def test_antialiased_masks_are_doubtful(tmp_path):
    mask = np.zeros((40, 40), np.uint8)
    mask[:20] = 255
    mask[19] = np.arange(40) * 6
    write_pair(tmp_path, 'a', mask)
    (doubt,) = opened(f'masks:{tmp_path}').info.doubts
    assert 'may have been resized or compressed' in doubt


def numbered(*counts, dtype=np.uint8):
    """Masks of 1 x 60 pixels, which number so many objects from 1."""
    masks = []
    for number in counts:
        mask = np.zeros((1, 60), dtype)
        mask[0, :number] = np.arange(1, number + 1)
        masks.append(mask)
    return masks


def test_a_note_of_masks_of_eight_bits_that_may_number_objects(tmp_path):
    for number, mask in enumerate(numbered(3, 9, 4)):
        write_pair(tmp_path, f'{number}', mask)
    info = opened(f'masks:{tmp_path}').info
    assert len(info.semantic_names) == 10
    assert any('they may number objects' in doubt for doubt in info.doubts)


def test_many_numbers_without_gaps_are_objects(tmp_path):
    for number, mask in enumerate(numbered(3, 40, 0)):
        write_pair(tmp_path, f'{number}', mask)
    source = opened(f'masks:{tmp_path}')
    assert source.info.semantic_names == ('background', 'object')
    assert [len(source[row]['boxes']) for row in range(3)] == [3, 40, 0]
    assert any('1 to n without a gap' in note for note in source.info.notes)


def test_an_image_with_more_classes_than_that_does_not_make_objects(tmp_path):
    """Labels with gaps are classes, however many there are."""
    for number, mask in enumerate(numbered(3, 40)):
        write_pair(tmp_path, f'{number}', mask)
    write_mask(tmp_path / 'masks' / '0.png', np.array([[0] * 59 + [40]], np.uint8))
    assert len(opened(f'masks:{tmp_path}').info.semantic_names) == 41


def test_a_table_says_that_eight_bits_number_objects(tmp_path):
    write_table(tmp_path, 'name,value', 'glass,0', 'cell,objects')
    write_pair(tmp_path, 'a', labels([0, 7, 7, 3, 255, 0]))
    source = opened(f'masks:{tmp_path}')
    assert source.info.semantic_names == ('glass', 'cell')
    assert source.info.class_names == ('cell',)
    example = source[0]
    assert example['semantic'].tolist() == [[0, 1, 1, 1, 255, 0]]
    assert example['instances'].tolist() == [[0, 2, 2, 1, 0, 0]]
    assert example['instance_classes'].tolist() == [0, 0]
