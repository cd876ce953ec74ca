"""Format of torchvision's DeepLabv3: deeplabv3_resnet50 and deeplabv3_resnet101."""

from jaxvision.pretrained.families import torchvision_segmenters as segmenters


def _head() -> dict[str, str]:
    """Our names of the layers of 'classifier'."""
    layers = {'1': 'hidden1/conv', '2': 'hidden1/norm', '4': 'scores'}
    # The branch of means begins with a layer without weights.
    branches = {'convs.4': ('pooled', 1), 'project': ('joined', 0)}
    for number in range(4):
        branches[f'convs.{number}'] = (f'branch{number + 1}', 0)
    for published, (name, first) in branches.items():
        layers[f'0.{published}.{first}'] = f'aspp/{name}/conv'
        layers[f'0.{published}.{first + 1}'] = f'aspp/{name}/norm'
    return layers


FORMATS = (segmenters.make_format('classifier.0.project.0.weight', _head()),)
