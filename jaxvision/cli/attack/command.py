"""Measure a classifier, a detector or a segmenter under attack, or attack your files.

examples:
  jaxvision attack --workdir runs/cnn --eps 8/255
  jaxvision attack --workdir runs/cnn --eps 0.1,0.2,0.3 --attack pgd --steps 100 --restarts 5
  jaxvision attack --workdir runs/cnn --eps 1.5 --norm l2 --examples 200
  jaxvision attack --workdir runs/cnn --eps 8/255 --source runs/resnet
  jaxvision attack --workdir runs/cnn --eps 8/255 --target dog photo.jpg scans/
  jaxvision attack --workdir runs/detection --eps 2/255,8/255 --steps 20 --examples 100
  jaxvision attack --workdir runs/detection --eps 8/255 street.jpg

attacks:
  auto       the minimum over APGD with the cross-entropy, APGD and FAB towards each of nine
             classes, and Square, as in AutoAttack
  fgsm       one step along the gradient
  pgd        many small steps from a random start; momentum: with MI-FGSM's momentum
  apgd       steps that adapt to the progress of each image, by the cross-entropy
  apgd-t     the same towards each of nine classes
  fab        the nearest boundary towards each of nine classes
  deepfool   the nearest boundary of the linearised classifier
  cw         the shortest change with --norm l2, by Carlini and Wagner
  square     random squares, without gradients

eps is the largest change of a pixel (linf) or the length of the change (l2), for pixels in [0, 1].
A robust accuracy counts an image only if the classifier is right about it before and after every
attack. It is an upper bound. OUT gets attack.json and pictures. A killed evaluation goes on when
it is started again with the same arguments.

Without FILE images of a split are attacked. With FILE your images are attacked, from the class, the
objects or the classes of pixels that the run predicts.

A detector or a segmenter is attacked by pgd on its own loss. The report has its metrics, such as AP
or mIoU, without and with the attack. It takes no --target and no --source.

exit codes:
  0    done
  1    some files could not be read; each is named, with the reason
  2    a mistake in the arguments
"""

import argparse
import functools
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from jaxvision.cli import invocation
from jaxvision.cli.attack import settings as attack_settings
from jaxvision.cli.attack.settings import ATTACKS, BY_LOSS, Kind, Settings
from jaxvision.core.errors import UserError
from jaxvision.core.fields import Field
from jaxvision.core.files import read_json, write_json
from jaxvision.core.types import Json

if TYPE_CHECKING:  # It imports JAX, which --help and mistakes need not.
    from jaxvision.cli.attack.request import Request

NAME = 'attack.json'


def main(arguments: list[str] | None = None) -> int:
    """Attack a run, print a table and write a report.

    Args:
        arguments: as on the command line; None: the arguments of the process.

    Returns:
        The exit code: 0, 1 if a file could not be read, or 2 for a mistake of the user.

    Raises:
        SystemExit: The arguments are malformed, or contain --help.
    """
    if arguments is None:
        arguments = sys.argv[1:]
    options = _parse(arguments)
    return invocation.run(functools.partial(_run, options))


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = invocation.parser('attack', __doc__)
    invocation.add_checkpoint(parser, 'folder of the attacked run')
    parser.add_argument(
        '--eps',
        required=True,
        metavar='EPS[,EPS...]',
        help='sizes of the change, such as 8/255 or 0.1,0.2,0.3',
    )
    parser.add_argument(
        'files',
        metavar='FILE',
        nargs='*',
        help='your images: a file, a folder or a quoted glob',
    )
    parser.add_argument(
        '--out',
        metavar='OUT',
        help='output folder (RUN/attack/STEP-SPLIT-ATTACK-NORM; for files: attacked)',
    )
    _add_attack(parser)
    _add_images(parser)
    return parser.parse_args(arguments)


