"""Explain the predictions of a run or of pretrained weights for your images.

examples:
  jaxvision explain --workdir runs/cnn photo.jpg scans/
  jaxvision explain --workdir runs/cnn photo.jpg --method integrated_gradients,grad_cam
  jaxvision explain --workdir runs/cnn photo.jpg --target cat --target dog
  jaxvision explain --workdir runs/segmentation scan.png --method hires_cam --layer up8
  jaxvision explain --workdir model.tflite photo.jpg --method rise
  jaxvision explain --weights resnet50.pth --model resnet:50 photo.jpg
  jaxvision explain --workdir runs/cnn --check
  jaxvision explain --workdir runs/cnn --method activation --target cat

A target is a class of the image, a class of its pixels (segmentation), a box (detection) or a word
(captions). By default the most likely ones are explained. OUT gets a picture for each image:
the image as the model sees it, the map, and the map on the image. Colours mean the same in all
pictures of a method. OUT also gets explanations.json and index.html, a page with everything.

The method activation takes no FILE: it makes images with a high score of the class --target, from
noise. A classifier or a segmenter answers to what these images show.

exit codes:
  0    every file has an explanation
  1    some files have none; each is named, with the reason
  2    a mistake in the arguments
"""

import argparse
import functools
import sys
from collections.abc import Sequence
from pathlib import Path

from jaxvision.cli import invocation
from jaxvision.cli.explain import activations, check, report, subjects
from jaxvision.cli.explain.baselines import NAMES as BASELINES
from jaxvision.cli.explain.explainer import Explainer
from jaxvision.cli.explain.methods import ACTIVATION, METHODS, USERS, Settings
from jaxvision.cli.predict import model, weights
from jaxvision.cli.predict.model import Model
from jaxvision.cli.predict.predictor import misplaced, names_given, options_given
from jaxvision.core.errors import UserError
from jaxvision.core.fields import Field
from jaxvision.data import files


def main(arguments: list[str] | None = None) -> int:
    """Explain predictions, print a table and write pictures, JSON and a page.

    Args:
        arguments: as on the command line; None: the arguments of the process.

    Returns:
        The exit code: 0 if every file has an explanation, 1 if some have none, and 2
        for a mistake of the user. It is 130 after Ctrl-C.

    Raises:
        SystemExit: The arguments are malformed, or contain --help.
    """
    if arguments is None:
        arguments = sys.argv[1:]
    options = _parse(arguments)
    return invocation.run(functools.partial(_run, options))


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = invocation.parser('explain', __doc__, argument_default=argparse.SUPPRESS)
    weights.add_model_and_files(parser, out='explanations')
    parser.add_argument(
        '--method',
        metavar='LIST',
        default='',
        help=f'names with commas between them: {", ".join(METHODS)} (grad_cam; of boxes '
        f'hires_cam; without gradients occlusion); or {ACTIVATION} alone',
    )
    parser.add_argument(
        '--target',
        metavar='NAME',
        action='append',
        default=[],
        help='a class or a word to explain; may be repeated',
    )
    parser.add_argument(
        '--most',
        type=int,
        metavar='N',
        default=0,
        help='targets of an image, at most (1 class; 3 classes of pixels, boxes or labels; '
        '20 words)',
    )
    parser.add_argument(
        '--check',
        action='store_true',
        default=False,
        help='measure the methods on the evaluation split of a run, instead of FILE',
    )
    parser.add_argument(
        '--examples',
        type=int,
        metavar='N',
        default=None,
        help='examples of the evaluation split for --check (64)',
    )
    _add_settings(parser)
    weights.add_arguments(parser)
    return parser.parse_args(arguments)


