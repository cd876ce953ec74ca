"""sweep.slurm with a stand-in srun and scontrol, and gke_sweep.yaml against its schema."""

import copy
import json
import os
import subprocess
from pathlib import Path

import jsonschema
import pytest
import yaml
from stand_ins import LAUNCH, clean_environment, program

SWEEP = ('configs/cnn.py', '--workdir', '/mnt/a sweep', '--sweep.optimizer.lr=log(1,2)')
JOB = yaml.safe_load((LAUNCH / 'gke_sweep.yaml').read_text())
SCHEMA = jsonschema.Draft202012Validator(
    json.loads((Path(__file__).parent / 'gke_schema.json').read_text())
)


def run(tmp_path, srun, **variables):
    program(tmp_path / 'srun', f'#!/bin/bash\nprintf "%s\\n" "$@" >srun.call; {srun}\n')
    program(tmp_path / 'scontrol', '#!/bin/bash\necho "$@" >scontrol.call\n')
    environment = clean_environment(
        PATH=f'{tmp_path}:{os.environ["PATH"]}', SLURM_JOB_ID='17', **variables
    )
    return subprocess.run(
        ['bash', LAUNCH / 'sweep.slurm', *SWEEP],
        cwd=tmp_path,
        text=True,
        capture_output=True,
        env=environment,
    )


@pytest.mark.parametrize(
    'srun, requeued, expected',
    [
        ('exit 0', False, 0),
        ('exit 2', False, 2),
        ('exit 75', True, 0),
        ('kill -TERM $PPID; exit 75', False, 75),
    ],
)
def test_a_task_runs_its_trial_and_returns_to_the_queue_on_75(
    tmp_path, srun, requeued, expected
):
    result = run(tmp_path, srun, SLURM_ARRAY_TASK_ID='3')
    assert result.returncode == expected, result.stderr
    assert (tmp_path / 'srun.call').read_text().splitlines() == [
        '.venv/bin/python',
        '-m',
        'jaxvision.sweep',
        '--config',
        *SWEEP,
        '--trial',
        '3',
    ]
    assert (tmp_path / 'scontrol.call').exists() == requeued
    assert not requeued or (tmp_path / 'scontrol.call').read_text() == 'requeue 17\n'


def test_a_job_without_an_array_is_refused(tmp_path):
    result = run(tmp_path, 'exit 0')
    assert result.returncode == 2 and '--array=0-19' in result.stderr
    assert not (tmp_path / 'srun.call').exists()


def test_the_job_fits_the_schema_and_a_mistake_does_not():
    SCHEMA.validate(JOB)
    wrong = copy.deepcopy(JOB)
    wrong['spec']['backOffLimitPerIndex'] = 1
    with pytest.raises(jsonschema.ValidationError):
        SCHEMA.validate(wrong)


def test_the_parts_of_the_job_agree():
    spec = JOB['spec']
    (container,) = spec['template']['spec']['containers']
    arguments = dict(
        text.removeprefix('--').split('=', 1) for text in container['args']
    )
    assert int(arguments['trials']) == spec['completions'] == spec['maxFailedIndexes']
    assert arguments['trial'] == '$(JOB_COMPLETION_INDEX)'
    (mount,) = container['volumeMounts']
    assert arguments['workdir'].startswith(mount['mountPath'] + '/')
    rules = spec['podFailurePolicy']['rules']
    actions = {rule['onExitCodes']['values'][0]: rule['action'] for rule in rules}
    assert actions == {75: 'Ignore', 2: 'FailIndex'}
    assert all(rule['onExitCodes']['containerName'] == 'trial' for rule in rules)
    # What Kubernetes asks for with FailIndex and with a pod failure policy.
    assert spec['backoffLimitPerIndex'] > 0
    assert spec['template']['spec']['restartPolicy'] == 'Never'
