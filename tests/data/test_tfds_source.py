import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds
from helpers.data_config import data_config
from PIL import Image

from jaxvision.core.errors import UserError
from jaxvision.data import pipeline, sources, video
from jaxvision.data.protocol import Unreadable, labels_of

SHARED = Path(__file__).parents[3] / 'shared' / 'data'


def config(source, folder, **fields):
    return data_config(source=source, dir=str(folder), **fields)


def opened(source, folder, **fields):
    return [
        sources.open_source(config(source, folder, **fields), s)
        for s in ('train', 'test')
    ]


def features(**changed):
    return {
        'image': tfds.features.Tensor(shape=(4, 4, 3), dtype=np.uint8),
        'label': tfds.features.ClassLabel(names=['x', 'y']),
    } | changed


def write(folder, splits, features=None, name='toy', **options):
    """A data set made without a builder's code, as a person's own is: it exists as files only."""
    spec = tfds.features.FeaturesDict(features or globals()['features']())
    options = {'file_format': 'array_record', 'disable_shuffling': True} | options
    tfds.dataset_builders.store_as_tfds_dataset(
        name=name,
        version='1.0.0',
        data_dir=str(folder),
        features=spec,
        split_datasets={
            split: [(i, example) for i, example in enumerate(examples)]
            for split, examples in splits.items()
        },
        **options,
    )
    return folder


def examples(count, label=lambda i: i % 2):
    return [
        {'image': np.full((4, 4, 3), i, np.uint8), 'label': label(i)}
        for i in range(count)
    ]


@pytest.fixture(scope='module')
def toy(tmp_path_factory):
    return write(
        tmp_path_factory.mktemp('toy'), {'train': examples(40), 'test': examples(6)}
    )


def test_a_data_set_that_is_files_only(toy):
    train, test = opened('toy', toy)
    assert (len(train), len(test)) == (40, 6)
    assert train.info.class_names == ('x', 'y') and train.info.image_shape == (4, 4, 3)
    assert test.where(3) == 'toy/1.0.0 test, row 3'
    for row in range(40):
        assert (train[row]['image'] == row).all() and train[row]['label'] == row % 2
    np.testing.assert_array_equal(train.labels(), np.arange(40) % 2)
    assert (
        len({source.info.fingerprint for source in opened('toy', toy) + [train, test]})
        == 2
    )


@pytest.mark.parametrize('name', ['toy', 'toy:1.0.0', 'toy:1.*.*'])
def test_versions(toy, name):
    assert opened(name, toy)[0].info.name == 'toy/1.0.0'


@pytest.mark.parametrize(
    'splits, expected',
    [
        ({'train': 20, 'validation': 4, 'test': 6}, (20, 'test')),
        ({'train': 20, 'validation': 4, 'test': -6}, (20, 'validation')),
        ({'train': 20, 'validation': 4}, (20, 'validation')),
        ({'train': 20, 'test': -6}, (16, 'train, held out 20 %')),
        ({'train': 20}, (16, 'train, held out 20 %')),
    ],
)
def test_what_is_evaluated(tmp_path, splits, expected):
    made = {
        name: examples(
            abs(count), label=(lambda i: -1) if count < 0 else (lambda i: i % 2)
        )
        for name, count in splits.items()
    }
    train, test = opened('toy', write(tmp_path, made))
    assert (len(train), test.info.split) == expected


def test_an_example_without_a_label_is_named_where_others_have_one(tmp_path):
    splits = {
        'train': examples(4),
        'test': examples(4, label=lambda i: i - 2 if i else 0),
    }
    _, test = opened('toy', write(tmp_path, splits))
    assert test.info.split == 'test' and test[2]['label'] == 0
    with pytest.raises(Unreadable, match='its label is not known'):
        test[1]


def test_the_held_out_part_is_disjoint_stratified_and_fixed(tmp_path):
    folder = write(tmp_path, {'train': examples(40, label=lambda i: int(i >= 30))})
    train, test = opened('toy', folder)
    np.testing.assert_array_equal(np.bincount(train.labels()), [24, 8])
    np.testing.assert_array_equal(np.bincount(test.labels()), [6, 2])
    rows = [
        [int(example['image'].max()) for example in source.read(np.arange(len(source)))]
        for source in (train, test)
    ]
    assert sorted(rows[0] + rows[1]) == list(range(40))
    assert rows[1] == [12, 15, 18, 20, 21, 27, 37, 38]


