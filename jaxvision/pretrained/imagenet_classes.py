"""The 1,000 classes of ImageNet."""

from importlib import resources


def class_names() -> list[str]:
    """Read the 1,000 class names in the order of published networks, 'tench' first."""
    file = resources.files('jaxvision.pretrained') / 'imagenet_classes.txt'
    lines = file.read_text('utf-8').splitlines()
    return [line for line in lines if not line.startswith('#')]
