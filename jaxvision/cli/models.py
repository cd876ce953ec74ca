"""`jaxvision models`: the architectures, their variants, sizes and pretrained weights."""

import argparse
import dataclasses
import inspect
import sys
from collections.abc import Callable
from typing import Any

from jaxvision.cli import invocation
from jaxvision.core.errors import UserError, unknown

EPILOG = """
examples:
  jaxvision models
  jaxvision models resnet

A config names a model by --config.model.name and its variant by --config.model.variant.
Widths such as 16-32-64 are examples; any others do too.
"""

IMAGENET = {'num_classes': 1000}
DIGITS = {'num_classes': 10}
GENERATED = {'num_classes': 10, 'image_shape': (32, 32, 3)}
LATENT = 64  # numbers of a latent


@dataclasses.dataclass(frozen=True)
class Listing:
    """How the variants of a model are listed.

    Attributes:
        variants: those that the authors named, or an example of widths.
        needs: what `make` is given to count the parameters.
        inputs: shapes of the inputs to count them with; a bool mask for 'hole' and 'mask'.
        note: what the count is of.
    """

    variants: tuple[str, ...]
    needs: dict[str, Any]
    inputs: dict[str, tuple[int, ...]]
    note: str


_PHOTO = {'image': (1, 224, 224, 3)}
_SMALL = {'image': (1, 32, 32, 3)}
_CLIP = {'video': (1, 20, 32, 32, 3), 'mask': (1, 20)}
_OF_IMAGENET = '1,000 classes, 224 pixels'
_OF_SMALL = '10 classes, 32 pixels'
_OF_CLIPS = '10 classes, 20 frames of 32 pixels'
_OF_GAN = 'generator and discriminator, 10 classes, 32 pixels'

LISTINGS = {
    'cnn': Listing(('16-32-64',), DIGITS, _SMALL, _OF_SMALL),
    'convnext': Listing(('T', 'S', 'B'), IMAGENET, _PHOTO, _OF_IMAGENET),
    'efficientnet': Listing(
        (*(f'B{i}' for i in range(5)), *(f'Lite{i}' for i in range(5))),
        IMAGENET,
        _PHOTO,
        _OF_IMAGENET,
    ),
    'mobilenet_v2': Listing(('1.0',), IMAGENET, _PHOTO, _OF_IMAGENET),
    'resnet': Listing(('18', '34', '50', '101', '152'), IMAGENET, _PHOTO, _OF_IMAGENET),
    'strided': Listing(('24-48-96',), DIGITS, _SMALL, _OF_SMALL),
    'vgg': Listing(('11', '13', '16', '19'), IMAGENET, _PHOTO, _OF_IMAGENET),
    'vit': Listing(
        ('Ti/16', 'S/16', 'B/16', 'B/32', 'L/16'), IMAGENET, _PHOTO, _OF_IMAGENET
    ),
    'dcgan': Listing(('256-128-64',), GENERATED, {}, _OF_GAN),
    'r3gan': Listing(('128-64-32-16',), GENERATED, {}, _OF_GAN),
    'sngan': Listing(('256-128',), GENERATED, {}, _OF_GAN),
    'edsr': Listing(
        ('6x32', 'baseline', 'srresnet'),
        {'scale': 2, 'channels': 3},
        {'image': (1, 24, 24, 3)},
        'twice as large',
    ),
    'unet': Listing(
        ('32-64-128',),
        {'channels': 3},
        {'image': (1, 32, 32, 3), 'hole': (1, 32, 32, 1)},
        'gated convolutions',
    ),
    'conv_lstm_net': Listing(('24-48',), DIGITS, _CLIP, _OF_CLIPS),
    'frame_average': Listing(('24-48-96',), DIGITS, _CLIP, _OF_CLIPS),
    'lrcn': Listing(('24-48-96',), DIGITS, _CLIP, _OF_CLIPS),
    'frame_scorer': Listing(('24-48-96',), {}, _CLIP, '20 frames of 32 pixels'),
    'forecaster': Listing(
        ('64-64',),
        {'frames': 10, 'image_shape': (32, 32, 1)},
        {'video': (1, 10, 32, 32, 1)},
        '10 frames of 32 pixels',
    ),
}


