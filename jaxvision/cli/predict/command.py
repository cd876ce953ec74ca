"""python -m jaxvision.predict --workdir RUN FILE...: answers for a person's own images or films;
--weights FILE --model NAME:VARIANT, of a network that others have published, without any training.

examples:
  python -m jaxvision.predict --workdir runs/cnn photo.jpg scans/
  python -m jaxvision.predict --workdir runs/cnn --step best 'albums/**/*.png' --out answers
  python -m jaxvision.predict --workdir model.tflite photo.jpg
  python -m jaxvision.predict --workdir runs/super_resolution small.jpg
  python -m jaxvision.predict --workdir runs/inpainting-photos photo.jpg --mask hole.png
  python -m jaxvision.predict --workdir runs/inpainting-photos album/ --mask holes/
  python -m jaxvision.predict --workdir runs/video film.mp4 films/
  python -m jaxvision.predict --workdir runs/few_shot --support classes/ photo.jpg scans/
  python -m jaxvision.predict --weights resnet50.pth --model resnet:50 photo.jpg
  python -m jaxvision.predict --weights resnet50.pth --model resnet:50 --support classes/ photo.jpg
  python -m jaxvision.predict --workdir runs/gan --number 64 --label 7 --truncation 0.8

Images of any size and of any format that Pillow reads. Of a folder, every file below it is tried
but hidden ones. Prints a table; OUT gets predictions.json, which tells of every image, and one
annotated picture an image.

Restoration (super-resolution, inpainting) keeps an image's own size, tile by tile: OUT gets the
restored image, NAME.png, and NAME-compared.png, before and after. A mask is as large as the image
upright, and white where the hole is; nothing outside of it changes. One mask serves for all files;
of a folder of masks each file takes the one of its name, whatever the suffix. A generator takes no
FILE: OUT gets --number images and grid.png, the same for the same seed.

A few-shot run, or published weights, tell your own classes by a few images of each, without
training: --support is a folder with one folder a class, of any names and any number.

A run on videos takes films of any format that FFmpeg reads: OUT gets one picture a film and, of a
summary, its key frames and a short film in NAME-files.

Exit codes: 0 all answered, 1 some could not be (each is named, with the reason), 2 a mistake to
mend.
"""

import argparse
import logging
import os
import sys
import warnings
from pathlib import Path
from types import ModuleType

from jaxvision.core.errors import UserError


