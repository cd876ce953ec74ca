"""Store box arithmetic of torchvision in tests/boxes/torchvision.npz, as a reference.

    PYTHON tests/bench/torchvision_boxes.py

PYTHON is an interpreter that has torchvision. Boxes are stored as torchvision has them,
[xmin, ymin, xmax, ymax]; the tests exchange the axes.
"""

from pathlib import Path

import numpy as np
import torch
from torchvision import ops
from torchvision.models.detection import _utils
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.image_list import ImageList

FILE = Path(__file__).parents[1] / 'boxes' / 'torchvision.npz'


def random_boxes(rng, number, side):
    corners = rng.uniform(-0.1 * side, side, (number, 2, 2)).astype(np.float32)
    return torch.from_numpy(
        np.concatenate([corners.min(1), corners.max(1) + 1], axis=1)
    )


def main():
    rng = np.random.default_rng(0)
    a = random_boxes(rng, 40, 100)
    b = random_boxes(rng, 40, 100)
    arrays = {'a': a, 'b': b}
    arrays['iou'] = ops.box_iou(a, b)
    arrays['giou'] = ops.generalized_box_iou(a, b)
    arrays['diou'] = ops.distance_box_iou(a, b)
    arrays['ciou'] = ops.complete_box_iou(a, b)

    coder = _utils.BoxCoder((10.0, 10.0, 5.0, 5.0))
    arrays['deltas'] = coder.encode_single(a, b)
    large = 8 * torch.from_numpy(rng.normal(size=(40, 4)).astype(np.float32))
    arrays['large_deltas'] = large
    arrays['decoded'] = coder.decode_single(large, b)

    scores = torch.from_numpy(rng.uniform(size=300).astype(np.float32))
    scores[::7] = scores[3]
    classes = torch.from_numpy(rng.integers(0, 3, 300))
    crowded = random_boxes(rng, 300, 60)
    arrays |= {'crowded': crowded, 'scores': scores, 'classes': classes}
    for threshold in (30, 50, 70):
        kept = ops.batched_nms(crowded, scores, classes, threshold / 100)
        arrays[f'nms_{threshold}'] = kept

    for name, positive, negative, low_quality in (
        ('rpn', 0.7, 0.3, True),
        ('head', 0.5, 0.5, False),
        ('retina', 0.5, 0.4, True),
    ):
        matcher = _utils.Matcher(positive, negative, low_quality)
        arrays[f'match_{name}'] = matcher(ops.box_iou(a[:6], torch.cat([b, a])))

    features = torch.from_numpy(rng.normal(size=(1, 3, 11, 17)).astype(np.float32))
    arrays['features'] = features[0]
    rois = random_boxes(rng, 20, 80)
    rois[0] = torch.tensor([3.0, 3.0, 3.0, 3.0])
    rois[1] = torch.tensor([-30.0, -30.0, 200.0, 200.0])
    arrays['rois'] = rois
    for aligned in (False, True):
        arrays[f'align_{int(aligned)}'] = ops.roi_align(
            features, [rois], 7, 1 / 8, 2, aligned
        )

    images = ImageList(torch.zeros(1, 3, 64, 96), [(64, 96)])
    ratios = ((0.5, 1.0, 2.0),)
    rpn = AnchorGenerator(((32,),), ratios)
    arrays['anchors_rpn'] = rpn(images, [torch.zeros(1, 1, 4, 6)])[0]
    retina = AnchorGenerator(((32, 40, 50),), ratios)
    arrays['anchors_retina'] = retina(images, [torch.zeros(1, 1, 4, 6)])[0]

    np.savez_compressed(FILE, **{name: x.numpy() for name, x in arrays.items()})


if __name__ == '__main__':
    main()
