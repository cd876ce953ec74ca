"""The class of each pixel of images of any size, and their objects."""

import argparse
import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from jaxvision.cli.predict import video_files, volume_files
from jaxvision.cli.predict.file_by_file import FilePredictor
from jaxvision.cli.predict.model import Model
from jaxvision.cli.predict.predictor import Entry, Request, check_inputs
from jaxvision.cli.predict.report import Progress
from jaxvision.cli.predict.segmentation_answers import UNITS, Spacing
from jaxvision.cli.predict.segmentation_files import Paths, Preview, Writer
from jaxvision.cli.predict.segmentation_videos import Videos
from jaxvision.cli.predict.segmentation_views import Tiling, Views, check_shapes
from jaxvision.cli.predict.segmentation_volumes import Paths as VolumePaths
from jaxvision.cli.predict.segmentation_volumes import Volumes
from jaxvision.core.errors import UserError
from jaxvision.core.fields import Field
from jaxvision.core.task import Shown
from jaxvision.core.types import Example, Records
from jaxvision.data import decode, dicom_files, files, image_rows

DOES = 'segments images'
FILES = 'images, volumes or videos'
OWNER = 'a segmentation run'

_OVERLAP = 4  # of neighbouring tiles: the side of a tile, divided by this number
_SMALLEST = 16  # side of a tile, pixels
_LARGEST_SCALE = 4.0


