"""The layouts of folders of masks, and what is left out of them."""

import numpy as np
import pytest
from helpers.box_files import write_image
from helpers.data_config import data_config
from helpers.mask_files import write_mask, write_pair

from jaxvision.core.errors import UserError
from jaxvision.data import masks_folder, sources

MASK = np.array([[0, 1, 1], [0, 0, 1]], np.uint8)


def names(listing):
    return {
        split: [pair.image.relative_to(listing.root).as_posix() for pair in pairs]
        for split, pairs in listing.pairs.items()
    }


def test_without_splits_all_images_train_and_a_part_is_held_out(tmp_path):
    for number in range(10):
        write_pair(tmp_path, f'{number}', MASK)
    assert set(masks_folder.read(tmp_path).pairs) == {'train'}
    parts = sources.Parts(data_config(source=f'masks:{tmp_path}'))
    train = parts.open('train')
    test = parts.open('test')
    assert (len(train), len(test)) == (8, 2)
    places = {source.where(row) for source in (train, test) for row in range(2)}
    assert len(places) == 4


@pytest.mark.parametrize('inner', [False, True])
def test_splits_around_or_within(tmp_path, inner):
    for split in ('Train', 'val', 'test'):
        for part in ('images', 'Masks'):
            folder = tmp_path / part / split if inner else tmp_path / split / part
            if part == 'images':
                write_image(folder / f'{split}.png', 3, 2)
            else:
                write_mask(folder / f'{split}.png', MASK)
    listing = masks_folder.read(tmp_path)
    assert list(listing.pairs) == ['train', 'validation', 'test']
    for pairs in listing.pairs.values():
        (pair,) = pairs
        assert pair.image.name == pair.mask.name
        assert 'images' in pair.image.parts and 'Masks' in pair.mask.parts
    assert listing.notes == ()
    parts = sources.Parts(data_config(source=f'masks:{tmp_path}'))
    assert [
        parts.open(name).info.split for name in ('train', 'validation', 'test')
    ] == [
        'train',
        'validation',
        'test',
    ]


def test_folders_below_are_part_of_the_name(tmp_path):
    for folder in ('a', 'b'):
        write_image(tmp_path / 'images' / folder / '1.jpg', 3, 2)
        write_mask(tmp_path / 'masks' / folder / '1.png', MASK)
    listing = masks_folder.read(tmp_path)
    assert names(listing) == {'train': ['images/a/1.jpg', 'images/b/1.jpg']}
    for pair in listing.pairs['train']:
        assert pair.image.parent.name == pair.mask.parent.name


def test_what_has_no_partner_is_counted_and_named(tmp_path):
    write_pair(tmp_path, 'a', MASK)
    for name in ('b', 'c'):
        write_image(tmp_path / 'images' / f'{name}.png')
    write_mask(tmp_path / 'masks' / 'd.png', MASK)
    (tmp_path / 'masks' / 'e.npy').write_bytes(b'x')
    (tmp_path / 'images' / 'f.txt').write_bytes(b'x')
    (tmp_path / 'raw').mkdir()
    listing = masks_folder.read(tmp_path)
    assert names(listing) == {'train': ['images/a.png']}
    assert listing.notes == (
        'folders that are neither images, masks nor splits with these left out: raw',
        'train: 2 images without a mask left out, such as images/b.png',
        'train: 1 mask without an image left out, such as masks/d.png',
        'train: 1 file of masks/ that is no PNG, BMP, GIF, TIFF or NIfTI left out, such as '
        'masks/e.npy',
        'train: 1 file of images/ that is no image left out, such as images/f.txt',
    )


def test_a_test_split_without_masks_is_named_and_not_measured(tmp_path):
    for number in range(5):
        write_pair(tmp_path, f'{number}', MASK, 'train')
    write_image(tmp_path / 'test' / 'images' / '1.png')
    source = sources.open_source(data_config(source=f'masks:{tmp_path}'), 'test')
    assert source.info.split == 'train, held out 20 %'
    note = 'test: 1 image without a mask left out, such as test/images/1.png'
    assert note in source.info.notes


def test_files_beside_splits_are_named(tmp_path):
    for name in ('1', '2'):
        write_pair(tmp_path, name, MASK)
    write_pair(tmp_path, '3', MASK, 'train')
    listing = masks_folder.read(tmp_path)
    assert names(listing) == {'train': ['train/images/3.png']}
    assert listing.notes == (
        'images/ and masks/ beside the folders of the splits left out',
    )
    inner = tmp_path / 'inner'
    write_image(inner / 'images' / 'train' / '1.png')
    write_image(inner / 'images' / '0.png')
    write_mask(inner / 'masks' / 'train' / '1.png', MASK)
    listing = masks_folder.read(inner)
    assert names(listing) == {'train': ['images/train/1.png']}
    assert listing.notes == (
        '1 name in images/ outside of the splits left out, such as 0.png',
    )


def test_folders_of_other_layouts(tmp_path):
    def refused(message):
        with pytest.raises(UserError, match=message):
            sources.find_dataset(f'masks:{tmp_path}')

    with pytest.raises(UserError, match='there is no such folder'):
        sources.find_dataset(f'masks:{tmp_path / "none"}')
    refused('it has no folders')
    (tmp_path / 'JPEGImages').mkdir()
    refused('and it has the folders JPEGImages')
    write_image(tmp_path / 'images' / 'a.png')
    refused('it has the folders JPEGImages, images')
    write_mask(tmp_path / 'masks' / 'a_mask.png', MASK)
    refused('there are a.png, a_mask.png')
    write_pair(tmp_path, 'b', MASK)
    write_image(tmp_path / 'images' / 'b.jpg')
    refused('have one name but for the suffix')
    (tmp_path / 'Images').mkdir()
    refused('expected one of them')


def test_splits_have_one_folder_each_and_one_trains(tmp_path):
    write_pair(tmp_path, 'a', MASK, 'val')
    with pytest.raises(
        UserError, match='no training images. The splits with annotated images are'
    ):
        sources.find_dataset(f'masks:{tmp_path}')
    write_pair(tmp_path, 'a', MASK, 'valid')
    with pytest.raises(
        UserError, match='val and valid are both of the split validation'
    ):
        sources.find_dataset(f'masks:{tmp_path}')
