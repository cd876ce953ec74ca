"""The folder of a run: its lock, its descriptions, and the check of its settings."""

import contextlib
import fcntl
import json
from collections.abc import Iterator
from pathlib import Path

from jaxvision.core.config import FREE_FIELDS, difference
from jaxvision.core.errors import UserError
from jaxvision.core.files import write_json, write_text
from jaxvision.core.types import Json
from jaxvision.train import processes, sharding
from jaxvision.train.saved import SavedRun


def take_folder(run: SavedRun) -> None:
    """Write config.json, spec.json and sharding.txt of a run, over older ones.

    The folder must exist. Process 0 writes, and all processes must call it together.

    Raises:
        UserError: A process does not see the files that process 0 wrote.
    """
    if processes.is_first():
        write_json(run.workdir / 'spec.json', run.spec.to_json())
        write_json(run.workdir / 'config.json', run.config.to_dict())
        write_text(run.workdir / 'sharding.txt', sharding.table(run.mesh, run.shapes))
    processes.expect(run.workdir / 'config.json')


@contextlib.contextmanager
def held(workdir: Path) -> Iterator[None]:
    """Lock a run folder during the block, so that no other run trains in it.

    The folder and its folder `figures` are made if they are missing. Only process 0
    locks it, so the other processes of the run enter freely. The lock of a killed
    process is released. A file system without locks gives none.

    Raises:
        UserError: The folder cannot be made, or another process holds it.
    """
    if not processes.is_first():
        yield
        return
    try:
        (workdir / 'figures').mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f'--workdir={workdir}: the folder cannot be made: {error.strerror}. Choose '
            'another one'
        ) from error
    with (workdir / 'lock').open('w') as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(
                f'another process is training in {workdir}. Wait for it, or choose another '
                '--workdir'
            ) from None
        except OSError:
            pass  # The file system has no locks.
        yield


def check_same_settings(workdir: Path, old: Json, new: Json) -> None:
    """Check that a run may resume with a config, and print the changes.

    Args:
        workdir: the run folder, for messages.
        old: the config of the run, as read from config.json.
        new: the config of the user.

    Raises:
        UserError: A field changed that is not in `FREE_FIELDS`.
    """
    changes = {
        name: f'{name}: {before!r} -> {after!r}'
        for name, (before, after) in difference(old, as_json(new)).items()
    }
    barred = [text for name, text in changes.items() if name not in FREE_FIELDS]
    if barred:
        raise UserError(
            f'{workdir} is a run with other settings: {"; ".join(barred)}. Set these '
            'fields back, or choose another --workdir'
        )
    for text in changes.values():
        processes.say(f'now with {text}')


def as_json(value: Json) -> Json:
    """Convert a value to the form in which it is read from a file, with lists for tuples."""
    return json.loads(json.dumps(value))
