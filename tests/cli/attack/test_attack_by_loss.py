"""`jaxvision attack` on a detector and a segmenter: their own losses and metrics."""

import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.untrained import save_untrained
from PIL import Image

from jaxvision.attacks import ascent
from jaxvision.cli import stored
from jaxvision.cli.attack import command, victim
from jaxvision.cli.attack.measured_examples import MeasuredExamples
from jaxvision.core import config as configs
from jaxvision.core import keys
from jaxvision.data import digit_scenes
from jaxvision.image.warp import Warp
from jaxvision.metrics import detection as detection_metrics
from jaxvision.tasks.detection import evaluation

COUNT = 3


def save(task, workdir, *overrides):
    config = configs.default(task)
    base = (
        'data.source=digit_scenes/64',
        'data.image_size=64',
        'data.batch_size=4',
    )
    for text in (*base, *overrides):
        configs.override(config, *text.split('=', 1))
    save_untrained(config, workdir)
    return workdir


@pytest.fixture(scope='module', autouse=True)
def few():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(digit_scenes, 'LENGTHS', (4, COUNT))
        yield


@pytest.fixture(scope='module')
def segmenter(tmp_path_factory):
    return save(
        'segmentation',
        tmp_path_factory.mktemp('runs') / 'segmenter',
        'model.name=segmentation_unet',
        'model.variant=cnn:4x1-8x1-8x1',
        'model.options.finest=2',
    )


@pytest.fixture(scope='module')
def detector(tmp_path_factory):
    return save(
        'detection',
        tmp_path_factory.mktemp('runs') / 'detector',
        'model.name=dense_detector',
        'model.variant=cnn:4x1-8x1-8x1-8x1',
        'model.options.strides=4-8',
        'model.options.width=8',
        'model.options.depth=1',
        'task.least_score=0',
        'task.most_detections=10',
    )


@pytest.fixture
def attack(called, monkeypatch):
    """attack(run, argument, ...) -> (exit code, stdout, stderr), with stored batches kept."""
    monkeypatch.setattr(stored, 'remove', lambda folder: None)
    return functools.partial(called, command.main, '--workdir')


def attacked(folder, eps):
    """(images, losses) that an attack stored for one size."""
    (batches,) = folder.glob('batches-*')
    parts = []
    for path in sorted(batches.glob(f'{eps}-*.npz')):
        with np.load(path) as arrays:
            parts.append((arrays['images'], arrays['losses']))
    images, losses = (np.concatenate(part)[:COUNT] for part in zip(*parts, strict=True))
    return images, losses


def prepared(opened):
    """The prepared test examples, in their order."""
    source = opened.run.sources['test']
    return [opened.run.task.prepare(source[row], None) for row in range(COUNT)]


def ascended_alone(opened, example, row, **options):
    """The image of one example in a batch of its own. Its key depends on its row."""
    batch = {name: jnp.asarray(values)[None] for name, values in example.items()}
    loss = jax.tree_util.Partial(
        opened.run.task.inference_loss, opened.state.variables, batch
    )
    stream = keys.stream(jax.random.key(0), 'attack')
    example_keys = jax.random.fold_in(stream, row)[None]
    return ascent.ascend(loss, batch['image'] / 255, example_keys, **options).images[0]


def test_a_segmenter_loses_on_its_own_loss_and_is_measured_by_its_miou(
    attack, segmenter, tmp_path, no_pictures
):
    code, out, err = attack(
        segmenter, '--eps', '4/255,0.1', '--steps', 3, '--batch_size', 2, '--out', 'out'
    )
    assert code == 0, err
    report = json.loads((tmp_path / 'out' / 'attack.json').read_text())
    assert report['metric'] == 'miou' and report['images'] == COUNT
    assert report['attack'] == 'pgd' and report['steps'] == 3
    losses = [report['clean']['loss'], *(row['loss'] for row in report['eps'])]
    assert losses == sorted(losses) and losses[0] < losses[1] < losses[2]
    assert 'miou' in out and 'upper bound' in out
    assert (tmp_path / 'out' / 'curve.png').exists()
    for folder in ('clean', 'eps-4-255', 'eps-0.1'):
        assert (tmp_path / 'out' / folder / 'predictions.png').exists()
    opened = victim.open_with_loss(str(segmenter), 'last')
    examples = prepared(opened)
    images, _ = attacked(tmp_path / 'out', '4:255')
    predict = jax.jit(opened.run.task.predict)
    alone = ascended_alone(opened, examples[1], row=1, eps=4 / 255, steps=3)
    # The sign of a gradient near 0 may differ by rounding.
    assert np.mean(np.abs(alone - images[1]) > 1e-5) < 0.02
    counts = np.zeros((2, *[len(opened.class_names)] * 2), int)
    for image, example in zip(images, examples, strict=True):
        original = example['image'].astype(np.float32) / 255
        change = np.abs(image - original)
        assert change.max() == pytest.approx(4 / 255, rel=1e-3)
        for place, pixels in enumerate((example['image'], 255 * image)):
            outputs = predict(opened.state.variables, {'image': pixels[None]})
            labels = np.asarray(outputs['probabilities'])[0].argmax(-1)
            np.add.at(counts[place], (example['semantic'], labels), 1)
    for rows, expected in zip(counts, (report['clean'], report['eps'][0]), strict=True):
        hits = np.diag(rows)
        union = rows.sum(0) + rows.sum(1) - hits
        iou = hits[union > 0] / union[union > 0]
        assert expected['metrics']['miou'] == pytest.approx(iou.mean(), abs=1e-9)


