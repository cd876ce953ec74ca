"""Compare YOLOX with its authors' own code, as whole detectors with random weights.

SOURCE is the unpacked source distribution of the package yolox 0.3.0, of which only the model
and the arithmetic of boxes are imported. PYTHON has PyTorch, torchvision and OpenCV.

Store what the tests read: a narrow network's detections and the losses of given outputs:

    PYTHON tests/bench/yolox_reference.py store SOURCE

Compare published sizes in full, from a checkpoint and five pictures to the answers of
`jaxvision predict`; the second command needs jaxvision:

    PYTHON tests/bench/yolox_reference.py write SOURCE FOLDER nano tiny s
    python tests/bench/yolox_reference.py compare FOLDER

The random weights are scaled so that each picture has 20 to 100 detections of several classes.
"""

import importlib.util
import itertools
import json
import statistics
import sys
import types
from pathlib import Path
from typing import NamedTuple

import numpy as np

TESTS = Path(__file__).parents[1]
sys.path.insert(0, str(TESTS))

from helpers import yolox_weights  # noqa: E402
from helpers.yolox_weights import DATA, differences, picture, rows_of  # noqa: E402

# name: (factor of depth, factor of width, depthwise, side of the images)
SIZES = {
    'narrow': (0.33, 0.125, True, 160),
    'nano': (0.33, 0.25, True, 416),
    'tiny': (0.33, 0.375, False, 416),
    's': (0.33, 0.5, False, 640),
    'm': (0.67, 0.75, False, 640),
    'l': (1.0, 1.0, False, 640),
    'x': (1.33, 1.25, False, 640),
}
SCORE = 0.01
IOU = 0.65
CELLS = 100  # of an image that have detections before suppression, about


def yolox(source):
    """Import the authors' modules without the packages that only their training needs."""
    root = Path(source) / 'yolox'

    def stand_in(name, **members):
        module = types.ModuleType(name)
        module.__dict__.update(members)
        sys.modules[name] = module
        return module

    def load(name, path):
        spec = importlib.util.spec_from_file_location(name, root / path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    stand_in('loguru', logger=None)
    stand_in('yolox').__path__ = [str(root)]
    boxes = load('boxes', 'utils/boxes.py')
    compat = load('compat', 'utils/compat.py')
    stand_in('yolox.utils', bboxes_iou=boxes.bboxes_iou, meshgrid=compat.meshgrid)
    stand_in('yolox.models').__path__ = [str(root / 'models')]
    from yolox.models.yolo_head import YOLOXHead
    from yolox.models.yolo_pafpn import YOLOPAFPN
    from yolox.models.yolox import YOLOX

    def build(depth, width, depthwise):
        return YOLOX(
            YOLOPAFPN(depth, width, depthwise=depthwise),
            YOLOXHead(80, width, depthwise=depthwise),
        )

    return build, boxes.postprocess


def prepared(image, side):
    """The arithmetic of YOLOX's `preproc`: BGR, one scale, top left, 114 around."""
    import cv2
    import torch

    scale = min(side / image.shape[0], side / image.shape[1])
    height, width = int(image.shape[0] * scale), int(image.shape[1] * scale)
    resized = cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)
    canvas = np.full((side, side, 3), 114, np.uint8)
    canvas[:height, :width] = resized
    batch = torch.from_numpy(canvas.transpose(2, 0, 1)[None].astype(np.float32))
    return batch, scale


def outputs_of(model, layer, batches):
    """What a layer gives for each batch."""
    import torch

    outputs = []
    hook = layer.register_forward_hook(lambda _, __, out: outputs.append(out))
    with torch.no_grad():
        for batch in batches:
            model(batch)
    hook.remove()
    return outputs


