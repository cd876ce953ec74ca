"""slurm.sbatch with a stand-in srun and scontrol."""

import os
import re
import subprocess

import pytest
from stand_ins import LAUNCH, RUN, clean_environment, program


@pytest.mark.parametrize(
    'code, cancelled, requeued, expected',
    [
        (0, False, False, 0),
        (2, False, False, 2),
        (75, False, True, 0),
        (75, True, False, 75),
    ],
)
def test_slurm_goes_back_into_the_queue_on_75(
    tmp_path, code, cancelled, requeued, expected
):
    cancel = 'kill -TERM $PPID; ' if cancelled else ''
    program(
        tmp_path / 'srun',
        f'#!/bin/bash\nprintf "%s\\n" "$@" >srun.call; {cancel}exit {code}\n',
    )
    program(tmp_path / 'scontrol', '#!/bin/bash\necho "$@" >scontrol.call\n')
    result = subprocess.run(
        ['bash', LAUNCH / 'slurm.sbatch', *RUN],
        cwd=tmp_path,
        text=True,
        capture_output=True,
        env=clean_environment(
            PATH=f'{tmp_path}:{os.environ["PATH"]}', SLURM_JOB_ID='7'
        ),
    )
    assert result.returncode == expected, result.stderr
    assert (tmp_path / 'srun.call').read_text().splitlines() == [
        '--kill-on-bad-exit=0',
        '.venv/bin/python',
        '-m',
        'jaxvision.main',
        '--config',
        *RUN,
        '--distributed',
    ]
    assert (tmp_path / 'scontrol.call').exists() == requeued
    assert not requeued or (tmp_path / 'scontrol.call').read_text() == 'requeue 7\n'


def test_slurm_warns_the_tasks_and_shows_them_every_gpu_of_their_node():
    options = dict(
        re.findall(
            r'^#SBATCH --([\w-]+)=?(\S*)$',
            (LAUNCH / 'slurm.sbatch').read_text(),
            re.MULTILINE,
        )
    )
    assert options['signal'] == 'TERM@120'  # B:TERM would warn this script only
    assert options['ntasks-per-node'] == options['gpus-per-node']
    assert 'requeue' in options and 'gpus-per-task' not in options
