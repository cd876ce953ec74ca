"""The engine from end to end, on 1,797 real digits of 8x8 pixels."""

import dataclasses
import json
import re
import shutil
import signal

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxvision
from jaxvision.core.errors import UserError
from jaxvision.core.files import read_json, write_json
from jaxvision.data.protocol import Unreadable
from jaxvision.data.wrappers import Subset, Wrapper
from jaxvision.train import evaluation, loop, processes, saved, training
from jaxvision.train.folder import held
from jaxvision.train.run import begin
from jaxvision.train.writers import read_rows


@pytest.fixture(autouse=True)
def quickly(no_pictures):
    pass


def rows(workdir):
    """Read metrics.jsonl without timings."""
    return [
        {name: value for name, value in row.items() if not name.startswith('perf/')}
        for row in read_rows(workdir / 'metrics.jsonl')
    ]


def weights(workdir, step='last'):
    state = loop.reopen(workdir).restore(step)
    state = state.replace(key=jax.random.key_data(state.key))
    return [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(state)]


def steps_saved(workdir):
    return sorted(int(path.name) for path in (workdir / 'checkpoints').iterdir())


@pytest.fixture(scope='module')
def straight(tiny, tmp_path_factory):
    """A run of seven steps without interruption."""
    workdir = tmp_path_factory.mktemp('straight')
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop.figures, 'save', lambda *_: None)
        result = loop.run(tiny(*SEVEN), workdir)
    assert dataclasses.astuple(result)[:3] == (True, True, 7)
    return workdir


# With all that a resumed run has to bring back: moments, averages, statistics, random numbers.
SEVEN = (
    'train.steps=7',
    'optimizer.ema=0.9',
    'task.augment.translate=0.2',
    'model.options.dropout=0.1',
)


def test_a_classifier_learns(tiny, tmp_path):
    result = loop.run(
        tiny(
            'model.variant=8-16',
            'train.steps=3 epochs',
            'train.eval_every=1 epoch',
            'train.checkpoint_every=3 epochs',
            'train.log_every=50',
        ),
        tmp_path,
    )
    assert result.finished and result.step == 135
    assert result.metrics['eval/accuracy'] > 0.9  # chance is 0.1
    found = rows(tmp_path)
    assert [row['step'] for row in found] == [45, 50, 90, 100, 135, 135]
    assert found[-1] == {'step': 135, **result.metrics}
    losses = [row['train/loss'] for row in found if 'train/loss' in row]
    assert losses[-1] < 0.5 * losses[0]

    task, variables, spec = jaxvision.load(tmp_path)
    source = loop.reopen(tmp_path).sources['test']
    batch = source.batch(range(len(source)))
    answer = task.predict(variables, {'image': jnp.asarray(batch['image'])})[
        'probabilities'
    ]
    right = np.asarray(answer.argmax(-1)) == batch['label']
    assert right.mean() == result.metrics['eval/accuracy']
    assert list(spec.class_names) == [str(i) for i in range(10)]


def test_the_run_folder_holds_config_spec_metrics_and_checkpoints(straight, tiny):
    assert {'config.json', 'spec.json', 'metrics.jsonl', 'checkpoints', 'figures'} <= {
        path.name for path in straight.iterdir()
    }
    assert read_json(straight / 'config.json') == json.loads(
        json.dumps(tiny(*SEVEN).to_dict())
    )
    assert read_json(straight / 'spec.json')['examples'] == 1438
    found = read_rows(straight / 'metrics.jsonl')
    assert [row['step'] for row in found] == [1, 2, 3, 3, 4, 5, 6, 6, 7, 7]
    assert 'eval/accuracy' in found[-1] and 'train/loss' in found[-2]
    assert all('perf/images_per_second' in row for row in found if 'train/loss' in row)
    assert steps_saved(straight)[-2:] == [6, 7]


@pytest.mark.parametrize('split', ['validation', 'train'])
def test_a_split_that_a_run_cannot_be_evaluated_on_is_named(straight, split):
    message = f'--split={split}: expected a split that .* Give --split test'
    with pytest.raises(UserError, match=message):
        loop.evaluate(straight, split=split)


def test_begin_leaves_the_config_of_the_caller_open(tiny, tmp_path):
    config = tiny().unlock()
    run = begin(config, tmp_path)
    assert run.config.is_locked and not config.is_locked
    config.model.variant = '16'
    assert run.config.model.variant == '8'


