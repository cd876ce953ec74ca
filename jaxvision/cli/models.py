"""List architectures, their variants and sizes, and the pretrained weights that each can read.

examples:
  jaxvision models             every architecture and variant
  jaxvision models resnet      one architecture: variants, weights and options

A config chooses an architecture by model.name, a variant by model.variant and options by
model.options. Parameters are counted from their shapes: nothing is downloaded or allocated.
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

WIDTH = 100  # characters of a line


def main(arguments: list[str] | None = None) -> int:
    """Print the list of models, or the details of one.

    JAX then uses the CPU, unless JAX_PLATFORMS is set.

    Args:
        arguments: as on the command line; None: the arguments of the process.

    Returns:
        The exit code: 0, or 2 if there is no such model. It is 130 after Ctrl-C, and 1
        if the reader of the output has gone.

    Raises:
        SystemExit: The arguments are malformed, or contain --help.
    """
    if arguments is None:
        arguments = sys.argv[1:]
    options = _parse(arguments)
    os.environ.setdefault('JAX_PLATFORMS', 'cpu')  # Shapes need no accelerator.
    return invocation.run(functools.partial(_run, options))


def _run(options: argparse.Namespace) -> int:
    lines = _lines_of_model(options.name) if options.name else _lines_of_all()
    for line in lines:
        print(line, flush=True)
    return 0


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = invocation.parser('models', __doc__)
    parser.add_argument('name', nargs='?', metavar='NAME', help='name of a model')
    return parser.parse_args(arguments)


def _lines_of_all() -> Iterator[str]:
    """Yield a table with one line for each variant, as soon as it is counted."""
    from jaxvision.models import NAMES, listing

    pairs = []
    for name in NAMES:
        pairs += [(name, variant) for variant in listing.variants(name)]
    widths = [
        max(map(len, ['model', *NAMES])),
        max(len(repr(variant)) for _, variant in pairs),
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
    for name, variant in pairs:
        description = listing.describe(name, variant)
        parameters = f'{description.parameters:,}'
        purpose = description.purpose
        yield line(name, variant or "''", parameters, publishers(name), purpose)
    yield ''
    yield 'Image classifiers are counted with 1,000 classes. A GAN counts both networks.'
    yield f'Details and options: {invocation.command("models", "NAME")}'


def _lines_of_model(name: str) -> Iterator[str]:
    """Yield the module, the pretrained weights, the variants and the options of a model."""
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
        description = listing.describe(name, variant)
        needs = description.needs
        text = variant or "''"
        yield f'  {text:<{width}}  {description.parameters:>13,} parameters'
    if needs:
        texts = [f'{need}={value}' for need, value in needs.items()]
        yield f'  counted with {", ".join(texts)}'
    yield ''
    yield 'options: --config.model.options.NAME=VALUE'
    yield from _lines_of_options(module.make, documented, {*needs})


def _lines_of_options(
    make: Callable, documented: dict[str, str], needs: set[str]
) -> Iterator[str]:
    """Yield each option of a model with its default and its description.

    Args:
        make: function of the model's module that builds the model.
        documented: {argument of `make`: its description}.
        needs: arguments that the task sets.
    """
    set_elsewhere = {*needs, 'variant', 'dtype', 'param_dtype'}
    texts = {}
    for name, parameter in inspect.signature(make).parameters.items():
        if name in set_elsewhere:
            continue
        if parameter.kind is parameter.VAR_KEYWORD:
            texts[name] = f'**{name}'
        else:
            texts[name] = f'{name}={parameter.default!r}'
    if not texts:
        yield '  none'
        return
    width = max(map(len, texts.values()))
    for name, text in texts.items():
        yield from _entry(f'  {text:<{width}}  ', documented.get(name, ''))


def _entry(heading: str, text: str) -> list[str]:
    """Wrap a text after its heading, with further lines indented below its first word."""
    indent = ' ' * len(heading)
    lines = textwrap.wrap(text, WIDTH, initial_indent=heading, subsequent_indent=indent)
    return lines or [heading.rstrip()]


def publishers(name: str) -> str:
    """Return the publishers of the pretrained weights that a model can read.

    Args:
        name: name of a model.

    Returns:
        Names with commas between them, such as 'torchvision, Keras'; '' if there are none.
    """
    from jaxvision.pretrained.weights_file import FAMILIES

    if name not in FAMILIES:
        return ''
    names = [format.publisher for format in FAMILIES[name].FORMATS]
    return ', '.join(dict.fromkeys(names))


def _documented_arguments(function: Callable) -> dict[str, str]:
    """Read the section Args of a docstring: {argument: its description on one line}."""
    docstring = inspect.getdoc(function) or ''
    section = re.search(r'^Args:\n(.*?)(?=^\S|\Z)', docstring, re.M | re.S)
    documented = {}
    if not section:
        return documented
    name = ''
    for line in section[1].splitlines():
        start = re.match(r'    \**(\w+): (.*)', line)
        if start:
            name = start[1]
            documented[name] = start[2]
        elif name and line.strip():
            documented[name] += f' {line.strip()}'
    return documented
