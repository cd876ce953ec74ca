"""The 80 classes of COCO, and the numbers of their categories, which have gaps."""

from importlib import resources
from typing import NamedTuple

from jaxvision.pretrained.convert import OutputClasses


class Category(NamedTuple):
    """A class of COCO.

    Attributes:
        number: number of the category in COCO's annotations, from 1 to 90.
        name: name of the class, such as 'traffic light'.
    """

    number: int
    name: str


def categories() -> list[Category]:
    """Read the 80 classes in the rising order of their numbers, which have gaps."""
    file = resources.files('jaxvision.pretrained') / 'coco_classes.txt'
    lines = file.read_text('utf-8').splitlines()
    read = []
    for line in lines:
        if not line.startswith('#'):
            number, _, name = line.partition(' ')
            read.append(Category(int(number), name))
    return read


def of_outputs(count: int) -> OutputClasses:
    """Name the outputs of a network: COCO's 80 classes if there are as many, else numbers."""
    read = categories()
    if count != len(read):
        names = tuple(f'class {number}' for number in range(count))
        return OutputClasses(names, tuple(range(count)))
    names = tuple(category.name for category in read)
    return OutputClasses(names, tuple(category.number for category in read))
