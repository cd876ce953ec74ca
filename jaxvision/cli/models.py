"""List architectures, their variants and sizes, and the pretrained weights that each can read.

examples:
  jaxvision models             every architecture and variant
  jaxvision models resnet      one architecture: variants, weights and options

A config chooses an architecture by model.name, a variant by model.variant and options by
model.options. Nothing is downloaded and no parameter is allocated: the number of parameters is that
of the shapes.
"""

import argparse
import functools
import inspect
import os
import re
import sys
import textwrap
from collections.abc import Callable, Iterator

from jaxvision.cli import invocation
from jaxvision.core.errors import unknown

WIDTH = 100  # Characters of a line.


def main(arguments: list[str] | None = None) -> int:
    """Print the list, or one architecture in detail."""
    options = _parse(sys.argv[1:] if arguments is None else arguments)
    os.environ.setdefault('JAX_PLATFORMS', 'cpu')  # Shapes need no accelerator.
    return invocation.run(functools.partial(_run, options))


def _run(options: argparse.Namespace) -> int:
    for line in _lines_of(options.name) if options.name else _lines_of_all():
        print(line, flush=True)
    return 0


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = invocation.parser('models', __doc__)
    parser.add_argument('name', nargs='?', metavar='NAME', help='name of a model')
    return parser.parse_args(arguments)


def _lines_of_all() -> Iterator[str]:
    """Yield a table with one line for each variant, as soon as it is counted."""
    from jaxvision.models import NAMES, listing

    variants = {name: listing.variants(name) for name in NAMES}
    every_variant = [repr(variant) for some in variants.values() for variant in some]
    widths = [
        max(map(len, ['model', *NAMES])),
        max(map(len, every_variant)),
        len('1,000,000,000'),
        max(len(publishers(name)) for name in NAMES),
    ]

    def line(name: str, variant: str, parameters: str, weights: str, purpose: str):
        cells = [
            name.ljust(widths[0]),
            variant.ljust(widths[1]),
            parameters.rjust(widths[2]),
            weights.ljust(widths[3]),
            purpose,
        ]
        return '  '.join(cells).rstrip()

    yield line('model', 'variant', 'parameters', 'weights of', 'for')
    for name, some in variants.items():
        for variant in some:
            described = listing.describe(name, variant)
            yield line(
                name,
                variant or "''",
                f'{described.parameters:,}',
                publishers(name),
                described.purpose,
            )
    yield ''
    yield 'Classifiers of images are counted with 1,000 classes. GANs have two networks.'
    yield f'Details and options: {invocation.command("models", "NAME")}'


def _lines_of(name: str) -> Iterator[str]:
    """Yield what there is to know of one model."""
    from jaxvision.core.registry import resolve
    from jaxvision.models import NAMES, listing

    if name not in NAMES:
        raise unknown('there is no model', name, NAMES)
    module = resolve('models', name)
    documented = _documented_arguments(module.make)
    first_paragraph = inspect.getdoc(module).partition('\n\n')[0]
    yield from textwrap.wrap(f'{name}: {first_paragraph}', WIDTH)
    yield f'module: {NAMES[name]}'
    yield f'pretrained weights: {publishers(name) or "none"}'
    yield ''
    yield from _entry('variants (--config.model.variant): ', documented['variant'])
    width = max(len(repr(variant)) for variant in listing.variants(name))
    needs = {}
    for variant in listing.variants(name):
        described = listing.describe(name, variant)
        needs = described.needs
        text = variant or "''"
        yield f'  {text:<{width}}  {described.parameters:>13,} parameters'
    if needs:
        counted = ', '.join(f'{need}={value}' for need, value in needs.items())
        yield f'  counted with {counted}'
    yield ''
    yield 'options: --config.model.options.NAME=VALUE'
    yield from _lines_of_options(module.make, documented, {*needs})


def _lines_of_options(
    make: Callable, documented: dict[str, str], needs: set[str]
) -> Iterator[str]:
    """Yield each option with its default and what `make` says of it.

    Args:
        make: function of a model's module that builds the model.
        documented: what its docstring says, by argument.
        needs: arguments that the task gives.
    """
    given = {*needs, 'variant', 'dtype', 'param_dtype'}
    parameters = inspect.signature(make).parameters
    options = {
        name: parameter for name, parameter in parameters.items() if name not in given
    }
    texts = {
        name: f'**{name}'
        if parameter.kind is parameter.VAR_KEYWORD
        else f'{name}={parameter.default!r}'
        for name, parameter in options.items()
    }
    if not options:
        yield '  none'
        return
    width = max(map(len, texts.values()))
    for name, text in texts.items():
        yield from _entry(f'  {text:<{width}}  ', documented.get(name, ''))


def _entry(heading: str, text: str) -> list[str]:
    """Return the lines of a text after its heading, and below each other."""
    indent = ' ' * len(heading)
    return textwrap.wrap(
        text, WIDTH, initial_indent=heading, subsequent_indent=indent
    ) or [heading.rstrip()]


def publishers(name: str) -> str:
    """Return the publishers whose pretrained weights a model can read."""
    from jaxvision.pretrained.weights_file import FAMILIES

    formats = FAMILIES[name].FORMATS if name in FAMILIES else ()
    return ', '.join(dict.fromkeys(format.publisher for format in formats))


def _documented_arguments(function: Callable) -> dict[str, str]:
    """Return what the section Args of a docstring says of each argument, on one line."""
    section = re.search(
        r'^Args:\n(.*?)(?=^\S|\Z)', inspect.getdoc(function) or '', re.M | re.S
    )
    documented = {}
    name = ''
    for line in section[1].splitlines() if section else ():
        start = re.match(r'    \**(\w+): (.*)', line)
        if start:
            name = start[1]
            documented[name] = start[2]
        elif name and line.strip():
            documented[name] += f' {line.strip()}'
    return documented
