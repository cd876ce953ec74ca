"""Certify a classifier by randomised smoothing (Cohen et al. 2019).

examples:
  jaxvision certify --workdir runs/cnn --sigma 0.5
  jaxvision certify --workdir runs/cnn --sigma 0.25 --n 1000 --examples 200
  jaxvision certify --workdir runs/cnn --sigma 0.25 --radii 0,0.1,0.2

The smoothed classifier predicts the class that the run predicts most often for an image with
Gaussian noise. sigma is the std of the noise, for pixels in [0, 1]. No change of the image that is
shorter than the certified radius (in the L2 norm) changes the prediction. A certificate is wrong
with a probability of at most alpha. The classifier abstains where it cannot certify a class.

--n0 noisy images choose the class, and --n others bound its probability. The largest radius that
--n 10000 can certify is 3.2 sigma. Train with noise of the same std, such as
`jaxvision train --config cnn:mnist5k,smoothed`.

OUT gets certify.json and curve.png. A killed evaluation goes on when it is started again with the
same arguments.

exit codes:
  0    done
  2    a mistake in the arguments
"""

import argparse
import functools
import math
import sys
from pathlib import Path

from jaxvision.cli import invocation
from jaxvision.core.errors import UserError
from jaxvision.core.fields import Field
from jaxvision.core.files import write_json

NAME = 'certify.json'


def main(arguments: list[str] | None = None) -> int:
    """Certify a run, print a table and write a report.

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
    parser = invocation.parser('certify', __doc__)
    invocation.add_checkpoint(parser, "the classifier's run folder")
    parser.add_argument(
        '--sigma',
        type=float,
        required=True,
        help='std of the noise, in pixels of [0, 1]',
    )
    parser.add_argument(
        '--out',
        metavar='OUT',
        help='output folder (RUN/certify/STEP-SPLIT-SIGMA)',
    )
    group = parser.add_argument_group('the certificate')
    group.add_argument(
        '--n0',
        type=int,
        default=100,
        metavar='N',
        help='noisy images that choose the class (%(default)s)',
    )
    group.add_argument(
        '--n',
        type=int,
        default=10000,
        metavar='N',
        help='noisy images that bound its probability (%(default)s)',
    )
    group.add_argument(
        '--alpha',
        type=float,
        default=0.001,
        help='the largest probability of a wrong certificate (%(default)s)',
    )
    group.add_argument(
        '--radii',
        metavar='R[,R...]',
        help='radii of the table (multiples of sigma / 2)',
    )
    group.add_argument(
        '--seed', type=int, default=0, help='seed of the noise (%(default)s)'
    )
    _add_images(parser)
    return parser.parse_args(arguments)


def _add_images(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group('the images')
    invocation.add_split(group, 'split of the images')
    group.add_argument(
        '--examples',
        type=int,
        default=500,
        metavar='N',
        help='images, spread evenly over the split (%(default)s)',
    )
    group.add_argument(
        '--batch_size',
        type=int,
        default=200,
        metavar='N',
        help='noisy images that are classified together (%(default)s)',
    )
    group.add_argument('--no_pictures', action='store_true', help='draw no curve')


def _run(options: argparse.Namespace) -> int:
    """Check the arguments, open the run, certify and write the report."""
    for name in ('examples', 'batch_size', 'n0', 'n'):
        Field(1, '', least=1).check(f'--{name}', getattr(options, name))
    Field(0, '', least=0).check('--seed', options.seed)
    Field(0.5, '', above=0).check('--sigma', options.sigma)
    Field(0.5, '', above=0, below=1).check('--alpha', options.alpha)
    radii = _radii(options.radii)
    invocation.require_run('--workdir', options.workdir)
    from jaxvision.cli import pixel_classifiers, stored
    from jaxvision.cli.certify import evaluation

    classifier = pixel_classifiers.open_classifier(options.workdir, options.step)
    request = evaluation.Request(
        classifier=classifier,
        sigma=options.sigma,
        selecting=options.n0,
        bounding=options.n,
        alpha=options.alpha,
        seed=options.seed,
        radii=radii,
        split=options.split,
        count=options.examples,
        batch_size=options.batch_size,
        out=_out(options, classifier.step),
        pictures=not options.no_pictures,
    )
    stored.check_replaceable(request.out, NAME)
    examples = pixel_classifiers.read_images(
        classifier, options.split, options.examples
    )
    request.out.mkdir(parents=True, exist_ok=True)
    report, batches = evaluation.evaluate(request, examples)
    write_json(request.out / NAME, report)
    stored.remove(batches)
    print(f'in {request.out}: {NAME}')
    return 0


def _radii(texts: str | None) -> tuple[float, ...]:
    """Read radii, each once, in ascending order; () for None."""
    if texts is None:
        return ()
    radii = set()
    for text in texts.split(','):
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not 0 <= value < math.inf:
            raise UserError(
                f'--radii={text}: expected numbers of at least 0. Separate them by commas, '
                'such as 0,0.25,0.5.'
            )
        radii.add(value)
    return tuple(sorted(radii))


def _out(options: argparse.Namespace, step: int) -> Path:
    if options.out:
        return Path(options.out)
    name = f'{step}-{options.split}-{options.sigma:g}'
    return Path(options.workdir, 'certify', name)


if __name__ == '__main__':
    sys.exit(main())
