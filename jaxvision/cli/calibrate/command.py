"""Calibrate a classifier on its validation split, and measure it on another split.

examples:
  jaxvision calibrate --workdir runs/cnn
  jaxvision calibrate --workdir runs/cnn --alpha 0.01 --conformal aps
  jaxvision calibrate --workdir runs/cnn --ood fashion_mnist --ood_dir DATA
  jaxvision calibrate --workdir runs/cnn --ood runs/other --step best

The validation split fits a temperature, which divides the logits, and the thresholds of conformal
sets of classes. They are written to calibration.json of the run. `jaxvision predict` and exported
models then give calibrated probabilities, and `predict` adds the set of each image. The test split
is measured and fits nothing.

conformal sets contain the true class with a probability of at least 1 - ALPHA:
  lac    all classes above one probability: the smallest sets on average
  aps    the likeliest classes, until their sum is large enough: larger sets for harder images
  raps   the same with a penalty on large sets

OUT gets calibrate.json and reliability.png.

exit codes:
  0    done
  2    a mistake in the arguments
"""

import argparse
import functools
import sys

from jaxvision.cli import invocation
from jaxvision.core.errors import UserError
from jaxvision.core.fields import Field


def main(arguments: list[str] | None = None) -> int:
    """Calibrate a run, print tables and write a report.

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
    parser = invocation.parser('calibrate', __doc__)
    invocation.add_checkpoint(parser, "the classifier's run folder")
    parser.add_argument(
        '--out', metavar='OUT', help='output folder (RUN/calibrate/STEP-SPLIT)'
    )
    invocation.add_split(parser, 'split that is measured')
    parser.add_argument(
        '--alpha',
        type=float,
        default=0.1,
        help='accepted probability of a set without the true class (%(default)s)',
    )
    parser.add_argument(
        '--conformal',
        choices=('lac', 'aps', 'raps'),
        default='lac',
        help='sets that `predict` writes (%(default)s)',
    )
    parser.add_argument(
        '--bins',
        type=int,
        default=15,
        metavar='N',
        help='bins of the calibration error (%(default)s)',
    )
    parser.add_argument(
        '--seed', type=int, default=0, help='seed of all random numbers (%(default)s)'
    )
    parser.add_argument(
        '--no_pictures', action='store_true', help='draw no reliability diagram'
    )
    group = parser.add_argument_group('images unlike those of training')
    group.add_argument(
        '--ood',
        metavar='SOURCE|RUN',
        help='other images, which scores should tell from those of the split',
    )
    group.add_argument(
        '--ood_dir', metavar='DATA', help='folder of that source (data.dir of the run)'
    )
    return parser.parse_args(arguments)


def _run(options: argparse.Namespace) -> int:
    """Check the arguments, fit, measure and write."""
    Field(0.1, '', above=0, below=1).check('--alpha', options.alpha)
    Field(15, '', least=1).check('--bins', options.bins)
    Field(0, '', least=0).check('--seed', options.seed)
    if options.ood_dir is not None and options.ood is None:
        raise UserError(
            f'--ood_dir={options.ood_dir}: expected only with --ood. Give --ood SOURCE.'
        )
    invocation.require_run('--workdir', options.workdir)
    from jaxvision.cli.calibrate import evaluation
    from jaxvision.cli.calibrate.fitting import Settings

    request = evaluation.Request(
        workdir=options.workdir,
        step=options.step,
        split=options.split,
        settings=Settings(
            alpha=options.alpha,
            method=options.conformal,
            bins=options.bins,
            seed=options.seed,
        ),
        ood=options.ood,
        ood_dir=options.ood_dir,
        out=options.out,
        pictures=not options.no_pictures,
    )
    evaluation.evaluate(request)
    return 0


if __name__ == '__main__':
    sys.exit(main())