def _add_attack(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group('the attack')
    group.add_argument(
        '--attack',
        default='',
        metavar='NAME',
        help=f'{", ".join(ATTACKS)} (auto; of detectors and segmenters pgd)',
    )
    group.add_argument(
        '--norm',
        choices=('linf', 'l2'),
        default='linf',
        help='norm of the change (%(default)s)',
    )
    group.add_argument(
        '--steps',
        type=int,
        metavar='N',
        help='steps by gradients (100; deepfool 50, cw 200, on a loss 20)',
    )
    group.add_argument(
        '--queries', type=int, metavar='N', help='queries of square (5000)'
    )
    group.add_argument('--restarts', type=int, metavar='N', help='random starts (1)')
    group.add_argument(
        '--target', metavar='CLASS', help='class to reach, by its name or number'
    )
    group.add_argument(
        '--source',
        metavar='RUN',
        help='another run on the same images, whose gradients are used (transfer)',
    )
    group.add_argument(
        '--seed', type=int, default=0, help='seed of the random starts (%(default)s)'
    )


def _add_images(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group('the images')
    invocation.add_split(group, 'split of the images')
    group.add_argument(
        '--examples',
        type=int,
        metavar='N',
        help='images, spread evenly over the split (1000; of detectors and segmenters 100)',
    )
    group.add_argument(
        '--batch_size',
        type=int,
        metavar='N',
        help='images that are attacked together (100; of detectors and segmenters 8)',
    )
    group.add_argument(
        '--no_pictures', action='store_true', help='draw no comparisons and no curve'
    )


def _run(options: argparse.Namespace) -> int:
    """Check the arguments, open the runs, attack and write the report."""
    for name in ('examples', 'batch_size'):
        value = getattr(options, name)
        if value is not None:
            Field(value, '', least=1).check(f'--{name}', value)
    if options.files:
        _check_arguments_of_files(options)
    invocation.require_run('--workdir', options.workdir)
    if options.source is not None:
        invocation.require_run('--source', options.source)
    config = read_json(Path(options.workdir, 'config.json'))
    if config['task']['name'] == 'classification':
        request, report = _attack_classifier(options)
    else:
        request, report = _attack_by_loss(options)
    write_json(request.out / NAME, report)
    print(f'in {request.out}: {NAME}')
    return int(any('error' in entry for entry in report.get('files', ())))


def _check_arguments_of_files(options: argparse.Namespace) -> None:
    """Refuse arguments that select images of a split."""
    given = {}
    if options.examples is not None:
        given['--examples'] = options.examples
    if options.split != 'test':
        given['--split'] = options.split
    for name, value in given.items():
        raise UserError(
            f'{name}={value}: expected only without FILE, since all files are attacked. '
            f'Remove {name}.'
        )


def _attack_classifier(options: argparse.Namespace) -> tuple['Request', Json]:
    """Attack a classifier, on a split or on files of the user."""
    make = _settings_maker(options, ATTACKS)
    # Mistakes in the attack are found before JAX starts; its target needs the class names.
    make(target=None if options.target is None else 0)
    from jaxvision.cli import pixel_classifiers, stored
    from jaxvision.cli.attack import evaluation, own_files, victim

    opened = pixel_classifiers.open_classifier(options.workdir, options.step)
    source = None
    if options.source is not None:
        source = pixel_classifiers.open_classifier(options.source, 'last')
        victim.require_same_images(opened, source)
    target = attack_settings.class_number(options.target, opened.class_names)
    settings = make(target=target)
    request = evaluation.ClassifierRequest(
        victim=opened,
        source=source,
        settings=settings,
        split=options.split,
        count=options.examples or 1000,
        batch_size=options.batch_size or 100,
        out=_out(options, opened.step, settings.attack),
        pictures=not options.no_pictures,
    )
    stored.check_replaceable(request.out, NAME)
    if options.files:
        paths = _find(options.files, request.out)
        request.out.mkdir(parents=True, exist_ok=True)
        return request, own_files.attack(request, paths)
    examples = pixel_classifiers.read_images(opened, options.split, request.count)
    request.out.mkdir(parents=True, exist_ok=True)
    return request, evaluation.evaluate(request, examples)


def _attack_by_loss(options: argparse.Namespace) -> tuple['Request', Json]:
    """Attack a detector or a segmenter, on a split or on files of the user."""
    from jaxvision.cli import stored
    from jaxvision.cli.attack import by_loss, files_by_loss, victim
    from jaxvision.cli.attack.measured_examples import MeasuredExamples
    from jaxvision.cli.attack.request import Request

    opened = victim.open_with_loss(options.workdir, options.step)
    task = opened.run.config.task.name
    for name in ('target', 'source'):
        value = getattr(options, name)
        if value:
            raise UserError(
                f'--{name}={value}: expected only with a classifier, and the task is {task}. '
                f'Remove --{name}.'
            )
    settings = _settings_maker(options, BY_LOSS)(target=None)
    request = Request(
        victim=opened,
        settings=settings,
        split=options.split,
        count=options.examples or 100,
        batch_size=options.batch_size or 8,
        out=_out(options, opened.step, settings.attack),
        pictures=not options.no_pictures,
    )
    stored.check_replaceable(request.out, NAME)
    if options.files:
        paths = _find(options.files, request.out)
        request.out.mkdir(parents=True, exist_ok=True)
        return request, files_by_loss.attack(request, paths)
    request.out.mkdir(parents=True, exist_ok=True)
    examples = MeasuredExamples.read(request)
    return request, by_loss.evaluate(examples, request.split)


def _settings_maker(
    options: argparse.Namespace, attacks: dict[str, Kind]
) -> functools.partial[Settings]:
    """The settings of the arguments as a function of the target."""
    return functools.partial(
        attack_settings.make,
        attack=options.attack,
        norm=options.norm,
        eps=options.eps,
        steps=options.steps,
        queries=options.queries,
        restarts=options.restarts,
        seed=options.seed,
        attacks=attacks,
    )


def _out(options: argparse.Namespace, step: int, attack: str) -> Path:
    if options.out:
        return Path(options.out)
    if options.files:
        return Path('attacked')
    name = f'{step}-{options.split}-{attack}-{options.norm}'
    return Path(options.workdir, 'attack', name)


def _find(names: list[str], out: Path) -> list[str]:
    from jaxvision.data import files

    return files.find(names, str(out), lambda line: print(line, file=sys.stderr))


if __name__ == '__main__':
    sys.exit(main())
