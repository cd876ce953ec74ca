"""Begin runs with files of weights as torchvision and transformers write them, with other classes.

    PYTHON tests/bench/start_from_weights.py write FOLDER
    python tests/bench/start_from_weights.py train FOLDER [--steps 4] [--only rt_detr,...]

PYTHON has PyTorch, torchvision and transformers. `write` makes files with random weights, in the
published sizes, and two small datasets: one with masks and one in COCO's layout. Both have classes
that the files know and classes that they do not know. `train` runs `jaxvision train` with
`train.init_from` for each recipe, prints what was copied, and checks that all losses are finite.
"""

import argparse
import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np

SIDE = 96  # of the images of the datasets
TRAINING, TEST = 12, 4  # images
# Both are classes of COCO and of VOC, and 'red square' is not.
CLASSES = ('person', 'red square', 'car')
COLORS = ((40, 90, 220), (230, 30, 40), (60, 200, 80))

# {recipe: (config, source, its file, further fields)}
RECIPES = {
    'rt_detr': ('detection', 'coco:{coco}', 'rt_detr/model.safetensors', {}),
    'deeplab': ('segmentation', 'masks:{masks}', 'deeplabv3_resnet50.pth', {}),
    'segformer': (
        'segmentation',
        'masks:{masks}',
        'segformer-b0-ade/model.safetensors',
        {},
    ),
    'mask_rcnn': ('segmentation', 'coco:{coco}', 'maskrcnn_resnet50_fpn.pth', {}),
}
SIZES = {'rt_detr': 128, 'deeplab': 64, 'segformer': 64, 'mask_rcnn': 128}


def write_models(folder):
    import torch
    import transformers
    from torchvision.models import detection, segmentation

    torch.manual_seed(0)
    backbone = transformers.RTDetrResNetConfig(
        out_indices=[2, 3, 4],
        hidden_sizes=[64, 128, 256, 512],
        depths=[2, 2, 2, 2],
        layer_type='basic',
    )
    config = transformers.RTDetrConfig(
        backbone_config=backbone,
        encoder_in_channels=[128, 256, 512],
        hidden_expansion=0.5,
        decoder_layers=3,
        num_labels=80,
    )
    model = transformers.RTDetrForObjectDetection(config)
    model.save_pretrained(folder / 'rt_detr')
    config = transformers.SegformerConfig(num_labels=150)
    model = transformers.SegformerForSemanticSegmentation(config)
    model.save_pretrained(folder / 'segformer-b0-ade')
    options = {'weights': None, 'weights_backbone': None}
    model = segmentation.deeplabv3_resnet50(**options, aux_loss=True)
    torch.save(model.state_dict(), folder / 'deeplabv3_resnet50.pth')
    state = detection.maskrcnn_resnet50_fpn(**options).state_dict()
    # COCO's files have frozen batch norm, which has no counters.
    for name in [name for name in state if name.endswith('num_batches_tracked')]:
        del state[name]
    torch.save(state, folder / 'maskrcnn_resnet50_fpn.pth')


def draw_scene(number):
    """An image of noise with rectangles, and the box and class of each rectangle."""
    rng = np.random.default_rng(number)
    pixels = rng.integers(0, 60, (SIDE, SIDE, 3)).astype(np.uint8)
    boxes = []
    for label in rng.permutation(len(CLASSES))[: 1 + number % len(CLASSES)].tolist():
        top, left = rng.integers(0, SIDE - 40, 2).tolist()
        height, width = rng.integers(16, 40, 2).tolist()
        pixels[top : top + height, left : left + width] = COLORS[label]
        boxes.append((top, left, height, width, label))
    return pixels, boxes


def write_datasets(folder):
    from PIL import Image

    for split, count in (('train', TRAINING), ('test', TEST)):
        images = []
        annotations = []
        for path in ('masks', 'images'):
            (folder / 'masks' / split / path).mkdir(parents=True, exist_ok=True)
        (folder / 'coco' / split).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            pixels, boxes = draw_scene(number + 1000 * (split == 'test'))
            name = f'{number}.png'
            labels = np.zeros((SIDE, SIDE), np.uint8)
            for top, left, height, width, label in boxes:
                labels[top : top + height, left : left + width] = label + 1
                right, bottom = left + width, top + height
                outline = [left, top, right, top, right, bottom, left, bottom]
                annotations.append(
                    {
                        'id': len(annotations) + 1,
                        'image_id': number + 1,
                        'category_id': 10 * (label + 1),
                        'bbox': [left, top, width, height],
                        'area': width * height,
                        'iscrowd': 0,
                        'segmentation': [outline],
                    }
                )
            # A border that is not labelled.
            labels[:2] = 255
            Image.fromarray(pixels).save(folder / 'masks' / split / 'images' / name)
            Image.fromarray(labels).save(folder / 'masks' / split / 'masks' / name)
            Image.fromarray(pixels).save(folder / 'coco' / split / name)
            images.append(
                {'id': number + 1, 'file_name': name, 'width': SIDE, 'height': SIDE}
            )
        categories = [
            {'id': 10 * (row + 1), 'name': name} for row, name in enumerate(CLASSES)
        ]
        content = {
            'images': images,
            'annotations': annotations,
            'categories': categories,
        }
        text = json.dumps(content)
        (folder / 'coco' / split / '_annotations.coco.json').write_text(text)
    names = ['name,value', 'background,0']
    names += [f'{name},{row}' for row, name in enumerate(CLASSES, start=1)]
    (folder / 'masks' / 'classes.csv').write_text('\n'.join(names) + '\n')


def train(folder, recipe, steps):
    """Begin a run, and return its losses."""
    config, source, file, fields = RECIPES[recipe]
    source = source.format(coco=folder / 'coco', masks=folder / 'masks')
    workdir = folder / 'runs' / recipe
    fields = {
        'train.init_from': folder / file,
        'train.steps': steps,
        'train.eval_every': steps,
        'train.checkpoint_every': steps,
        'train.log_every': 1,
        'optimizer.warmup': 0,
        'data.batch_size': 2,
        'data.image_size': SIZES[recipe],
        **fields,
    }
    arguments = [f'--config.{name}={value}' for name, value in fields.items()]
    command = [sys.executable, '-m', 'jaxvision', 'train', '--workdir', str(workdir)]
    command += ['--config', f'{config}:{source},{recipe}', *arguments]
    process = subprocess.run(command, capture_output=True, text=True)
    print(f'--- {recipe}: {" ".join(command[1:])}')
    print(process.stdout[-3000:])
    if process.returncode:
        raise SystemExit(
            f'{recipe}: exit code {process.returncode}: {process.stderr[-2000:]}'
        )
    lines = (workdir / 'metrics.jsonl').read_text().splitlines()
    metrics = [json.loads(line) for line in lines]
    losses = [row['train/loss'] for row in metrics if 'train/loss' in row]
    print(f'{recipe}: losses {[round(loss, 3) for loss in losses]}', flush=True)
    assert losses and all(map(math.isfinite, losses)), losses
    return losses


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('command', choices=('write', 'train'))
    parser.add_argument('folder', type=Path)
    parser.add_argument('--steps', type=int, default=4)
    parser.add_argument('--only', default=','.join(RECIPES))
    arguments = parser.parse_args()
    folder = arguments.folder.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    if arguments.command == 'write':
        write_models(folder)
        write_datasets(folder)
        return
    for recipe in arguments.only.split(','):
        train(folder, recipe, arguments.steps)


if __name__ == '__main__':
    main()
