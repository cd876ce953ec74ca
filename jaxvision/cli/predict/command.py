"""jaxvision predict: predictions for a user's own files, by a run or pretrained weights.

examples:
  jaxvision predict --workdir runs/cnn photo.jpg scans/
  jaxvision predict --workdir runs/cnn --step best 'albums/**/*.png' --out answers
  jaxvision predict --workdir model.tflite photo.jpg
  jaxvision predict --workdir runs/super_resolution small.jpg
  jaxvision predict --workdir runs/inpainting-photos photo.jpg --mask hole.png
  jaxvision predict --workdir runs/inpainting-photos album/ --mask holes/
  jaxvision predict --workdir runs/video video.mp4 videos/
  jaxvision predict --workdir runs/gan --number 64 --label 7 --truncation 0.8
  jaxvision predict --workdir runs/few_shot --support classes/ photo.jpg scans/
  jaxvision predict --weights resnet50.pth --model resnet:50 photo.jpg
  jaxvision predict --weights resnet50.pth --model resnet:50 --support classes/ photo.jpg

A folder stands for all files below it, but hidden ones and folders that this program wrote. The
command prints a table. OUT gets predictions.json, with an entry for every file, and pictures.

The run's task declares its predictor. A predictor has arguments of its own, and an argument of
another predictor is a mistake.

exit codes:
  0    a prediction for every file
  1    some files have none; each is named, with the reason
  2    a mistake in the arguments
"""

import argparse
import functools
import logging
import os
import sys
import warnings
from pathlib import Path

from jaxvision.cli import invocation
from jaxvision.cli.predict import (
    generation,
    images,
    model,
    report,
    restoration,
    support,
    videos,
    weights,
)
from jaxvision.cli.predict.model import Model
from jaxvision.cli.predict.predictor import (
    Predictor,
    PredictorModule,
    Request,
    misplaced,
    names_given,
    options_given,
)
from jaxvision.core.errors import UserError
from jaxvision.core.fields import Field
from jaxvision.data import files

# By the name that a task declares: `Task(predictor='image')`.
PREDICTORS: dict[str, PredictorModule] = {
    'image': images,
    'restoration': restoration,
    'video': videos,
    'generator': generation,
    'support': support,
}


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    options = _parse(sys.argv[1:] if arguments is None else arguments)
    return invocation.run(functools.partial(_run, options))


def _parse(arguments: list[str]) -> argparse.Namespace:
    """Parse the arguments; those without a default are absent unless they are given."""
    parser = invocation.parser('predict', __doc__, argument_default=argparse.SUPPRESS)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument(
        '--workdir',
        metavar='RUN',
        default=None,
        help="a run's folder, or an exported SavedModel, .tflite or .stablehlo",
    )
    source.add_argument(
        '--weights',
        metavar='FILE',
        default=None,
        help='pretrained on ImageNet: .pth, .safetensors, .npz or .h5, by its own name if '
        "it is one of timm's tf_efficientnet or of torchvision's second weights",
    )
    parser.add_argument(
        'files',
        metavar='FILE',
        nargs='*',
        default=[],
        help='a file, a folder or a quoted glob',
    )
    parser.add_argument(
        '--step', default='', help='of a run: last (the default), best or a number'
    )
    parser.add_argument('--out', default='predictions', help='a folder (%(default)s)')
    parser.add_argument(
        '--batch_size',
        type=int,
        default=32,
        metavar='N',
        help='images, or tiles of one image, at once (%(default)s)',
    )
    parser.add_argument(
        '--no_pictures',
        action='store_true',
        default=False,
        help='no annotated pictures; restored images are written all the same',
    )
    for module in PREDICTORS.values():
        module.add_arguments(parser)
    weights.add_arguments(parser)
    return parser.parse_args(arguments)


