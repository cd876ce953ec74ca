"""Trees of images that tests make."""

from PIL import Image

from jaxvision.data.folder import Folder

PAIR = ('cat/1.png', 'dog/1.png')


def write(path, color='red', mode='RGB', size=(12, 10)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, color).save(path)


def folder_of(root, *names):
    """A tree of files: a tiny image each, of content that no other file has."""
    for number, name in enumerate(names):
        write(root / name, color=(number % 256, number // 256, 7))
    return Folder(root)


def read(folder):
    """{file: (labels, split)} of a folder."""
    return {
        item.path.relative_to(folder._root).as_posix(): (item.labels, split)
        for split, items in folder._items.items()
        for item in items
    }
