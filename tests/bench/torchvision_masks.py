"""Store torchvision's Mask R-CNN with random weights on a tiny backbone, and its large one's names.

    PYTHON tests/bench/torchvision_masks.py

PYTHON is an interpreter that has torchvision. tests/pretrained/test_torchvision_detectors.py reads
both files. The weights are stored in float32, and the detections are computed in float64. A pixel
whose probability is within 1e-4 of the threshold of 0.5 is marked as 'near'.
"""

import gzip
import json

import numpy as np
import torch
from torch import nn
from torchvision.models import detection
from torchvision.models.detection import faster_rcnn, mask_rcnn
from torchvision.ops import MultiScaleRoIAlign
from torchvision.ops import feature_pyramid_network as fpn
from torchvision_detectors import (
    DATA,
    OUTPUTS,
    SCALES,
    SIZES,
    WIDTH,
    Tiny,
    randomize,
)

LARGE = 'maskrcnn_resnet50_fpn'
STRIDES = (4, 8, 16, 32)


def make_mask_rcnn():
    levels = [str(stride) for stride in STRIDES]
    return mask_rcnn.MaskRCNN(
        Tiny(STRIDES, fpn.LastLevelMaxPool()),
        box_roi_pool=MultiScaleRoIAlign(levels, 7, 2),
        box_head=faster_rcnn.TwoMLPHead(WIDTH * 49, 16),
        box_predictor=faster_rcnn.FastRCNNPredictor(16, OUTPUTS),
        mask_roi_pool=MultiScaleRoIAlign(levels, 14, 2),
        mask_head=mask_rcnn.MaskRCNNHeads(WIDTH, (WIDTH,) * 4, 1),
        mask_predictor=mask_rcnn.MaskRCNNPredictor(WIDTH, WIDTH, OUTPUTS),
        **SIZES,
    )


def main():
    torch.set_grad_enabled(False)
    torch.manual_seed(0)
    stored = np.load(DATA / 'torchvision_detectors.npz')
    image = torch.from_numpy(stored['image']).permute(2, 0, 1) / 255
    model = make_mask_rcnn().eval()
    SCALES['roi_heads.mask_predictor.mask_fcn_logits'] = (2.0, 0.0)
    # The same few values as in the other layers, for a small file.
    enlarge = model.roi_heads.mask_predictor.conv5_mask
    levels = torch.randint(-4, 5, enlarge.weight.shape)
    enlarge.weight.copy_(levels / 8)
    nn.init.normal_(enlarge.bias)
    randomize(model, image)
    arrays = {}
    for key, tensor in model.state_dict().items():
        arrays[f'mask_rcnn/{key}'] = tensor.numpy()
    (outputs,) = model.double()([image.double()])
    masks = outputs.pop('masks')[:, 0].numpy()
    for key, tensor in outputs.items():
        arrays[f'mask_rcnn/outputs/{key}'] = tensor.numpy()
    arrays['mask_rcnn/outputs/masks'] = np.packbits(masks > 0.5)
    is_near = np.abs(masks - 0.5) < 1e-4
    arrays['mask_rcnn/outputs/near'] = np.packbits(is_near)
    np.savez_compressed(DATA / 'torchvision_masks.npz', **arrays)
    fractions = (masks > 0.5).mean(axis=(1, 2))
    print(len(masks), 'masks, covering', fractions.min(), 'to', fractions.max())
    print(is_near.sum(), 'pixels near the threshold')

    large = getattr(detection, LARGE)(weights=None, weights_backbone=None)
    shapes = {key: list(tensor.shape) for key, tensor in large.state_dict().items()}
    text = json.dumps({LARGE: shapes}).encode()
    (DATA / 'torchvision_masks.json.gz').write_bytes(gzip.compress(text, mtime=0))


if __name__ == '__main__':
    main()
