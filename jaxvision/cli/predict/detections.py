"""Objects found in images: their boxes on the full images, and files for other programs."""

import argparse
import contextlib
import dataclasses
import functools
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float

from jaxvision.cli.predict import (
    detection_answers,
    detection_files,
    finding,
    images,
    video_files,
)
from jaxvision.cli.predict.detection_videos import Videos
from jaxvision.cli.predict.file_by_file import FilePredictor
from jaxvision.cli.predict.finding import Finder, Tiles
from jaxvision.cli.predict.model import Model
from jaxvision.cli.predict.predictor import Entry, Request, check_inputs
from jaxvision.cli.predict.report import Progress
from jaxvision.core.errors import UserError
from jaxvision.core.task import Shown
from jaxvision.core.types import Example, Records
from jaxvision.data import decode, files

DOES = 'detects objects'
FILES = 'images or videos'
OWNER = 'a detector'


@dataclasses.dataclass(frozen=True)
class Options:
    """The arguments of a detector.

    Attributes:
        score: least score of a detection that is given; None: as in the run's
            calibration.json, or 0.3 without one.
        format: further files: 'coco', 'yolo' or 'coco,yolo'; '': none.
        tiles: 'N' or 'N:OVERLAP' in pixels; '': an image is searched as a whole.
        tta: whether to search mirror images and smaller images, too.
    """

    score: float | None = None
    format: str = ''
    tiles: str = ''
    tta: bool = False


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add --score, --format, --tiles and --tta."""
    group = parser.add_argument_group(
        'detectors',
        'OUT gets NAME.png, the image at its full size with boxes. predictions.json has the\n'
        "class, the score and the box of each object, as [x, y, width, height] in the image's\n"
        'pixels. An object is given if its score reaches the threshold of its class, which the\n'
        'run has chosen on its validation split (calibration.json), or else 0.3.\n'
        "A detector with masks also draws them, and gives the area in pixels and COCO's run\n"
        'lengths of each object.\n'
        'A video gets NAME.mp4, without sound, and NAME.jsonl, with a line for each frame.\n'
        'With the extra `tracking`, an object keeps its number from frame to frame.',
    )
    group.add_argument(
        '--score',
        type=float,
        metavar='S',
        help='score from which objects are given, instead of the chosen ones; 0 gives all, '
        'as average precision needs',
    )
    group.add_argument(
        '--format',
        metavar='LIST',
        help='further files: coco (coco_results.json, where a file name that is a number is '
        'the image_id), yolo (labels/NAME.txt: class, centre, size, score), or coco,yolo',
    )
    group.add_argument(
        '--tiles',
        metavar='N[:OVERLAP]',
        help='search large images in tiles of N pixels, too, which share OVERLAP pixels (a '
        'fifth of N). An object at a border is given once',
    )
    group.add_argument(
        '--tta',
        action='store_true',
        help='average the boxes of four views: the image, its mirror image, and both '
        'smaller. Not for text, whose mirror image means something else',
    )


def make(model: Model, request: Request, options: Options) -> 'DetectionPredictor':
    """Make the predictor that finds objects and draws their boxes.

    A line on stderr says from where the score thresholds come.

    Args:
        model: a detector.
        request: the paths of the images and videos, and the output folder.
        options: thresholds, views and formats.

    Raises:
        UserError: The task takes other inputs, or an option has a wrong value.
    """
    check_inputs(model, {'image'}, {'image', 'content_size'})
    _check_views(model, options)
    formats = detection_files.parse(options.format)
    scores, origin = detection_answers.thresholds(model, options.score)
    changes = finding.CHANGES if options.tta else finding.CHANGES[:1]
    finder = Finder(
        model=model,
        tiles=Tiles.parse(options.tiles) if options.tiles else None,
        changes=changes,
        batch_size=request.batch_size,
    )
    print(f'score thresholds: {origin}', file=sys.stderr)
    videos, photos = video_files.split(request)
    predictor = images.make_predictor(
        model,
        photos,
        pictures=_pictures(request, photos.paths),
        outputs=_pictures(request, photos.paths),
        read=functools.partial(read, model),
        show=functools.partial(show, model, scores),
    )
    if finder.has_views:
        predictor = dataclasses.replace(
            predictor,
            batch_size=1,
            # Large images: one is searched while the next ones are read.
            threads=min(model.threads, 1),
            read=_read_pixels,
            predict_each=functools.partial(_find_each, finder),
        )
    return DetectionPredictor(
        files=predictor,
        videos=Videos(
            finder=finder,
            scores=scores,
            names=videos.paths,
            places=_places(request, videos.paths),
            draws=request.pictures,
        ),
        out=request.out,
        formats=formats,
        class_names=model.spec.class_names,
        thresholds=dict(zip(model.spec.class_names, scores.tolist(), strict=True)),
        origin=origin,
    )


def _check_views(model: Model, options: Options) -> None:
    """Refuse several views of an image for a detector with masks."""
    given = ['--tiles'] if options.tiles else []
    if options.tta:
        given.append('--tta')
    if model.task.paste and given:
        raise UserError(
            f'{" and ".join(given)}: expected a detector without masks, because the masks of '
            f'several views are not joined. Remove {" and ".join(given)}.'
        )


def _places(request: Request, paths: Sequence[str]) -> list[Path]:
    """Return OUT/NAME.png for some of the user's files, all names different."""
    places = files.picture_paths(request.paths, request.out)
    by_path = dict(zip(request.paths, places, strict=True))
    return [by_path[path] for path in paths]


