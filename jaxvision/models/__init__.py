"""Flax Linen modules, and the models that a config can name.

Such a model is a module with a function

    make(variant, *, <needs>, dtype, param_dtype, **options)

`variant` is `model.variant`: a size that the authors named, or a list of widths.
`<needs>` is what this kind of model is built from. The task gives it, and no option sets it:

- image and video classifiers, encoders, `conv_lstm_net`, `frame_average`, `lrcn`:
  `num_classes`, the length of the logits, and 0 for no head. The model answers
  `(logits, intermediates)`.
- `dcgan`, `sngan`, `r3gan`: `num_classes` (0 where the images have no classes) and
  `image_shape`, a tuple (height, width, channels). `make` returns (generator, discriminator).
- `edsr`: `scale`, how many times as large images become, and `channels`.
- `dense_detector`: `num_classes`, without background.
- `unet`: `channels`.
- `forecaster`: `frames`, how many are predicted, and `image_shape`, that of a frame.
- `frame_scorer`: nothing.

The constant `VARIANTS` names variants: all that the authors named, or examples of a free form.
`listing.describe` counts their parameters.

`dtype` is that of the computation, `param_dtype` that of the parameters, and `options` what
`model.options` may hold. `tasks.shared.networks.make_model` calls `make` and checks all this.
"""

BY_FOLDER = {
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
    'detectors': ('dense_detector',),
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
    for folder, names in BY_FOLDER.items()
    for name in names
}
