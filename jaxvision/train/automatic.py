"""Numbers that a run finds before its first step, for config fields with the value 'auto'."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

from jaxvision.core import automatic
from jaxvision.core.config import declared, fields
from jaxvision.core.fields import AUTO, Config
from jaxvision.core.types import Value
from jaxvision.train import largest_batch, processes, range_test
from jaxvision.train import run as runs
from jaxvision.train.run import Run
from jaxvision.train.saved import build_task, read_config


def numbers(config: Config, workdir: Path) -> dict[str, Value]:
    """The numbers that the run in a folder has for the fields with the value 'auto'.

    Args:
        config: the config with such fields.
        workdir: the run folder; {} without a run.
    """
    unknown = automatic.unknown(config)
    if not unknown or not (workdir / 'config.json').exists():
        return {}
    trained = fields(read_config(workdir))
    return {name: trained[name] for name in unknown}


def of_folder(config: Config, workdir: Path) -> Config:
    """Replace 'auto' by the numbers of the run in a folder, if there is one.

    Args:
        config: the config, which is not changed.
        workdir: the run folder, which may be missing.
    """
    known = numbers(config, workdir)
    for name, value in known.items():
        processes.say(f'{name}={AUTO}: {value!r}, as in {workdir}')
    return automatic.with_values(config, known)


def begin(config: Config, workdir: Path, asked: Callable[[int], bool]) -> Run | None:
    """Open the run of a config, and find the numbers for its fields with the value 'auto'.

    The batch size comes first, then the learning rate for this batch size. The numbers
    are in the config of the run.

    Args:
        config: the config. Fields are 'auto' only if the folder has no run.
        workdir: the run folder.
        asked: `asked(step)`, whether a signal asks to stop after this step.

    Returns:
        The run; None if a signal asked to stop meanwhile.

    Raises:
        UserError: As of `run.begin`, or no number is found.
    """
    unknown = automatic.unknown(config)
    if not unknown:
        return runs.begin(config, workdir)
    declarations = declared(config.task.name)
    values: dict[str, Value] = {name: declarations[name].default for name in unknown}
    if largest_batch.FIELD in unknown:
        values[largest_batch.FIELD] = largest_batch.smallest(config)
    run = runs.begin(automatic.with_values(config, values), workdir)
    if largest_batch.FIELD in unknown:
        run = _with_value(run, largest_batch.FIELD, largest_batch.find(run))
    if range_test.FIELD in unknown:
        rate = range_test.find(run, asked)
        if rate is None:
            return None
        run = _with_value(run, range_test.FIELD, rate)
    runs.trace(run)
    return run


def _with_value(run: Run, field: str, value: Value) -> Run:
    """Build a run again with another value of a config field."""
    config = automatic.with_values(run.config, {field: value})
    return dataclasses.replace(run, config=config, task=build_task(config, run.spec))
