"""Files of weights as their publishers write them, of our own making."""

import numpy as np
from safetensors.numpy import save_file


def write_safetensors(tensors, path):
    """Write {name: array} by the library; a copy is contiguous, and keeps an array without axes."""
    save_file({name: tensor.copy('C') for name, tensor in tensors.items()}, path)
    return path


def write_keras(model, path, renamed=lambda name: name):
    """As Keras 2 wrote the files of keras.applications; the layers are `renamed`."""
    import h5py

    with h5py.File(path, 'w') as file:
        file.attrs['layer_names'] = [
            renamed(layer.name).encode() for layer in model.layers
        ]
        for layer in model.layers:
            group = file.create_group(renamed(layer.name))
            weights = {
                name: weight
                for part in getattr(layer, 'layers', [layer])
                for name, weight in _keras_weights(part, renamed)
            }
            group.attrs['weight_names'] = [name.encode() for name in weights]
            for name, weight in weights.items():
                group[name] = np.asarray(weight)
    return path


def _keras_weights(layer, renamed):
    """(name, weight) as Keras 2 calls them."""
    for weight in layer.weights:
        depthwise = (
            type(layer).__name__ == 'DepthwiseConv2D' and weight.name == 'kernel'
        )
        if weight.name == 'variable':  # one that a layer makes without a name
            yield 'Variable:0', weight
        else:
            yield (
                f'{renamed(layer.name)}/{"depthwise_" * depthwise}{weight.name}:0',
                weight,
            )


def draw_norms(model, rng):
    """A Keras model's norms and biases, which begin at zero and one."""
    for weight in model.weights:
        if len(weight.shape) == 1:
            value = rng.normal(size=weight.shape)
            near_one = weight.name in ('gamma', 'moving_variance')
            weight.assign(1 + 0.5 * np.tanh(value) if near_one else 0.1 * value)
