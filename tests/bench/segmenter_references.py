"""Compare FCN, DeepLabv3 and SegFormer with torchvision and transformers, with random weights.

PYTHON has PyTorch, torchvision and transformers. Store what the tests read: the logits of narrow
networks, and the tensors of the published ones:

    PYTHON tests/bench/segmenter_references.py store

Compare whole networks, from their weights files to logits of pictures of unequal sizes:

    PYTHON tests/bench/segmenter_references.py write FOLDER fcn_resnet50 segformer_b0
    python tests/bench/segmenter_references.py compare FOLDER

`write` computes logits in float32 and float64 (up to 0.3 GB a network). `compare` prints how
jaxvision and PyTorch, both in float32, differ from PyTorch in float64. The last layers are scaled
so that logits have a standard deviation of 3.
"""

import gzip
import json
import sys
from pathlib import Path

import numpy as np

TESTS = Path(__file__).parents[1]
sys.path.insert(0, str(TESTS))

from helpers import segmenter_weights  # noqa: E402

DATA = TESTS / 'pretrained' / 'data'
STD = 3.0  # of the logits
NUMBERS = range(len(segmenter_weights.SIZES))
TORCHVISION = (
    'fcn_resnet50',
    'fcn_resnet101',
    'deeplabv3_resnet50',
    'deeplabv3_resnet101',
)
# Depths and widths of SegFormer, and the width of its head.
SEGFORMER = {
    'b0': ((2, 2, 2, 2), (32, 64, 160, 256), 256),
    'b1': ((2, 2, 2, 2), (64, 128, 320, 512), 256),
    'b2': ((3, 4, 6, 3), (64, 128, 320, 512), 768),
    'b3': ((3, 4, 18, 3), (64, 128, 320, 512), 768),
    'b4': ((3, 8, 27, 3), (64, 128, 320, 512), 768),
    'b5': ((3, 6, 40, 3), (64, 128, 320, 512), 768),
}
NARROW_SEGFORMER = ((1, 2, 1, 2), (8, 16, 40, 64), 16)
NARROW = ('fcn_narrow', 'deeplabv3_narrow', 'segformer_narrow', 'mit_narrow')
# Those whose names are stored.
PUBLISHED = ('fcn_resnet50', 'segformer_b1', 'mit_b0')
MODULES = {'fcn': 'fcn', 'deeplabv3': 'deeplab', 'segformer': 'segformer', 'mit': 'mit'}


def make(name):
    """A network by its name."""
    kind, _, size = name.partition('_')
    if kind in ('segformer', 'mit'):
        return make_segformer(kind, size)
    from torchvision.models import resnet, segmentation
    from torchvision.models._utils import IntermediateLayerGetter

    if size != 'narrow':
        return getattr(segmentation, name)(
            weights=None, weights_backbone=None, aux_loss=True
        )
    backbone = resnet.ResNet(
        resnet.Bottleneck,
        [1, 1, 2, 2],
        replace_stride_with_dilation=[False, True, True],
    )
    layers = {'layer3': 'aux', 'layer4': 'out'}
    backbone = IntermediateLayerGetter(backbone, return_layers=layers)
    auxiliary = segmentation.fcn.FCNHead(1024, 21)
    if kind == 'fcn':
        head = segmentation.fcn.FCNHead(2048, 21)
        return segmentation.FCN(backbone, head, auxiliary)
    head = segmentation.deeplabv3.DeepLabHead(2048, 21)
    return segmentation.DeepLabV3(backbone, head, auxiliary)


def make_segformer(kind, size):
    import transformers

    depths, widths, head = NARROW_SEGFORMER if size == 'narrow' else SEGFORMER[size]
    config = transformers.SegformerConfig(
        depths=depths,
        hidden_sizes=widths,
        decoder_hidden_size=head,
        num_labels=150 if kind == 'segformer' else 1000,
    )
    if kind == 'mit':
        return transformers.SegformerForImageClassification(config)
    return transformers.SegformerForSemanticSegmentation(config)


def logits_of(model, number):
    """{name: logits}, channels last, at the size of the picture if torchvision resizes."""
    import torch

    dtype = next(model.parameters()).dtype
    pixels = torch.from_numpy(segmenter_weights.picture(number)).to(dtype)
    outputs = model(pixels.permute(2, 0, 1)[None])
    if 'logits' in outputs:
        outputs = {'out': outputs['logits']}
    return {key: x[0].movedim(0, -1).numpy() for key, x in outputs.items()}


