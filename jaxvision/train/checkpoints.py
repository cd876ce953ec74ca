"""Checkpoints of a train state with Orbax: asynchronous, atomic, and checked by checksums.

`checkpoints/STEP/state` holds the arrays. `checkpoints/STEP/manifest` describes the program that
wrote them.
"""

import contextlib
import importlib.metadata
import json
import math
import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

import jaxvision
from jaxvision.core.errors import UserError
from jaxvision.core.state import TrainState
from jaxvision.core.types import Json, MetricValues
from jaxvision.train import processes

# Version of the manifest, and of the tree in `state`.
SCHEMA = 1

_MOST_LISTED = 3


class Checkpoints:
    """The checkpoints of one run: the last few, and the best by a metric.

    A `with` block closes them.
    """

    def __init__(
        self, folder: Path, keep: int = 2, best: str = '', read_only: bool = False
    ):
        """Open the checkpoints in a folder.

        Args:
            folder: the folder `checkpoints` of a run.
            keep: number of latest checkpoints to keep.
            best: the metric that selects the best checkpoint, such as 'validation/accuracy';
                '-NAME': less is better; '': none is the best.
            read_only: whether to create and delete nothing.

        Raises:
            UserError: `keep` is below 1.
        """
        import orbax.checkpoint as ocp

        if keep < 1:
            raise UserError(f'train.keep={keep}: expected a whole number >= 1')
        self._folder = folder
        self._keep = keep
        self._best = best
        # This class decides which checkpoints to keep. Orbax reads the metrics of every old
        # checkpoint when it opens the folder, so one damaged file would block all of them.
        options = ocp.CheckpointManagerOptions(
            create=not read_only, read_only=read_only, max_to_keep=None
        )
        self._manager = ocp.CheckpointManager(
            folder.absolute(),
            options=options,
            item_handlers={
                'state': ocp.StandardCheckpointHandler(),
                'manifest': ocp.JsonCheckpointHandler(),
            },
        )
        # Orbax asks JAX for the sync point of an old step, from a thread of process 0 alone. This
        # would move the sync point behind steps that the loop has taken.
        self._manager.reached_preemption = lambda step: False

    def __enter__(self) -> 'Checkpoints':
        return self

    def __exit__(self, *exception) -> None:
        self._manager.close()

    def wait(self) -> None:
        """Wait until the current save is on the disk, then delete old checkpoints.

        The latest `keep` checkpoints and the best one stay. All processes of a run must
        call it together.
        """
        self._manager.wait_until_finished()
        scores = self._scores()
        latest = sorted(scores)[-self._keep :]
        best = _scored(scores)[-1:]
        old = sorted(scores.keys() - {*latest, *best})
        for step in processes.of_first(old):
            self._manager.delete(step)

    def score(self, metrics: dict[str, float | int]) -> float | None:
        """Find the score of a checkpoint in its metrics, signed so that more is better.

        Args:
            metrics: {name with the split: value}, such as 'validation/accuracy'.

        Returns:
            The score. None if no metric selects the best, or if this metric is missing
            or not finite.
        """
        value = metrics.get(self._best.removeprefix('-'))
        if value is None or not math.isfinite(value):
            return None
        if self._best.startswith('-'):
            return -value
        return value

    def steps(self) -> list[int]:
        """List the steps of all checkpoints in rising order.

        A save that is still running is listed too.
        """
        return sorted(self._manager.all_steps())

    def has_best(self) -> bool:
        """Whether any checkpoint has a score; never without a metric for the best."""
        return bool(self._best) and bool(_scored(self._scores()))

    def find(self, step: str | int = 'last') -> int:
        """Find the step of a checkpoint.

        Args:
            step: 'last', 'best' or a number, also as a text. The best has the highest
                score, and is the earliest of equal ones.

        Raises:
            UserError: There is no such checkpoint, or for 'best' none with a score.
        """
        steps = self.steps()
        if not steps:
            raise UserError(
                f'{self._folder} holds no checkpoint. Train the run until its first one'
            )
        if step == 'last':
            return steps[-1]
        if step == 'best':
            return self._find_best()
        if not str(step).isdigit() or int(step) not in steps:
            raise UserError(
                f'{self._folder} has no checkpoint {step}: expected last, best or one '
                f'of {", ".join(map(str, steps))}'
            )
        return int(step)

    def _find_best(self) -> int:
        if not self._best:
            raise UserError(
                f'{self._folder} has no best checkpoint, since the run has no validation '
                'split, or no metric to select one. Use the last one, or train with '
                'data.validation=10% and a metric in train.best'
            )
        scored = _scored(self._scores())
        if not scored:
            metric = self._best.removeprefix('-')
            raise UserError(
                f'{self._folder} has no best checkpoint, since no checkpoint was saved with '
                f'an evaluation of {metric!r}. Use the last one'
            )
        return scored[-1]

    def save(self, state: TrainState, origin: Json, metrics: MetricValues) -> None:
        """Start to save a state, which may be donated when this returns.

        The call waits for the save before, and deletes old checkpoints. `wait` waits
        for the end of this save. All processes of a run must call both together. If the
        folder has a checkpoint of this or a later step, nothing is saved.

        Args:
            state: the state.
            origin: {'config': config, 'data': fingerprints} of the run, for the
                manifest.
            metrics: {name with the split: value} of the state, for its score; {}: no
                score.
        """
        import orbax.checkpoint as ocp

        self.wait()
        arrays = _arrays(state)
        manifest = {
            'schema': SCHEMA,
            **origin,
            'versions': _versions(),
            'score': self.score(metrics),
            'checksums': _host_checksums(arrays),
        }
        self._manager.save(
            int(state.step),
            args=ocp.args.Composite(
                state=ocp.args.StandardSave(arrays),
                manifest=ocp.args.JsonSave(manifest),
            ),
        )

    def _scores(self) -> dict[int, float | None]:
        """Read {step: score}; None if there is no score or the manifest is unreadable."""
        scores = {}
        for step in self.steps():
            scores[step] = None
            with contextlib.suppress(OSError, ValueError):
                path = self._folder / str(step) / 'manifest' / 'metadata'
                scores[step] = json.loads(path.read_text())['score']
        return scores

    def restore(self, like: TrainState, step: int) -> TrainState:
        """Read the state of a step onto the devices, together on all processes.

        Args:
            like: the state that is expected, with shapes, dtypes and shardings as
                leaves.
            step: the step of the checkpoint.

        Raises:
            UserError: The checkpoint is damaged, cannot be read, or does not match
                `like`. Or another version of jaxvision wrote it.
        """
        path = self._folder / str(step)
        try:
            saved = self._read(path, step, _arrays(like))
            is_intact = saved.manifest['checksums'] == _host_checksums(saved.state)
            schema = saved.manifest['schema']
        except UserError:
            raise
        except PermissionError as error:
            raise UserError(
                f'{path} cannot be read: {error.strerror}. Check its permissions'
            ) from error
        # Orbax raises errors of nearly any type, even `Exception` itself.
        except Exception as error:
            raise _damaged(path, f'{type(error).__name__}: {error}') from error
        if schema != SCHEMA:
            raise UserError(
                f'{path} was written by another version of jaxvision: schema {schema}, '
                f'here {SCHEMA}. Use that version, or train the run again'
            )
        if not is_intact:
            raise _damaged(path, 'its checksums differ')
        key = jax.random.wrap_key_data(saved.state['key'])
        return like.replace(**{**saved.state, 'key': key})

    def _read(self, path: Path, step: int, arrays: dict[str, Any]) -> Any:
        """Read state and manifest, if the shapes of the state are those of `arrays`."""
        import orbax.checkpoint as ocp

        saved = self._manager.item_metadata(step)['state'].tree
        _check_shapes(path, _shapes(saved), _shapes(arrays))
        return self._manager.restore(
            step,
            args=ocp.args.Composite(
                state=ocp.args.StandardRestore(arrays),
                manifest=ocp.args.JsonRestore(),
            ),
        )


