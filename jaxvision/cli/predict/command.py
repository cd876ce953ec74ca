"""Predict for your files, with a run or with pretrained weights.

examples:
  jaxvision predict --workdir runs/cnn photo.jpg scans/
  jaxvision predict --workdir runs/cnn --step best 'albums/**/*.png' --out answers
  jaxvision predict --workdir model.tflite photo.jpg
  jaxvision predict --workdir runs/super_resolution small.jpg
  jaxvision predict --workdir runs/inpainting-photos photo.jpg --mask hole.png
  jaxvision predict --workdir runs/inpainting-photos album/ --mask holes/
  jaxvision predict --workdir runs/segmentation slide.tif --tile 512 --spacing 0.5 --unit um
  jaxvision predict --workdir runs/video video.mp4 videos/
  jaxvision predict --workdir runs/gan --number 64 --label 7 --truncation 0.8
  jaxvision predict --workdir runs/few_shot --support classes/ photo.jpg scans/
  jaxvision predict --weights resnet50.pth --model resnet:50 photo.jpg
  jaxvision predict --weights resnet50.pth --model resnet:50 --support classes/ photo.jpg
  jaxvision predict --weights fcn_resnet50_coco-1167a1af.pth --model fcn:resnet50 photo.jpg

A folder stands for all files below it, without hidden files and folders that this program wrote.
The command prints a table. OUT gets predictions.json, with an entry for every file, and pictures.

The task of the run decides which of the arguments below apply. An argument of another kind of run
is a mistake.

exit codes:
  0    every file has a prediction
  1    some files have no prediction; each is named, with the reason
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
    detections,
    generation,
    images,
    model,
    report,
    restoration,
    segmentations,
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

# Predictors by the name that a task declares, as in `Task(predictor='image')`.
PREDICTORS: dict[str, PredictorModule] = {
    'image': images,
    'detector': detections,
    'segmenter': segmentations,
    'restoration': restoration,
    'video': videos,
    'generator': generation,
    'support': support,
}


def main(arguments: list[str] | None = None) -> int:
    """Predict for files, print a table and write a report.

    Args:
        arguments: as on the command line; None: the arguments of the process.

    Returns:
        The exit code: 0 if every file has a prediction, 1 if some have none, and 2 for
        a mistake of the user. It is 130 after Ctrl-C, and 1 if the reader of the output
        has gone.

    Raises:
        SystemExit: The arguments are malformed, or contain --help.
    """
    if arguments is None:
        arguments = sys.argv[1:]
    options = _parse(arguments)
    return invocation.run(functools.partial(_run, options))


def _parse(arguments: list[str]) -> argparse.Namespace:
    """Parse the arguments. An argument without a default is absent if the user omits it."""
    parser = invocation.parser('predict', __doc__, argument_default=argparse.SUPPRESS)
    weights.add_model_and_files(parser, out='predictions')
    parser.add_argument(
        '--batch_size',
        type=int,
        default=32,
        metavar='N',
        help='images, or tiles of one image, in a batch (%(default)s)',
    )
    parser.add_argument(
        '--no_pictures',
        action='store_true',
        default=False,
        help='write no annotated pictures; restored images are still written',
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
    except OSError as error:  # Reading a file raises no OSError.
        reason = error.strerror or error
        raise UserError(
            f'--out={out}: expected a folder that can be written ({reason}). Make room, or '
            'give another --out.'
        ) from error
    return _finish(predictor, answered, request)


def _check(arguments: argparse.Namespace) -> None:
    """Check the arguments that all predictors share."""
    Field(32, '', least=1).check('--batch_size', arguments.batch_size)
    if not arguments.out:
        raise UserError('--out=: expected a folder. Give --out DIR.')
    if arguments.workdir is not None and not Path(arguments.workdir).exists():
        raise UserError(
            f'--workdir={arguments.workdir}: expected a run or an exported model. The file '
            'or folder does not exist.'
        )


def _open(arguments: argparse.Namespace) -> Model:
    """Open the run, the exported model or the weights file."""
    if arguments.workdir is None:
        options = options_given(weights.Options, arguments)
        if not options.model:
            raise UserError(
                '--model: expected the architecture of the weights. Give --model '
                'NAME:VARIANT, such as --model resnet:50.'
            )
        if arguments.step:
            raise UserError(
                f'--step={arguments.step}: expected no --step with --weights, because a '
                'weights file holds one state. Remove --step.'
            )
        by_support = bool(names_given(support.Options, arguments))
        return weights.open_weights(arguments.weights, options, by_support)
    for name in names_given(weights.Options, arguments):
        raise misplaced(name, weights.OWNER, f'{arguments.workdir} names its model')
    return model.open_model(arguments.workdir, arguments.step)


def _make_predictor(
    opened: Model, request: Request, arguments: argparse.Namespace
) -> Predictor:
    """Make the predictor that the model's task declares.

    Args:
        opened: the model.
        request: the files and the output folder.
        arguments: with the options of the predictor.

    Raises:
        UserError: The task declares no predictor, or an argument belongs to another one.
    """
    name = opened.task.predictor
    if name not in PREDICTORS:
        raise UserError(
            f'{opened.name}: its task has predictor={name!r}: expected one of '
            f'{", ".join(map(repr, PREDICTORS))}. Declare it in the task, as in '
            "Task(predictor='image', ...)."
        )
    module = PREDICTORS[name]
    reason = f'{opened.name} {module.DOES}'
    for other in PREDICTORS.values():
        for argument in names_given(other.Options, arguments):
            if other is not module:
                raise misplaced(argument, other.OWNER, reason)
    if module.FILES and not request.paths:
        raise UserError(
            f'FILE: expected {module.FILES}. {reason}. Give paths of files or folders.'
        )
    if request.paths and not module.FILES:
        raise UserError(
            f'FILE={request.paths[0]}: expected no files. {reason}. Remove the files.'
        )
    if not module.FILES and not request.pictures:
        raise misplaced('no_pictures', 'files', reason)
    return module.make(opened, request, options_given(module.Options, arguments))


def _predict(model_name: str, predictor: Predictor, out: Path) -> int:
    """Predict and write the report; return the number of files with a prediction."""
    out.mkdir(parents=True, exist_ok=True)
    with report.open_report(out, model_name, predictor) as predictions:
        for entries in predictor.predict():
            predictions.add(entries)
    return predictions.answered


def _finish(predictor: Predictor, answered: int, request: Request) -> int:
    """Print a summary; return the exit code."""
    count = len(predictor.names)
    unit = f'{predictor.column}s'
    done = 'predicted' if request.paths else 'generated'
    contents = report.NAME
    if predictor.outputs and answered:
        contents = f'{report.NAME} and the pictures'
    print(f'\n{answered} of {count} {unit} {done}; in {request.out}: {contents}')
    if answered == count:
        return 0
    print(
        f'error: {count - answered} of {count} {unit} have no prediction. The reasons are '
        f'above and in {request.out / report.NAME}.',
        file=sys.stderr,
    )
    return 1


def _say(line: str) -> None:
    print(line, file=sys.stderr)


def _quiet_libraries() -> None:
    """Silence libraries about damaged files. The report names each with its reason."""
    from PIL import Image

    os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '2')
    warnings.filterwarnings('ignore', module='PIL')
    warnings.simplefilter('error', Image.DecompressionBombWarning)
    logging.getLogger('PIL').setLevel(logging.CRITICAL)
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors='backslashreplace')


if __name__ == '__main__':
    sys.exit(main())