@dataclasses.dataclass(frozen=True)
class Options:
    """The arguments of a segmentation run.

    Attributes:
        flips: whether to average with mirror images.
        scales: factors of the size, such as '0.75,1,1.25', which are averaged.
        tile: side of square tiles at the resolution of the image, pixels; 0: an image is
            seen as a whole.
        overlap: pixels that neighbouring tiles share; None: a quarter of `tile`.
        spacing: 'Y,X', the size of a pixel; '': unknown.
        unit: of the spacing, 'mm' or 'um'.
    """

    flips: bool = False
    scales: str = '1'
    tile: int = 0
    overlap: int | None = None
    spacing: str = ''
    unit: str = 'mm'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add --flips, --scales, --tile, --overlap, --spacing and --unit."""
    group = parser.add_argument_group(
        'segmentation',
        'OUT gets NAME-labels.png, a PNG with a palette, whose values are the numbers of the\n'
        'classes, and NAME.png, the image with the classes painted on it. A run with objects\n'
        'also gets NAME-objects.png, with the number of the object of each pixel in 16 bits.\n'
        'predictions.json has the area and the confidence of each class, and for each object\n'
        'its area, centroid, box, class and confidence. A video gets NAME.mp4 and NAME.jsonl.\n'
        'A volume (NIfTI, a folder of a DICOM series, a TIFF of several pages) gets\n'
        'NAME-labels.nii.gz or .tif on its own grid, and NAME-classes.csv in millimetres.',
    )
    group.add_argument(
        '--flips',
        action='store_true',
        help='average the probabilities of each image and its mirror image',
    )
    group.add_argument(
        '--scales',
        metavar='LIST',
        help='average the probabilities of an image seen in several sizes, such as '
        '0.75,1,1.25',
    )
    group.add_argument(
        '--tile',
        type=int,
        metavar='SIDE',
        help='see an image in square tiles of SIDE pixels at its own resolution. A TIFF may '
        'have any size then',
    )
    group.add_argument(
        '--overlap',
        type=int,
        metavar='N',
        help='pixels that neighbouring tiles share (a quarter of SIDE)',
    )
    group.add_argument(
        '--spacing',
        metavar='Y,X',
        help='height and width of a pixel: areas, centroids and boxes are given in this '
        'unit, too',
    )
    group.add_argument(
        '--unit', metavar='U', help=f'unit of --spacing: {" or ".join(UNITS)} (mm)'
    )


def make(model: Model, request: Request, options: Options) -> 'SegmentationPredictor':
    """Make the predictor that segments images and videos.

    Args:
        model: a segmentation run.
        request: with the paths of the images and videos.
        options: views, tiles and spacing.

    Raises:
        UserError: The task takes other inputs, or an option has a wrong value.
    """
    check_inputs(model, {'image'})
    scales = _parse_scales(options.scales)
    tiling = _tiling(options)
    check_shapes(model, scales, tiling)
    spacing = None
    if options.spacing:
        spacing = Spacing.parse(options.spacing, options.unit)
    elif options.unit != Options.unit:
        raise UserError(
            f'--unit={options.unit}: expected --spacing, too. Give --spacing Y,X.'
        )
    views = Views(
        model=model, flips=options.flips, scales=scales, batch_size=request.batch_size
    )
    writer = Writer(
        class_names=model.spec.class_names,
        has_objects='center' in model.spec.targets,
        spacing=spacing,
    )
    videos, others = video_files.split(request)
    sources, photos = volume_files.split(others)
    return SegmentationPredictor(
        images=_image_predictor(views, writer, tiling, photos),
        videos=Videos(
            views=views,
            writer=writer,
            tiling=tiling,
            names=videos.paths,
            places=files.picture_paths(videos.paths, request.out),
            draws=request.pictures,
        ),
        volumes=_volume_predictor(views, writer, tiling, sources, request),
    )


def _volume_predictor(
    views: Views,
    writer: Writer,
    tiling: Tiling | None,
    sources: Sequence[volume_files.VolumeFile],
    request: Request,
) -> Volumes:
    """Make the predictor of volumes.

    Args:
        views: of the network.
        writer: of the files.
        tiling: tiles; None: slices are seen as a whole.
        sources: the volumes.
        request: with the output folder.
    """
    names = [f'{stem}.png' for stem in volume_files.stems(sources)]
    bases = files.picture_paths(names, request.out)
    paths = [
        VolumePaths.of(base, file, writer.has_objects, request.pictures)
        for base, file in zip(bases, sources, strict=True)
    ]
    return Volumes(
        views=views, writer=writer, tiling=tiling, sources=sources, paths=paths
    )


def _parse_scales(text: str) -> tuple[float, ...]:
    """Read factors of the size, such as '0.75,1,1.25'."""
    try:
        scales = tuple(float(part) for part in text.split(','))
    except ValueError:
        scales = ()
    if not scales or not all(0 < scale <= _LARGEST_SCALE for scale in scales):
        raise UserError(
            f'--scales={text}: expected numbers above 0, at most {_LARGEST_SCALE:g}, with '
            'commas between them. Give them like --scales 0.75,1,1.25.'
        )
    return scales


def _tiling(options: Options) -> Tiling | None:
    """The tiles of the options; None: images are seen as a whole."""
    if not options.tile:
        if options.overlap is not None:
            raise UserError(
                f'--overlap={options.overlap}: expected --tile, too. Give --tile SIDE.'
            )
        return None
    Field(_SMALLEST, '', least=_SMALLEST).check('--tile', options.tile)
    overlap = options.overlap
    if overlap is None:
        overlap = options.tile // _OVERLAP
    Field(0, '', least=0, below=options.tile).check('--overlap', overlap)
    return Tiling(options.tile, overlap)


def _image_predictor(
    views: Views, writer: Writer, tiling: Tiling | None, request: Request
) -> FilePredictor:
    """Make the predictor of images.

    Args:
        views: of the network.
        writer: of the files.
        tiling: tiles; None: images are seen as a whole.
        request: with the paths of the images.
    """
    each = Paths.of_all(
        request.paths, request.out, writer.has_objects, request.pictures
    )
    paths = dict(zip(request.paths, each, strict=True))
    outputs = [file for image_paths in each for file in image_paths.all]
    predictor = FilePredictor(
        names=request.paths,
        pictures=[image_paths.labels for image_paths in each],
        outputs=outputs,
        batch_size=views.batch(views.canvas),
        threads=views.model.threads,
        read=functools.partial(_read, views),
        predict_each=views.predict_each,
        show=functools.partial(_show, views, writer, paths),
        save=_save,
    )
    if tiling is None:
        return predictor
    # Large images: one at a time is read, predicted and written strip by strip.
    return dataclasses.replace(
        predictor,
        batch_size=1,
        threads=1,
        read=functools.partial(_open, views),
        predict_each=_predict_nothing,
        show=functools.partial(_show_tiles, views, writer, tiling, paths),
    )


def _read(views: Views, path: str, draws: bool) -> Example:
    """Read an image and place it on the canvas; 'encoded' is kept for its picture."""
    encoded = views.read(path)
    return {**views.prepare(encoded), 'path': path, 'encoded': encoded}


def _show(
    views: Views,
    writer: Writer,
    paths: dict[str, Paths],
    example: Example,
    outputs: Records,
) -> Shown:
    """Write the files of an image that was seen as a whole."""
    height, width = np.asarray(example['original_size']).tolist()
    size = (height, width)
    preview = Preview(size)
    image_paths = paths[example['path']]
    if image_paths.picture is not None:
        # Decoded again, so that a batch of large images needs little memory.
        preview.add_image(0, views.picture(example['encoded']))
    strips = views.whole(example, outputs)
    writer = _with_spacing(writer, example['path'])
    entry = writer.write(strips, size, preview, image_paths)
    return entry.pop('answer'), entry


def _with_spacing(writer: Writer, path: str) -> Writer:
    """A writer with the spacing of a DICOM file, if the user gave none."""
    if writer.spacing is not None or not dicom_files.is_dicom(path):
        return writer
    spacing = dicom_files.read_header(Path(path)).spacing
    if spacing is None:
        return writer
    return dataclasses.replace(writer, spacing=Spacing(*spacing, 'mm'))


def _open(views: Views, path: str, draws: bool) -> Example:
    """Open an image to read its rows."""
    if dicom_files.is_dicom(path):
        pixels = decode.decode(views.read(path), views.channels)
        return {'path': path, 'rows': image_rows.ImageRows.of(pixels)}
    stretch = views.model.spec.preprocessing.contrast
    return {'path': path, 'rows': image_rows.open_rows(path, views.channels, stretch)}


def _predict_nothing(examples: Sequence[Example], size: int) -> list[Records]:
    """Tiles are predicted while their image is written."""
    return [{} for _ in examples]


def _show_tiles(
    views: Views,
    writer: Writer,
    tiling: Tiling,
    paths: dict[str, Paths],
    example: Example,
    outputs: Records,
) -> Shown:
    """Predict for the tiles of an image, and write its files meanwhile."""
    rows = example['rows']
    path = example['path']
    preview = Preview(rows.size)
    progress = Progress(tiling.count(rows.size), 'tiles', f'{path}: ')
    strips = views.tiled(rows, tiling, preview.add_image, progress.show)
    entry = _with_spacing(writer, path).write(strips, rows.size, preview, paths[path])
    return entry.pop('answer'), entry


def _save(path: Path, saved: Entry) -> Entry:
    """Return the part of the entry that names the files, which `_show` has written."""
    return saved


@dataclasses.dataclass(frozen=True, kw_only=True)
class SegmentationPredictor:
    """A predictor for images, then volumes, and then videos.

    Attributes:
        images: predicts for the images.
        volumes: predicts for the volumes.
        videos: predicts for the videos.
        about: the part of predictions.json that holds for all files.
        column: as in `Predictor`.
    """

    images: FilePredictor
    volumes: Volumes
    videos: Videos
    about: Entry = dataclasses.field(default_factory=dict)
    column: str = 'file'

    @property
    def names(self) -> Sequence[str]:
        """The user's files: the images, then the volumes, and then the videos."""
        return [*self.images.names, *self.volumes.names, *self.videos.names]

    @property
    def outputs(self) -> list[Path]:
        """The files that will be written beside predictions.json."""
        return [*self.images.outputs, *self.volumes.outputs, *self.videos.outputs]

    def predict(self) -> Iterator[list[Entry]]:
        """Predict for a batch of images or for one volume or video at a time.

        Yields:
            The entries in the order of `names`. A file that cannot be read has the
            reason under 'error', and does not stop the others.
        """
        parts: list[Callable[[], Iterator[list[Entry]]]] = [
            self.volumes.predict,
            self.videos.predict,
        ]
        if self.images.names:
            parts.insert(0, self.images.predict)
        for predict in parts:
            yield from predict()
