"""Write tests/attribution/captum.npz: attributions of captum 0.9 for a small network in torch.

    python -m venv captum && captum/bin/pip install torch captum
    captum/bin/python tests/bench/captum_reference.py tests/attribution/captum.npz

The file has the images, the weights and what captum answers, in this project's order of axes.
"""

import sys

import captum
import numpy as np
import torch
from captum import attr


class Net(torch.nn.Module):
    """Convolution, ReLU, convolution of stride 2, ReLU, means over the cells, logits."""

    def __init__(self):
        super().__init__()
        self.first = torch.nn.Conv2d(3, 6, 3, padding=1)
        self.second = torch.nn.Conv2d(6, 5, 3, stride=2)
        self.relu1 = torch.nn.ReLU()
        self.relu2 = torch.nn.ReLU()
        self.head = torch.nn.Linear(5, 4)

    def forward(self, images):
        maps = self.relu1(self.first(images))
        maps = self.relu2(self.second(maps))
        return self.head(maps.mean((2, 3)))


def main(path):
    torch.manual_seed(0)
    net = Net().double()
    for weights in (net.first.weight, net.second.weight, net.head.weight):
        # Larger than torch's, so that hidden pixels change the logits in their first digits.
        torch.nn.init.kaiming_normal_(weights)
        weights.data = weights.data.float().double()
    images = torch.rand(2, 3, 9, 13).double()
    classes = torch.tensor([1, 3])
    baseline = torch.full_like(images, 0.5)
    integrated = attr.IntegratedGradients(net).attribute(
        images, baseline, target=classes, n_steps=32, method='riemann_middle'
    )
    answers = {
        'logits': net(images),
        'gradient': attr.Saliency(net).attribute(images, classes, abs=False),
        'input_x_gradient': attr.InputXGradient(net).attribute(images, classes),
        'integrated_gradients': integrated,
        'occlusion': attr.Occlusion(net).attribute(
            images, (3, 3, 4), (3, 2, 3), baselines=0.5, target=classes
        ),
        'grad_cam': attr.LayerGradCam(net, net.relu2).attribute(
            images, classes, relu_attributions=True
        ),
    }
    arrays = {name: to_numpy(tensor) for name, tensor in answers.items()}
    arrays |= {
        'images': to_numpy(images),
        'classes': classes.numpy(),
        'first_kernel': net.first.weight.detach().numpy().transpose(2, 3, 1, 0),
        'first_bias': net.first.bias.detach().numpy(),
        'second_kernel': net.second.weight.detach().numpy().transpose(2, 3, 1, 0),
        'second_bias': net.second.bias.detach().numpy(),
        'head_kernel': net.head.weight.detach().numpy().T,
        'head_bias': net.head.bias.detach().numpy(),
    }
    # The weights and the images are float32 already.
    for name, array in arrays.items():
        if array.dtype == np.float64:
            arrays[name] = array.astype(np.float32)
    np.savez_compressed(path, **arrays)
    print(f'captum {captum.__version__}, torch {torch.__version__}: {path}')


def to_numpy(tensor):
    array = tensor.detach().numpy()
    return array.transpose(0, 2, 3, 1) if array.ndim == 4 else array


if __name__ == '__main__':
    main(*sys.argv[1:])
