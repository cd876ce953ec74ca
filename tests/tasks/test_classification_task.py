"""Image classification: loss, augmentation, labels and preprocessing."""

import csv
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxvision
from jaxvision.core import config as configs
from jaxvision.core import keys
from jaxvision.core.spec import ArraySpec
from jaxvision.tasks.classification import task as classification
from jaxvision.tasks.shared import class_labels, image_input
from jaxvision.train import loop, run
from jaxvision.train.sources import Sources


@pytest.fixture
def opened(tiny, tmp_path):
    """A run that has not begun: (task, its first state, a batch)."""

    def begin(*overrides):
        begun = run.begin(tiny(*overrides), tmp_path / 'run')
        source = begun.sources['train']
        batch = source.batch(range(16)) | {'index': np.arange(16, dtype=np.int32)}
        batch = {name: jnp.asarray(array) for name, array in batch.items()}
        return begun.task, begun.init(), batch

    return begin


def augmentation(**options):
    config = configs.default('classification')
    config.task.augment.update(options)
    return config.task.augment


def pictures(batch=8, seed=0):
    rng = np.random.default_rng(seed)
    images = rng.uniform(size=(batch, 12, 12, 3)).astype(np.float32)
    return jnp.asarray(images), jax.nn.one_hot(jnp.arange(batch) % 4, 4)


def test_predictions_of_uint8_and_float_images_are_equal(trained):
    task, variables, _ = jaxvision.load(trained)
    image = jnp.asarray(
        np.random.default_rng(0).integers(0, 256, (4, 8, 8, 1), np.uint8)
    )
    of_floats = task.predict(variables, {'image': image.astype(jnp.float32)})
    of_integers = task.predict(variables, {'image': image})
    for name in ('logits', 'probabilities'):
        np.testing.assert_allclose(of_floats[name], of_integers[name], rtol=1e-6)
    probabilities = of_integers['probabilities']
    np.testing.assert_allclose(probabilities.sum(-1), 1, rtol=1e-6)
    np.testing.assert_allclose(probabilities, jax.nn.softmax(of_integers['logits']))


def test_gradients_reach_the_pixels(trained):
    task, variables, _ = jaxvision.load(trained)
    image = jnp.asarray(
        np.random.default_rng(0).uniform(0, 255, (1, 8, 8, 1)), jnp.float32
    )
    score = jax.jit(lambda x: task.predict(variables, {'image': x})['logits'][0, 3])
    gradient = np.asarray(jax.jit(jax.grad(score))(image))
    direction = np.sign(gradient)
    slope = (score(image + 0.05 * direction) - score(image - 0.05 * direction)) / 0.1
    np.testing.assert_allclose(slope, np.abs(gradient).sum(), rtol=0.05)
    assert np.abs(gradient).sum() > 0


def log_softmax(logits):
    logits = logits - logits.max(-1, keepdims=True)
    return logits - np.log(np.exp(logits).sum(-1, keepdims=True))


@pytest.mark.parametrize('smoothing', [0.0, 0.1])
def test_the_loss_equals_numpy_for_a_head_with_a_zero_kernel(opened, smoothing):
    """The logits are then the bias, whatever batch norm does in training."""
    task, state, batch = opened(f'task.label_smoothing={smoothing}')
    head = state.params['model']['head']
    bias = jnp.linspace(-1, 2, 10)
    head = {'kernel': jnp.zeros_like(head['kernel']), 'bias': bias}
    state = state.replace(params={'model': {**state.params['model'], 'head': head}})
    _, scalars = jax.jit(task.update)(state, batch)
    targets = (1 - smoothing) * np.eye(10)[np.asarray(batch['label'])] + smoothing / 10
    expected = -(targets * log_softmax(np.linspace(-1, 2, 10))).sum(-1).mean()
    assert scalars['loss'] == pytest.approx(expected, rel=1e-5)


def test_mixup_mixes_targets_with_the_same_weight_as_pixels():
    images, targets = pictures()
    mixed, mixed_targets = image_input.augment_images(
        augmentation(mixup=1.0), jax.random.key(1), jnp.arange(8), images, targets
    )
    neighbours = (
        np.asarray(images).reshape(4, 2, 12, 12, 3)[:, ::-1].reshape(images.shape)
    )
    for i in range(8):
        # The weight is computed from the pixels and must be the weight of the targets.
        change = np.asarray(mixed - images)[i].ravel()
        difference = (neighbours - images)[i].ravel()
        weight = 1 - change @ difference / (difference @ difference)
        other = np.asarray(targets)[i ^ 1]
        np.testing.assert_allclose(
            mixed_targets[i], weight * targets[i] + (1 - weight) * other, atol=1e-5
        )
    np.testing.assert_allclose(mixed_targets.sum(-1), 1, rtol=1e-6)


EACH = dict(flip=True, translate=0.2, rotate=20.0, color=0.3, randaugment=2, cutout=0.4)


@pytest.mark.parametrize('option', EACH)
def test_augmentation_depends_on_the_index_and_not_on_the_place_in_the_batch(option):
    images, targets = pictures()
    options = augmentation(**{option: EACH[option]})
    order = np.random.default_rng(3).permutation(8)
    index = jnp.arange(100, 108)
    apply = jax.jit(
        lambda key, index, images: image_input.augment_images(
            options, key, index, images, targets
        )[0]
    )
    whole = apply(jax.random.key(5), index, images)
    moved = apply(jax.random.key(5), index[order], images[order])
    np.testing.assert_allclose(moved, whole[order], atol=1e-5)
    assert not np.allclose(whole, images)
    assert not np.allclose(whole, apply(jax.random.key(6), index, images))