def _pictures(request: Request, paths: Sequence[str]) -> list[Path]:
    """Return the path of the picture of each image; [] without pictures."""
    return _places(request, paths) if request.pictures else []


def read(model: Model, path: str, draws: bool) -> Example:
    """Read and prepare an image.

    Args:
        model: with the preprocessing.
        path: of the image.
        draws: whether the example also gets 'original', the encoded image.

    Returns:
        The prepared example, with the input arrays, 'warp' and 'original_size'.

    Raises:
        Unreadable: The file is no image, or it is damaged.
    """
    image = files.read(path)
    example = model.prepare(image)
    if draws:
        # Decoded again for its picture, so that a batch of large images needs little memory.
        example['original'] = image
    return example


def _read_pixels(path: str, draws: bool) -> Example:
    """Read an image that is searched in several views."""
    pixels = decode.decode(files.read(path), 3)
    example = {
        'path': path,
        'pixels': pixels,
        'warp': np.eye(2, 3),
        'original_size': np.array(pixels.shape[:2]),
    }
    if draws:
        example['original'] = pixels
    return example


def _find_each(finder: Finder, examples: Sequence[Example], size: int) -> list[Records]:
    """Find the objects of images in several views, in place of `Model.predict_each`."""
    outputs = []
    for example in examples:
        total = finder.count(example['pixels'])
        progress = Progress(total, 'views', f'{example["path"]}: ')
        found = finder.find(example['pixels'], progress.show)
        outputs.append(
            {
                'boxes': found.boxes,
                'scores': found.scores,
                'classes': found.classes,
                'valid': np.ones(len(found.scores), bool),
            }
        )
    return outputs


def show(
    model: Model,
    scores: Float[np.ndarray, 'k'],
    example: Example,
    outputs: Records,
) -> Shown:
    """Answer with the objects of an image, and draw them.

    Args:
        model: a detector.
        scores: for each class, the least score of an object that is given.
        example: a prepared example, with 'original' if a picture is needed.
        outputs: of the detector for this example.

    Returns:
        (the answer, the picture or None), see `detection_answers.answer_of`.
    """
    found = finding.in_view(example, outputs)
    found = found.at(found.scores >= scores[found.classes])
    height, width = np.asarray(example['original_size']).tolist()
    answer = detection_answers.answer_of(model, found, (height, width))
    if 'original' not in example:
        return answer, None
    original = decode.decode(example['original'], 3)
    return answer, detection_answers.draw(model, original, found)


@dataclasses.dataclass(frozen=True, kw_only=True)
class DetectionPredictor:
    """A predictor of objects, which also writes the files of other formats for images.

    Attributes:
        files: predicts for the images.
        videos: predicts for the videos, after the images.
        out: the output folder.
        formats: of the further files.
        class_names: of the model.
        thresholds: {class: least score of an object that is given}.
        origin: a sentence of where the thresholds come from.
        column: as in `Predictor`.
    """

    files: FilePredictor
    videos: Videos
    out: Path
    formats: Sequence[str]
    class_names: Sequence[str]
    thresholds: dict[str, float]
    origin: str
    column: str = 'file'

    @property
    def names(self) -> Sequence[str]:
        """The user's files: the images, and then the videos."""
        return [*self.files.names, *self.videos.names]

    @property
    def outputs(self) -> list[Path]:
        """The files and folders that will be written beside predictions.json."""
        outputs = [*self.files.outputs, *self.videos.outputs]
        if 'coco' in self.formats:
            outputs.append(self.out / detection_files.COCO_FILE)
        if 'yolo' in self.formats:
            outputs += detection_files.yolo_paths(self.files.names, self.out)
            outputs.append(self.out / detection_files.YOLO_FOLDER)
        return outputs

    @property
    def about(self) -> Entry:
        """The part of predictions.json that holds for all files."""
        about: Entry = {'thresholds': self.thresholds, 'thresholds_from': self.origin}
        if 'coco' in self.formats:
            about['written'] = [str(self.out / detection_files.COCO_FILE)]
        return about

    def predict(self) -> Iterator[list[Entry]]:
        """Predict for a batch of images or for one video at a time, and write the
        files.

        Yields:
            The entries in the order of `names`. A file that cannot be read has the
            reason under 'error', and does not stop the others.
        """
        done = 0
        with self._writers() as writers:
            batches = self.files.predict() if self.files.names else ()
            for entries in batches:
                for row, entry in enumerate(entries, done):
                    for write in writers:
                        if 'answer' in entry:
                            write(row, entry)
                done += len(entries)
                yield entries
        yield from self.videos.predict()

    @contextlib.contextmanager
    def _writers(self) -> Iterator[list[Callable[[int, Entry], None]]]:
        """Open the further files: functions of the row of an image and its entry."""
        writers: list[Callable[[int, Entry], None]] = []
        with contextlib.ExitStack() as stack:
            if 'coco' in self.formats:
                path = self.out / detection_files.COCO_FILE
                results = stack.enter_context(detection_files.open_coco(path))
                ids = detection_files.image_ids(self.files.names)

                def write_coco(row: int, entry: Entry) -> None:
                    entry['image_id'] = ids[row]
                    results.add(ids[row], entry['answer']['detections'])

                writers.append(write_coco)
            if 'yolo' in self.formats:
                paths = detection_files.yolo_paths(self.files.names, self.out)

                def write_yolo(row: int, entry: Entry) -> None:
                    answer = entry['answer']
                    detection_files.write_yolo(paths[row], answer, self.class_names)
                    entry['saved'] = [str(paths[row])]

                writers.append(write_yolo)
            yield writers
