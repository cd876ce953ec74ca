"""Images and annotation files with boxes, written for tests of their readers."""

import json

import numpy as np
from PIL import Image

from helpers.data_config import data_config
from jaxvision.data import sources

EXIF_ORIENTATION = 0x0112


def write_image(path, width=40, height=30, orientation=1, boxes=()):
    """Write a black image with white boxes (ymin, xmin, ymax, xmax) of the pixels as stored."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.zeros((height, width, 3), np.uint8)
    for ymin, xmin, ymax, xmax in boxes:
        pixels[ymin:ymax, xmin:xmax] = 255
    # Images of equal bytes would be duplicates.
    pixels[0, 0] = np.frombuffer(str(path).encode()[-3:], np.uint8) // 2
    exif = Image.Exif()
    if orientation > 1:
        exif[EXIF_ORIENTATION] = orientation
    Image.fromarray(pixels).save(path, exif=exif)
    return path


def opened(source, split='train', **fields):
    """Open a split of a source by its name in the files."""
    data = data_config(source=source, **fields)
    dataset = sources.find_dataset(data.source, images=data.images)
    return dataset.open(split)


def objects_by_name(source):
    """{name of the image: the list of (class name, box, crowd, area)}."""
    objects = {}
    for row in range(len(source)):
        example = source.boxes_of(row)
        names = [source.info.class_names[label] for label in example['box_classes']]
        objects[source.where(row).rsplit('/', 1)[-1]] = list(
            zip(
                names,
                map(tuple, example['boxes'].tolist()),
                example['crowd'].tolist(),
                example['area'].tolist(),
                strict=True,
            )
        )
    return objects


def write_voc(root, name, objects, size=(40, 30), image=True, **changes):
    """Write an XML file of (class, xmin, ymin, xmax, ymax) and the image."""
    if image:
        write_image(root / 'JPEGImages' / f'{name}.png', *size)
    parts = [
        f'<object><name>{label}</name><difficult>{changes.get("difficult", 0)}</difficult>'
        f'<bndbox><xmin>{xmin}</xmin><ymin>{ymin}</ymin><xmax>{xmax}</xmax>'
        f'<ymax>{ymax}</ymax></bndbox></object>'
        for label, xmin, ymin, xmax, ymax in objects
    ]
    width, height = changes.get('says', size)
    text = (
        f'<annotation><filename>/etc/passwd</filename><size><width>{width}</width>'
        f'<height>{height}</height></size>{"".join(parts)}</annotation>'
    )
    path = root / 'Annotations' / f'{name}.xml'
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def write_voc_split(root, split, names):
    path = root / 'ImageSets' / 'Main' / f'{split}.txt'
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text('\n'.join(names))


def write_coco(
    path, images, objects, categories=((1, 'cat'), (2, 'dog')), changes=None
):
    """Write a JSON file in COCO's format.

    Args:
        path: the file.
        images: (id, file_name, width, height).
        objects: (image_id, category_id, [x, y, width, height]) and further fields as a dict.
        categories: (id, name).
        changes: fields of the JSON file that replace those.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    annotations = []
    for number, (image, category, box, *more) in enumerate(objects):
        entry = {'id': number + 1, 'image_id': image, 'category_id': category}
        entry |= {'bbox': box, 'iscrowd': 0, 'area': box[2] * box[3]}
        annotations.append(entry | (more[0] if more else {}))
    parsed = {
        'images': [
            {'id': key, 'file_name': name, 'width': width, 'height': height}
            for key, name, width, height in images
        ],
        'annotations': annotations,
        'categories': [{'id': key, 'name': name} for key, name in categories],
    }
    path.write_text(json.dumps(parsed | (changes or {})))
    return path


def write_yolo(root, split, labels, size=(40, 30)):
    """Write images/SPLIT/NAME.png and labels/SPLIT/NAME.txt.

    Args:
        root: the folder of the dataset.
        split: the name of the folders.
        labels: {name: text of the labels, None for no file}.
        size: (width, height) of the images.
    """
    for name, text in labels.items():
        write_image(root / 'images' / split / f'{name}.png', *size)
        if text is not None:
            path = root / 'labels' / split / f'{name}.txt'
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
