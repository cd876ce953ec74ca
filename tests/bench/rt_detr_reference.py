"""Compare RT-DETR with the library transformers, as whole detectors with random weights.

PYTHON has PyTorch, torchvision and transformers. Store what the tests read: a narrow network's
detections and the losses of given outputs:

    PYTHON tests/bench/rt_detr_reference.py store

Compare published sizes in full, from the weights file and five pictures to the answers of
`jaxvision predict`; the second command needs jaxvision:

    PYTHON tests/bench/rt_detr_reference.py write FOLDER r18vd v2_r18vd r50vd
    python tests/bench/rt_detr_reference.py compare FOLDER

The last layers of scores are scaled so that each picture has detections of many classes. Detections
are computed in float32 and float64. `write` with `v2_` before a name uses RT-DETRv2.
"""

import gzip
import json
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np

TESTS = Path(__file__).parents[1]
sys.path.insert(0, str(TESTS))

from helpers import rt_detr_weights  # noqa: E402
from helpers.rt_detr_weights import DATA, differences, picture, rows_of  # noqa: E402

PICTURES = range(len(rt_detr_weights.SHAPES))
_BASIC = {'hidden_sizes': [64, 128, 256, 512], 'layer_type': 'basic'}
_SMALL = {'encoder_in_channels': [128, 256, 512], 'hidden_expansion': 0.5}
# name: (side of the images, options of the backbone, options of the detector)
SIZES = {
    'narrow': (
        rt_detr_weights.SIDE,
        {**_BASIC, 'depths': [1, 1, 1, 1]},
        {
            **_SMALL,
            'encoder_hidden_dim': 32,
            'encoder_ffn_dim': 64,
            'encoder_attention_heads': 4,
            'd_model': 32,
            'decoder_in_channels': [32, 32, 32],
            'decoder_ffn_dim': 64,
            'decoder_attention_heads': 4,
            'decoder_layers': 2,
            'num_queries': 40,
        },
    ),
    'r18vd': (640, {**_BASIC, 'depths': [2, 2, 2, 2]}, {**_SMALL, 'decoder_layers': 3}),
    'r34vd': (640, {**_BASIC, 'depths': [3, 4, 6, 3]}, {**_SMALL, 'decoder_layers': 4}),
    'r50vd': (640, {}, {}),
    'r101vd': (
        640,
        {'depths': [3, 4, 23, 3]},
        {
            'encoder_ffn_dim': 2048,
            'encoder_hidden_dim': 384,
            'decoder_in_channels': [384, 384, 384],
        },
    ),
}


def make(name):
    """A network of a size."""
    import transformers

    _, backbone, options = SIZES[name.removeprefix('v2_')]
    version = 'V2' if name.startswith('v2_') else ''
    config = getattr(transformers, f'RTDetr{version}Config')(
        backbone_config=transformers.RTDetrResNetConfig(
            out_indices=[2, 3, 4], **backbone
        ),
        num_labels=80,
        **options,
    )
    return getattr(transformers, f'RTDetr{version}ForObjectDetection')(config).eval()


def build(name):
    """A network of a size, with the random weights that the tests draw too."""
    import torch

    model = make(name)
    shapes = {key: list(value.shape) for key, value in model.state_dict().items()}
    drawn = rt_detr_weights.drawn(shapes)
    model.load_state_dict(
        {key: torch.from_numpy(value) for key, value in drawn.items()}, strict=False
    )
    return model, shapes


def prepared(images, side):
    """Images as the hub's processor prepares them, with Pillow as in the authors' code."""
    from transformers.models.rt_detr.image_processing_pil_rt_detr import (
        RTDetrImageProcessorPil,
    )

    processor = RTDetrImageProcessorPil(size={'height': side, 'width': side})
    return processor, processor(images=images, return_tensors='pt')['pixel_values']


def outputs_of(model, layer, pixels):
    """What a layer gives."""
    outputs = []
    hook = layer.register_forward_hook(lambda _, __, out: outputs.append(out))
    model(pixels)
    hook.remove()
    return outputs[0]


def calibrate(model, pixels):
    """Scale the last layers of scores; returns the tensors that changed."""
    decoder = model.model.decoder
    layers = {
        'model.enc_score_head': model.model.enc_score_head,
        **{
            f'model.decoder.class_embed.{i}': layer
            for i, layer in enumerate(decoder.class_embed)
        },
    }
    changed = {}
    for name, layer in layers.items():
        values = outputs_of(model, layer, pixels).flatten(0, 1)
        scale = 2 / values.std(0)
        layer.bias.copy_((layer.bias - values.mean(0)) * scale - 4)
        layer.weight.mul_(scale[:, None])
        for part in ('weight', 'bias'):
            changed[f'{name}.{part}'] = getattr(layer, part).detach().numpy().copy()
    return changed


class Reference(NamedTuple):
    """A network of transformers, and what it detects.

    Attributes:
        model: with random weights.
        shapes: {name: shape} of its tensors.
        changed: {name: tensor} of the last layers, which are scaled.
        detections: {dtype: rows of xmin, ymin, xmax, ymax, score and class of each picture}.
    """

    model: object
    shapes: dict
    changed: dict
    detections: dict


