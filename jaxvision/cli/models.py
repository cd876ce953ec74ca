"""`jaxvision models`: the architectures, their variants, sizes and pretrained weights."""

import argparse
import inspect
import sys
from collections.abc import Mapping
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


def publishers(name: str) -> list[str]:
    """Whose weights a model can read; none for most."""
    from jaxvision.pretrained.weights_file import FAMILIES

    if name not in FAMILIES:
        return []
    return list(dict.fromkeys(form.publisher for form in FAMILIES[name].FORMATS))


def _print_table() -> None:
    from jaxvision.models import NAMES, listing
    from jaxvision.viz.tables import Table

    table = Table('model', NAMES)
    for name in NAMES:
        for variant in listing.variants(name):
            description = listing.describe(name, variant)
            row = {
                'model': name,
                'variant': variant or "''",
                'parameters': f'{description.parameters:,}',
                'for': description.purpose,
                'counted with': _as_text(description.needs),
                'reads weights of': ', '.join(publishers(name)) or '-',
            }
            table.print([row])


def _as_text(needs: Mapping[str, Any]) -> str:
    return ', '.join(f'{name}={value}' for name, value in needs.items())


def _detail(name: str) -> str:
    """Describe an architecture with its variants and options."""
    from jaxvision.core.registry import resolve
    from jaxvision.models import NAMES, listing

    if name not in NAMES:
        raise unknown('there is no model', name, NAMES)
    module = resolve('models', name)
    lines = [f'{name}: {inspect.getdoc(module)}', '', 'variants:']
    needs = {}
    for variant in listing.variants(name):
        description = listing.describe(name, variant)
        needs = description.needs
        count = f'{description.parameters:>13,} parameters'
        lines.append(f'  {variant:12} {count} ({_as_text(needs)})')
    lines += ['', f'{inspect.getdoc(module.make)}', '', 'options and their defaults:']
    for parameter in inspect.signature(module.make).parameters.values():
        is_given = parameter.name in ('variant', 'dtype', 'param_dtype', *needs)
        if is_given or parameter.kind is parameter.VAR_KEYWORD:
            continue
        lines.append(f'  --config.model.options.{parameter.name}={parameter.default}')
    weights = ', '.join(publishers(name)) or 'nobody: it is trained from scratch'
    return '\n'.join([*lines, '', f'reads weights of: {weights}'])
