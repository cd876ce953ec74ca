"""Store torchvision's detectors with random weights on tiny backbones, and the names of the large.

    PYTHON tests/bench/torchvision_detectors.py

PYTHON is an interpreter that has torchvision. tests/pretrained/test_torchvision_detectors.py reads
both files. The backbones are one convolution for each map. The weights are stored in float32, and
the detections are computed in float64. tests/bench/detectors.py compares the large detectors.
"""

import gzip
import json
from collections import OrderedDict
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torchvision.models import detection
from torchvision.models.detection import faster_rcnn, retinanet, rpn
from torchvision.ops import MultiScaleRoIAlign
from torchvision.ops import feature_pyramid_network as fpn

DATA = Path(__file__).parents[1] / 'pretrained' / 'data'
CHANNELS = 6  # of the backbone's maps
WIDTH = 8
GROUPED_WIDTH = 32  # as many as group norm has groups
OUTPUTS = 5
LARGE = (
    'fasterrcnn_resnet50_fpn',
    'fasterrcnn_resnet50_fpn_v2',
    'retinanet_resnet50_fpn',
    'retinanet_resnet50_fpn_v2',
)
# {layer: (std of its outputs, mean of its outputs)}; other layers: (1, 0).
SCALES = {
    'rpn.head.cls_logits': (2.0, 0.0),
    'rpn.head.bbox_pred': (0.2, 0.0),
    'roi_heads.box_predictor.cls_score': (1.5, 0.0),
    'roi_heads.box_predictor.bbox_pred': (1.0, 0.0),
    'head.classification_head.cls_logits': (1.5, -4.0),
    'head.regression_head.bbox_reg': (0.2, 0.0),
}
SIZES = {'min_size': 96, 'max_size': 150}


class Tiny(nn.Module):
    """Maps of an image, each by one convolution without overlap, and their pyramid."""

    def __init__(self, strides, extra, norm=None, width=WIDTH):
        super().__init__()
        self.convs = nn.ModuleDict(
            {str(s): nn.Conv2d(3, CHANNELS, s, s) for s in strides}
        )
        self.fpn = fpn.FeaturePyramidNetwork(
            [CHANNELS] * len(strides), width, extra, norm
        )
        self.out_channels = width

    def forward(self, image):
        maps = [(name, conv(image).relu()) for name, conv in self.convs.items()]
        return self.fpn(OrderedDict(maps))


def make_faster_rcnn():
    backbone = Tiny((4, 8, 16, 32), fpn.LastLevelMaxPool())
    return faster_rcnn.FasterRCNN(
        backbone,
        box_roi_pool=MultiScaleRoIAlign(['4', '8', '16', '32'], 7, 2),
        box_head=faster_rcnn.TwoMLPHead(WIDTH * 49, 16),
        box_predictor=faster_rcnn.FastRCNNPredictor(16, OUTPUTS),
        **SIZES,
    )


def make_faster_rcnn_v2():
    norm = nn.BatchNorm2d
    backbone = Tiny((4, 8, 16, 32), fpn.LastLevelMaxPool(), norm)
    return faster_rcnn.FasterRCNN(
        backbone,
        rpn_head=rpn.RPNHead(WIDTH, 3, conv_depth=2),
        box_roi_pool=MultiScaleRoIAlign(['4', '8', '16', '32'], 7, 2),
        box_head=faster_rcnn.FastRCNNConvFCHead(
            (WIDTH, 7, 7), [WIDTH] * 4, [16], norm_layer=norm
        ),
        box_predictor=faster_rcnn.FastRCNNPredictor(16, OUTPUTS),
        **SIZES,
    )


def make_retinanet():
    backbone = Tiny((8, 16, 32), fpn.LastLevelP6P7(WIDTH, WIDTH))
    return retinanet.RetinaNet(backbone, OUTPUTS, **SIZES)


def make_retinanet_v2():
    extra = fpn.LastLevelP6P7(CHANNELS, GROUPED_WIDTH)
    backbone = Tiny((8, 16, 32), extra, width=GROUPED_WIDTH)
    head = retinanet.RetinaNetHead(
        GROUPED_WIDTH, 9, OUTPUTS, norm_layer=partial(nn.GroupNorm, 32)
    )
    return retinanet.RetinaNet(backbone, OUTPUTS, head=head, **SIZES)


