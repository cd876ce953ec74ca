"""`jaxvision attack`: reports, curves, killed evaluations, files of a user, mistakes."""

import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

import jaxvision
from jaxvision.attacks import loops, masking, pgd
from jaxvision.cli import pixel_classifiers, stored
from jaxvision.cli.attack import command, settings
from jaxvision.cli.attack.evaluation import _Progress
from jaxvision.train import loop


@pytest.fixture(autouse=True)
def short_blocks(monkeypatch):
    monkeypatch.setattr(loops, 'BLOCK', 1)


@pytest.fixture
def no_masking(monkeypatch):
    """Look for no signs of masking, which takes longer than an attack of some steps."""
    monkeypatch.setattr(masking, 'measure', lambda *_: masking.Signs(0.0, False, 0.0))


@pytest.fixture(scope='module')
def classifier(tiny, tmp_path_factory):
    """The folder of a run that is right about most digits."""
    config = tiny(
        'model.variant=32',
        'model.options.dropout=0.1',
        'optimizer.lr=0.05',
        'train.steps=60',
        'train.log_every=0',
        'train.eval_every=0',
        'train.checkpoint_every=0',
    )
    workdir = tmp_path_factory.mktemp('runs') / 'classifier'
    loop.run(config, workdir)
    return workdir


@pytest.fixture
def attack(called, classifier):
    """attack(argument, ...) -> (exit code, stdout, stderr), for a trained run."""
    return functools.partial(called, command.main, '--workdir', classifier)


PGD = ('--attack', 'pgd', '--steps', 8, '--examples', 60, '--batch_size', 25)


def report(folder):
    return json.loads((folder / 'attack.json').read_text())


def test_a_report_has_a_curve_and_counts_every_image(attack, tmp_path, classifier):
    code, out, err = attack('--eps', '0.02,8/255,0.3', '--out', 'out', *PGD)
    assert code == 0, err
    values = report(tmp_path / 'out')
    assert next(iter(values)) == 'attack'
    assert values['images'] == len(values['broken_by']) == 60
    accuracies = [
        values['accuracy'],
        *(row['robust_accuracy'] for row in values['eps']),
    ]
    assert accuracies == sorted(accuracies, reverse=True)
    assert accuracies[-1] < accuracies[0] - 0.1
    for row in values['eps']:
        assert row['robust_accuracy_of_8_bits'] >= row['robust_accuracy']
    assert [row['text'] for row in values['eps']] == ['0.02', '8/255', '0.3']
    assert values['steps'] == 8 and 'queries' not in values
    wrong = sum(name == 'original' for name in values['broken_by'])
    assert values['accuracy'] == 1 - wrong / 60
    stands = sum(name == '' for name in values['broken_by'])
    assert values['eps'][-1]['robust_accuracy'] == stands / 60
    assert sorted(path.name for path in (tmp_path / 'out').iterdir()) == [
        'attack.json',
        'curve.png',
        'examples.png',
    ]
    assert 'robust accuracy' in out and 'upper bound' in out
    task, variables, _ = jaxvision.load(classifier)
    opened = pixel_classifiers.open_classifier(str(classifier), 'last')
    examples = pixel_classifiers.read_images(opened, 'test', 60)
    outputs = task.predict(variables, {'image': examples['image'] * 255})
    right = np.asarray(outputs['logits']).argmax(-1) == examples['label']
    assert right.mean() == values['accuracy']


