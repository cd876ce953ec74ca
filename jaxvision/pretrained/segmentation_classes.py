"""The classes of datasets for semantic segmentation, and their numbers in the annotations."""

from importlib import resources

from jaxvision.pretrained.convert import OutputClasses


def of_dataset(dataset: str) -> OutputClasses:
    """Read the classes of a dataset in the order of published networks.

    Args:
        dataset: 'voc' (21 with the background), 'cityscapes' (19) or 'ade20k' (150, with
            numbers from 1 on).
    """
    file = resources.files('jaxvision.pretrained') / 'segmentation_classes.txt'
    names = []
    numbers = []
    for line in file.read_text('utf-8').splitlines():
        name_of_dataset, number, name = line.split(' ', 2)
        if name_of_dataset == dataset:
            names.append(name)
            numbers.append(int(number))
    return OutputClasses(tuple(names), tuple(numbers))


def of_outputs(count: int, dataset: str) -> OutputClasses:
    """Name the outputs of a network: a dataset's classes if there are as many, else numbers.

    Args:
        count: number of outputs.
        dataset: see `of_dataset`.
    """
    classes = of_dataset(dataset)
    if count == len(classes.names):
        return classes
    names = tuple(f'class {number}' for number in range(count))
    return OutputClasses(names, tuple(range(count)))
