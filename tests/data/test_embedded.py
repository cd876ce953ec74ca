import hashlib
import multiprocessing
import os
import subprocess
import sys

import numpy as np
import pytest
import skimage.data
from helpers.data_config import data_config
from sklearn.datasets import load_digits

from jaxvision.core.errors import UserError
from jaxvision.data import embedded, sources


def opened(name, folder, split):
    return sources.open_source(data_config(source=name, dir=str(folder)), split)


@pytest.fixture(scope='module')
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp('data')


def content(source):
    batch = source.batch(np.arange(len(source)))
    digest = hashlib.sha256(batch['image'].tobytes() + batch['label'].tobytes())
    return digest.hexdigest()[:16]


@pytest.mark.parametrize(
    'name, train, test, shape, hashes',
    [
        ('digits', 1438, 359, (8, 8, 1), ['a73bc600b14e9a59', '7c1ee3b1bf7675d2']),
        ('mnist5k', 4000, 1000, (28, 28, 1), ['546a89572bd70d61', 'db40ef2e76eb9ec1']),
    ],
)
def test_splits_are_fixed(cache, name, train, test, shape, hashes):
    splits = [opened(name, cache, split) for split in ('train', 'test')]
    assert [len(source) for source in splits] == [train, test]
    assert all(source.info.image_shape == shape for source in splits)
    assert all(source.info.class_names == tuple('0123456789') for source in splits)
    assert [content(source) for source in splits] == hashes


def test_digits_are_scikit_learns(cache):
    train, test = (opened('digits', cache, split) for split in ('train', 'test'))
    images = np.concatenate(
        [s.batch(np.arange(len(s)))['image'] for s in (train, test)]
    )
    labels = np.concatenate([train.labels(), test.labels()])
    reference = load_digits()
    assert images.max() == 255
    sixteenths = np.round(images[..., 0] / 255 * 16).reshape(-1, 64)
    ours = sorted(zip(map(tuple, sixteenths), labels, strict=True))
    assert ours == sorted(
        zip(map(tuple, reference.data), reference.target, strict=True)
    )


def test_mnist5k_is_stratified(cache):
    assert (
        np.bincount(opened('mnist5k', cache, 'train').labels()).tolist() == [400] * 10
    )
    assert np.bincount(opened('mnist5k', cache, 'test').labels()).tolist() == [100] * 10


@pytest.fixture(scope='module')
def photos(cache):
    return {split: opened('photos', cache, split) for split in ('train', 'test')}


def test_photos_are_held_out_by_photograph(photos):
    names = photos['train'].info.class_names
    counts = {
        split: np.bincount(source.labels(), minlength=len(names))
        for split, source in photos.items()
    }
    tested = {
        name: count for name, count in zip(names, counts['test'], strict=True) if count
    }
    assert tested == {'flower': 3 * 5, 'coffee': 3 * 4, 'astronaut': 4 * 4}
    trained = {
        name: count for name, count in zip(names, counts['train'], strict=True) if count
    }
    assert trained == {name: 64 for name in names if name not in tested}
    assert all(source.info.image_shape == (128, 128, 3) for source in photos.values())


@pytest.mark.parametrize(
    'name, split, places',
    [
        ('coffee', 'test', {(y, x) for y in (0, 128, 256) for x in (0, 128, 256, 384)}),
        (
            'chelsea',
            'train',
            {
                (y, x)
                for y in (0, 24, 49, 73, 98, 122, 147, 172)
                for x in (0, 46, 92, 138, 184, 230, 276, 323)
            },
        ),
    ],
)
def test_photos_are_cut_from_the_photographs(photos, name, split, places):
    source = photos[split]
    rows = np.flatnonzero(source.labels() == source.info.class_names.index(name))
    image = getattr(skimage.data, name)()
    crops = {crop.tobytes() for crop in source.batch(rows)['image']}
    assert crops == {image[y : y + 128, x : x + 128].tobytes() for y, x in places}


def test_a_grey_photograph_has_three_equal_channels(photos):
    train = photos['train']
    row = np.flatnonzero(train.labels() == train.info.class_names.index('camera'))[0]
    image = train[int(row)]['image']
    assert image.std() > 0 and (image == image[..., :1]).all()


def test_preparing_says_one_line_and_only_once(tmp_path, capfd):
    embedded.prepare('digits', str(tmp_path))
    embedded.prepare('digits', str(tmp_path))
    out, err = capfd.readouterr()
    assert out == f'preparing digits in {tmp_path} ...\n'
    assert err == ''
    assert [path.name for path in tmp_path.iterdir()] == ['digits']


def test_two_processes_may_prepare_at_once(tmp_path):
    with multiprocessing.get_context('spawn').Pool(2) as pool:
        folders = pool.starmap(embedded.prepare, [('digits', str(tmp_path))] * 2)
    assert folders[0] == folders[1]
    assert len(opened('digits', tmp_path, 'train')) == 1438


def test_a_death_half_way_leaves_nothing_that_looks_prepared(tmp_path):
    script = (
        'import os; from jaxvision.data import embedded\n'
        'from jaxvision.core import files\n'
        'files._rename_unless_present = lambda *_: os._exit(9)\n'
        f'embedded.prepare("digits", {str(tmp_path)!r})'
    )
    assert subprocess.run([sys.executable, '-c', script]).returncode == 9
    assert len(opened('digits', tmp_path, 'test')) == 359


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / 'file').write_text('')
    with pytest.raises(UserError, match='data.dir'):
        embedded.prepare('digits', str(tmp_path / 'file' / 'below'))


def test_the_cache_is_the_users(tmp_path):
    script = (
        'import sys\n'
        'from helpers.data_config import data_config\n'
        'from jaxvision.data import pipeline, sources\n'
        'data = data_config(source="digits")\n'
        'source = sources.open_source(data, "train")\n'
        'next(pipeline.train_batches(source, None, seed=0, batch_size=8, start=0, stop=9))\n'
        'assert not any(name.split(".")[0] == "tensorflow" for name in sys.modules)'
    )
    subprocess.run(
        [sys.executable, '-c', script],
        check=True,
        env=os.environ
        | {'XDG_CACHE_HOME': str(tmp_path), 'PYTHONPATH': os.pathsep.join(sys.path)},
    )
    assert (
        tmp_path / 'jaxvision' / 'data' / 'digits' / '1.0.0' / 'features.json'
    ).exists()