def test_a_killed_evaluation_goes_on_and_ends_equal(
    attack, tmp_path, monkeypatch, no_masking
):
    arguments = ('--eps', '0.05', '--no_pictures', *PGD)
    assert attack(*arguments, '--out', 'whole')[0] == 0
    calls = []

    def killed(self, stage, done, total, broken):
        calls.append(stage)
        if len(calls) == 4:
            raise KeyboardInterrupt

    monkeypatch.setattr(_Progress, '__call__', killed)
    assert attack(*arguments, '--out', 'out')[0] == 130
    (folder,) = (tmp_path / 'out').iterdir()
    kept = sorted(path.name for path in folder.glob('*.npz'))
    assert kept == [
        'original-0.npz',
        'original-1.npz',
        'original-2.npz',
        'pgd@0.05-0.npz',
    ]
    # A batch that was cut off counts as absent.
    (folder / 'original-1.npz').write_bytes(b'PK')
    before = (folder / 'pgd@0.05-0.npz').stat().st_mtime_ns
    monkeypatch.setattr(stored, 'remove', lambda folder: None)
    assert attack(*arguments, '--out', 'out')[0] == 0
    assert (folder / 'pgd@0.05-0.npz').stat().st_mtime_ns == before
    whole, resumed = report(tmp_path / 'whole'), report(tmp_path / 'out')
    for values in (whole, resumed):
        del values['seconds']
    assert resumed == whole
    monkeypatch.undo()
    # Another attack finds none of its batches.
    _, other = stored.open_batches(tmp_path / 'out', {'eps': 0.1})
    assert not list(other.glob('*.npz'))


def test_an_image_is_attacked_alone_as_in_a_batch(classifier):
    """Faults 3 and 4: batch norm and dropout are in inference mode."""
    opened = pixel_classifiers.open_classifier(str(classifier), 'last')
    examples = pixel_classifiers.read_images(opened, 'test', 12)
    keys = jax.random.split(jax.random.key(0), 12)
    results = []
    for rows in (slice(None), slice(4, 5)):
        attacked = pgd.pgd(
            opened.logits,
            jnp.asarray(examples['image'][rows]),
            jnp.asarray(examples['label'][rows]),
            keys[rows],
            eps=0.1,
            steps=3,
        )
        results.append(np.asarray(attacked.images))
    changes = np.abs(results[0][4] - results[1][0])
    # The sign of a gradient near 0 may differ by rounding.
    assert np.mean(changes > 1e-6) < 0.05


def test_adversarial_images_of_files_stay_within_eps(
    attack, photos, tmp_path, classifier
):
    (tmp_path / 'broken.png').write_bytes(b'no image')
    names = sorted((photos / 'one').glob('*.png'))[:5]
    code, out, _ = attack(
        '--eps', '40/255', '--attack', 'pgd', '--steps', 3, *names, 'broken.png'
    )
    assert code == 1
    entries = report(tmp_path / 'attacked')['files']
    assert 'error' in entries.pop()
    opened = pixel_classifiers.open_classifier(str(classifier), 'last')
    assert any(entry['success'] for entry in entries)
    assert len(entries) == len(names)
    for entry in entries:
        adversarial = np.asarray(Image.open(tmp_path / entry['picture']).convert('L'))
        assert adversarial.shape == (8, 8)
        assert entry['norm_of_change'] <= 40 / 255 + 1e-6
        pixels = pixel_classifiers.as_pixels(adversarial[None, ..., None])
        outputs = loops.outputs_of(opened.logits, jnp.asarray(pixels))
        predicted = opened.class_names[int(np.argmax(outputs))]
        assert predicted == entry['adversarial_class']
        assert (predicted != entry['class']) == entry['success']
        assert (tmp_path / entry['picture']).with_suffix('.compare.png').exists()
    assert 'not attacked' in out


def test_a_target_is_reached_and_its_own_images_are_left_out(attack, tmp_path):
    code, _, err = attack(
        '--eps', '1', '--target', '1', '--out', 'out', '--no_pictures', *PGD
    )
    assert code == 0, err
    values = report(tmp_path / 'out')
    assert values['target'] == 1
    assert values['images'] < 60
    assert values['eps'][0]['robust_accuracy'] < values['accuracy']


