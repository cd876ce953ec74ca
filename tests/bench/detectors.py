"""Compare whole detectors with torchvision's, by random weights and five photographs.

    python tests/bench/detectors.py photographs FOLDER
    PYTHON tests/bench/detectors.py reference FOLDER
    python tests/bench/detectors.py compare FOLDER

PYTHON is an interpreter that has torchvision. `reference` makes weights for each detector, scaled
so that every photograph has many detections of several classes, and writes them and torchvision's
detections to FOLDER (0.7 GB), in float32 and float64. `compare` opens each file as `jaxvision
predict --weights` does, and prints how jaxvision and torchvision, both in float32, differ from
torchvision in float64. A detection that only one side has, or that differs by more than the limits
below, is counted. Masks are compared in the photograph: pixels that differ, and how many of them
have a probability further than 1e-4 from the threshold of 0.5 in float64.
"""

import argparse
from pathlib import Path

import numpy as np

# {function of torchvision: (our model, whether its weights have frozen batch norm)}
MODELS = {
    'fasterrcnn_resnet50_fpn': ('faster_rcnn:resnet50_fpn', True),
    'fasterrcnn_resnet50_fpn_v2': ('faster_rcnn:resnet50_fpn_v2', False),
    'maskrcnn_resnet50_fpn': ('mask_rcnn:resnet50_fpn', True),
    'retinanet_resnet50_fpn': ('retinanet:resnet50_fpn', True),
    'retinanet_resnet50_fpn_v2': ('retinanet:resnet50_fpn_v2', False),
}
LARGEST_DIFFERENCE = {'box': 0.05, 'score': 1e-4}
NEAR = 1e-4  # of the threshold of masks
# Outputs for COCO that stand for no class. Published weights never give them.
GAPS = (0, 12, 26, 29, 30, 45, 66, 68, 69, 71, 83)


def write_photographs(folder):
    from PIL import Image
    from skimage import data

    folder.mkdir(parents=True, exist_ok=True)
    photographs = {
        'chelsea': data.chelsea(),
        'astronaut': data.astronaut(),
        'coffee': data.coffee().transpose(1, 0, 2),
        'rocket': data.rocket(),
        'hubble': data.hubble_deep_field(),
    }
    for name, pixels in photographs.items():
        Image.fromarray(np.ascontiguousarray(pixels)).save(folder / f'{name}.png')


# With torchvision.

# {layer: (std of its outputs, mean of its outputs)}; other layers of the heads: (1, 0).
OUTPUTS = {
    'rpn.head.cls_logits': (3.0, 0.0),
    'rpn.head.bbox_pred': (0.2, 0.0),
    'roi_heads.box_predictor.cls_score': (2.5, 0.0),
    'roi_heads.box_predictor.bbox_pred': (1.0, 0.0),
    'roi_heads.mask_predictor.mask_fcn_logits': (2.0, 0.0),
    'head.classification_head.cls_logits': (1.3, -7.0),
    'head.regression_head.bbox_reg': (0.2, 0.0),
}


def make_random(name, photographs, size):
    """A detector with random weights, statistics of the photographs, and useful outputs."""
    import torch
    from torch import nn
    from torchvision.models import detection

    model = getattr(detection, name)(
        weights=None,
        weights_backbone=None,
        min_size=size,
        max_size=round(1333 * size / 800),
    )
    model.eval()
    generator = torch.Generator().manual_seed(0)
    handles = []
    for layer, module in model.named_modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None
            # The branches of a trained ResNet add little each; large ones amplify rounding.
            largest = 0.3 if layer.endswith('bn3') else 1.5
            nn.init.uniform_(module.weight, 0.1, largest, generator=generator)
            nn.init.normal_(module.bias, 0, 0.2, generator=generator)
            module.train()
        if isinstance(module, nn.Conv2d | nn.Linear) and module.bias is not None:
            rescale = make_rescale(layer, generator)
            handles.append(module.register_forward_hook(rescale))
    model(photographs[:2])
    for handle in handles:
        handle.remove()
    return model.eval()


def make_rescale(layer, generator):
    """A hook that scales and shifts a layer at its first call, by the outputs there."""
    import torch

    std, mean = OUTPUTS.get(layer, (1.0, 0.0))
    is_class = layer.endswith(('cls_score', 'classification_head.cls_logits'))
    calls = []

    def rescale(module, inputs, outputs):
        if calls:
            return outputs
        calls.append(layer)
        flat = outputs.movedim(1, -1).reshape(-1, outputs.shape[1])
        factor = std / flat.std(0).mean()
        module.bias.copy_((module.bias - flat.mean(0)) * factor + mean)
        module.weight.mul_(factor)
        if is_class:
            bias = module.bias.view(-1, 91)
            bias.add_(torch.randn(91, generator=generator))
            # The background of Faster R-CNN is a class; RetinaNet has none.
            bias[:, GAPS if 'head.' in layer else GAPS[1:]] = -30
        return module(*inputs)

    return rescale


def freeze(module):
    """Replace batch norm as torchvision does for weights of COCO, with an epsilon of 0."""
    from torch import nn
    from torchvision.ops import FrozenBatchNorm2d

    for name, child in module.named_children():
        freeze(child)
        if isinstance(child, nn.BatchNorm2d):
            frozen = FrozenBatchNorm2d(child.num_features, eps=0.0)
            state = child.state_dict()
            state.pop('num_batches_tracked')
            frozen.load_state_dict(state)
            setattr(module, name, frozen)


