"""Measure a run on corrupted images: noise, blur, weather, digital (ImageNet-C).

examples:
  jaxvision corrupt --workdir runs/cnn
  jaxvision corrupt --workdir runs/cnn --reference runs/small
  jaxvision corrupt --workdir runs/cnn --corruptions fog,snow --severities 1,3,5

The 15 corruptions of Hendrycks & Dietterich 2019 have five severities each, with the parameters of
ImageNet-C. Images whose shorter side is below 96 pixels have those of CIFAR-10-C. An image is
corrupted as the network sees it, after it has been resized, and rounded to 8 bits.

The error is 1 - accuracy. It is 1 - the main metric of a detector, a segmenter or a classifier with
several labels. With --reference the corruption error (CE) is the sum of the errors over the
severities, divided by that of the reference. mCE is its mean. The relative CE takes the growth
of the error instead.

OUT gets corrupt.json, errors.png and examples.png. A killed evaluation goes on when it is started
again with the same arguments.

exit codes:
  0    done
  2    a mistake in the arguments
"""

import argparse
import functools
import sys
from pathlib import Path

from jaxvision.cli import invocation
from jaxvision.core.errors import UserError, not_a_choice
from jaxvision.core.fields import Field
from jaxvision.core.files import write_json

NAME = 'corrupt.json'


def main(arguments: list[str] | None = None) -> int:
    """Measure a run on corrupted images, print a table and write a report.

    Args:
        arguments: as on the command line; None: the arguments of the process.

    Returns:
        The exit code: 0, or 2 for a mistake of the user.

    Raises:
        SystemExit: The arguments are malformed, or contain --help.
    """
    if arguments is None:
        arguments = sys.argv[1:]
    options = _parse(arguments)
    return invocation.run(functools.partial(_run, options))


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = invocation.parser('corrupt', __doc__)
    invocation.add_checkpoint(parser, 'run folder')
    parser.add_argument(
        '--reference',
        metavar='RUN',
        help='another run on the same data, whose errors are the unit of CE',
    )
    parser.add_argument(
        '--corruptions',
        metavar='NAME[,NAME...]',
        help='corruptions, such as fog,snow (all)',
    )
    parser.add_argument(
        '--severities',
        default='1,2,3,4,5',
        metavar='N[,N...]',
        help='severities from 1 to 5 (%(default)s)',
    )
    invocation.add_split(parser, 'split of the images')
    parser.add_argument(
        '--examples',
        type=int,
        metavar='N',
        help='images, spread evenly over the split (all)',
    )
    parser.add_argument(
        '--seed', type=int, default=0, help='seed of the corruptions (%(default)s)'
    )
    parser.add_argument(
        '--out', metavar='OUT', help='output folder (RUN/corrupt/STEP-SPLIT)'
    )
    parser.add_argument('--no_pictures', action='store_true', help='draw no pictures')
    return parser.parse_args(arguments)


def _run(options: argparse.Namespace) -> int:
    """Check the arguments, open the runs, measure and write the report."""
    if options.examples is not None:
        Field(1, '', least=1).check('--examples', options.examples)
    Field(0, '', least=0).check('--seed', options.seed)
    severities = _severities(options.severities)
    invocation.require_run('--workdir', options.workdir)
    if options.reference is not None:
        invocation.require_run('--reference', options.reference)
    from jaxvision.cli import stored
    from jaxvision.cli.corrupt import evaluation, measured

    names = _corruptions(options.corruptions)
    run = measured.open_run('--workdir', options.workdir, options.step, options.split)
    reference = None
    if options.reference is not None:
        reference = measured.open_run(
            '--reference', options.reference, 'last', options.split
        )
        measured.require_same_data(run, reference, options.split)
    request = evaluation.Request(
        run=run,
        reference=reference,
        corruptions=names,
        severities=severities,
        split=options.split,
        count=options.examples,
        seed=options.seed,
        out=_out(options, run.step),
        pictures=not options.no_pictures,
    )
    stored.check_replaceable(request.out, NAME)
    request.out.mkdir(parents=True, exist_ok=True)
    report, folders = evaluation.evaluate(request)
    write_json(request.out / NAME, report)
    for folder in folders:
        stored.remove(folder)
    print(f'in {request.out}: {NAME}')
    return 0


def _severities(text: str) -> tuple[int, ...]:
    """Read severities, each once, in ascending order."""
    severities = set()
    for part in text.split(','):
        if part.strip() not in ('1', '2', '3', '4', '5'):
            raise UserError(
                f'--severities={text}: expected numbers from 1 to 5. Separate them by '
                'commas, such as 1,3,5.'
            )
        severities.add(int(part))
    return tuple(sorted(severities))


def _corruptions(text: str | None) -> tuple[str, ...]:
    """Read names of corruptions, each once, in the published order."""
    from jaxvision.image.corruptions.published import CORRUPTIONS

    if text is None:
        return tuple(CORRUPTIONS)
    names = [part.strip() for part in text.split(',')]
    for name in names:
        if name not in CORRUPTIONS:
            raise not_a_choice('--corruptions', name, CORRUPTIONS)
    return tuple(name for name in CORRUPTIONS if name in names)


def _out(options: argparse.Namespace, step: int) -> Path:
    if options.out:
        return Path(options.out)
    return Path(options.workdir, 'corrupt', f'{step}-{options.split}')


if __name__ == '__main__':
    sys.exit(main())
