"""`jaxvision calibrate`: one run on digits, its report, `predict`, an export, and mistakes."""

import json
import shutil

import jax
import numpy as np
import pytest
from PIL import Image
from scipy import special

from jaxvision.cli.calibrate import command
from jaxvision.cli.export import check
from jaxvision.cli.export import command as export
from jaxvision.metrics import calibration as metrics
from jaxvision.train import calibration, evaluation, loop
from jaxvision.train.run import reopen
from jaxvision.viz import figures

VALIDATION = 'data.validation=20%'


@pytest.fixture(scope='module')
def classifier(tiny, tmp_path_factory):
    """The folder of a run that is right about most digits, with a validation split."""
    config = tiny(
        VALIDATION,
        'optimizer.lr=0.05',
        'train.steps=40',
        'train.log_every=0',
        'train.eval_every=0',
        'train.checkpoint_every=20',
        'train.keep=2',
    )
    workdir = tmp_path_factory.mktemp('runs') / 'classifier'
    with pytest.MonkeyPatch.context() as patch:
        for name in ('curves', 'matrix', 'gallery'):
            patch.setattr(figures, name, lambda *_: np.zeros((1, 1, 3), np.uint8))
        loop.run(config, workdir)
    return workdir


@pytest.fixture(scope='module')
def calibrated(classifier, tmp_path_factory):
    """A calibrated copy of the run, and its report. The other images are its own ones."""
    workdir = tmp_path_factory.mktemp('calibrated') / 'run'
    shutil.copytree(classifier, workdir)
    arguments = ['--workdir', str(workdir), '--ood', 'digits', '--conformal', 'aps']
    assert command.main([*arguments, '--alpha', '0.02']) == 0
    (out,) = (workdir / 'calibrate').iterdir()
    assert out.name == '40-test'
    assert (out / 'reliability.png').exists()
    return workdir, json.loads((out / 'calibrate.json').read_text())


@pytest.fixture(scope='module')
def outputs(classifier):
    """{split: (logits, labels)} by the task itself."""
    run = reopen(classifier)
    variables = run.restore('last').variables
    predict = jax.jit(run.task.predict)
    found = {}
    for split in ('validation', 'test'):
        examples = evaluation.examples(run, split, 10**6)
        logits = np.asarray(predict(variables, {'image': examples['image']})['logits'])
        found[split] = (logits, examples['label'])
    return found


def test_the_temperature_is_that_of_validation(calibrated, outputs):
    workdir, report = calibrated
    values = calibration.read(workdir)
    expected = metrics.fit_temperature(*outputs['validation'])
    assert values['temperature'] == pytest.approx(expected, 1e-6)
    assert values['temperature'] != pytest.approx(
        metrics.fit_temperature(*outputs['test']), 1e-3
    )
    assert values['split'] == 'validation' and values['step'] == 40
    logits, labels = outputs['test']
    assert report['accuracy'] == (logits.argmax(1) == labels).mean()
    assert report['before']['nll'] == pytest.approx(
        metrics.negative_log_likelihood(logits, labels), 1e-5
    )
    assert report['after']['nll'] == pytest.approx(
        metrics.negative_log_likelihood(logits, labels, expected), 1e-5
    )


def test_the_report_has_coverage_and_scores_of_the_split_against_itself(calibrated):
    _, report = calibrated
    assert report['measured_on']['examples'] == 359
    for values in report['conformal'].values():
        # Labels of a whole split and its classes: every set is counted once.
        assert sum(values['sizes']) == 359
        total = np.dot(values['sizes'], np.arange(11))
        assert values['mean_size'] == pytest.approx(total / 359)
        assert values['empty'] == values['sizes'][0] / 359
    scores = report['ood']['scores']
    assert scores.keys() == {'max_softmax', 'energy', 'mahalanobis'}
    assert [score['auroc'] for score in scores.values()] == [0.5, 0.5, 0.5]
    assert report['ood']['layer'] == 'stage1'