def test_no_examples_of_a_split_are_refused(straight):
    run = loop.reopen(straight)
    for count in (0, -1):
        with pytest.raises(UserError, match=f'count={count}: expected at least 1'):
            evaluation.examples(run, 'test', count)
    run.sources['test'] = Subset(run.sources['test'], np.arange(0), 'none')
    with pytest.raises(UserError, match='the test split of .* has no examples'):
        evaluation.examples(run, 'test', 5)


def raise_at(step, what):
    def on_eval(now, metrics):
        if now == step:
            what()

    return on_eval


def crash():
    raise RuntimeError('pulled')


def test_a_crashed_run_resumes_with_equal_results(straight, tiny, tmp_path):
    with pytest.raises(RuntimeError, match='pulled'):
        loop.run(tiny(*SEVEN), tmp_path, raise_at(6, crash))
    (tmp_path / 'checkpoints' / '6').rename(
        tmp_path / 'lost'
    )  # it goes on from the one before
    assert loop.run(tiny(*SEVEN), tmp_path).finished
    assert weights(tmp_path) == weights(straight)
    assert rows(tmp_path) == rows(straight)


# After step 3 a checkpoint is due, or not; either way the step after it is saved as the last.
@pytest.mark.parametrize('number, cadence', [(signal.SIGTERM, 3), (signal.SIGINT, 7)])
def test_a_signal_saves_and_stops_and_the_run_resumes(
    straight, tiny, tmp_path, capfd, number, cadence
):
    before = signal.getsignal(number)
    config = tiny(*SEVEN, f'train.checkpoint_every={cadence}')
    result = loop.run(
        config, tmp_path, raise_at(3, lambda: signal.raise_signal(number))
    )
    assert dataclasses.astuple(result)[:3] == (False, True, 4)
    assert steps_saved(tmp_path)[-1] == 4
    assert f'{number.name}: saving and stopping' in capfd.readouterr().err
    assert signal.getsignal(number) is before

    result = loop.run(config, tmp_path)
    assert dataclasses.astuple(result)[:3] == (True, True, 7)
    assert 'resuming at step 4' in capfd.readouterr().out
    assert weights(tmp_path) == weights(straight)
    assert rows(tmp_path) == rows(straight)


@pytest.mark.parametrize('first', [signal.SIGTERM, signal.SIGINT])
def test_a_second_interrupt_ends_the_run_and_a_second_sigterm_does_not(first):
    with processes.stop_signal() as asked:
        signal.raise_signal(first)
        signal.raise_signal(signal.SIGTERM)
        assert asked(1)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_a_run_that_pauses_at_a_length_goes_on_with_equal_results(
    straight, tiny, tmp_path
):
    config = tiny(*SEVEN)
    paused = loop.run(config, tmp_path, until='100 examples')
    assert (paused.finished, paused.step) == (True, 4)
    again = loop.run(config, tmp_path, until='4 steps')
    assert (again.trained, again.step) == (False, 4)
    assert again.metrics == paused.metrics
    assert loop.run(config, tmp_path).step == 7
    # The schedule is that of the whole length. Only the evaluation at the pause is new.
    assert weights(tmp_path) == weights(straight)
    *others, paused_row = [row for row in rows(tmp_path) if row not in rows(straight)]
    assert (others, paused_row['step']) == ([], 4)
    assert paused_row['eval/accuracy'] == paused.metrics['eval/accuracy']
    assert loop.run(config, tmp_path, until='100 examples').metrics == paused.metrics


def test_the_measurement_of_the_test_split_can_be_left_to_a_later_call(tiny, tmp_path):
    config = tiny('data.validation=10%', 'train.steps=1')
    first = loop.run(config, tmp_path, measure_test=False)
    assert first.finished
    assert {name.partition('/')[0] for name in first.metrics} == {'validation'}
    assert loop.run(config, tmp_path, measure_test=False).trained is False
    assert 'best/accuracy' in loop.run(config, tmp_path).metrics


def test_a_finished_run_is_left_as_it_is(straight, tiny):
    before = (straight / 'metrics.jsonl').read_bytes(), weights(straight)
    result = loop.run(tiny(*SEVEN), straight)
    assert dataclasses.astuple(result)[:3] == (True, False, 7)
    assert result.metrics['eval/accuracy'] == rows(straight)[-1]['eval/accuracy']
    assert ((straight / 'metrics.jsonl').read_bytes(), weights(straight)) == before


