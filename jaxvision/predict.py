"""python -m jaxvision.predict --workdir RUN FILE...: answers for a person's own images.

examples:
  python -m jaxvision.predict --workdir runs/cnn photo.jpg scans/
  python -m jaxvision.predict --workdir runs/cnn --step best 'albums/**/*.png' --out answers
  python -m jaxvision.predict --workdir model.tflite photo.jpg

Images of any size and of any format that Pillow reads. Of a folder, every file below it is tried
but hidden ones. Prints a table; OUT gets predictions.json, which tells of every file, and one
annotated picture an image. Exit codes: 0 all files answered, 1 some could not be read (each is
named, with the reason), 2 a mistake to mend.
"""

import argparse
import dataclasses
import json
import logging
import os
import sys
import time
import warnings
import zipfile
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from jaxvision.errors import UserError

LARGEST_SIDE = 640   # of the image in an annotated picture, pixels
LARGEST_ARRAY = 100  # numbers of an output that JSON lists, of a task without `show`
EVERY = 10.0         # seconds between lines of progress


def main(arguments: list[str] | None = None) -> int:
    options = _parse(sys.argv[1:] if arguments is None else arguments)
    try:
        return _predict(options)
    except UserError as error:
        print(f'error: {error}', file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # `| head` has seen enough; nor may Python's last flush complain
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        'python -m jaxvision.predict', description=__doc__, allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--workdir', metavar='RUN', required=True,
                        help="a run's folder, or an exported SavedModel, .tflite or .stablehlo")
    parser.add_argument('files', metavar='FILE', nargs='+', help="or a folder, or a quoted glob")
    parser.add_argument('--step', help="of a run: last (the default), best or a number")
    parser.add_argument('--out', default='predictions', help='a folder (%(default)s)')
    parser.add_argument('--batch_size', type=int, default=32, metavar='N',
                        help='images at once (%(default)s)')
    parser.add_argument('--no_pictures', action='store_true', help='only the table and the JSON')
    return parser.parse_args(arguments)


def _predict(options: argparse.Namespace) -> int:
    from jaxvision.data import files
    if options.batch_size < 1:
        raise UserError(f'--batch_size {options.batch_size}: it is at least 1')
    if not options.out:
        raise UserError('--out is empty: give a folder')
    if not Path(options.workdir).exists():
        raise UserError(f'there is no run or exported model {options.workdir}')
    paths = files.find(options.files, options.out)
    _quieten()
    model, out = _open(options.workdir, options.step), Path(options.out)
    wanted = model.task.show and not options.no_pictures
    pictures = files.picture_paths(paths, out) if wanted else []
    _check_replaceable(out, pictures)
    try:
        out.mkdir(parents=True, exist_ok=True)
        answered = _write(model, options, paths, pictures)
    except BrokenPipeError:
        raise
    except OSError as error:  # reading raises none
        raise UserError(f'cannot write into {out}: {error.strerror or error}') from error
    print(f'\n{answered} of {len(paths)} files answered; {out} holds predictions.json'
          + (' and the pictures' if pictures and answered else ''))
    if answered == len(paths):
        return 0
    print(f'error: {len(paths) - answered} of {len(paths)} files could not be read: they are named '
          f'above and in {out / "predictions.json"}', file=sys.stderr)
    return 1


def _check_replaceable(out: Path, pictures: list[Path]) -> None:
    """Raises a UserError if what is about to be written would replace a person's own file."""
    report, known = out / 'predictions.json', set()
    try:
        if report.exists():
            known = {report, *(Path(entry['picture']) for entry in
                               json.loads(report.read_text())['files'] if 'picture' in entry)}
    except (OSError, ValueError, KeyError, TypeError):
        pass  # not written here, so it is somebody's
    strange = next((path for path in (report, *pictures)
                    if path not in known and os.path.lexists(path)), None)
    if strange:
        raise UserError(f'{strange} is there, and of no earlier answer: remove it, or give another '
                        '--out')


