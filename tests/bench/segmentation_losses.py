"""Store losses of PyTorch and segmentation_models_pytorch in tests/losses/segmentation.npz.

    PYTHON tests/bench/segmentation_losses.py

PYTHON is an interpreter that has torch and segmentation_models_pytorch. Each image is a batch of
one. The losses are means over its labelled pixels, or over classes.
"""

from pathlib import Path

import numpy as np
import torch
from segmentation_models_pytorch import losses
from torch.nn import functional

FILE = Path(__file__).parents[1] / 'losses' / 'segmentation.npz'
IGNORED = 255
CLASSES = 4


def image(rng, classes):
    """Logits [H, W, K] and labels in blocks, without some classes, some pixels IGNORED."""
    logits = 3 * rng.normal(size=(6, 7, CLASSES)).astype(np.float32)
    labels = rng.choice(classes, size=(3, 4)).repeat(2, 0).repeat(2, 1)[:, :7]
    labels[rng.uniform(size=labels.shape) < 0.15] = IGNORED
    return logits, labels.astype(np.uint8)


def references(logits, labels, weights):
    """{name: (value, gradient [H, W, K])}, the mean over classes as the library has it."""
    criteria = {
        'cross_entropy': lambda x, y: functional.cross_entropy(
            x, y, ignore_index=IGNORED
        ),
        'weighted': lambda x, y: functional.cross_entropy(
            x, y, weights, ignore_index=IGNORED
        ),
        'dice': losses.DiceLoss('multiclass', ignore_index=IGNORED),
        # It is added to TP, so that it counts twice in 2 TP / (2 TP + FP + FN).
        'dice_smooth': losses.DiceLoss('multiclass', smooth=0.5, ignore_index=IGNORED),
        'tversky': losses.TverskyLoss(
            'multiclass', ignore_index=IGNORED, alpha=0.3, beta=0.7
        ),
        'lovasz': losses.LovaszLoss('multiclass', ignore_index=IGNORED),
    }
    found = {}
    for name, criterion in criteria.items():
        x = torch.from_numpy(logits).permute(2, 0, 1)[None].requires_grad_()
        value = criterion(x, torch.from_numpy(labels).long()[None])
        (gradient,) = torch.autograd.grad(value, x)
        found[name] = value.item(), gradient[0].permute(1, 2, 0).numpy()
    return found


def main():
    rng = np.random.default_rng(0)
    weights = np.array([0.5, 2.0, 1.0, 3.0], np.float32)
    arrays = {'class_weights': weights}
    for number, classes in enumerate(([0, 1, 2, 3], [0, 2], [1])):
        logits, labels = image(rng, classes)
        arrays |= {f'logits_{number}': logits, f'labels_{number}': labels}
        stored = references(logits, labels, torch.from_numpy(weights))
        for name, (value, gradient) in stored.items():
            arrays[f'{name}_{number}'] = np.float32(value)
            arrays[f'{name}_gradient_{number}'] = gradient
    np.savez_compressed(FILE, **arrays)
    print(f'{FILE}: {FILE.stat().st_size:,} bytes')


if __name__ == '__main__':
    main()
