"""Flax Linen modules, and the models that a config can name.

A model is a Python module with a function

    make(variant, *, <needs>, dtype, param_dtype, **options)

- `variant` is the field `model.variant`: a size from the paper, or a list of widths.
- `<needs>` are keyword arguments that the task supplies. No option can set them:

  - image and video classifiers, encoders, `conv_lstm_net`, `frame_average`, `lrcn`:
    `num_classes`, the length of the logits, or 0 for no head. The model returns
    `(logits, intermediates)`.
  - `dcgan`, `sngan`, `r3gan`: `num_classes` (0 for images without classes) and `image_shape`, a
    tuple (height, width, channels). `make` returns (generator, discriminator).
  - `edsr`: `scale`, the factor of enlargement, and `channels`.
  - `dense_detector`, `faster_rcnn`, `mask_rcnn`, `retinanet`, `rt_detr`, `yolox`: `num_classes`,
    without the background.
  - `deeplab`, `fcn`, `segformer`, `segmentation_unet`: `num_classes`, the number of logits of a
    pixel.
  - `unet`: `channels`.
  - `forecaster`: `frames`, the number of predicted frames, and `image_shape` of a frame.
  - `frame_scorer`: nothing.

- `dtype` is the dtype of the computation, and `param_dtype` that of the parameters.
- `options` are the names that `model.options` may set.

The constant `VARIANTS` lists all variants of the paper, or examples of free forms.
`listing.describe` counts their parameters. `tasks.shared.networks.make_model` calls `make` and
checks its arguments.
"""

BY_FOLDER = {
    'backbones': (
        'cnn',
        'convnext',
        'efficientnet',
        'lenet',
        'mit',
        'mobilenet_v2',
        'resnet',
        'strided',
        'vgg',
        'vit',
    ),
    'detectors': (
        'dense_detector',
        'faster_rcnn',
        'mask_rcnn',
        'retinanet',
        'rt_detr',
        'yolox',
    ),
    'generators': ('dcgan', 'edsr', 'r3gan', 'sngan', 'unet'),
    'segmenters': ('deeplab', 'fcn', 'segformer', 'segmentation_unet'),
    'sequence': (
        'conv_lstm_net',
        'forecaster',
        'frame_average',
        'frame_scorer',
        'lrcn',
    ),
}


def _modules(folder: str) -> dict[str, str]:
    return {name: f'jaxvision.models.{folder}.{name}' for name in BY_FOLDER[folder]}


# The Python module of each model, by its name in a config.
NAMES = {
    **_modules('backbones'),
    **_modules('detectors'),
    **_modules('generators'),
    **_modules('segmenters'),
    **_modules('sequence'),
}