def randomize(model, image):
    """Give the layers random weights, and outputs of useful sizes for an image."""
    generator = torch.Generator().manual_seed(0)
    handles = []
    for name, module in model.named_modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None
            module.train()
        if isinstance(module, nn.BatchNorm2d | nn.GroupNorm):
            nn.init.uniform_(module.weight, 0.5, 1.5, generator=generator)
            nn.init.normal_(module.bias, 0, 0.2, generator=generator)
        elif isinstance(module, nn.Conv2d | nn.Linear):
            # Few different values make a small file.
            levels = torch.randint(-4, 5, module.weight.shape, generator=generator)
            module.weight.copy_(levels)
            if module.bias is not None:
                nn.init.normal_(module.bias, generator=generator)
                rescale = make_rescale(*SCALES.get(name, (1.0, 0.0)))
                handles.append(module.register_forward_hook(rescale))
    model([image])
    for handle in handles:
        handle.remove()
    model.eval()


def make_rescale(std, mean):
    """A hook that scales and shifts a layer at its first call, by the outputs there."""
    calls = []

    def rescale(module, inputs, outputs):
        if calls:
            return outputs
        calls.append(None)
        flat = outputs.movedim(1, -1).reshape(-1, outputs.shape[1])
        factor = std / flat.std(0).mean()
        module.bias.copy_((module.bias - flat.mean(0)) * factor + mean)
        module.weight.mul_(factor)
        return module(*inputs)

    return rescale


def losses(name, model, image):
    """The losses of RetinaNet for a few objects."""
    if name == 'retinanet_v2':
        model.head.regression_head._loss_type = 'giou'
    boxes = [[10, 12, 60, 50], [70, 5, 125, 80], [30, 40, 44, 70]]
    target = {
        'boxes': torch.tensor(boxes, dtype=torch.float64),
        'labels': torch.tensor([2, 1, 4]),
    }
    # Only the model itself is in training, so that the layers compute as before.
    model.training = True
    model.transform.training = True
    values = model([image], [target])
    arrays = {f'{name}/losses/{key}': value.numpy() for key, value in values.items()}
    arrays['truth/boxes'] = target['boxes'].numpy()
    arrays['truth/labels'] = target['labels'].numpy()
    return arrays


def main():
    torch.set_grad_enabled(False)
    rng = np.random.default_rng(0)
    coarse = torch.from_numpy(rng.uniform(size=(1, 3, 9, 14)).astype(np.float32))
    smooth = nn.functional.interpolate(coarse, size=(83, 131), mode='bilinear')
    pixels = (255 * smooth[0]).byte()
    arrays = {'image': pixels.permute(1, 2, 0).numpy()}
    image = pixels / 255
    makes = {
        'faster_rcnn': make_faster_rcnn,
        'faster_rcnn_v2': make_faster_rcnn_v2,
        'retinanet': make_retinanet,
        'retinanet_v2': make_retinanet_v2,
    }
    for name, make in makes.items():
        model = make().eval()
        randomize(model, image)
        if name.startswith('retinanet'):
            # Nothing teaches RetinaNet its output of the background.
            bias = model.head.classification_head.cls_logits.bias
            bias.view(-1, OUTPUTS)[:, 0] = -30
        for key, tensor in model.state_dict().items():
            arrays[f'{name}/{key}'] = tensor.numpy()
        (outputs,) = model.double()([image.double()])
        for key, tensor in outputs.items():
            arrays[f'{name}/outputs/{key}'] = tensor.numpy()
        if name.startswith('retinanet'):
            arrays |= losses(name, model, image.double())
        print(name, len(outputs['labels']), outputs['labels'].bincount().tolist())
    np.savez_compressed(DATA / 'torchvision_detectors.npz', **arrays)
    shapes = {}
    for name in LARGE:
        model = getattr(detection, name)(weights=None, weights_backbone=None)
        state = model.state_dict()
        shapes[name] = {key: list(tensor.shape) for key, tensor in state.items()}
    text = json.dumps(shapes).encode()
    (DATA / 'torchvision_detectors.json.gz').write_bytes(gzip.compress(text, mtime=0))


if __name__ == '__main__':
    main()
