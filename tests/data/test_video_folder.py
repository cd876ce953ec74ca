import numpy as np
import pytest
from helpers.data_config import data_config
from PIL import Image

from jaxvision.core.errors import UserError
from jaxvision.data import pipeline, sources, video
from jaxvision.data.video_folder import VideoFolder


def opened(folder, **fields):
    config = data_config(source=f'videos:{folder}', **fields)
    return [sources.open_source(config, split) for split in ('train', 'test')]


def write(path, shade=0, frames=4):
    """A film of one shade, with a format that keeps it as it is."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == '.gif':
        # Pillow joins equal frames into one.
        pictures = [Image.new('L', (12, 8), shade + number) for number in range(frames)]
        pictures[0].save(path, save_all=True, append_images=pictures[1:], duration=100)
    else:
        video.write_clip(path, np.full((frames, 8, 12, 3), shade, np.uint8), 10.0)


@pytest.fixture
def tree(tmp_path):
    """jump/ and walk/ of five films each."""
    for label, name in enumerate(('jump', 'walk')):
        for number in range(5):
            suffix = ('mp4', 'MP4', 'gif')[number % 3]
            write(tmp_path / name / f'{number}.{suffix}', 100 * label + 10 * number)
    return tmp_path


def prepare(example, rng):
    clip, own = video.clip(example['video'], 3, 1, 8, 3, rng)
    return {
        'video': clip,
        'own': own,
        **{k: v for k, v in example.items() if k == 'label'},
    }


def test_class_folders_are_divided_once_and_for_all(tree):
    train, test = opened(tree)
    assert train.info.class_names == ('jump', 'walk')
    assert train.info.holds == ('video', 'label')
    assert train.info.image_shape == (None, None, 3) and train.info.frames is None
    assert np.bincount(train.labels()).tolist() == [4, 4]
    assert np.bincount(test.labels()).tolist() == [1, 1]
    places = [
        source.where(row) for source in (train, test) for row in range(len(source))
    ]
    assert len({*places}) == 10
    again, _ = opened(tree)
    assert [again.where(row) for row in range(8)] == places[:8]
    assert again.info == train.info != test.info
    write(tree / 'jump' / 'one_more.gif')
    assert opened(tree)[0].info.fingerprint != train.info.fingerprint


def test_clips_of_films_in_batches(tree):
    train, test = opened(tree)
    (batch,) = pipeline.eval_batches(train, prepare, batch_size=8)
    assert batch['video'].shape == (8, 3, 8, 8, 3) and batch['own'].all()
    shades = batch['video'][:, 0].mean((1, 2, 3))
    expected = [
        100 * label + 10 * int(train.where(row).split('/')[-1][0])
        for row, label in enumerate(batch['label'])
    ]
    np.testing.assert_allclose(shades, expected, atol=4)  # H.264 is of limited range
    assert np.asarray(batch['label'] == train.labels()).all()


def test_split_folders(tmp_path):
    for split, count in (('train', 2), ('val', 1)):
        for name in ('jump', 'walk'):
            for number in range(count):
                write(tmp_path / split / name / 'deeper' / f'{number}.gif')
    train, test = opened(tmp_path)
    assert (len(train), len(test), test.info.split) == (4, 2, 'validation')
    assert '/val/' in test.where(0)
    write(tmp_path / 'val' / 'swim' / '0.gif')
    with pytest.raises(UserError, match="'swim', a class that training does not have"):
        opened(tmp_path)


def test_folders_are_read_as_those_of_images(tmp_path):
    names = []
    for split in ('Training', 'VAL', 'testing'):
        for name in ('jump', 'walk'):
            names.append(f'{split}/{name}/0.gif')
    junk = ('.Trash-1000/0.gif', 'VAL/__MACOSX/0.gif', 'VAL/jump/.old/0.gif')
    for shade, name in enumerate((*names, *junk, 'extra/0.gif')):
        write(tmp_path / name, shade)
    (tmp_path / 'VAL' / 'jump' / 'loop').symlink_to(tmp_path)
    (tmp_path / 'VAL' / 'jump' / 'gone.gif').symlink_to('/nowhere.gif')
    folder = VideoFolder(tmp_path)
    assert folder.splits == ('train', 'validation', 'test')
    for split, own in zip(folder.splits, ('Training', 'VAL', 'testing'), strict=True):
        source = folder.open(own)
        assert source.info.split == split and len(source) == 2
        assert source.info.class_names == ('jump', 'walk')
        assert all(f'/{own}/' in source.where(row) for row in range(2))
    assert folder.notes == (
        'Training/ is the train split',
        'VAL/ is the validation split',
        'testing/ is the test split',
        'extra/ beside Training/ is no split: left out',
        '1 broken link left out, such as VAL/jump/gone.gif',
    )


@pytest.mark.parametrize(
    'splits', [('',), ('train/', 'test/'), ('TRAIN/', 'Dev/'), ('Train/', 'valid/')]
)
def test_films_without_classes(tmp_path, splits):
    for split in splits:
        for number in range(10):
            write(tmp_path / f'{split}{number}.gif')
        (tmp_path / f'{split}notes.txt').touch()
    train, test = opened(tmp_path)
    assert (len(train), len(test)) == ((8, 2) if splits == ('',) else (10, 10))
    assert train.info.holds == ('video',) and [*train[0]] == ['video']
    with pytest.raises(UserError, match='holds video: this task needs label'):
        train.info.check_holds('video', 'label')
    with pytest.raises(UserError, match='has no label'):
        opened(tmp_path, per_class=1)


def test_mistakes_are_named(tree, tmp_path_factory):
    with pytest.raises(UserError, match='nowhere: there is no such folder'):
        opened(tree / 'nowhere')
    empty = tmp_path_factory.mktemp('empty')
    (empty / 'photo.jpg').touch()
    with pytest.raises(
        UserError, match=r'has no videos \(\.3gp, \.avi, .*\) to train on'
    ):
        opened(empty)
    (tree / 'photos').mkdir()
    with pytest.raises(
        UserError, match=r'photos has no videos \(\.3gp, .*fill it or remove it'
    ):
        opened(tree)
    write(tree / 'loose.gif')
    with pytest.raises(
        UserError, match=r'loose\.gif is in no class folder, but .*/\w+/\d\.\w+ is'
    ):
        opened(tree)
    (tree / 'val').mkdir()
    with pytest.raises(UserError, match='has val/ but no train/'):
        opened(tree)


def test_one_film_in_two_splits_is_refused(tmp_path):
    write(tmp_path / 'train' / '0.gif')
    (tmp_path / 'test').mkdir()
    (tmp_path / 'test' / '1.gif').symlink_to('../train/0.gif')
    with pytest.raises(UserError, match='are one file, in train and in test'):
        VideoFolder(tmp_path)


def test_a_film_that_is_cut_off_is_named(tree):
    path = tree / 'jump' / '0.mp4'
    path.write_bytes(path.read_bytes()[:-20])
    for source in opened(tree):
        if str(path) in map(source.where, range(len(source))):
            with pytest.raises(UserError, match=r'jump/0\.mp4: .*on_corrupt=replace'):
                list(pipeline.eval_batches(source, prepare, batch_size=4))
            return
    pytest.fail('the film is in no split')
