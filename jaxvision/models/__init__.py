"""Flax Linen modules. A model that a config can name has `make(spec, variant, ...)`."""

_FOLDERS = {
    'backbones': (
        'cnn',
        'convnext',
        'efficientnet',
        'mobilenet_v2',
        'resnet',
        'strided',
        'vgg',
        'vit',
    ),
    'generators': ('dcgan', 'edsr', 'r3gan', 'sngan', 'unet'),
    'sequence': (
        'conv_lstm_net',
        'forecaster',
        'frame_average',
        'frame_scorer',
        'lrcn',
    ),
}

NAMES = {
    name: f'jaxvision.models.{folder}.{name}'
    for folder, names in _FOLDERS.items()
    for name in names
}