def calibrated(model, batches):
    """Scale the last layers so that scores and sizes are spread out; returns what changed."""
    import torch

    changed = {}
    side = batches[0].shape[-1]
    cells = sum((side // stride) ** 2 for stride in (8, 16, 32))
    # About this fraction of the cells has a logit of objectness above -4.4.
    rare = statistics.NormalDist().inv_cdf(1 - CELLS / cells)
    goals = {'cls': (-3.0, 2.0), 'obj': (-4.4 - 4 * rare, 4.0), 'reg': (0.0, 0.3)}
    for kind, (mean, std) in goals.items():
        for layer, conv in enumerate(getattr(model.head, f'{kind}_preds')):
            outputs = outputs_of(model, conv, batches)
            values = torch.cat([x.transpose(0, 1).flatten(1) for x in outputs], 1)
            scale = std / values.std(1)
            shift = torch.full_like(scale, mean)
            if kind == 'reg':
                shift[2:] = 0.7
            with torch.no_grad():
                conv.bias.copy_((conv.bias - values.mean(1)) * scale + shift)
                conv.weight.mul_(scale[:, None, None, None])
            for part in ('weight', 'bias'):
                name = f'head.{kind}_preds.{layer}.{part}'
                changed[name] = getattr(conv, part).detach().numpy().copy()
    return changed


def detect(model, postprocess, image, side):
    """Detections [N, 6] of an image: xmin, ymin, xmax, ymax in its pixels, score, class."""
    import torch

    batch, scale = prepared(image, side)
    with torch.no_grad():
        found = postprocess(model(batch), 80, SCORE, IOU)[0]
    found = np.zeros((0, 7)) if found is None else found.numpy()
    height, width = image.shape[:2]
    edges = np.clip(found[:, :4] / scale, 0, [width, height, width, height])
    scores = found[:, 4] * found[:, 5]
    rows = np.concatenate([edges, scores[:, None], found[:, 6:]], axis=1)
    return rows[np.argsort(-scores)]


class Reference(NamedTuple):
    """The authors' network of a size, and what it detects.

    Attributes:
        model: with random weights.
        shapes: {name: shape} of its tensors.
        changed: {name: tensor} of the last layers, which are scaled.
        seeds: of the pictures.
        detections: of each picture.
    """

    model: object
    shapes: dict
    changed: dict
    seeds: list
    detections: list


def reference(source, name):
    """Build a network, and choose pictures in which it detects 20 to 100 objects."""
    import torch

    torch.set_num_threads(1)
    build, postprocess = yolox(source)
    depth, width, depthwise, side = SIZES[name]
    model = build(depth, width, depthwise).eval()
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.eps = 1e-3
    state = model.state_dict()
    shapes = {key: list(value.shape) for key, value in state.items()}
    drawn = yolox_weights.drawn(shapes)
    model.load_state_dict(
        {key: torch.from_numpy(value) for key, value in drawn.items()}, strict=False
    )
    images = [picture(number, 0, side) for number in range(5)]
    changed = calibrated(model, [prepared(image, side)[0] for image in images])
    seeds = []
    detections = []
    for number in range(5):
        for seed in itertools.count():
            image = picture(number, seed, side)
            rows = detect(model, postprocess, image, side)
            sides = rows[:, 2:4] - rows[:, :2]
            visible = rows[sides.min(axis=1) > 1]
            if len(visible) >= 20 and len(rows) <= 100:
                break
        classes = len(set(visible[:, 5]))
        best = visible[:, 4].max()
        print(f'{name}: {len(visible)} of {classes} classes, scores up to {best:.2f}')
        seeds.append(seed)
        detections.append(rows)
    return Reference(model, shapes, changed, seeds, detections)


def losses(source):
    """(sum of the losses of classes, objectness and boxes, matched cells) by the authors."""
    import torch

    build, _ = yolox(source)
    head = build(0.33, 0.125, False).head
    head.num_classes = yolox_weights.CLASSES
    raw, truth = yolox_weights.training_batch()
    height, width = yolox_weights.TRAINING_SIZE
    levels = []
    columns = []
    rows = []
    strides = []
    start = 0
    for level, stride in enumerate((8, 16, 32)):
        shape = (height // stride, width // stride)
        number = shape[0] * shape[1]
        part = torch.from_numpy(raw[:, start : start + number])
        start += number
        # Published order: x before y.
        part = part[..., [1, 0, 3, 2, *range(4, part.shape[-1])]]
        maps = part.transpose(1, 2).reshape(len(raw), -1, *shape)
        decoded, grid = head.get_output_and_grid(maps, level, stride, maps.type())
        levels.append(decoded)
        columns.append(grid[:, :, 0])
        rows.append(grid[:, :, 1])
        strides.append(torch.full((1, number), float(stride)))
    # Rows of class, x and y of the centre, width and height; zeros are padding.
    labels = torch.from_numpy(truth)
    _, box, objectness, classes, _, ratio = head.get_losses(
        None, columns, rows, strides, labels, torch.cat(levels, 1), [], torch.float32
    )
    matched = ratio * int((truth.sum(axis=2) > 0).sum())
    return np.array([classes, objectness, box, matched], np.float64)


def store(source):
    made = reference(source, 'narrow')
    arrays = {f'detections{i}': rows for i, rows in enumerate(made.detections)}
    names = np.frombuffer(json.dumps(made.shapes).encode(), np.uint8)
    arrays |= {'names': names, 'seeds': np.array(made.seeds)}
    arrays['losses'] = losses(source)
    print('losses', arrays['losses'])
    np.savez_compressed(DATA, **arrays, **made.changed)


def write(source, folder, names):
    import cv2
    import torch

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        made = reference(source, name)
        checkpoint = {'start_epoch': 300, 'model': made.model.state_dict()}
        torch.save(checkpoint, folder / f'yolox_{name}.pth')
        for number, seed in enumerate(made.seeds):
            image = picture(number, seed, SIZES[name][3])
            cv2.imwrite(str(folder / f'{name}_{number}.png'), image)
        stored = {str(i): rows for i, rows in enumerate(made.detections)}
        np.savez_compressed(folder / f'yolox_{name}.npz', **stored)


def compare(folder):
    from jaxvision.cli.predict import command

    folder = Path(folder)
    for weights in sorted(folder.glob('yolox_*.pth')):
        name = weights.stem.removeprefix('yolox_')
        files = [str(folder / f'{name}_{number}.png') for number in range(5)]
        out = folder / f'answers_{name}'
        arguments = ['--weights', str(weights), '--model', f'yolox:{name}']
        arguments += ['--out', str(out), '--no_pictures', '--score', '0.01', *files]
        assert command.main(arguments) == 0
        answers = json.loads((out / 'predictions.json').read_text())
        stored = np.load(weights.with_suffix('.npz'))
        for number, entry in enumerate(answers['files']):
            found = rows_of(entry['answer']['detections'])
            print(name, number, differences(found, stored[str(number)]))


if __name__ == '__main__':
    mode, *arguments = sys.argv[1:]
    if mode == 'write':
        write(*arguments[:2], arguments[2:])
    else:
        {'store': store, 'compare': compare}[mode](*arguments)
