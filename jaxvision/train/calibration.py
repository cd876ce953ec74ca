"""calibration.json of a run: what was fitted on the validation split for one checkpoint.

The engine writes it with the result of `Evaluation.calibrate`, such as the score thresholds of a
detector. `jaxvision calibrate` writes the temperature and the conformal thresholds of a
classifier. `predict` uses the file, and exported models carry it.
"""

import sys
from pathlib import Path

from jaxvision.core.files import read_json, write_json
from jaxvision.core.state import TrainState
from jaxvision.core.trees import content_hash
from jaxvision.core.types import Json
from jaxvision.train import processes
from jaxvision.train.saved import SavedRun

NAME = 'calibration.json'


def read(workdir: Path) -> Json:
    """Read calibration.json of a run; {} if the run has none.

    Raises:
        UserError: The file is damaged.
    """
    path = workdir / NAME
    return read_json(path) if path.exists() else {}


def write(run: SavedRun, step: int, values: Json) -> None:
    """Write calibration.json, which was fitted on the validation split.

    Process 0 writes it over an older one. It also holds 'split' and 'step'.

    Args:
        run: the run.
        step: the step of the evaluated state.
        values: a JSON object, the result of `Evaluation.calibrate`.
    """
    if processes.is_first():
        content = {'split': 'validation', 'step': step, **values}
        write_json(run.workdir / NAME, content)


def write_for(run: SavedRun, state: TrainState, values: Json) -> None:
    """Write calibration.json for the weights of one checkpoint and no other.

    Args:
        run: the run.
        state: the state of the checkpoint.
        values: a JSON object that was fitted to its outputs on the validation split.
    """
    fingerprint = content_hash(state.variables)
    write(run, int(state.step), {'fingerprint': fingerprint, **values})


def read_for(run: SavedRun, state: TrainState) -> Json:
    """Read what was fitted to a checkpoint, and warn if it was fitted to another one.

    Values with a fingerprint belong to the weights of one checkpoint, see `write_for`. Others,
    such as the thresholds of a detector, serve every checkpoint of the run.

    Args:
        run: the run.
        state: the state of the checkpoint.

    Returns:
        The content of calibration.json; {} if the run has none, or it belongs to another
        checkpoint. The warning is a line on stderr.

    Raises:
        UserError: The file is damaged.
    """
    values = read(run.workdir)
    fingerprint = values.get('fingerprint')
    if fingerprint is None or fingerprint == content_hash(state.variables):
        return values
    step = int(state.step)
    weights = f'step {values.get("step")}'
    if values.get('step') == step:
        weights = f'other weights of step {step}'
    if processes.is_first():
        print(
            f'warning: {run.workdir / NAME} was fitted to {weights}, and this is step '
            f'{step}: nothing is calibrated. Run `jaxvision calibrate --workdir '
            f'{run.workdir} --step {step}`.',
            file=sys.stderr,
            flush=True,
        )
    return {}
