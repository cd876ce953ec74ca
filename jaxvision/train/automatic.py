"""Numbers that a run finds before its first step, for config fields with the value 'auto'."""

import contextlib
import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path

from jaxvision.core import auto_fields
from jaxvision.core.config import declared, fields
from jaxvision.core.fields import AUTO, Config
from jaxvision.core.types import Value
from jaxvision.train import checks, largest_batch, processes, range_test
from jaxvision.train import run as runs
from jaxvision.train.folder import held
from jaxvision.train.run import Run
from jaxvision.train.saved import build_task, read_config
from jaxvision.train.sources import Sources


def numbers(config: Config, workdir: Path) -> dict[str, Value]:
    """The numbers that the run in a folder has for the fields with the value 'auto'.

    Args:
        config: the config with such fields.
        workdir: the run folder; {} without a run.
    """
    names = auto_fields.names(config)
    if not names or not (workdir / 'config.json').exists():
        return {}
    trained = fields(read_config(workdir))
    return {name: trained[name] for name in names}


def with_numbers_of(config: Config, workdir: Path) -> Config:
    """Replace 'auto' by the numbers of the run in a folder, if there is one.

    Args:
        config: the config, which is not changed.
        workdir: the run folder, which may be missing.
    """
    known = numbers(config, workdir)
    for name, value in known.items():
        processes.say(f'{name}={AUTO}: {value!r}, as in {workdir}')
    return auto_fields.with_values(config, known)


@contextlib.contextmanager
def held_run(
    config: Config, workdir: Path, asked: Callable[[int], bool]
) -> Iterator[Run | None]:
    """Open the run of a config, and hold its folder during the block.

    Numbers for the fields with the value 'auto' are found before the block begins. The batch
    size comes first, then the learning rate for this batch size. The numbers are in the config
    of the run.

    Args:
        config: the config. Fields are 'auto' only if the folder has no run.
        workdir: the run folder.
        asked: `asked(step)`, whether a signal asks to stop after this step.

    Yields:
        The run; None if a signal asked to stop meanwhile.

    Raises:
        UserError: As of `run.begin`, `check_training` and `folder.held`, or no number is
            found.
    """
    names = auto_fields.names(config)
    declarations = declared(config.task.name)
    values: dict[str, Value] = {name: declarations[name].default for name in names}
    if largest_batch.FIELD in names:
        values[largest_batch.FIELD] = largest_batch.smallest(config)
    run = runs.begin(auto_fields.with_values(config, values), workdir)
    checks.check_training(run)
    with held(run.workdir):
        yield _with_numbers(run, names, asked) if names else run


def _with_numbers(
    run: Run, names: list[str], asked: Callable[[int], bool]
) -> Run | None:
    """Find the numbers for fields of a run; None if a signal asked to stop meanwhile."""
    if largest_batch.FIELD in names:
        run = _with_value(run, largest_batch.FIELD, largest_batch.find(run))
        # The data may depend on the number of steps, as mosaics do.
        sources = Sources(
            run.config, dict(run.spec.data), preprocessing=run.spec.preprocessing
        )
        run = dataclasses.replace(run, sources=sources)
    if range_test.FIELD in names:
        rate = range_test.find(run, asked)
        if rate is None:
            return None
        run = _with_value(run, range_test.FIELD, rate)
    checks.check_training(run)
    return run


def _with_value(run: Run, field: str, value: Value) -> Run:
    """Build a run again with another value of a config field."""
    config = auto_fields.with_values(run.config, {field: value})
    return dataclasses.replace(run, config=config, task=build_task(config, run.spec))