def main(arguments: list[str] | None = None) -> int:
    options = _parse(sys.argv[1:] if arguments is None else arguments)
    try:
        if options.model:
            print(_detail(options.model))
        else:
            _print_table()
    except UserError as error:
        print(f'error: {error}', file=sys.stderr)
        return 2
    return 0


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        invocation.program('models'),
        description='List architectures, variants, parameters and weights.',
        epilog=EPILOG,
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        'model',
        nargs='?',
        metavar='NAME',
        help='show one architecture with its options',
    )
    return parser.parse_args(arguments)


def count_parameters(name: str, variant: str) -> int:
    """Count a model's parameters from shapes alone; nothing is allocated.

    Args:
        name: of `jaxvision.models.NAMES`.
        variant: as `model.variant`.
    """
    listing = LISTINGS[name]
    model = _make_of(name)(variant, **listing.needs)
    if not listing.inputs:
        generator, discriminator = model
        image = (1, *listing.needs['image_shape'])
        return _count(generator, {'latent': (1, LATENT), 'label': (1,)}) + _count(
            discriminator, {'image': image, 'label': (1,)}
        )
    return _count(model, listing.inputs)


def _count(module: Any, shapes: dict[str, tuple[int, ...]]) -> int:
    import jax
    import jax.numpy as jnp

    dtypes = {'hole': jnp.bool_, 'mask': jnp.bool_, 'label': jnp.int32}
    inputs = [
        jax.ShapeDtypeStruct(shape, dtypes.get(name, jnp.float32))
        for name, shape in shapes.items()
    ]
    variables = jax.eval_shape(module.init, jax.random.key(0), *inputs)
    return sum(leaf.size for leaf in jax.tree.leaves(variables['params']))


def publishers(name: str) -> list[str]:
    """Whose weights a model can read; none for most."""
    from jaxvision.pretrained.weights_file import FAMILIES

    if name not in FAMILIES:
        return []
    return list(dict.fromkeys(form.publisher for form in FAMILIES[name].FORMATS))


def _make_of(name: str) -> Callable:
    from jaxvision.core.registry import resolve

    return resolve('models', name).make


def _print_table() -> None:
    from jaxvision.models import NAMES
    from jaxvision.viz.tables import Table

    table = Table('model', NAMES)
    for name in NAMES:
        for variant in LISTINGS[name].variants:
            row = {
                'model': name,
                'variant': variant,
                'parameters': f'{count_parameters(name, variant):,}',
                'counted for': LISTINGS[name].note,
                'reads weights of': ', '.join(publishers(name)) or '-',
            }
            table.print([row])


def _detail(name: str) -> str:
    """An architecture with its variants and options."""
    from jaxvision.core.registry import resolve
    from jaxvision.models import NAMES

    if name not in NAMES:
        raise unknown('there is no model', name, NAMES)
    module = resolve('models', name)
    listing = LISTINGS[name]
    lines = [f'{name}: {inspect.getdoc(module)}', '', 'variants:']
    for variant in listing.variants:
        count = count_parameters(name, variant)
        lines.append(f'  {variant:12} {count:>13,} parameters ({listing.note})')
    lines += ['', f'{inspect.getdoc(module.make)}', '', 'options and their defaults:']
    for parameter in inspect.signature(module.make).parameters.values():
        is_given = parameter.name in ('variant', 'dtype', 'param_dtype', *listing.needs)
        if is_given or parameter.kind is parameter.VAR_KEYWORD:
            continue
        lines.append(f'  --config.model.options.{parameter.name}={parameter.default}')
    weights = ', '.join(publishers(name)) or 'nobody: it is trained from scratch'
    return '\n'.join([*lines, '', f'reads weights of: {weights}'])