def test_other_settings_are_refused_and_free_ones_reported(straight, tiny, capsys):
    with pytest.raises(UserError) as error:
        loop.run(tiny(*SEVEN, 'optimizer.lr=0.5', 'seed=1', 'train.keep=5'), straight)
    assert 'other settings: optimizer.lr: 0.01 -> 0.5; seed: 0 -> 1.' in str(
        error.value
    )
    loop.run(tiny(*SEVEN, 'data.threads=1', 'train.keep=5'), straight)
    out = capsys.readouterr().out
    assert (
        'now with data.threads: 2 -> 1' in out and 'now with train.keep: 2 -> 5' in out
    )
    loop.run(tiny(*SEVEN), straight)  # and back


def test_a_checkpoint_that_disagrees_with_the_config_is_refused(
    straight, tiny, tmp_path
):
    loop.run(tiny('train.steps=1', 'model.variant=4'), tmp_path)
    config = read_json(tmp_path / 'config.json')
    write_json(
        tmp_path / 'config.json',
        {**config, 'model': {**config['model'], 'variant': '5'}},
    )
    with pytest.raises(
        UserError,
        match='config.json and spec.json of the run disagree: .*stage1_norm1/mean',
    ):
        loop.evaluate(tmp_path)


def damage_spec(folder, **changes):
    """Change fields of spec.json, given as {'inputs__image__dtype': value}."""
    spec = read_json(folder / 'spec.json')
    for path, value in changes.items():
        *parents, name = path.split('__')
        node = spec
        for parent in parents:
            node = node[parent]
        node[name] = value
    write_json(folder / 'spec.json', spec)


@pytest.mark.parametrize(
    'changes, message',
    [
        (
            {'preprocessing': None},
            'spec.json: preprocessing=null: expected an object with size, mean and std',
        ),
        (
            {'inputs__image__dtype': 'foo'},
            "spec.json is damaged, .*inputs.image: dtype='foo': expected a dtype",
        ),
        (
            {'class_names': ['a', 'b']},
            'checkpoints/7 and the files config.json and spec.json of the run disagree: .*'
            r'kernel is float32\[\d+, 10\] in the checkpoint, float32\[\d+, 2\] by .*'
            'class_names in spec.json',
        ),
    ],
)
def test_a_damaged_spec_names_the_folder_the_field_and_a_remedy(
    straight, tmp_path, changes, message
):
    folder = tmp_path / 'run'
    shutil.copytree(straight, folder)
    damage_spec(folder, **changes)
    with pytest.raises(UserError, match=f'{folder}.*{message}') as error:
        saved.load(folder)
    assert re.search('Restore the file', str(error.value))
    assert '\n' not in str(error.value)