def write_reference(folder, names, size):
    import torch
    from PIL import Image

    torch.set_grad_enabled(False)
    files = sorted(folder.glob('*.png'))
    photographs = []
    for file in files:
        pixels = np.array(Image.open(file).convert('RGB'))
        photographs.append(torch.from_numpy(pixels).permute(2, 0, 1) / 255)
    for name in names:
        model = make_random(name, photographs, size)
        if MODELS[name][1]:
            freeze(model)
        torch.save(model.state_dict(), folder / f'{name}.pth')
        arrays = {}
        for precision in (torch.float32, torch.float64):
            model = model.to(precision)
            for file, photograph in zip(files, photographs, strict=True):
                (outputs,) = model([photograph.to(precision)])
                prefix = f'{precision}/{file.stem}'.removeprefix('torch.')
                if 'masks' in outputs:
                    masks = outputs.pop('masks')[:, 0]
                    arrays[f'{prefix}/masks'] = packed(masks > 0.5)
                    arrays[f'{prefix}/near'] = packed((masks - 0.5).abs() < NEAR)
                for key, value in outputs.items():
                    arrays[f'{prefix}/{key}'] = value.numpy()
        np.savez(folder / f'{name}.npz', **arrays)


def packed(masks):
    return np.packbits(masks.numpy(), axis=-1)


# With jaxvision.


def compare(folder, names, size):
    from PIL import Image

    from jaxvision.cli.predict import weights

    for name in names:
        options = weights.Options(model=MODELS[name][0], image_size=size)
        model = weights.open_weights(str(folder / f'{name}.pth'), options)
        arrays = np.load(folder / f'{name}.npz')
        for file in sorted(folder.glob('*.png')):
            with Image.open(file) as image:
                width = image.width
            expected = reference(arrays, f'float64/{file.stem}', width)
            float32 = reference(arrays, f'float32/{file.stem}', width)
            print(f'{name} {file.stem}:')
            print('    jaxvision  ', difference(detections(model, file), expected))
            print('    torchvision', difference(float32, expected), flush=True)


def reference(arrays, prefix, width):
    """The detections of torchvision, with 'masks' and 'near' [D, H, W] if it has masks."""
    found = {
        'boxes': arrays[f'{prefix}/boxes'][:, [1, 0, 3, 2]],
        'scores': arrays[f'{prefix}/scores'],
        'labels': arrays[f'{prefix}/labels'],
    }
    for name in ('masks', 'near'):
        if f'{prefix}/{name}' in arrays:
            bits = arrays[f'{prefix}/{name}']
            found[name] = np.unpackbits(bits, axis=-1, count=width).astype(bool)
    return found


def difference(actual, expected):
    """Match each expected detection with the nearest one of its class."""
    worst = {'box': 0.0, 'score': 0.0}
    missing = 0
    free = np.ones(len(actual['boxes']), bool)
    partners = []
    for number, label in enumerate(expected['labels']):
        box_errors = np.abs(actual['boxes'] - expected['boxes'][number]).max(axis=1)
        box_errors[(actual['labels'] != label) | ~free] = np.inf
        row = np.argmin(box_errors)
        score_error = abs(actual['scores'][row] - expected['scores'][number])
        errors = {'box': box_errors[row], 'score': score_error}
        if any(errors[key] > LARGEST_DIFFERENCE[key] for key in errors):
            missing += 1
            continue
        free[row] = False
        partners.append((row, number))
        worst = {key: max(worst[key], float(errors[key])) for key in errors}
    classes = len(set(expected['labels'].tolist()))
    text = (
        f'{len(expected["labels"])} of {classes} classes, {missing} missing, '
        f'{free.sum()} more; worst box {worst["box"]:.5f} px, score {worst["score"]:.1e}'
    )
    if 'masks' in expected:
        text += '; ' + mask_difference(actual['masks'], expected, partners)
    return text


def mask_difference(masks, expected, partners):
    """Count the pixels of the matched detections whose masks differ."""
    pixels = 0
    near = 0
    differing = 0
    far = 0
    for row, number in partners:
        differs = masks[row] != expected['masks'][number]
        pixels += int(expected['masks'][number].sum())
        near += int(expected['near'][number].sum())
        differing += int(differs.sum())
        far += int((differs & ~expected['near'][number]).sum())
    return (
        f'masks of {pixels} pixels, {near} near the threshold, {differing} differ, '
        f'{far} of them not near'
    )


def detections(model, file):
    import jax.numpy as jnp

    from jaxvision.boxes import pasting
    from jaxvision.tasks.detection import evaluation

    example = model.prepare(file.read_bytes())
    (outputs,) = model.predict_each([example], 1)
    warp = jnp.asarray(example['warp'])[None]
    size = jnp.asarray(example['original_size'])[None]
    boxes = evaluation.to_original(jnp.asarray(outputs['boxes'])[None], warp, size)
    valid = outputs['valid']
    ids = np.array(model.spec.details.category_ids)
    found = {
        'boxes': np.asarray(boxes[0])[valid],
        'scores': outputs['scores'][valid],
        'labels': ids[outputs['classes'][valid]],
    }
    if 'masks' in outputs:
        height, width = example['original_size'].tolist()
        pairs = zip(outputs['masks'][valid], found['boxes'], strict=True)
        found['masks'] = [
            pasting.paste(mask, box, (height, width), rounds=True)
            for mask, box in pairs
        ]
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('command', choices=('photographs', 'reference', 'compare'))
    parser.add_argument('folder', type=Path)
    parser.add_argument('--models', nargs='*', default=list(MODELS))
    parser.add_argument('--size', type=int, default=800, help='shorter side, pixels')
    arguments = parser.parse_args()
    if arguments.command == 'photographs':
        write_photographs(arguments.folder)
    elif arguments.command == 'reference':
        write_reference(arguments.folder, arguments.models, arguments.size)
    else:
        compare(arguments.folder, arguments.models, arguments.size)


if __name__ == '__main__':
    main()