def test_predict_and_an_export_give_calibrated_probabilities_and_sets(
    calibrated, outputs, tmp_path, main
):
    workdir, report = calibrated
    temperature = report['after']['temperature']
    run = reopen(workdir)
    names = []
    images = run.sources['test'].batch(range(12))['image']
    for number, image in enumerate(images):
        names.append(str(tmp_path / f'{number:02}.png'))
        Image.fromarray(image[..., 0]).save(names[-1])
    out = tmp_path / 'exported'
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(check, 'SECONDS', 0.01)
        export.export(
            workdir, ['stablehlo'], step='last', out=out, count=40, most_lost=0.0
        )
    logits, _ = outputs['test']
    expected = special.softmax(logits[:12] / temperature, axis=1)
    answers = []
    for model in (workdir, out / 'model.stablehlo'):
        code, _, err, entries = main('--workdir', model, '--no_pictures', *names)
        assert code == 0, err
        answers.append([entries[name]['answer'] for name in names])
        for answer, probabilities in zip(answers[-1], expected, strict=True):
            assert answer['probability'] == pytest.approx(probabilities.max(), abs=2e-6)
    assert [a['conformal_set'] for a in answers[0]] == [
        a['conformal_set'] for a in answers[1]
    ]
    assert any(answer['conformal_set'] for answer in answers[0])
    head = json.loads((tmp_path / 'predictions' / 'predictions.json').read_text())
    assert head['calibration']['temperature'] == temperature


def test_a_calibration_of_another_checkpoint_is_not_used(
    calibrated, tmp_path, main, photos, capsys
):
    workdir, _ = calibrated
    name = str(sorted((photos / 'one').iterdir())[0])
    code, _, err, entries = main('--workdir', workdir, '--step', 20, name)
    assert code == 0
    assert 'calibration.json was fitted to step 40, and this is step 20' in err
    assert 'conformal_set' not in entries[name]['answer']
    # The same step of other weights.
    values = calibration.read(workdir)
    copy = tmp_path / 'other'
    shutil.copytree(workdir, copy)
    (copy / 'calibration.json').write_text(json.dumps({**values, 'fingerprint': '0'}))
    run = reopen(copy)
    assert calibration.read_for(run, run.restore('last')) == {}
    assert 'was fitted to other weights of step 40' in capsys.readouterr().err


def test_a_run_without_validation_is_refused(classifier, tmp_path, capsys):
    config = json.loads((classifier / 'config.json').read_text())
    config['data']['validation'] = 'none'
    (tmp_path / 'config.json').write_text(json.dumps(config))
    shutil.copy(classifier / 'spec.json', tmp_path)
    assert command.main(['--workdir', str(tmp_path)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert 'expected a run with a validation split' in line
    assert calibration.read(tmp_path) == {}


def test_other_tasks_are_refused(fake, capsys):
    assert command.main(['--workdir', str(fake('upscaler'))]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert 'expected a run of classification, and its task is' in line


def test_a_folder_with_other_files_is_kept(classifier, tmp_path, capsys):
    (tmp_path / 'mine.txt').touch()
    assert command.main(['--workdir', str(classifier), '--out', str(tmp_path)]) == 2
    assert f'--out={tmp_path}: expected an empty folder' in capsys.readouterr().err
    arguments = ['--workdir', str(classifier), '--ood', 'digit']
    assert command.main(arguments) == 2
    assert 'digits' in capsys.readouterr().err
    assert calibration.read(classifier) == {}


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['--alpha', '1'], '--alpha=1.0: expected a number > 0, < 1'),
        (['--bins', '0'], '--bins=0'),
        (['--seed', '-1'], '--seed=-1'),
        (['--ood_dir', 'x'], '--ood_dir=x: expected only with --ood'),
        (['--workdir', 'nowhere'], '--workdir=nowhere: expected the folder of a run'),
    ],
)
def test_mistakes_are_one_line(capsys, arguments, message):
    assert command.main(['--workdir', 'x', *arguments]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line
