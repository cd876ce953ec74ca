"""Memory traffic of a training step on TPUs, as XLA estimates it; no TPU is needed.

    pip install libtpu
    python tests/bench/tpu_bytes.py [--model resnet:50] [--topology v5e:2x2] [--batch 128]

The step is forward, backward and SGD with momentum at 224 pixels and 1,000 classes, in bfloat16
with float32 parameters, the batch split over the topology's chips. It compiles for minutes. On
v5e:2x2 ResNet-50 moved 408.5 MB an image while max pooling had the CPU's derivative, now 380.6 MB.
"""

import argparse
import os

os.environ['JAX_PLATFORMS'] = 'cpu'  # before JAX starts: the step is only compiled
os.environ['TPU_SKIP_MDS_QUERY'] = (
    '1'  # libtpu asks no metadata server which TPU this is
)

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.experimental import topologies
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jaxvision.core.registry import resolve

CLASSES = 1000


def training_step(name: str, variant: str):
    """(the model, step(params, batch_stats, opt_state, image, label), its optimizer)."""
    make = resolve('models', name).make
    model = make(variant, num_classes=CLASSES, dtype=jnp.bfloat16)
    tx = optax.sgd(0.1, momentum=0.9)

    def step(params, state, opt_state, image, label):
        def loss(params):
            (logits, _), new = model.apply(
                {'params': params, **state}, image, train=True, mutable=list(state)
            )
            errors = optax.softmax_cross_entropy_with_integer_labels(logits, label)
            return errors.mean(), new

        gradient, state = jax.grad(loss, has_aux=True)(params)
        updates, opt_state = tx.update(gradient, opt_state)
        return optax.apply_updates(params, updates), state, opt_state

    return model, step, tx


def compiled(name: str, variant: str, topology: str, batch: int):
    """The training step, compiled for one topology, `batch` images a chip."""
    devices = topologies.get_topology_desc(topology, 'tpu').devices
    mesh = Mesh(np.array(devices), ('data',))
    model, step, tx = training_step(name, variant)

    def placed(shapes, *spec):
        sharding = NamedSharding(mesh, PartitionSpec(*spec))
        return jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), shapes
        )

    number = batch * len(devices)
    image = jax.ShapeDtypeStruct((number, 224, 224, 3), jnp.bfloat16)
    label = jax.ShapeDtypeStruct((number,), jnp.int32)
    state = jax.eval_shape(model.init, jax.random.key(0), image)
    params = state.pop('params')
    state = params, state, jax.eval_shape(tx.init, params)
    given = *placed(state), *placed((image, label), 'data')
    return jax.jit(step, donate_argnums=(0, 1, 2)).lower(*given).compile()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--model', default='resnet:50')
    parser.add_argument('--topology', default='v5e:2x2')
    parser.add_argument('--batch', type=int, default=128)
    options = parser.parse_args()
    name, _, variant = options.model.partition(':')
    step = compiled(name, variant, options.topology, options.batch)
    moved = step.cost_analysis()['bytes accessed'] / options.batch
    held = step.memory_analysis().temp_size_in_bytes
    print(f'{options.model} on {options.topology}, {options.batch} images a chip:')
    print(f'{moved / 1e6:.1f} MB an image, {held / 1e9:.2f} GB of temporaries')


if __name__ == '__main__':
    main()