def test_an_attack_transfers_from_another_run(attack, tmp_path, classifier):
    code, _, err = attack(
        '--eps', '0.2', '--source', classifier, '--out', 'out', '--no_pictures', *PGD
    )
    assert code == 0, err
    values = report(tmp_path / 'out')
    assert values['source'] == str(classifier)
    assert values['eps'][0]['robust_accuracy'] < values['accuracy']


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['--eps', '8'], 'Write 8/255'),
        (['--eps', 'much'], 'Write a number or a fraction'),
        (['--eps', '0'], 'expected a number above 0'),
        (['--eps', '0.1', '--attack', 'pdg'], "Did you mean 'pgd'"),
        (['--eps', '0.1', '--attack', 'fgsm', '--steps', '9'], 'Remove --steps'),
        (['--eps', '0.1', '--restarts', '2'], 'Remove --restarts'),
        (['--eps', '0.1', '--attack', 'cw'], '--norm=linf: expected l2 with cw'),
        (['--eps', '0.1', '--examples', '0'], '--examples=0: expected'),
        (
            ['--eps', '0.1', '--source', 'nowhere'],
            '--source=nowhere: expected the folder',
        ),
        (['--eps', '0.1', '--attack', 'pgd', '--target', 'x'], '--target='),
        (
            ['--eps', '0.1', '--split', 'validation'],
            '--split=validation: expected one of',
        ),
        (['--eps', '0.1', '--out', 'taken'], '--out=taken: expected an empty folder'),
        (['--eps', '0.1,0.2', 'photo.png'], 'expected one size for your files'),
        (['--eps', '0.1', '--examples', '9', 'photo.png'], 'Remove --examples'),
        (['--eps', '0.1', '--split', 'validation', 'photo.png'], 'Remove --split'),
    ],
)
def test_a_mistake_is_one_line(attack, tmp_path, arguments, message):
    (tmp_path / 'taken').mkdir()
    (tmp_path / 'taken' / 'notes.txt').write_text('mine')
    Image.new('L', (8, 8)).save(tmp_path / 'photo.png')
    code, _, err = attack(*arguments)
    assert code == 2
    assert message in err
    assert err.count('\n') == 1


def test_an_attack_has_the_stages_that_it_names():
    def names(attack, **options):
        made = settings.make(
            attack=attack,
            norm='linf',
            eps='8/255, 0.1',
            steps=None,
            queries=None,
            target=None,
            seed=0,
            restarts=options.get('restarts'),
        )
        return [stage.name for stage in settings.stages(made, 3)]

    assert names('pgd', restarts=2) == [
        'pgd-1@8:255',
        'pgd-2@8:255',
        'pgd-1@0.1',
        'pgd-2@0.1',
    ]
    assert names('fab') == [
        'fab-t-1@8:255',
        'fab-t-2@8:255',
        'fab-t-1@0.1',
        'fab-t-2@0.1',
    ]
    assert names('square') == ['square@8:255', 'square@0.1']
    assert len(names('auto')) == 2 * (1 + 2 + 2 + 1)


@pytest.mark.parametrize('attack', ['fgsm', 'momentum', 'deepfool', 'cw', 'square'])
def test_an_attack_takes_its_options(classifier, attack):
    opened = pixel_classifiers.open_classifier(str(classifier), 'last')
    kind = settings.ATTACKS[attack]
    made = settings.make(
        attack=attack,
        norm='l2',
        eps='1',
        steps=1 if kind.steps else None,
        queries=1 if kind.queries else None,
        restarts=None,
        target=1 if kind.target else None,
        seed=0,
    )
    (stage,) = settings.stages(made, 3)
    shapes = (
        jax.ShapeDtypeStruct((2, 8, 8, 1), np.float32),
        jax.ShapeDtypeStruct((2,), np.int32),
        jax.eval_shape(lambda: jax.random.split(jax.random.key(0), 2)),
    )
    attacked = jax.eval_shape(stage.attack, opened.logits, *shapes)
    assert attacked.images.shape == (2, 8, 8, 1)