def test_mixup_and_cutmix_depend_on_the_pair_and_not_on_its_place():
    images, targets = pictures()
    order = np.array([4, 5, 0, 1, 6, 7, 2, 3])

    def apply(index, images, targets):
        return image_input.augment_images(
            augmentation(mixup=0.4, cutmix=1.0),
            jax.random.key(2),
            index,
            images,
            targets,
        )

    in_order = apply(jnp.arange(8), images, targets)
    permuted = apply(jnp.arange(8)[order], images[order], targets[order])
    for actual, expected in zip(permuted, in_order, strict=True):
        np.testing.assert_allclose(actual, expected[order], atol=1e-6)


def test_a_step_has_mixup_or_cutmix_at_random():
    images, targets = pictures()
    apply = jax.jit(
        lambda key: image_input.augment_images(
            augmentation(mixup=1.0, cutmix=1.0), key, jnp.arange(8), images, targets
        )[0]
    )
    pixels = (
        np.asarray(images),
        np.asarray(images).reshape(4, 2, -1)[:, ::-1].reshape(images.shape),
    )
    pasted = [
        bool(np.isin(np.asarray(apply(key)), pixels).all())
        for key in jax.random.split(jax.random.key(0), 24)
    ]
    assert 4 < sum(pasted) < 20


def test_a_csv_table_with_several_labels_an_image_trains(
    tiny, photos, tmp_path, no_pictures
):
    with (photos / 'labels.csv').open('w', newline='') as file:
        table = csv.writer(file)
        table.writerow(['file', 'label', 'split'])
        for path in sorted(photos.glob('*/*.png')):
            labels = [path.parent.name]
            if int(path.stem) % 2 == 0:
                labels.append('even')
            split = 'test' if int(path.stem) >= 15 else 'train'
            table.writerow([path.relative_to(photos), ';'.join(labels), split])
    config = tiny(
        f'data.source=folder:{photos}',
        'data.batch_size=16',
        'data.image_size=8',
        'train.steps=12',
        'train.eval_every=12',
    )
    result = loop.run(config, tmp_path / 'run')
    assert result.metrics.keys() == {
        f'eval/{name}'
        for name in ('mean_average_precision', 'f1_micro', 'exact_match', 'nll')
    }
    assert 0.3 < result.metrics['eval/mean_average_precision'] <= 1
    task, variables, spec = jaxvision.load(tmp_path / 'run')
    assert spec.class_names == ('even', 'nought', 'one', 'two')
    assert spec.multi_label
    answer = task.predict(variables, {'image': jnp.zeros((2, 8, 8, 1), jnp.uint8)})
    np.testing.assert_allclose(
        answer['probabilities'], 1 / (1 + np.exp(-answer['logits'])), rtol=1e-6
    )


@pytest.mark.parametrize('rule', ['stretch', 'center_crop'])
def test_images_of_unequal_size_are_resized_to_one_size(tiny, photos, tmp_path, rule):
    config = tiny(
        f'data.source=folder:{photos}',
        'data.batch_size=8',
        'data.image_size=8',
        f'task.resize={rule}',
        'task.crop_scale=0.5',
    )
    begun = run.begin(config, tmp_path / 'run')
    assert begun.spec.inputs == {'image': ArraySpec((8, 8, 1), 'uint8')}
    assert begun.spec.preprocessing.resize == rule
    source = begun.sources['train']
    prepare = begun.task.prepare

    def prepared(rng):
        return prepare(source[5], rng)['image']

    assert prepared(None).shape == (8, 8, 1) and prepared(None).dtype == np.uint8
    np.testing.assert_array_equal(prepared(None), prepared(None))

    def random_crop(number):
        return prepared(keys.host(0, 'prepare', number))

    np.testing.assert_array_equal(random_crop(1), random_crop(1))
    assert len({random_crop(number).tobytes() for number in range(6)}) > 3


def test_mean_and_std_of_the_training_images_equal_numpy(tiny):
    config = tiny()
    source = Sources(config, {})['train']
    spec = classification.describe(config, source)
    rows = np.linspace(0, len(source) - 1, 512).astype(int)
    pixels = np.stack([source[int(row)]['image'] for row in rows]) / 255
    assert spec.preprocessing.mean == pytest.approx([pixels.mean()], rel=1e-6)
    assert spec.preprocessing.std == pytest.approx([pixels.std()], rel=1e-6)


def test_the_answer_for_one_label_has_the_five_most_likely_classes():
    outputs = {'probabilities': np.array([0.05, 0.6, 0.01, 0.2, 0.1, 0.04], np.float32)}
    answer, picture = class_labels.show(
        list('abcdef'), False, {'original': np.zeros((30, 40, 3), np.uint8)}, outputs
    )
    assert answer['class'] == 'b' and answer['probability'] == 0.6
    assert [likely['class'] for likely in answer['top']] == list('bdeaf')
    assert json.loads(json.dumps(answer)) == answer
    assert picture.dtype == np.uint8 and picture.shape[2] == 3
    assert class_labels.show(list('abcdef'), False, {}, outputs) == (answer, None)


@pytest.mark.parametrize(
    'probabilities, classes', [([0.7, 0.2, 0.9], ['c', 'a']), ([0.1, 0.2, 0.5], [])]
)
def test_the_answer_for_several_labels_has_all_likely_classes(probabilities, classes):
    outputs = {'probabilities': np.array(probabilities)}
    answer, _ = class_labels.show(list('abc'), True, {}, outputs)
    assert answer['classes'] == classes
    assert answer['class'] == 'c' and len(answer['top']) == 3