def _add_settings(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the methods."""
    group = parser.add_argument_group('methods')
    group.add_argument(
        '--layer',
        metavar='NAME',
        default=None,
        help='intermediate for class activation maps (the last feature map; of a ViT, the '
        'last block but one)',
    )
    group.add_argument(
        '--baseline',
        metavar='NAMES',
        default=None,
        help=f'shown instead of hidden pixels: {", ".join(BASELINES)}, or several joined by '
        '+, over which maps are averaged (mean; black+white for integrated gradients)',
    )
    group.add_argument(
        '--samples',
        type=int,
        metavar='N',
        default=None,
        help='masks of RISE and Shapley values (1000), noisy copies of SmoothGrad (16), '
        'images of a class of activation (4)',
    )
    group.add_argument(
        '--steps',
        type=int,
        metavar='N',
        default=None,
        help='steps of activation (256)',
    )
    group.add_argument(
        '--parts',
        type=int,
        metavar='N',
        default=None,
        help='cells along each side of an image for occlusion, RISE and Shapley values (7)',
    )
    group.add_argument(
        '--batch_size',
        type=int,
        metavar='N',
        default=32,
        help='images that are scored at once (%(default)s)',
    )
    group.add_argument(
        '--seed', type=int, metavar='N', default=0, help='of masks and noise'
    )


def _run(arguments: argparse.Namespace) -> int:
    """Open the model, explain each file and report."""
    _check(arguments)
    methods = _methods(arguments)
    paths = files.find(arguments.files, arguments.out, _say)
    opened = _open(arguments)
    explainer = Explainer(
        opened,
        subjects.of_model(opened, arguments.target),
        Settings(
            layer=arguments.layer or '',
            baseline=arguments.baseline or '',
            samples=_samples(arguments.samples or 0),
            parts=arguments.parts or 7,
            batch_size=arguments.batch_size,
            seed=arguments.seed,
        ),
    )
    if methods == (ACTIVATION,):
        request = activations.Request(
            out=Path(arguments.out),
            classes=arguments.target,
            images=arguments.samples or 4,
            steps=arguments.steps or 256,
        )
        return activations.run(explainer, request)
    number = arguments.most or explainer.subject.default_number
    if arguments.target:
        number = arguments.most or len(arguments.target)
    if arguments.check:
        request = check.Request(
            workdir=Path(arguments.workdir),
            out=Path(arguments.out),
            methods=methods,
            examples=arguments.examples or 64,
            targets=number,
        )
        return check.run(explainer, request)
    if not methods:
        methods = _default_methods(opened)
        _require_users(arguments, methods)
    for method in methods:
        explainer.check(method)
    request = report.Request(
        paths=paths, out=Path(arguments.out), methods=methods, targets=number
    )
    return report.run(explainer, request)


def _check(arguments: argparse.Namespace) -> None:
    """Check the numbers, and that the model exists."""
    if arguments.check and (arguments.files or arguments.workdir is None):
        raise UserError(
            '--check: expected --workdir RUN and no FILE, because it reads the evaluation '
            'split of the run. Remove the files.'
        )
    if ACTIVATION in _methods(arguments):
        _check_activation(arguments)
    elif not arguments.check and not arguments.files:
        raise UserError('FILE: expected images. Give paths of files or folders.')
    for name, least in (
        ('examples', 2),
        ('most', 0),
        ('samples', 0),
        ('parts', 2),
        ('batch_size', 1),
        ('steps', 1),
        ('seed', 0),
    ):
        value = getattr(arguments, name)
        if value is not None:
            Field(least, '', least=least).check(f'--{name}', value)
    if arguments.examples is not None and not arguments.check:
        raise UserError(
            f'--examples={arguments.examples}: expected only with --check. Remove --examples.'
        )
    methods = _methods(arguments)
    if arguments.check:
        methods = methods or tuple(METHODS)
    if methods:
        _require_users(arguments, methods)
    if not arguments.out:
        raise UserError('--out=: expected a folder. Give --out DIR.')
    if arguments.workdir is not None and not Path(arguments.workdir).exists():
        raise UserError(
            f'--workdir={arguments.workdir}: expected a run or an exported model. The file '
            'or folder does not exist.'
        )


def _require_users(arguments: argparse.Namespace, methods: Sequence[str]) -> None:
    """Check that a method uses each argument that only some methods use.

    Args:
        arguments: of the command line; None: not given.
        methods: names of the methods.

    Raises:
        UserError: The argument would do nothing.
    """
    if not {*METHODS, ACTIVATION} >= set(methods):
        return  # The unknown method is the mistake, which `Explainer.check` names.
    for name, users in USERS.items():
        value = getattr(arguments, name)
        # Deletion and insertion of --check use the baseline too.
        is_used = set(users) & set(methods) or (name == 'baseline' and arguments.check)
        if value is not None and not is_used:
            raise UserError(
                f'--{name}={value}: expected only with a method that uses it: '
                f'{", ".join(users)}. Remove --{name}, or choose one of them.'
            )


def _methods(arguments: argparse.Namespace) -> tuple[str, ...]:
    """The methods that the user names, each once."""
    return tuple(dict.fromkeys(filter(None, arguments.method.split(','))))


def _check_activation(arguments: argparse.Namespace) -> None:
    """Check that nothing is asked for beside images of named classes."""
    if _methods(arguments) != (ACTIVATION,) or arguments.check or arguments.files:
        raise UserError(
            f'--method={arguments.method}: expected {ACTIVATION} alone, without FILE and '
            '--check, because it makes its own images. Remove the others.'
        )
    if not arguments.target:
        raise UserError(
            f'--method={ACTIVATION}: expected the class of the images. Give --target NAME.'
        )


def _open(arguments: argparse.Namespace) -> Model:
    """Open the run, the exported model or the weights file."""
    if arguments.workdir is not None:
        for name in names_given(weights.Options, arguments):
            raise misplaced(name, weights.OWNER, f'{arguments.workdir} names its model')
        return model.open_model(arguments.workdir, arguments.step)
    options = options_given(weights.Options, arguments)
    if not options.model:
        raise UserError(
            '--model: expected the architecture of the weights. Give --model NAME:VARIANT, '
            'such as --model resnet:50.'
        )
    return weights.open_weights(arguments.weights, options)


def _samples(number: int) -> dict[str, int]:
    """The user's number of samples for each method that has samples; {} for 0."""
    if not number:
        return {}
    return {name: number for name, method in METHODS.items() if method.samples}


def _default_methods(opened: Model) -> tuple[str, ...]:
    """The method for a model, if the user names none."""
    if opened.variables is None:
        return ('occlusion',)
    if opened.task.predictor == 'detector':
        # A box is a matter of some cells, and Grad-CAM averages over all of them.
        return ('hires_cam',)
    return ('grad_cam',)


def _say(line: str) -> None:
    print(line, file=sys.stderr)


if __name__ == '__main__':
    sys.exit(main())
