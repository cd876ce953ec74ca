"""Detections in the formats of other programs: COCO's results and YOLO's text files."""

import contextlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

from jaxvision.core.errors import UserError
from jaxvision.core.files import atomic_write
from jaxvision.core.types import Json
from jaxvision.data import files

FORMATS = ('coco', 'yolo')
COCO_FILE = 'coco_results.json'
YOLO_FOLDER = 'labels'

# A detection in predictions.json.
Detection = Json


def parse(text: str) -> tuple[str, ...]:
    """Read a list of formats, such as 'coco,yolo', without spaces; '' is no format.

    Raises:
        UserError: There is no such format.
    """
    names = tuple(text.split(',')) if text else ()
    for name in names:
        if name not in FORMATS:
            raise UserError(
                f'--format={text}: expected {" or ".join(FORMATS)}, or both with a comma '
                f'between them. There is no format {name!r}.'
            )
    return names


def image_ids(paths: Sequence[str]) -> list[int]:
    """Give each image its number in COCO's results.

    It is the number that the file name is, as in 000000000139.jpg. If one file has another
    name, or two have the same number, all images are numbered 0, 1, ... in their order.
    """
    stems = [Path(path).stem for path in paths]
    if all(stem.isdecimal() for stem in stems):
        numbers = list(map(int, stems))
        if len(set(numbers)) == len(numbers):
            return numbers
    return list(range(len(paths)))


def yolo_paths(paths: Sequence[str], out: Path) -> list[Path]:
    """Name a text file for each image, OUT/labels/NAME.txt, all names different."""
    pictures = files.picture_paths(paths, out / YOLO_FOLDER)
    return [picture.with_suffix('.txt') for picture in pictures]


def write_yolo(path: Path, answer: Json, class_names: Sequence[str]) -> None:
    """Write a line for each detection: its class, its box and its score.

    The box is the centre and the size (x, y, width, height), as fractions of the image.

    Args:
        path: of the file.
        answer: for one image, with 'size' and 'detections' as in predictions.json.
        class_names: of the model, whose order numbers the classes.
    """
    width, height = answer['size']
    lines = []
    for detection in answer['detections']:
        left, top, box_width, box_height = detection['bbox']
        numbers = (
            (left + box_width / 2) / width,
            (top + box_height / 2) / height,
            box_width / width,
            box_height / height,
            detection['score'],
        )
        text = ' '.join(f'{number:.6f}' for number in numbers)
        lines.append(f'{class_names.index(detection["class"])} {text}\n')
    path.parent.mkdir(exist_ok=True)
    with atomic_write(path, durable=False) as file:
        file.write(''.join(lines))


class CocoResults:
    """Write the entries of a list in COCO's result format; `open_coco` writes the brackets."""

    def __init__(self, file: IO):
        """Take a file that is open to write; nothing is written yet."""
        self._file = file
        self._comma = ''

    def add(self, image_id: int, detections: Sequence[Detection]) -> None:
        """Write the detections of an image.

        Args:
            image_id: number of the image.
            detections: as in predictions.json. Their 'category_id', 'bbox' and 'score'
                are written, and their 'segmentation' if they have it.
        """
        for detection in detections:
            result = {
                'image_id': image_id,
                'category_id': detection['category_id'],
                'bbox': detection['bbox'],
                'score': detection['score'],
            }
            if 'segmentation' in detection:
                result['segmentation'] = detection['segmentation']
            self._file.write(f'{self._comma}\n{json.dumps(result)}')
            self._comma = ','


@contextlib.contextmanager
def open_coco(path: Path) -> Iterator[CocoResults]:
    """Write a list in COCO's result format, to which the block adds detections.

    After an error, an earlier file is unchanged.
    """
    with atomic_write(path) as file:
        file.write('[')
        yield CocoResults(file)
        file.write('\n]\n')