def set_weights(model):
    """Give a network its random weights. Return the factors of its last layers."""
    import torch

    shapes = {key: list(x.shape) for key, x in model.state_dict().items()}
    modules = dict(model.named_modules())
    lasts = {
        'out': next(
            name
            for name in ('classifier.4', 'decode_head.classifier', 'classifier')
            if name in modules
        )
    }
    if 'aux_classifier.4' in modules:
        lasts['aux'] = 'aux_classifier.4'
    factors = {}
    for _ in range(2):
        tensors = segmenter_weights.drawn(shapes, factors)
        state = {key: torch.from_numpy(x) for key, x in tensors.items()}
        model.load_state_dict(state, strict=False)
        model.eval()
        logits = logits_of(model, 0)
        if not factors:
            factors = {lasts[key]: float(STD / x.std()) for key, x in logits.items()}
    return factors


def store():
    import torch

    torch.set_grad_enabled(False)
    arrays = {}
    for name in NARROW:
        model = make(name)
        factors = set_weights(model)
        arrays[f'{name}/factors'] = np.frombuffer(
            json.dumps(factors).encode(), np.uint8
        )
        shapes = {key: list(x.shape) for key, x in model.state_dict().items()}
        arrays[f'{name}/shapes'] = np.frombuffer(json.dumps(shapes).encode(), np.uint8)
        for key, logits in logits_of(model.double(), 0).items():
            # Every fifth row and column at full size.
            if name.startswith(('fcn', 'deeplab')):
                logits = logits[::5, ::5]
            logits = logits[..., :21].astype(np.float32)
            arrays[f'{name}/{key}0'] = logits
        print(name, factors)
    np.savez_compressed(DATA / 'segmenters.npz', **arrays)
    published = {}
    names = (*TORCHVISION, *(f'segformer_{size}' for size in SEGFORMER), 'mit_b0')
    for name in names:
        model = make(name)
        if name in PUBLISHED:
            state = model.state_dict()
            published[name] = {key: list(x.shape) for key, x in state.items()}
        # For tests/models/test_listing.py.
        print(name, sum(x.numel() for x in model.parameters()))
    text = json.dumps(published).encode()
    (DATA / 'segmenters.json.gz').write_bytes(gzip.compress(text, mtime=0))


def write(folder, names):
    import torch

    torch.set_grad_enabled(False)
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        model = make(name)
        set_weights(model)
        if name.startswith(('segformer', 'mit')):
            model.save_pretrained(folder / name)
        else:
            torch.save(model.state_dict(), folder / f'{name}.pth')
        arrays = {}
        for dtype in (torch.float32, torch.float64):
            model = model.to(dtype)
            for number in NUMBERS:
                for key, logits in logits_of(model, number).items():
                    arrays[f'{dtype}/{key}{number}'] = logits
        np.savez(folder / f'{name}.npz', **arrays)
        print(name, 'written')


def compare(folder):
    import jax

    from jaxvision.core.registry import resolve
    from jaxvision.models.segmenters import maps
    from jaxvision.pretrained import flax_variables, weights_file

    for file in sorted(folder.glob('*.npz')):
        kind, _, size = file.stem.partition('_')
        weights = file.with_suffix('.pth')
        if kind in ('segformer', 'mit'):
            weights = folder / file.stem / 'model.safetensors'
        family = MODULES[kind]
        leaves, identity = weights_file.read(weights, family)
        count = len(identity.classes.names) or 1000
        module = resolve('models', family)
        model = module.make(size, num_classes=count, **identity.options)
        stored = np.load(file)
        for number in NUMBERS:
            image = segmenter_weights.picture(number)[None]
            shapes = jax.eval_shape(model.init, jax.random.key(0), image)
            variables = flax_variables.fit(leaves, shapes)
            outputs, _ = jax.jit(model.apply)(variables, image)
            if isinstance(outputs, dict):
                outputs = outputs['logits']
            if kind in ('fcn', 'deeplabv3'):
                outputs = maps.resized(outputs, image.shape[1:3])
            exact = stored[f'torch.float64/out{number}']
            ours = np.abs(np.asarray(outputs[0]) - exact).max()
            theirs = np.abs(stored[f'torch.float32/out{number}'] - exact).max()
            print(
                f'{file.stem} {image.shape[1:3]}: logits of std {exact.std():.2f}; largest '
                f'difference of jaxvision {ours:.1e}, of PyTorch in float32 {theirs:.1e}'
            )


def main():
    command, *arguments = sys.argv[1:]
    if command == 'store':
        store()
    elif command == 'write':
        write(Path(arguments[0]), arguments[1:])
    else:
        compare(Path(arguments[0]))


if __name__ == '__main__':
    main()