def _quieten() -> None:
    """What Pillow has to say of a damaged file is said once, as the file's reason."""
    from PIL import Image
    os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '2')  # TensorFlow tells of itself otherwise
    warnings.filterwarnings('ignore', module='PIL')
    warnings.simplefilter('error', Image.DecompressionBombWarning)
    logging.getLogger('PIL').setLevel(logging.CRITICAL)
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors='backslashreplace')


@dataclasses.dataclass(frozen=True)
class Model:
    """A run or an exported model: `answer(inputs) -> outputs`, arrays with a batch axis."""
    task: Any
    spec: dict
    answer: Callable[[dict], dict]
    threads: int

    def prepare(self, image) -> dict:
        """The example that an image makes, by the rule of the evaluation."""
        from jaxvision.data import decode
        if self.task.prepare:
            return self.task.prepare({'image': image}, None)
        height, width, channels = self.spec['inputs']['image']['shape']
        return {'image': decode.resize(decode.decode(image, channels), height, width)}


def _open(name: str, step: str | None) -> Model:
    is_run = Path(name, 'config.json').exists()
    if step and not is_run:
        raise UserError('--step is of a run; an exported model holds one step')
    model = _open_run(Path(name), step or 'last') if is_run else _open_exported(Path(name))
    inputs = model.spec['inputs']
    if list(inputs) != ['image'] or len(inputs['image']['shape']) != 3:
        raise UserError(f'{name} takes {", ".join(inputs)}: predict answers for single images so '
                        'far')
    return model


def _open_run(workdir: Path, step: str) -> Model:
    import jax
    from jaxvision.start import start_jax
    from jaxvision.train import loop, run
    config = run.read_config(workdir)
    start_jax(config)
    task, variables, spec = loop.load(workdir, step)
    predict = jax.jit(task.predict)
    return Model(task, spec, lambda inputs: jax.device_get(predict(variables, inputs)),
                 config.data.threads)


def _open_exported(path: Path) -> Model:
    from ml_collections import ConfigDict
    from jaxvision.deploy import exported
    from jaxvision.start import start_jax
    from jaxvision.train import run
    if not exported.is_exported(path):
        known = [str(other) for other in path.glob('*') if exported.is_exported(other)]
        raise UserError(f'{path} is neither a run nor an exported model'
                        + (f'; in it are {", ".join(sorted(known))}' if known else ''))
    try:
        config, spec = exported.read_extras(path)
    except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise UserError(f'{path} is damaged, or jaxvision did not export it: {error}') from error
    config = ConfigDict(config).lock()
    start_jax(config)
    try:
        answer = exported.open_exported(path)
    except ModuleNotFoundError as error:
        raise UserError(f'{path} is run by {error.name}, which is not installed') from error
    except Exception as error:  # each runtime has its own for a damaged file
        raise UserError(f'{path} cannot be opened: {error}') from error
    return Model(run.make_task(config, spec), spec, answer, config.data.threads)


class Item(NamedTuple):
    file: str
    picture: Path | None  # where it goes, if one is wanted
    example: dict | None  # prepared, and with 'original' if a picture is wanted
    reason: str = ''      # why there is no example


def _read(model: Model, file: str, picture: Path | None) -> Item:
    from jaxvision.data import decode, files
    from jaxvision.data.protocol import Unreadable
    try:
        image = files.read(file)
        if picture and not decode.is_jpeg(image):  # faster twice to parts of its size than whole
            image = decode.decode(image, 3)
        example = model.prepare(image)
        if picture:
            example['original'] = decode.thumbnail(image, 3, LARGEST_SIDE)
        return Item(file, picture, example)
    except Unreadable as error:
        return Item(file, picture, None, str(error))
    except Exception as error:  # one file, whatever is in it, does not stop the others
        return Item(file, picture, None, f'{type(error).__name__}: {error}')