def _run(arguments: argparse.Namespace) -> int:
    """Open the model, look up its predictor, predict and report."""
    _check(arguments)
    out = Path(arguments.out)
    request = Request(
        paths=files.find(arguments.files, arguments.out, _say),
        out=out,
        batch_size=arguments.batch_size,
        pictures=not arguments.no_pictures,
    )
    _quiet_libraries()
    opened = _open(arguments)
    predictor = _make_predictor(opened, request, arguments)
    report.check_replaceable(out, predictor.outputs)
    try:
        answered = _predict(opened.name, predictor, out)
    except BrokenPipeError:
        raise
    except OSError as error:  # Reading raises none.
        reason = error.strerror or error
        raise UserError(f'cannot write into {out}: {reason}') from error
    return _finish(predictor, answered, request)


def _check(arguments: argparse.Namespace) -> None:
    """Check the arguments that every predictor has."""
    Field(32, '', least=1).check('--batch_size', arguments.batch_size)
    if not arguments.out:
        raise UserError('--out=: expected a folder')
    if arguments.workdir is not None and not Path(arguments.workdir).exists():
        raise UserError(
            f'--workdir={arguments.workdir}: expected a run or an exported model. There is '
            'no such file or folder.'
        )


def _open(arguments: argparse.Namespace) -> Model:
    """Open the run, the exported model or the file of weights."""
    if arguments.workdir is None:
        options = options_given(weights.Options, arguments)
        if not options.model or arguments.step:
            raise UserError(
                '--weights takes --model NAME:VARIANT, such as resnet:50, and no --step'
            )
        by_support = bool(names_given(support.Options, arguments))
        return weights.open_weights(arguments.weights, options, by_support)
    for name in names_given(weights.Options, arguments):
        raise misplaced(name, weights.OWNER, f'{arguments.workdir} has its own')
    return model.open_model(arguments.workdir, arguments.step)


def _make_predictor(
    opened: Model, request: Request, arguments: argparse.Namespace
) -> Predictor:
    """The predictor that the model's task declares.

    Raises:
        UserError: It is none, or the arguments are not for it.
    """
    name = opened.task.predictor
    if name not in PREDICTORS:
        raise UserError(
            f'{opened.name}: its task has predictor={name!r}, and predict expected one '
            f'of {", ".join(map(repr, PREDICTORS))}. A task declares its predictor, as '
            "in Task(predictor='image', ...)."
        )
    module = PREDICTORS[name]
    reason = f'{opened.name} {module.DOES}'
    for other in PREDICTORS.values():
        for argument in names_given(other.Options, arguments):
            if other is not module:
                raise misplaced(argument, other.OWNER, reason)
    if module.FILES and not request.paths:
        raise UserError(f'FILE: expected {module.FILES}. {reason}.')
    if request.paths and not module.FILES:
        raise UserError(
            f'FILE={request.paths[0]}: expected none. {reason} and reads no files.'
        )
    if not module.FILES and not request.pictures:
        raise misplaced('no_pictures', 'files', reason)
    return module.make(opened, request, options_given(module.Options, arguments))


def _predict(model_name: str, predictor: Predictor, out: Path) -> int:
    """Predict and report; returns how many names have an answer."""
    out.mkdir(parents=True, exist_ok=True)
    with report.open_report(out, model_name, predictor) as predictions:
        for entries in predictor.predict():
            predictions.add(entries)
    return predictions.answered


def _finish(predictor: Predictor, answered: int, request: Request) -> int:
    """Say what was done; returns the exit code."""
    count = len(predictor.names)
    unit = f'{predictor.column}s'
    done = 'answered' if request.paths else 'made'
    pictures = ' and the pictures' if predictor.outputs and answered else ''
    print(
        f'\n{answered} of {count} {unit} {done}; {request.out} holds '
        f'{report.NAME}{pictures}'
    )
    if answered == count:
        return 0
    print(
        f'error: {count - answered} of {count} {unit} could not be answered: they are '
        f'named above and in {request.out / report.NAME}',
        file=sys.stderr,
    )
    return 1


def _say(line: str) -> None:
    print(line, file=sys.stderr)


def _quiet_libraries() -> None:
    """Silence libraries about damaged files, which are named once, with their reason."""
    from PIL import Image

    os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '2')
    warnings.filterwarnings('ignore', module='PIL')
    warnings.simplefilter('error', Image.DecompressionBombWarning)
    logging.getLogger('PIL').setLevel(logging.CRITICAL)
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors='backslashreplace')


if __name__ == '__main__':
    sys.exit(main())