def reference(name):
    import torch

    torch.set_num_threads(1)
    torch.set_grad_enabled(False)
    model, shapes = build(name)
    side, _, options = SIZES[name.removeprefix('v2_')]
    images = [picture(number, side) for number in PICTURES]
    sizes = [image.shape[:2] for image in images]
    processor, pixels = prepared(images, side)
    changed = calibrate(model, pixels[:2])
    detections = {}
    for dtype in (torch.float32, torch.float64):
        model = model.to(dtype)
        rows = []
        for image, size in zip(pixels, sizes, strict=True):
            outputs = model(image[None].to(dtype))
            (found,) = processor.post_process_object_detection(
                outputs, threshold=0.0, target_sizes=[size]
            )
            limits = torch.tensor([*size[::-1], *size[::-1]])
            edges = torch.minimum(found['boxes'].clip(0), limits)
            columns = (edges, found['scores'][:, None], found['labels'][:, None])
            rows.append(torch.cat(columns, 1).numpy())
        detections[str(dtype).removeprefix('torch.')] = rows
    classes = [len(set(found[:, 5])) for found in rows]
    print(name, [len(found) for found in rows], 'detections of', classes, 'classes')
    return Reference(model.to(torch.float32), shapes, changed, detections)


def losses():
    """(class, box) of each layer by transformers, for given outputs of a network."""
    import torch
    from transformers import RTDetrConfig
    from transformers.loss.loss_rt_detr import RTDetrLoss

    logits, boxes, truth = rt_detr_weights.training_batch()
    criterion = RTDetrLoss(RTDetrConfig(num_labels=logits.shape[-1]))
    labels = []
    for rows in truth:
        rows = rows[rows[:, 3] > 0]
        labels.append(
            {
                'class_labels': torch.from_numpy(rows[:, 0]).long(),
                'boxes': torch.from_numpy(rows[:, 1:]),
            }
        )
    values = []
    for layer in range(logits.shape[1]):
        outputs = {
            'logits': torch.from_numpy(logits[:, layer]),
            'pred_boxes': torch.from_numpy(boxes[:, layer]),
        }
        terms = criterion(outputs, labels)
        values.append([terms['loss_vfl'], terms['loss_bbox'] + terms['loss_giou']])
    return np.array(values, np.float64)


def store():
    made = reference('narrow')
    arrays = {
        f'detections{i}': rows.astype(np.float32)
        for i, rows in enumerate(made.detections['float64'])
    }
    arrays['names'] = np.frombuffer(json.dumps(made.shapes).encode(), np.uint8)
    arrays['losses'] = losses()
    print('losses', arrays['losses'].tolist())
    for number, rows in enumerate(made.detections['float32']):
        print(number, differences(rows, made.detections['float64'][number]))
    np.savez_compressed(DATA, **arrays, **made.changed)
    text = json.dumps(published_shapes()).encode()
    DATA.with_suffix('.json.gz').write_bytes(gzip.compress(text, mtime=0))


def published_shapes():
    """{variant: {name: shape}} of the files of the hub, which have the older names."""
    import torch

    shapes = {}
    for name in SIZES:
        if name != 'narrow':
            with torch.device('meta'):
                model = make(name)
            shapes[name] = {
                older(key): list(value.shape)
                for key, value in model.state_dict().items()
                if not key.endswith('num_batches_tracked')
            }
    return shapes


def older(name):
    """The name of a tensor before transformers 5, which the published files keep."""
    name = name.replace('.mlp.fc', '.fc').replace('.o_proj.', '.out_proj.')
    return name.replace('encoder.aifi.', 'encoder.encoder.')


def write(folder, names):
    from PIL import Image

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        made = reference(name)
        made.model.save_pretrained(folder / name)
        side = SIZES[name.removeprefix('v2_')][0]
        for number in PICTURES:
            image = Image.fromarray(picture(number, side))
            image.save(folder / name / f'{number}.png')
        stored = {
            f'{dtype}/{i}': rows
            for dtype, every in made.detections.items()
            for i, rows in enumerate(every)
        }
        np.savez_compressed(folder / name / 'detections.npz', **stored)


def compare(folder):
    from jaxvision.cli.predict import command

    for weights in sorted(Path(folder).glob('*/model.safetensors')):
        name = weights.parent.name
        files = [str(weights.with_name(f'{number}.png')) for number in PICTURES]
        out = weights.with_name('answers')
        model = f'rt_detr:{name.removeprefix("v2_")}'
        arguments = ['--weights', str(weights), '--model', model]
        arguments += ['--out', str(out), '--no_pictures', '--score', '0', *files]
        assert command.main(arguments) == 0
        answers = json.loads((out / 'predictions.json').read_text())
        stored = np.load(weights.with_name('detections.npz'))
        for number, entry in enumerate(answers['files']):
            found = rows_of(entry['answer']['detections'])
            expected = stored[f'float64/{number}']
            print(name, number)
            print('    jaxvision   ', differences(found, expected))
            float32 = stored[f'float32/{number}']
            print('    transformers', differences(float32, expected), flush=True)


if __name__ == '__main__':
    mode, *arguments = sys.argv[1:]
    if mode == 'write':
        write(arguments[0], arguments[1:])
    else:
        {'store': store, 'compare': compare}[mode](*arguments)