def test_splits_of_ones_own_choice(toy):
    train, test = opened(
        'toy', toy, train_split='train[:75%]', test_split='train[75%:]'
    )
    assert (len(train), len(test)) == (30, 10)
    assert (test[0]['image'] == 30).all()
    with pytest.raises(UserError, match='share examples'):
        opened('toy', toy, test_split='train[75%:]')
    with pytest.raises(
        UserError, match="no split 'val'; it has test, train|train, test"
    ):
        opened('toy', toy, test_split='val')


def test_few_per_class(toy):
    train, test = opened('toy', toy, per_class=5)
    np.testing.assert_array_equal(np.bincount(train.labels()), [5, 5])
    assert len(test) == 6
    assert [train.where(r) for r in range(10)] == [
        opened('toy', toy, per_class=5)[0].where(r) for r in range(10)
    ]
    with pytest.raises(UserError, match="'x' has only 20 training examples"):
        opened('toy', toy, per_class=21)


def test_labels_without_names_are_numbered(tmp_path):
    spec = features(label=tfds.features.ClassLabel(num_classes=3))
    train, _ = opened('toy', write(tmp_path, {'train': examples(20)}, spec))
    assert train.info.class_names == ('0', '1', '2')


def test_features_are_found_among_others(tmp_path):
    spec = features(score=tfds.features.Scalar(np.float32))
    made = [example | {'score': 0.5} for example in examples(20)]
    assert opened('toy', write(tmp_path, {'train': made}, spec))[0][3].keys() == {
        'image',
        'label',
    }


@pytest.mark.parametrize(
    'feature, said',
    [
        (
            tfds.features.Sequence(
                {'text': np.str_, 'id': np.int64}
            ),  # as coco_captions has them
            lambda texts: [{'text': text, 'id': 7} for text in texts],
        ),
        (tfds.features.Sequence(tfds.features.Text()), list),
        (tfds.features.Text(), lambda texts: texts[0]),
    ],
    ids=['coco', 'texts', 'text'],
)
def test_captions_in_place_of_labels(tmp_path, feature, said):
    texts = [[f'A caf\u00e9 of {i}.', *['Another'] * (i % 3)] for i in range(20)]
    made = [
        {'image': example['image'], 'captions': said(words)}
        for example, words in zip(examples(20), texts, strict=True)
    ]
    spec = {'image': features()['image'], 'captions': feature}
    train, test = opened('toy', write(tmp_path, {'train': made}, spec))
    assert (len(train), len(test), test.info.split) == (16, 4, 'train, held out 20 %')
    assert train.info.holds == ('image', 'captions') and train.info.class_names == ()
    for example in [*train.read(range(16)), *test.read(range(4))]:
        wanted = texts[int(example['image'].max())]
        one = isinstance(feature, tfds.features.Text)
        assert example['captions'] == (wanted[:1] if one else wanted)
    assert not train.info.has_labels
    with pytest.raises(UserError, match='toy.*has no labels.*it holds image, captions'):
        labels_of(train, 'this test')


def test_captions_beside_labels(tmp_path):
    made = [example | {'captions': 'a'} for example in examples(20)]
    spec = features(captions=tfds.features.Text())
    train, _ = opened('toy', write(tmp_path, {'train': made}, spec), per_class=3)
    assert train.info.holds == ('image', 'label', 'captions')
    np.testing.assert_array_equal(np.bincount(train.labels()), [3, 3])
    assert train[0].keys() == {'image', 'label', 'captions'}


@pytest.mark.parametrize(
    'changed, found',
    [
        ({'label': tfds.features.Scalar(np.int64)}, 'image: Tensor, label: Scalar'),
        (
            {'image': tfds.features.Tensor(shape=(4, 4, 3), dtype=np.float32)},
            'label: ClassLabel',
        ),
    ],
)
def test_other_features_are_an_error_that_lists_them(tmp_path, changed, found):
    made = examples(20)
    if 'image' in changed:
        made = [
            example | {'image': example['image'].astype(np.float32)} for example in made
        ]
    with pytest.raises(UserError, match=found):
        opened('toy', write(tmp_path, {'train': made}, features(**changed)))


@pytest.mark.parametrize('length', [None, 3])
def test_videos_are_lists_of_encoded_frames(tmp_path, length):
    spec = features(
        video=tfds.features.Video((length, 8, 12, 3), encoding_format='jpeg')
    )
    del spec['image']
    made = [
        {
            'video': np.full((length or 1 + i % 4, 8, 12, 3), 10 * i, np.uint8),
            'label': i % 2,
        }
        for i in range(20)
    ]
    train, test = opened('toy', write(tmp_path, {'train': made}, spec))
    assert (len(train), len(test)) == (16, 4)
    assert train.info.holds == ('video', 'label') and train.info.image_shape == (
        8,
        12,
        3,
    )
    assert train.info.frames is None
    shades = []
    for example in [*train.read(range(16)), *test.read(range(4))]:
        clip, own = video.clip(example['video'], 4, 1, 6, 1)
        shades += [round(int(clip[0].mean()) / 10)]
        assert own.sum() == len(example['video']) == (length or 1 + shades[-1] % 4)
        assert example['label'] == shades[-1] % 2
    assert sorted(shades) == [*range(20)]


