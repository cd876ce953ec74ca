"""The compiled update of a config, and its costs."""

import math
import time
from dataclasses import dataclass
from pathlib import Path

import jax

from jaxvision.cli.bench import collectives, plan
from jaxvision.core.fields import Config
from jaxvision.core.types import Tree
from jaxvision.train import checks, sharding
from jaxvision.train import run as runs


@dataclass(frozen=True)
class Compiled:
    """A run and its update, compiled for all devices as training does it.

    Attributes:
        run: the run.
        update: the compiled update.
        lower_seconds: time of tracing and of lowering to StableHLO.
        compile_seconds: time of XLA.
    """

    run: runs.Run
    update: jax.stages.Compiled
    lower_seconds: float
    compile_seconds: float


def compile_update(config: Config, sources: runs.Sources) -> Compiled:
    """Compile the update of a config for all devices.

    Args:
        config: the config, whose fields are not checked here.
        sources: the data. All splits are opened for the spec, and a training example is
            read for the shapes.

    Raises:
        UserError: The config does not fit the data or the devices.
    """
    mesh = sharding.make_mesh(config.parallel.mode, config.parallel.fsdp)
    run = runs.build(config, Path(), runs.describe(config, sources), sources, mesh)
    state, batch = run.abstract(), run.abstract_batch()
    start = time.perf_counter()
    checks.check_training(run)  # It traces the update.
    lowered = run.update.lower(state, batch)
    lowered_at = time.perf_counter()
    compiled = lowered.compile()
    compiled_at = time.perf_counter()
    return Compiled(
        run=run,
        update=compiled,
        lower_seconds=lowered_at - start,
        compile_seconds=compiled_at - lowered_at,
    )


def costs(compiled: Compiled) -> plan.Costs:
    """Read the costs of a step per device from a compiled update, which is not run."""
    run = compiled.run
    cost = compiled.update.cost_analysis()
    memory = compiled.update.memory_analysis()
    state = run.abstract()
    parts = {
        'parameters': _bytes_per_device(state.params),
        'optimizer': _bytes_per_device(state.opt_state),
        'average': _bytes_per_device(state.ema),
        'model state': _bytes_per_device(state.model_state),
        'frozen': _bytes_per_device(state.frozen),
    }
    parts = {name: size for name, size in parts.items() if size}
    parts['batch'] = _bytes_per_device(run.abstract_batch())
    return plan.Costs(
        batch_size=run.config.data.batch_size,
        dtype=run.config.model.dtype,
        flops=cost['flops'],
        bytes_accessed=cost['bytes accessed'],
        arguments=memory.argument_size_in_bytes,
        results=memory.output_size_in_bytes - memory.alias_size_in_bytes,
        temporaries=memory.temp_size_in_bytes,
        parts=parts,
        collectives=tuple(collectives.parse(compiled.update.as_text())),
    )


def _bytes_per_device(tree: Tree) -> int:
    size = 0
    for leaf in jax.tree.leaves(tree):
        shard_shape = leaf.sharding.shard_shape(leaf.shape)
        size += math.prod(shard_shape) * leaf.dtype.itemsize
    return size