def exist(workdir: Path) -> bool:
    """Whether a run folder has at least one checkpoint, which may be damaged."""
    return any(path.name.isdigit() for path in (workdir / 'checkpoints').glob('*'))


def _scored(scores: dict[int, float | None]) -> list[int]:
    """List the steps with a score, the best one last; among equal scores the earliest is best."""
    scored = [
        (score, step)
        for step, score in sorted(scores.items(), reverse=True)
        if score is not None
    ]
    return [step for _, step in sorted(scored, key=lambda pair: pair[0])]


def _arrays(state: TrainState) -> dict[str, Any]:
    """Convert a state to a dict of plain arrays, since a typed key cannot be saved."""
    arrays = {name: getattr(state, name) for name in state.__dataclass_fields__}
    if not isinstance(state.key, jax.ShapeDtypeStruct):
        return {**arrays, 'key': jax.random.key_data(state.key)}
    data = jax.eval_shape(jax.random.key_data, state.key)
    key = jax.ShapeDtypeStruct(data.shape, data.dtype, sharding=state.key.sharding)
    return {**arrays, 'key': key}


def _host_checksums(arrays: dict) -> dict[str, int]:
    checksums = jax.device_get(_checksums(arrays))
    return jax.tree.map(int, checksums)


@jax.jit
def _checksums(arrays: dict) -> dict[str, jax.Array]:
    """Sum the words of each leaf, weighted by their places, as uint32: {path: sum}.

    Integer sums are exact on any layout of devices.
    """

    def checksum(leaf):
        words = leaf.astype(jnp.uint8) if leaf.dtype == bool else leaf
        bits = {1: jnp.uint8, 2: jnp.uint16}.get(words.dtype.itemsize, jnp.uint32)
        words = jax.lax.bitcast_convert_type(words, bits).reshape(-1).astype(jnp.uint32)
        weights = 2 * jnp.arange(words.size, dtype=jnp.uint32) + 1
        return jnp.sum(words * weights, dtype=jnp.uint32)

    return {name: checksum(leaf) for name, leaf in _leaves(arrays).items()}