def _write(model: Model, options: argparse.Namespace, paths: list[str], pictures: list[Path]
           ) -> int:
    """Answer for all, a batch at a time; how many there was an answer for."""
    from jaxvision.data import pipeline
    from jaxvision.tables import Table
    from jaxvision.train.writers import whole_file
    size = min(options.batch_size, len(paths))
    answered, done, table, progress = 0, 0, Table('file', paths), Progress(len(paths))
    with whole_file(Path(options.out) / 'predictions.json') as file:
        file.write(f'{{"model": {json.dumps(options.workdir)},\n"files": [')
        for batch in _batches(model, paths, pictures or [None] * len(paths), size):
            entries = list(pipeline.read_ahead(
                lambda i: _entry(model, *batch[i]), 0, len(batch), model.threads))
            for entry in entries:
                file.write((',' if done else '') + '\n' + json.dumps(entry))
                answered, done = answered + ('answer' in entry), done + 1
            table.print(_row(entry) for entry in entries)
            progress.show(done)
        file.write(f'],\n"answered": {answered}, "unreadable": {done - answered}}}\n')
    return answered


def _batches(model: Model, paths: list[str], pictures: list[Path | None], size: int
             ) -> Iterator[list[tuple[Item, dict | None]]]:
    """Every file with the model's outputs for it. Of all the files only a few images are in memory:
    a batch, and what the threads have read ahead."""
    import numpy as np
    from jaxvision.data import pipeline
    ahead = pipeline.read_ahead(
        lambda i: _read(model, paths[i], pictures[i]), 0, len(paths), model.threads)
    shape = model.spec['inputs']['image']['shape']
    while batch := list(islice(ahead, size)):
        images = [item.example['image'] for item in batch if item.example]
        answers = iter(())
        if images:
            padding = np.zeros((size - len(images), *shape), np.uint8)  # so one program serves all
            outputs = model.answer({'image': np.concatenate([np.stack(images), padding])})
            answers = ({name: array[i] for name, array in outputs.items()}
                       for i in range(len(images)))
        yield [(item, next(answers) if item.example else None) for item in batch]


def _entry(model: Model, item: Item, outputs: dict | None) -> dict:
    """What predictions.json says of a file; its picture is drawn and saved."""
    from jaxvision import figures
    if item.example is None:
        return {'file': item.file, 'error': item.reason}
    show = model.task.show or (lambda inputs, outputs: (_plain(outputs), None))
    answer, picture = show(item.example, outputs)
    if picture is None:
        return {'file': item.file, 'answer': answer}
    figures.save(item.picture, picture)
    return {'file': item.file, 'answer': answer, 'picture': str(item.picture)}


def _plain(outputs: dict) -> dict:
    """Outputs as JSON: large arrays by their shape alone."""
    return {name: array.tolist() if array.size <= LARGEST_ARRAY
            else {'shape': list(array.shape), 'dtype': str(array.dtype)}
            for name, array in outputs.items()}


def _row(entry: dict) -> dict:
    """Of an entry, what one line of the table can hold."""
    if 'error' in entry:
        return {'file': entry['file'], None: f'unreadable: {entry["error"]}'}
    cells = {'file': entry['file']}
    for name, value in entry['answer'].items():
        if isinstance(value, str | int | float):
            cells[name] = value
        elif isinstance(value, list) and all(isinstance(item, str) for item in value):
            cells[name] = ', '.join(value) or '-'
    return cells


class Progress:
    """Now and then how far it is, on stderr, which is seen where the table goes to a file."""

    def __init__(self, total: int):
        self._total, self._start = total, time.monotonic()
        self._shown = self._start

    def show(self, done: int) -> None:
        now = time.monotonic()
        if now - self._shown >= EVERY:
            self._shown = now
            print(f'{done}/{self._total} files  {done / (now - self._start):,.1f} images/s',
                  file=sys.stderr, flush=True)


if __name__ == '__main__':
    sys.exit(main())