def main(arguments: list[str] | None = None) -> int:
    options = _parse(sys.argv[1:] if arguments is None else arguments)
    try:
        return _predict(options)
    except UserError as error:
        print(f'error: {error}', file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    except (
        BrokenPipeError
    ):  # `| head` has seen enough; nor may Python's last flush complain
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        'python -m jaxvision.predict',
        description=__doc__,
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument(
        '--workdir',
        metavar='RUN',
        help="a run's folder, or an exported SavedModel, .tflite or .stablehlo",
    )
    source.add_argument(
        '--weights',
        metavar='FILE',
        help='published for ImageNet: .pth, '
        '.safetensors, .npz or .h5, by its own name, if it is one of '
        "timm's tf_efficientnet or of torchvision's second weights",
    )
    parser.add_argument(
        'files', metavar='FILE', nargs='*', help='or a folder, or a quoted glob'
    )
    parser.add_argument('--step', help='of a run: last (the default), best or a number')
    parser.add_argument('--out', default='predictions', help='a folder (%(default)s)')
    parser.add_argument(
        '--batch_size',
        type=int,
        default=32,
        metavar='N',
        help='images, or tiles of one, at once (%(default)s)',
    )
    parser.add_argument(
        '--no_pictures',
        action='store_true',
        help='no annotated pictures; restored images are written all the same',
    )
    parser.add_argument(
        '--mask',
        metavar='FILE',
        help='to fill holes: the hole is white; or a '
        'folder of masks named as the files are',
    )
    parser.add_argument(
        '--support',
        metavar='DIR',
        help='of a few-shot run, or of --weights: one folder a class',
    )
    weights = parser.add_argument_group('of --weights')
    weights.add_argument(
        '--model', metavar='NAME:VARIANT', help='as resnet:50, vgg:16, vit:B/16'
    )
    weights.add_argument(
        '--recipe',
        metavar='NAME',
        help='how images are resized, cropped and '
        'normalised (that with which such files are published)',
    )
    weights.add_argument(
        '--image_size', type=int, metavar='N', help="pixels (the recipe's)"
    )
    generator = parser.add_argument_group('of a generator')
    generator.add_argument('--number', type=int, metavar='N', help='of images (16)')
    generator.add_argument('--seed', type=int, metavar='S', help='(0)')
    generator.add_argument(
        '--label',
        metavar='NAME',
        help='a class, or its number; all in turn where there is none',
    )
    generator.add_argument(
        '--truncation',
        type=float,
        metavar='T',
        help='no number of a latent is '
        'beyond +-T: likelier images, and less varied; 0: none (0)',
    )
    return parser.parse_args(arguments)


def _predict(options: argparse.Namespace) -> int:
    from jaxvision.data import files

    if options.batch_size < 1:
        raise UserError(f'--batch_size {options.batch_size}: it is at least 1')
    if not options.out:
        raise UserError('--out is empty: give a folder')
    if options.workdir is not None and not Path(options.workdir).exists():
        raise UserError(f'there is no run or exported model {options.workdir}')
    paths = files.find(options.files, options.out)
    _quieten()
    from jaxvision.cli.predict import report

    model, out = _open(options), Path(options.out)
    plan = _kind(model, options).plan(model, options, paths)
    report.check_replaceable(out, plan.pictures)
    try:
        out.mkdir(parents=True, exist_ok=True)
        answered = report.write(plan, model.name, out)
    except BrokenPipeError:
        raise
    except OSError as error:  # reading raises none
        raise UserError(
            f'cannot write into {out}: {error.strerror or error}'
        ) from error
    count, what = len(plan.names), f'{plan.column}s'
    done = 'answered' if paths else 'made'
    print(
        f'\n{answered} of {count} {what} {done}; {out} holds predictions.json'
        + (' and the pictures' if plan.pictures and answered else '')
    )
    if answered == count:
        return 0
    print(
        f'error: {count - answered} of {count} {what} could not be answered: they are named '
        f'above and in {out / "predictions.json"}',
        file=sys.stderr,
    )
    return 1


def _open(options: argparse.Namespace):
    given = vars(options)
    if options.workdir is None:
        from jaxvision.cli.predict.weights import open_weights

        if not options.model or options.step:
            raise UserError(
                '--weights takes --model NAME:VARIANT, as resnet:50, and no --step'
            )
        return open_weights(
            options.weights,
            options.model,
            options.recipe,
            options.image_size,
            bool(options.support),
        )
    for name in ('model', 'recipe', 'image_size'):
        if given[name] is not None:
            raise UserError(f'--{name} is of --weights')
    from jaxvision.cli.predict.model import open_model

    return open_model(options.workdir, options.step)


def _quieten() -> None:
    """What Pillow has to say of a damaged file is said once, as the file's reason."""
    from PIL import Image

    os.environ.setdefault(
        'TF_CPP_MIN_LOG_LEVEL', '2'
    )  # TensorFlow tells of itself otherwise
    warnings.filterwarnings('ignore', module='PIL')
    warnings.simplefilter('error', Image.DecompressionBombWarning)
    logging.getLogger('PIL').setLevel(logging.CRITICAL)
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors='backslashreplace')


def _kind(model, options: argparse.Namespace) -> ModuleType:
    """The module that plans the answers of such a model; of what it cannot use, a UserError."""
    from jaxvision.cli.predict import generation, images, restoration, support, videos

    inputs, given = model.spec['inputs'], vars(options)
    of_generators = ('number', 'seed', 'label', 'truncation')
    if 'latent' in inputs and set(inputs) <= {'latent', 'label'}:
        kind, barred = generation, ('mask', 'support', 'no_pictures')
    elif 'restores' in model.spec and set(inputs) in ({'image'}, {'image', 'mask'}):
        kind, barred = restoration, ('support', *of_generators)
    elif list(inputs) == ['image'] and len(inputs['image']['shape']) == 3:
        kind, barred = images, ('mask', 'support', *of_generators)
    elif 'video' in inputs and model.task.prepare:
        kind, barred = videos, ('mask', 'support', *of_generators)
    elif 'support' in inputs:
        kind, barred = support, ('mask', *of_generators)
    else:
        raise UserError(
            f'{model.name} takes {", ".join(inputs)}: predict answers for images and '
            'films, restores images and makes them from a latent'
        )
    what = {generation: 'is a generator', videos: 'answers for films'}.get(
        kind, 'answers for images'
    )
    for name in barred:
        if given[name] is not None and given[name] is not False:
            raise UserError(f'{model.name} {what}: --{name} is not for it')
    if kind is not generation and not given['files']:
        raise UserError(f'{model.name} {what}: give FILE...')
    if kind is support and not given['support']:
        raise UserError(
            f'{model.name} {what} by examples: give --support DIR, one folder a class'
        )
    return kind


if __name__ == '__main__':
    sys.exit(main())