def test_a_truncated_config_names_the_file_and_a_remedy(straight, tmp_path):
    text = (straight / 'config.json').read_text()
    (tmp_path / 'config.json').write_text(text[: len(text) // 2])
    with pytest.raises(
        UserError, match='config.json is damaged or cannot be read: .* Restore the file'
    ):
        saved.load(tmp_path)


def test_an_interval_of_0_is_due_only_after_the_last_step(tiny, tmp_path):
    run = begin(tiny('train.steps=5', 'train.eval_every=0'), tmp_path / 'run')
    assert [step for step in range(1, 6) if run.is_due('eval', step)] == [5]


@pytest.mark.parametrize(
    'override',
    [
        'model.variant=x',
        'model.options.drop=1',
        'optimizer.name=adam',
        'data.source=nowhere',
        'train.steps=ten',
    ],
)
def test_a_run_that_cannot_be_built_writes_no_folder(tiny, tmp_path, override):
    with pytest.raises(UserError):
        loop.run(tiny(override), tmp_path / 'run')
    assert not (tmp_path / 'run').exists()


def test_a_non_finite_step_stops_the_run_and_keeps_earlier_checkpoints(tiny, tmp_path):
    with pytest.raises(UserError) as error:
        loop.run(
            tiny(
                'train.steps=40',
                'train.checkpoint_every=1',
                'train.eval_every=40',
                'optimizer.name=sgd',
                'optimizer.lr=1e30',
                'optimizer.warmup=2',
            ),
            tmp_path,
        )
    found = rows(tmp_path)
    bad = found[-1]['step'] + 1
    assert f'step {bad} is not finite' in str(error.value)
    from jaxvision.data import pipeline

    assert str(pipeline.rows(0, 1438, 32, bad - 1).tolist()) in str(error.value)
    assert all(np.isfinite(row['train/loss']) for row in found)
    assert steps_saved(tmp_path)[-1] == bad - 1
    state = loop.reopen(tmp_path).restore('last')
    assert state.bad_step == -1
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(state.params))


SELECTING = (
    'train.steps=12',
    'train.best=-nll',
    'train.keep=1',
    'train.eval_every=2',
    'train.checkpoint_every=12',
    'optimizer.lr=0.03',
    'optimizer.schedule=constant',
)


def validation_scores(workdir):
    return {
        row['step']: row['validation/nll']
        for row in rows(workdir)
        if 'validation/nll' in row
    }


def test_the_validation_split_alone_selects_the_best_checkpoint(tiny, tmp_path):
    result = loop.run(tiny(*SELECTING, 'data.validation=10%'), tmp_path)
    scores = validation_scores(tmp_path)
    assert list(scores) == [2, 4, 6, 8, 10, 12]
    best = min(scores, key=scores.get)
    assert set(steps_saved(tmp_path)) == {best, 12}
    step, metrics = loop.evaluate(tmp_path, 'best', split='validation')
    assert step == best and metrics['validation/nll'] == scores[best]

    # The test split is measured once, at the end, for both checkpoints.
    *before, last = rows(tmp_path)
    assert not any(
        name.startswith(('eval/', 'best/')) for row in before for name in row
    )
    assert last['step'] == 12 and last['best/step'] == best
    for step, prefix in ((12, 'eval'), (best, 'best')):
        _, metrics = loop.evaluate(tmp_path, step)
        assert last[f'{prefix}/nll'] == metrics['eval/nll']
    assert result.metrics['best/nll'] == last['best/nll']


def test_a_run_killed_before_the_test_measurement_measures_on_resume(
    tiny, tmp_path, monkeypatch
):
    config = tiny(*SELECTING, 'data.validation=10%')
    loop.run(config, tmp_path / 'whole')
    whole = (tmp_path / 'whole' / 'metrics.jsonl').read_text()

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(training.Training, 'measure_test', killed)
        loop.run(config, tmp_path / 'killed')
    assert loop.run(config, tmp_path / 'killed').finished
    again = (tmp_path / 'killed' / 'metrics.jsonl').read_text()
    timed = re.compile(r'"perf/[^,}]*')
    assert timed.sub('', again) == timed.sub('', whole)
    assert not loop.run(config, tmp_path / 'killed').trained


def test_training_stops_without_improvement_and_does_not_restart(tiny, tmp_path):
    config = tiny(
        *SELECTING, 'data.validation=10%', 'train.patience=4', 'optimizer.lr=0'
    )
    result = loop.run(config, tmp_path)
    assert (result.finished, result.step) == (True, 6)  # The first score is at step 2.
    assert list(validation_scores(tmp_path)) == [2, 4, 6]
    assert rows(tmp_path)[-1]['best/step'] == 2
    again = loop.run(config, tmp_path)
    assert (again.finished, again.trained, again.step) == (True, False, 6)


def test_patience_is_checked_only_at_evaluations(tiny, tmp_path):
    config = tiny(
        *SELECTING,
        'data.validation=10%',
        'train.patience=3',
        'train.eval_every=5',
        'train.checkpoint_every=1',
    )
    # Steps 3 and 4 are saved, and nothing has been evaluated yet.
    result = loop.run(config, tmp_path)
    assert result.finished and list(validation_scores(tmp_path))[:2] == [5, 10]


@pytest.mark.parametrize('field', ['train.best=accuracy', 'train.patience=2'])
def test_the_test_split_selects_nothing(tiny, tmp_path, field):
    with pytest.raises(UserError, match=f'{field}: expected a validation split'):
        loop.run(tiny(field), tmp_path)


def test_an_evaluation_leaves_the_run_as_it_is(straight, tmp_path, no_pictures):
    before = {path: path.stat().st_mtime_ns for path in straight.rglob('*')}
    step, metrics = loop.evaluate(straight, out=tmp_path / 'out')
    assert read_json(tmp_path / 'out' / 'metrics.json') == {
        'step': step,
        'split': 'test',
        'metrics': metrics,
    }
    assert (tmp_path / 'out' / 'confusion.png').exists()
    assert {path: path.stat().st_mtime_ns for path in straight.rglob('*')} == before


@pytest.mark.parametrize('out', ['', 'figures', 'checkpoints', 'eval', 'eval/../x'])
def test_an_evaluation_writes_nothing_among_the_files_of_a_run(straight, out):
    with pytest.raises(UserError, match='expected a folder outside the run'):
        loop.evaluate(straight, out=straight / out)


def test_a_run_in_a_read_only_folder_can_be_evaluated(straight, tmp_path, capsys):
    for path in straight.iterdir():
        (tmp_path / path.name).symlink_to(path)
    (tmp_path / 'eval').write_text('in the way of the folder')
    _, metrics = loop.evaluate(tmp_path)
    assert metrics and '--out DIR' in capsys.readouterr().out
    with pytest.raises(UserError, match='--out=.*[Nn]ot a directory'):
        loop.evaluate(tmp_path, out=tmp_path / 'eval' / 'x')


@pytest.mark.parametrize('size', [50, 512])
def test_the_evaluation_does_not_depend_on_the_batch_size(straight, tmp_path, size):
    config = read_json(straight / 'config.json')
    config['data']['batch_size'] = size
    for name in ('checkpoints', 'spec.json'):
        (tmp_path / name).symlink_to(straight / name)
    write_json(tmp_path / 'config.json', config)
    (tmp_path / 'figures').mkdir()
    (step, ours), (_, wanted) = loop.evaluate(tmp_path), loop.evaluate(straight)
    assert step == 7
    for name in ('eval/accuracy', 'eval/top5_accuracy'):
        assert ours[name] == wanted[name]
    assert ours == pytest.approx(wanted, rel=1e-6)


FOLDER = (
    'data.batch_size=8',
    'data.image_size=8',
    'train.steps=4',
    'train.eval_every=4',
    'train.checkpoint_every=2',
)


def test_a_folder_whose_files_changed_is_refused(tiny, photos, tmp_path):
    config = tiny(f'data.source=folder:{photos}', *FOLDER)
    loop.run(config, tmp_path / 'run')
    (photos / 'one' / '07.png').unlink()
    with pytest.raises(
        UserError, match='data of folder:.* changed since this run began'
    ):
        loop.evaluate(tmp_path / 'run')
    # A finished run that is started again says the same, and is left as it is.
    before = (tmp_path / 'run' / 'metrics.jsonl').read_bytes()
    with pytest.raises(
        UserError, match='the train data of folder:.* changed since this run began'
    ):
        loop.run(config, tmp_path / 'run')
    assert (tmp_path / 'run' / 'metrics.jsonl').read_bytes() == before


def test_an_unreadable_file_stops_the_run_or_is_replaced_and_counted(
    tiny, photos, tmp_path, capsys
):
    source = f'data.source=folder:{photos}'
    broken = photos / 'one' / '07.png'
    broken.write_bytes(broken.read_bytes()[:60])
    with pytest.raises(
        UserError, match=r'cannot read .*07.png.*data.on_corrupt=replace'
    ):
        loop.run(tiny(source, *FOLDER, 'train.steps=2 epochs'), tmp_path / 'stops')
    result = loop.run(
        tiny(source, *FOLDER, 'train.steps=2 epochs', 'data.on_corrupt=replace'),
        tmp_path / 'goes on',
    )
    assert result.finished
    assert capsys.readouterr().out.count('left out (1 so far)') in (
        1,
        2,
    )  # in training and not


class Broken(Wrapper):
    """A source of which two rows cannot be read."""

    def __getitem__(self, row):
        if row in (3, 4):
            raise Unreadable('damaged')
        return super().__getitem__(row)

    def read(self, rows):
        return [self[int(row)] for row in rows]


def test_metrics_over_fewer_examples_than_the_split_are_marked(tiny, tmp_path, capsys):
    run = begin(tiny('data.on_corrupt=replace'), tmp_path)
    state = run.init()
    metrics, _ = evaluation.measure(run, state, 'test')
    assert 'eval/left_out' not in metrics
    assert 'cannot be read' not in capsys.readouterr().out
    total = len(run.sources['test'])
    run.sources['test'] = Broken(run.sources['test'])
    fewer, records = evaluation.measure(run, state, 'test')
    assert fewer == {**fewer, 'eval/left_out': 2} and len(records['index']) == total - 2
    said = f'eval is over {total - 2} of {total} examples, as 2 cannot be read'
    assert said in capsys.readouterr().out


def test_two_processes_cannot_train_in_one_folder(tiny, tmp_path, no_pictures):
    # A lock taken through another open file stands for another process's.
    loop.run(tiny('train.steps=1'), tmp_path)
    with (
        held(tmp_path),
        pytest.raises(UserError, match='another process is training in'),
    ):
        loop.run(tiny('train.steps=1'), tmp_path)
    assert not loop.run(tiny('train.steps=1'), tmp_path).trained