def test_a_detector_loses_on_its_own_loss_and_is_measured_by_its_ap(
    attack, detector, tmp_path
):
    code, _, err = attack(
        detector,
        *('--eps', '0.5', '--norm', 'l2', '--steps', 4),
        *('--out', 'out', '--no_pictures'),
    )
    assert code == 0, err
    report = json.loads((tmp_path / 'out' / 'attack.json').read_text())
    assert report['metric'] == 'ap'
    assert report['eps'][0]['loss'] > report['clean']['loss']
    opened = victim.open_with_loss(str(detector), 'last')
    task = opened.run.task
    examples = prepared(opened)
    images, losses = attacked(tmp_path / 'out', '0.5')
    assert report['eps'][0]['loss'] == pytest.approx(losses.mean())
    lengths = []
    records = []
    predict = jax.jit(task.predict)
    for index, (image, example) in enumerate(zip(images, examples, strict=True)):
        original = example['image'].astype(np.float32) / 255
        lengths.append(np.linalg.norm(image - original))
        outputs = predict(opened.state.variables, {'image': 255 * image[None]})
        batch = {name: values[None] for name, values in example.items()}
        batch['index'] = np.array([index])
        records.append(jax.device_get(evaluation.record(outputs, batch)))
    assert max(lengths) == pytest.approx(0.5, rel=1e-3)
    joined = {
        name: np.concatenate([record[name] for record in records])
        for name in records[0]
    }
    expected = detection_metrics.summarize(opened.class_names, joined)
    for name, value in report['eps'][0]['metrics'].items():
        wanted = expected[name] if np.isfinite(expected[name]) else None
        assert value == pytest.approx(wanted, abs=1e-6), name


def test_only_pixels_of_the_image_may_change():
    arrays = {
        'image': np.zeros((2, 10, 10, 3), np.uint8),
        'warp': np.stack(
            [
                Warp.resize((20, 40), (5, 10)).then(Warp.crop(-2, 0, (10, 10))).matrix,
                Warp.identity((10, 10)).matrix,
            ]
        ),
        'original_size': np.array([[20, 40], [10, 10]]),
    }
    examples = MeasuredExamples(
        request=None, arrays=arrays, source=None, evaluate=None, rows=np.arange(2)
    )
    free = examples.free(np.array([0, 1]))
    assert free[0, 2:7].all() and free[0].sum() == 50
    assert free[1].all()


def test_a_mistake_is_one_line(attack, segmenter, fake):
    cases = [
        (segmenter, ['--attack', 'auto'], "--attack='auto'"),
        (segmenter, ['--target', '1'], '--target=1: expected only with a classifier'),
        (segmenter, ['none.png'], 'none.png'),
        (segmenter, ['--source', segmenter], '--source='),
        (fake('upscaler'), [], 'a detector or a segmenter, and its task is'),
    ]
    for workdir, arguments, message in cases:
        code, _, err = attack(workdir, '--eps', '0.1', *arguments)
        assert code == 2
        assert message in err
        assert err.count('\n') == 1


def test_files_of_a_user_are_attacked_from_what_the_detector_finds(
    attack, detector, tmp_path
):
    (detector / 'calibration.json').write_text('{"score": 1e-6}')
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (32, 64, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / 'wide.png')
    (tmp_path / 'broken.png').write_text('no image')
    arguments = ('--eps', '8/255', '--steps', 3, '--out', 'out', '--no_pictures')
    code, out, err = attack(detector, *arguments, 'wide.png', 'broken.png')
    (detector / 'calibration.json').unlink()
    assert code == 1, err
    report = json.loads((tmp_path / 'out' / 'attack.json').read_text())
    wide, broken = report['files']
    assert 'error' in broken and 'not attacked' in out
    assert wide['adversarial_loss'] >= wide['loss']
    assert 0 <= wide['kept'] <= 1
    # The predictions for the original are its truth.
    assert report['clean']['metrics']['ap'] == pytest.approx(1)
    # The padding of the letterbox is left out.
    with Image.open(wide['picture']) as picture:
        change = np.asarray(picture).astype(int) - pixels
    assert np.abs(change).max() <= 8
    code, _, err = attack(detector, *arguments[:-1], 'wide.png', '--out', 'other')
    assert code == 2 and 'the run finds none' in err and err.count('\n') == 1


def test_a_segmenter_keeps_fewer_pixels_of_a_file_under_attack(
    attack, segmenter, tmp_path
):
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (64, 64, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / 'noise.png')
    arguments = ('--steps', 3, '--batch_size', 2, '--out', 'out', '--no_pictures')
    code, _, err = attack(segmenter, '--eps', '0.1', *arguments, 'noise.png')
    assert code == 0, err
    report = json.loads((tmp_path / 'out' / 'attack.json').read_text())
    (entry,) = report['files']
    assert entry['adversarial_loss'] > entry['loss'] and entry['kept'] < 1
    assert report['clean']['metrics']['miou'] == 1
    code, _, err = attack(segmenter, '--eps', '0.1,0.2', *arguments, 'noise.png')
    assert code == 2 and 'expected one size for your files' in err
