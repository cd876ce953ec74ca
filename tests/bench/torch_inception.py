"""The FID's Inception in PyTorch (pytorch-fid's), the reference of jaxvision/models/inception.py.

Its weights are random, drawn by tests/helpers/reference_weights.py. With a Python that has PyTorch,
torchvision and pytorch-fid, `write` writes tests/models/data/inception.npz anew, and into FOLDER
the state dict, in both of PyTorch's formats, with the features of some pictures; with a Python that
has jaxvision, `compare` prints how far its features are from those:

    python tests/bench/torch_inception.py write FOLDER
    python tests/bench/torch_inception.py compare FOLDER
"""

import sys
from pathlib import Path

import numpy as np

TESTS = Path(__file__).parents[1]
sys.path.insert(0, str(TESTS))
STAGES = ('Mixed_5d', 'Mixed_6e', 'Mixed_7c', 'avgpool', 'fc')
NAMES = {'avgpool': 'pooled', 'fc': 'logits'}


def network(state):
    """pytorch-fid's network with the weights that `state` gives for a tensor's name and shape."""
    import torch
    from pytorch_fid import inception

    def instead_of_a_download(*_, **__):
        model = inception._inception_v3(
            num_classes=1008, aux_logits=False, weights=None
        )
        shapes = {
            name: tuple(value.shape)
            for name, value in model.state_dict().items()
            if value.is_floating_point()
        }
        counters = {
            name: value
            for name, value in model.state_dict().items()
            if not value.is_floating_point()
        }
        return counters | {
            name: torch.from_numpy(np.asarray(state(name, shape), np.float32))
            for name, shape in shapes.items()
        }

    inception.load_state_dict_from_url = instead_of_a_download
    return inception.fid_inception_v3().eval(), inception


def pictures_of(size):
    return np.random.default_rng(size).random((2, size, size, 3), np.float32)


def write(folder):
    import torch
    from helpers.reference_weights import draw, excerpt, pictures

    model, package = network(draw)
    tensors = {}
    for stage in STAGES:
        model.get_submodule(stage).register_forward_hook(
            lambda module, _, out, stage=stage: tensors.update(
                {NAMES.get(stage, stage): out}
            )
        )
    with torch.no_grad():
        model(
            torch.from_numpy(np.asarray(pictures(107), np.float32)).permute(0, 3, 1, 2)
        )
    tensors['pooled'] = tensors['pooled'].flatten(1)
    np.savez_compressed(
        TESTS / 'models' / 'data' / 'inception.npz',
        **{
            name: excerpt(value.permute(0, 2, 3, 1) if value.ndim == 4 else value)
            for name, value in tensors.items()
        },
    )

    folder.mkdir(exist_ok=True)
    torch.save(model.state_dict(), folder / 'zip.pth')
    torch.save(
        model.state_dict(), folder / 'legacy.pth', _use_new_zipfile_serialization=False
    )
    expected = {}
    for size in (32, 299, 400):
        images = torch.from_numpy(pictures_of(size)).permute(0, 3, 1, 2)
        with torch.no_grad():
            (features,) = package.InceptionV3().eval()(images)
        expected[str(size)] = features.flatten(1).numpy()
    np.savez(folder / 'features.npz', **expected)


def compare(folder):
    import jax

    from jaxvision.models.backbones import inception
    from jaxvision.tasks.shared import feature_extractor as features

    for name in ('zip', 'legacy'):
        variables = features.inception(folder / f'{name}.pth').read()
        for size, expected in np.load(folder / 'features.npz').items():
            got = jax.jit(inception.features)(variables, pictures_of(int(size)))
            error = np.abs(got - expected).max() / np.abs(expected).max()
            print(f'{name}, {size} pixels: {error:.1e} of the largest feature')


if __name__ == '__main__':
    {'write': write, 'compare': compare}[sys.argv[1]](Path(sys.argv[2]))
