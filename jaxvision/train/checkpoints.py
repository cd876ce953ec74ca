"""Saving and restoring a TrainState with Orbax: asynchronous, atomic, checked.

`checkpoints/STEP/state` holds the arrays; `checkpoints/STEP/manifest` says what wrote them.
"""

import importlib.metadata
import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers as policies

from jaxvision.errors import UserError
from jaxvision.train.state import TrainState

SCHEMA = 1  # of the manifest and of the tree that `state` holds


class Checkpoints:
    """The checkpoints of one run: the last `keep`, and the best by the metric `best` ('-NAME': the
    least)."""

    def __init__(self, folder: Path, keep: int = 2, best: str = ''):
        self._folder, self._best = folder, best
        kept = [policies.LatestN(keep)]
        score = lambda metrics: metrics['score']
        if best:
            kept.append(policies.BestN(
                get_metric_fn=score, n=1, keep_checkpoints_without_metrics=False))
        options = ocp.CheckpointManagerOptions(
            preservation_policy=policies.AnyPreservationPolicy(kept), create=True,
            best_fn=score)  # without it Orbax neither writes nor reads metrics
        self._manager = ocp.CheckpointManager(folder.absolute(), options=options, item_handlers={
            'state': ocp.StandardCheckpointHandler(), 'manifest': ocp.JsonCheckpointHandler()})

    def __enter__(self) -> 'Checkpoints':
        return self

    def __exit__(self, *exception) -> None:
        self._manager.close()

    def wait(self) -> None:
        """Until the save under way is on the disk, or has raised."""
        self._manager.wait_until_finished()

    def score(self, metrics: dict[str, float | int]) -> float | None:
        """The metric that 'best' is about, signed so that more is better; None if not there."""
        value = metrics.get(self._best.removeprefix('-'))
        return value if value is None or not self._best.startswith('-') else -value

    def steps(self) -> list[int]:
        return sorted(self._manager.all_steps())

    def find(self, step: str | int = 'last') -> int:
        """The step of 'last', 'best' or a number; an error says what there is."""
        steps = self.steps()
        if not steps:
            raise UserError(f'{self._folder} holds no checkpoint')
        if step == 'last':
            return steps[-1]
        if step == 'best':
            scores = {s: (self._manager.metrics(s) or {}).get('score') for s in steps}
            scored = [s for s in steps if scores[s] is not None]
            if not scored:
                raise UserError(f'{self._folder}: no checkpoint has a score; train.best is empty')
            return max(scored, key=lambda s: scores[s])
        if not str(step).isdigit() or int(step) not in steps:
            raise UserError(f'{self._folder} has no checkpoint {step}; there are {steps}')
        return int(step)

    def save(self, state: TrainState, origin: dict, metrics: dict[str, float]) -> None:
        """Start to save; the state may be donated as soon as this returns. `origin` goes into the
        manifest: what the state was made with."""
        step, arrays = int(state.step), _arrays(state)
        manifest = {'schema': SCHEMA, **origin, 'versions': _versions(),
                    'checksums': jax.tree.map(int, jax.device_get(_checksums(arrays)))}
        score = self.score(metrics)
        self._manager.save(
            step, metrics=None if score is None else {'score': score},
            args=ocp.args.Composite(state=ocp.args.StandardSave(arrays),
                                    manifest=ocp.args.JsonSave(manifest)))

    def restore(self, like: TrainState, step: int) -> TrainState:
        """The state of a step, with the shapes, dtypes and shardings of `like` (abstract arrays)."""
        where = self._folder / str(step)
        wanted = _arrays(like)
        try:
            there = self._manager.item_metadata(step)['state'].tree
            _check_shapes(where, _shapes(there), _shapes(wanted))
            found = self._manager.restore(step, args=ocp.args.Composite(
                state=ocp.args.StandardRestore(wanted), manifest=ocp.args.JsonRestore()))
            sums = jax.tree.map(int, jax.device_get(_checksums(found.state)))
            intact = found.manifest['checksums'] == sums
        except UserError:
            raise
        except (ValueError, OSError, LookupError, TypeError, AttributeError,
                NotImplementedError) as error:  # from Orbax's readers
            raise UserError(_damaged(where, f'{type(error).__name__}: {error}')) from error
        if not intact:
            raise UserError(_damaged(where, 'its checksums differ'))
        key = jax.random.wrap_key_data(found.state['key'])
        return like.replace(**{**found.state, 'key': key})


def _arrays(state: TrainState) -> dict[str, Any]:
    """The state as a dict of plain arrays: a typed key would not survive the disk."""
    arrays = {name: getattr(state, name) for name in state.__dataclass_fields__}
    if not isinstance(state.key, jax.ShapeDtypeStruct):
        return {**arrays, 'key': jax.random.key_data(state.key)}
    data = jax.eval_shape(jax.random.key_data, state.key)
    return {**arrays, 'key': jax.ShapeDtypeStruct(data.shape, data.dtype,
                                                  sharding=state.key.sharding)}


@jax.jit
def _checksums(arrays: dict) -> dict[str, jax.Array]:
    """{path: uint32}: the words of each leaf, weighted by their place; exact on any layout."""
    def checksum(leaf):
        words = leaf.astype(jnp.uint8) if leaf.dtype == bool else leaf
        bits = {1: jnp.uint8, 2: jnp.uint16}.get(words.dtype.itemsize, jnp.uint32)
        words = jax.lax.bitcast_convert_type(words, bits).reshape(-1).astype(jnp.uint32)
        return jnp.sum(words * (2 * jnp.arange(words.size, dtype=jnp.uint32) + 1), dtype=jnp.uint32)
    return {name: checksum(leaf) for name, leaf in _leaves(arrays).items()}


def _leaves(tree: Any) -> dict[str, Any]:
    name = lambda path: '/'.join(
        str(getattr(k, 'key', getattr(k, 'name', getattr(k, 'idx', k)))) for k in path)
    return {name(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}


def _shapes(tree: Any) -> dict[str, str]:
    return {name: f'{leaf.dtype}{list(leaf.shape)}' for name, leaf in _leaves(tree).items()}


def _check_shapes(where: Path, there: dict[str, str], here: dict[str, str]) -> None:
    wrong = [f'{name} is {there.get(name, "not there")}, the config makes it '
             f'{here.get(name, "not there")}'
             for name in sorted({*there, *here}) if there.get(name) != here.get(name)]
    if wrong:
        more = f'; and {len(wrong) - 3} more' if len(wrong) > 3 else ''
        raise UserError(f'{where} is a checkpoint of another model: {"; ".join(wrong[:3])}{more}')


def _damaged(where: Path, why: str) -> str:
    return f'{where} is damaged ({why.splitlines()[0][:200]}). Remove it to go on from the one before'


def _versions() -> dict[str, str]:
    names = ('jaxvision', 'jax', 'flax', 'optax', 'orbax-checkpoint', 'numpy')
    found = {name: importlib.metadata.version(name) for name in names}
    return {'python': sys.version.split()[0], **found}
