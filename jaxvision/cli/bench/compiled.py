"""A config's update, compiled from shapes alone, and what the compiled program says it costs."""

import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax

from jaxvision.cli.bench import collectives, plan
from jaxvision.core.fields import Config
from jaxvision.train import run as runs
from jaxvision.train import sharding
from jaxvision.train.saved import blank_batch


@dataclass(frozen=True)
class Compiled:
    """The run, and its update as training compiles it, for all devices."""

    run: runs.Run
    update: jax.stages.Compiled
    lower_seconds: float  # tracing, and lowering to StableHLO
    compile_seconds: float  # by XLA


def compile_update(config: Config, sources: runs.Sources) -> Compiled:
    """Raises UserError where the config does not fit the data or the devices."""
    mesh = sharding.make_mesh(config.parallel.mode, config.parallel.fsdp)
    run = runs.build(config, Path(), runs.describe(config, sources), sources, mesh)
    runs.trace(run)
    batch = jax.eval_shape(lambda: blank_batch(run.spec, config.data.batch_size))
    begun = time.perf_counter()
    lowered = run.update.lower(run.abstract(), batch)
    halfway = time.perf_counter()
    compiled = lowered.compile()
    return Compiled(run, compiled, halfway - begun, time.perf_counter() - halfway)


def costs(compiled: Compiled) -> plan.Costs:
    """Per device: what the program computes, keeps and sends."""
    run, cost = compiled.run, compiled.update.cost_analysis()
    memory, state = compiled.update.memory_analysis(), run.abstract()
    parts = {
        'parameters': state.params,
        'optimizer': state.opt_state,
        'average': state.ema,
        'model state': state.model_state,
        'frozen': state.frozen,
    }
    sizes = {name: _bytes_per_device(tree) for name, tree in parts.items()}
    batch = blank_batch(run.spec, run.config.data.batch_size)
    return plan.Costs(
        run.config.data.batch_size,
        run.config.model.dtype,
        cost['flops'],
        cost['bytes accessed'],
        memory.argument_size_in_bytes,
        memory.output_size_in_bytes - memory.alias_size_in_bytes,
        memory.temp_size_in_bytes,
        {
            **{name: size for name, size in sizes.items() if size},
            'batch': sum(x.nbytes for x in batch.values()) // run.mesh.size,
        },
        tuple(collectives.parse(compiled.update.as_text())),
    )


def _bytes_per_device(tree: Any) -> int:
    return sum(
        math.prod(x.sharding.shard_shape(x.shape)) * x.dtype.itemsize
        for x in jax.tree.leaves(tree)
    )