def _leaves(tree: Any) -> dict[str, Any]:
    return {
        jax.tree_util.keystr(path, simple=True, separator='/'): leaf
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    }


def _shapes(tree: Any) -> dict[str, str]:
    """Describe each leaf as 'float32[3, 4]': {path: description}."""
    leaves = _leaves(tree)
    return {name: f'{leaf.dtype}{list(leaf.shape)}' for name, leaf in leaves.items()}


def _check_shapes(path: Path, saved: dict[str, str], expected: dict[str, str]) -> None:
    differences = []
    for name in sorted({*saved, *expected}):
        saved_shape = saved.get(name, 'absent')
        expected_shape = expected.get(name, 'absent')
        if saved_shape != expected_shape:
            differences.append(
                f'{name} is {saved_shape} in the checkpoint, {expected_shape} by these files'
            )
    if not differences:
        return
    listed = '; '.join(differences[:_MOST_LISTED])
    if len(differences) > _MOST_LISTED:
        listed += f'; and {len(differences) - _MOST_LISTED} more'
    raise UserError(
        f'{path} and the files config.json and spec.json of the run disagree: {listed}. '
        'Restore the file that was changed, such as model in config.json or class_names in '
        'spec.json'
    )


def _damaged(path: Path, reason: str) -> UserError:
    first_line = reason.splitlines()[0][:200]
    return UserError(
        f'{path} is damaged ({first_line}). Remove it to resume from the checkpoint before'
    )


def _versions() -> dict[str, str]:
    packages = ('jax', 'flax', 'optax', 'orbax-checkpoint', 'numpy')
    versions = {name: importlib.metadata.version(name) for name in packages}
    return {
        'python': sys.version.split()[0],
        'jaxvision': jaxvision.__version__,
        **versions,
    }