@pytest.mark.parametrize(
    'source, message',
    [
        (
            'cifar10',
            r'\n    tfds build cifar10 --file_format=array_record --data_dir=\S+$',
        ),
        ('coco/2017', r'\n    tfds build coco/2017 --file_format=array_record'),
        ('cifra10', 'cifra10 is no data set of TFDS.*did you mean cifar10'),
        ('mnist5', 'did you mean mnist5k'),
        ('toy:2.*.*', 'only toy/1.0.0'),
        ('toy/small', 'only toy/1.0.0'),
        ('no such', "data.source='no such' is no data set"),
        ('no such', 'digit_pairs, .*, folder:PATH, videos:PATH, captions:PATH'),
        ('foldr:mine', 'did you mean folder:PATH'),
        ('caption', 'did you mean captions:PATH'),
        ('moving_digit', 'did you mean moving_digits'),
        ('digits/small', "digits has no configurations. Write 'digits'"),
        ('digit_pairs/small', 'digit_pairs has no configurations'),
    ],
)
def test_what_is_not_there(toy, source, message):
    with pytest.raises(UserError, match=message):
        opened(source, toy)


def test_a_folder_with_a_space_is_quoted(tmp_path):
    with pytest.raises(UserError, match=r"--data_dir='\S+/my data'$"):
        opened('mnist', tmp_path / 'my data')


def test_tfrecord_is_an_error_that_says_how_to_convert(tmp_path):
    folder = write(tmp_path, {'train': examples(20)}, file_format='tfrecord')
    place = folder / 'toy' / '1.0.0'
    with pytest.raises(
        UserError,
        match='tfds convert_format --out_file_format=array_record '
        f'--dataset_version_dir={place}',
    ):
        opened('toy', folder)


def test_several_configurations(tmp_path):
    for name in ('big', 'small'):
        write(tmp_path, {'train': examples(20)}, config=name)
    assert opened('toy/small', tmp_path)[0].info.name == 'toy/small/1.0.0'
    with pytest.raises(
        UserError, match='several configurations; name one: toy/big, toy/small'
    ):
        opened('toy', tmp_path)


def test_encoded_images_are_decoded_and_a_damaged_one_is_named(tmp_path):
    paths = []
    for number in range(20):
        path = tmp_path / f'{number}.png'
        Image.new('L', (6, 5), number).save(path)
        paths.append(path)
    paths[7].write_bytes(paths[7].read_bytes()[:40])
    made = [
        {'image': str(path), 'label': number % 2} for number, path in enumerate(paths)
    ]
    spec = features(image=tfds.features.Image(shape=(5, 6, 1)))
    folder = write(tmp_path / 'data', {'train': made, 'test': made[:4]}, spec)
    train, test = opened('toy', folder)
    assert train[5]['image'].shape == (5, 6, 1) and (train[5]['image'] == 5).all()
    with pytest.raises(UserError, match='toy/1.0.0 train, row 7: '):
        list(pipeline.eval_batches(train, None, batch_size=4))


@pytest.mark.skipif(
    not SHARED.exists(), reason='Fashion-MNIST is not beside this checkout'
)
def test_fashion_mnist():
    train, test = opened('fashion_mnist', SHARED)
    assert (len(train), len(test)) == (60000, 10000)
    assert train.info.class_names[9] == 'Ankle boot'
    np.testing.assert_array_equal(np.bincount(test.labels()), [1000] * 10)
    assert (
        60 < train.batch(np.arange(500))['image'].mean() < 85
    )  # the set's mean is 72.9


def test_reading_never_imports_tensorflow(toy):
    script = (
        'import sys\n'
        'from helpers.data_config import data_config\n'
        'from jaxvision.data import pipeline, sources\n'
        f'data = data_config(source="toy", dir={str(toy)!r}, per_class=3)\n'
        'source = sources.open_source(data, "train")\n'
        'next(pipeline.train_batches(source, None, seed=0, batch_size=8, start=0, stop=9))\n'
        'assert not any(name.split(".")[0] == "tensorflow" for name in sys.modules)'
    )
    environment = {**os.environ, 'PYTHONPATH': os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, '-c', script], check=True, env=environment)
