"""Saving and restoring a TrainState with Orbax: asynchronous, atomic, checked.

`checkpoints/STEP/state` holds the arrays; `checkpoints/STEP/manifest` says what wrote them.
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
from jaxvision.core.types import Json
from jaxvision.train import processes

SCHEMA = 1  # of the manifest and of the tree that `state` holds


class Checkpoints:
    """The checkpoints of one run: the last `keep`, and the best by the metric `best` ('-NAME': the
    least)."""

    def __init__(
        self, folder: Path, keep: int = 2, best: str = '', read_only: bool = False
    ):
        import orbax.checkpoint as ocp

        if keep < 1:
            raise UserError(f'train.keep={keep}: it is at least 1')
        self._folder, self._keep, self._best = folder, keep, best
        # What to keep is decided here: Orbax's own rule reads every old checkpoint's metrics when
        # it opens the folder, so that one damaged file would close them all.
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
        # It asks JAX for the sync point of an old step, from a thread of process 0 alone, and would
        # move that point behind steps that the loop has taken.
        self._manager.reached_preemption = lambda step: False

    def __enter__(self) -> 'Checkpoints':
        return self

    def __exit__(self, *exception) -> None:
        self._manager.close()

    def wait(self) -> None:
        """Until the save under way is on the disk, or has raised; removes what need not be kept."""
        self._manager.wait_until_finished()
        scores = self._scores()
        kept = sorted(scores)[-self._keep :] + _scored(scores)[-1:]
        for step in processes.of_first(sorted(scores.keys() - set(kept))):
            self._manager.delete(step)

    def score(self, metrics: dict[str, float | int]) -> float | None:
        """The metric that 'best' is about, signed so that more is better; None if there is none."""
        value = metrics.get(self._best.removeprefix('-'))
        if value is None or not math.isfinite(value):
            return None
        return -value if self._best.startswith('-') else value

    def steps(self) -> list[int]:
        return sorted(self._manager.all_steps())

    def has_best(self) -> bool:
        """Whether a checkpoint was selected."""
        return bool(self._best) and bool(_scored(self._scores()))

    def find(self, step: str | int = 'last') -> int:
        """The step of 'last', 'best' or a number; an error says what there is."""
        steps = self.steps()
        if not steps:
            raise UserError(f'{self._folder} holds no checkpoint')
        if step == 'last':
            return steps[-1]
        if step == 'best':
            if not self._best:
                raise UserError(
                    f'{self._folder} has no best checkpoint, since the run has no '
                    'validation split to select it on. Use the last one, or train with '
                    'data.validation=10%'
                )
            scored = _scored(self._scores())
            if not scored:
                raise UserError(
                    f'{self._folder}: no checkpoint was saved with an evaluation of '
                    f'{self._best.removeprefix("-")!r}, so none is the best'
                )
            return scored[-1]
        if not str(step).isdigit() or int(step) not in steps:
            raise UserError(
                f'{self._folder} has no checkpoint {step}: expected last, best or one '
                f'of {", ".join(map(str, steps))}'
            )
        return int(step)

    def save(self, state: TrainState, origin: Json, metrics: dict[str, float]) -> None:
        """Start to save; the state may be donated as soon as this returns. `origin` goes into the
        manifest: what the state was made with."""
        import orbax.checkpoint as ocp

        self.wait()
        arrays = _arrays(state)
        manifest = {
            'schema': SCHEMA,
            **origin,
            'versions': _versions(),
            'score': self.score(metrics),
            'checksums': jax.tree.map(int, jax.device_get(_checksums(arrays))),
        }
        self._manager.save(
            int(state.step),
            args=ocp.args.Composite(
                state=ocp.args.StandardSave(arrays),
                manifest=ocp.args.JsonSave(manifest),
            ),
        )

    def _scores(self) -> dict[int, float | None]:
        """{step: score}, None where there is none or the manifest cannot be read."""
        scores = {}
        for step in self.steps():
            with contextlib.suppress(OSError, ValueError):
                path = self._folder / str(step) / 'manifest' / 'metadata'
                scores[step] = json.loads(path.read_text())['score']
        return {step: scores.get(step) for step in self.steps()}

    def restore(self, like: TrainState, step: int) -> TrainState:
        """The state of a step, with the shapes, dtypes and shardings of `like` (abstract)."""
        import orbax.checkpoint as ocp

        where = self._folder / str(step)
        wanted = _arrays(like)
        try:
            there = self._manager.item_metadata(step)['state'].tree
            _check_shapes(where, _shapes(there), _shapes(wanted))
            found: Any = self._manager.restore(
                step,
                args=ocp.args.Composite(
                    state=ocp.args.StandardRestore(wanted),
                    manifest=ocp.args.JsonRestore(),
                ),
            )
            sums = jax.tree.map(int, jax.device_get(_checksums(found.state)))
            intact = found.manifest['checksums'] == sums
            if found.manifest['schema'] != SCHEMA:
                raise UserError(
                    f'{where} was written by another version of jaxvision: schema '
                    f'{found.manifest["schema"]}, here {SCHEMA}'
                )
        except UserError:
            raise
        except PermissionError as error:
            raise UserError(f'cannot read {where}: {error.strerror}') from error
        # Orbax's readers raise nearly anything, `Exception` itself too.
        except Exception as error:
            raise UserError(
                _damaged(where, f'{type(error).__name__}: {error}')
            ) from error
        if not intact:
            raise UserError(_damaged(where, 'its checksums differ'))
        key = jax.random.wrap_key_data(found.state['key'])
        return like.replace(**{**found.state, 'key': key})


def exist(workdir: Path) -> bool:
    """Whether a run has any."""
    return any(path.name.isdigit() for path in (workdir / 'checkpoints').glob('*'))


def _scored(scores: dict[int, float | None]) -> list[int]:
    """The steps that have a score, the best last; of equals the earliest."""
    scored = [
        (score, step)
        for step, score in sorted(scores.items(), reverse=True)
        if score is not None
    ]
    return [step for _, step in sorted(scored, key=lambda pair: pair[0])]


def _arrays(state: TrainState) -> dict[str, Any]:
    """The state as a dict of plain arrays: a typed key would not survive the disk."""
    arrays = {name: getattr(state, name) for name in state.__dataclass_fields__}
    if not isinstance(state.key, jax.ShapeDtypeStruct):
        return {**arrays, 'key': jax.random.key_data(state.key)}
    data = jax.eval_shape(jax.random.key_data, state.key)
    return {
        **arrays,
        'key': jax.ShapeDtypeStruct(
            data.shape, data.dtype, sharding=state.key.sharding
        ),
    }


@jax.jit
def _checksums(arrays: dict) -> dict[str, jax.Array]:
    """{path: uint32}: the words of each leaf, weighted by their place; exact on any layout."""

    def checksum(leaf):
        words = leaf.astype(jnp.uint8) if leaf.dtype == bool else leaf
        bits = {1: jnp.uint8, 2: jnp.uint16}.get(words.dtype.itemsize, jnp.uint32)
        words = jax.lax.bitcast_convert_type(words, bits).reshape(-1).astype(jnp.uint32)
        return jnp.sum(
            words * (2 * jnp.arange(words.size, dtype=jnp.uint32) + 1), dtype=jnp.uint32
        )

    return {name: checksum(leaf) for name, leaf in _leaves(arrays).items()}


def _leaves(tree: Any) -> dict[str, Any]:
    return {
        jax.tree_util.keystr(path, simple=True, separator='/'): leaf
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    }


def _shapes(tree: Any) -> dict[str, str]:
    return {
        name: f'{leaf.dtype}{list(leaf.shape)}' for name, leaf in _leaves(tree).items()
    }


def _check_shapes(where: Path, there: dict[str, str], here: dict[str, str]) -> None:
    wrong = [
        f'{name} is {there.get(name, "not there")}, the config makes it '
        f'{here.get(name, "not there")}'
        for name in sorted({*there, *here})
        if there.get(name) != here.get(name)
    ]
    if wrong:
        more = f'; and {len(wrong) - 3} more' if len(wrong) > 3 else ''
        raise UserError(
            f'{where} is a checkpoint of another model: {"; ".join(wrong[:3])}{more}'
        )


def _damaged(where: Path, why: str) -> str:
    return (
        f'{where} is damaged ({why.splitlines()[0][:200]}). Remove it to go on from the one '
        'before'
    )


def _versions() -> dict[str, str]:
    names = ('jax', 'flax', 'optax', 'orbax-checkpoint', 'numpy')
    found = {name: importlib.metadata.version(name) for name in names}
    return {
        'python': sys.version.split()[0],
        'jaxvision': jaxvision.__version__,
        **found,
    }
