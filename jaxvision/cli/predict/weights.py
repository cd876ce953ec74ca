"""Pretrained weights from a file, opened to predict without training."""

import argparse
import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxvision.cli.predict.model import Model
from jaxvision.cli.runtime import start_jax
from jaxvision.core.errors import UserError
from jaxvision.core.fields import Config
from jaxvision.core.registry import details_of
from jaxvision.core.spec import ArraySpec, Preprocessing, Spec
from jaxvision.models import BY_FOLDER
from jaxvision.pretrained.weights_file import Identity

OWNER = '--weights'
# {task: folder of its models}; other models are classifiers.
_FOLDERS = {'detection': 'detectors', 'segmentation': 'segmenters'}


@dataclasses.dataclass(frozen=True)
class Options:
    """The arguments that belong to --weights.

    Attributes:
        model: 'NAME:VARIANT', such as 'resnet:50'.
        recipe: name of a preprocessing in pretrained/recipes.py; '': the weights' recipe.
        image_size: side of the input in pixels; None: as in the weights or the recipe.
    """

    model: str = ''
    recipe: str = ''
    image_size: int | None = None


def add_model_and_files(parser: argparse.ArgumentParser, out: str) -> None:
    """Add --workdir and --weights, FILE, --step and --out.

    The parser requires --workdir or --weights. The other is None.

    Args:
        parser: the parser.
        out: the default of --out.
    """
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument(
        '--workdir',
        metavar='RUN',
        default=None,
        help="a run's folder, or an exported SavedModel, .tflite or .stablehlo file",
    )
    source.add_argument(
        '--weights',
        metavar='FILE',
        default=None,
        help='pretrained weights: .pth, .safetensors, .npz or .h5. Keep the '
        "original file name of timm's tf_efficientnet and of torchvision's IMAGENET1K_V2",
    )
    parser.add_argument(
        'files',
        metavar='FILE',
        nargs='*',
        default=[],
        help='a file, a folder or a quoted glob',
    )
    parser.add_argument(
        '--step',
        default='',
        help='checkpoint of a run: last (the default), best or a number',
    )
    parser.add_argument(
        '--out',
        metavar='OUT',
        default=out,
        help='output folder (%(default)s)',
    )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add --model, --recipe and --image_size. The parser requires none of them."""
    group = parser.add_argument_group('pretrained weights (--weights)')
    group.add_argument(
        '--model',
        metavar='NAME:VARIANT',
        help='architecture, such as resnet:50, vgg:16 or vit:B/16',
    )
    group.add_argument(
        '--recipe',
        metavar='NAME',
        help='preprocessing of the images (as the weights were published with)',
    )
    group.add_argument(
        '--image_size',
        type=int,
        metavar='N',
        help="side of the images in pixels (the recipe's)",
    )


def open_weights(file: str, options: Options, by_support: bool = False) -> Model:
    """Open pretrained weights as a classifier, a detector or a segmenter.

    A line on stdout names the file, the model and the preprocessing.
    JAX is configured for the whole process.

    Args:
        file: a weights file, or the name of packaged weights.
        options: the model and its preprocessing.
        by_support: predict the classes of example images instead of ImageNet's, by the
            cosine of an image's features with the mean features of each class.

    Raises:
        UserError: The file is missing, damaged or belongs to another model, or
            `options` name an unknown model or recipe or a size below 1. Or `by_support`
            is set for weights of no classifier. Or a classifier has no head and `by_support` is
            False.
    """
    from jaxvision.core import config as configs
    from jaxvision.pretrained import packaged_weights, recipes, weights_file

    file = str(packaged_weights.locate(file))
    family, _, variant = options.model.partition(':')
    leaves, identity = weights_file.read(file, family)
    recipe = recipes.named(options.recipe) if options.recipe else identity.recipe
    size = options.image_size
    if size is None:
        size = identity.image_size or recipe.size
    if size < 1:
        raise UserError(f'--image_size={size}: expected a whole number >= 1.')
    task = 'classification'
    for kind, folder in _FOLDERS.items():
        if family in BY_FOLDER[folder]:
            task = kind
    if by_support:
        task = _few_shot_task(options.model, task)
    config = configs.default(task)
    config.task.update(identity.format.task)
    config.model.name = family
    config.model.variant = variant
    config.model.options = identity.options
    config.data.image_size = size
    if by_support:
        config.task.method = 'baseline'
    start_jax(config.lock())
    preprocessing = recipe.at(size).preprocessing()
    publisher = identity.format.publisher
    print(f'{file}: {family} by {publisher}; preprocessing: {preprocessing.describe()}')
    if identity.format.license:
        print(f'{file}: {identity.format.license}')
    if task in ('classification', 'few_shot') and recipe.resize != 'shorter_side':
        raise UserError(
            f'--recipe={recipe.name}: expected a recipe of classifiers, and {options.model} '
            'is one. Choose another recipe, or remove --recipe.'
        )
    if by_support:
        features = _without_head(leaves)
        return _open(file, config, _few_shot_spec(preprocessing), features)
    if task == 'detection':
        return _open(file, config, _detector_spec(preprocessing, identity), leaves)
    if task == 'segmentation':
        return _open(file, config, _segmenter_spec(preprocessing, identity), leaves)
    return _open(file, config, _classifier_spec(preprocessing, leaves), leaves)


def _few_shot_task(model: str, task: str) -> str:
    if task == 'classification':
        return 'few_shot'
    raise UserError(
        f'--support: expected weights of a classifier, and {model} is none. Remove '
        '--support.'
    )


def _detector_spec(preprocessing: Preprocessing, identity: Identity) -> Spec:
    """The spec of a published detector: the outputs that stand for a class."""
    from jaxvision.tasks.detection import canvases, preparation

    names = identity.classes.names
    outputs = tuple(row for row, name in enumerate(names) if name)
    details = details_of('detection')(
        category_ids=tuple(identity.classes.numbers[row] for row in outputs),
        outputs=outputs,
        output_count=len(names),
    )
    return Spec(
        inputs=canvases.inputs(preprocessing),
        targets=preparation.targets(1),
        class_names=tuple(names[row] for row in outputs),
        preprocessing=preprocessing,
        examples=1,
        details=details,
    )


def _segmenter_spec(preprocessing: Preprocessing, identity: Identity) -> Spec:
    """The spec of a published segmenter, whose outputs are its classes."""
    from jaxvision.tasks.segmentation import preparation

    return Spec(
        inputs={'image': ArraySpec((*preprocessing.size, 3))},
        targets=preparation.targets(preprocessing.size, with_objects=False),
        class_names=identity.classes.names,
        preprocessing=preprocessing,
        examples=1,
    )


def _classifier_spec(preprocessing: Preprocessing, leaves: Mapping[str, Any]) -> Spec:
    return Spec(
        inputs={'image': ArraySpec((*preprocessing.size, 3))},
        targets={'label': ArraySpec((), 'int32')},
        class_names=_class_names(leaves),
        preprocessing=preprocessing,
        examples=1,
    )


def _few_shot_spec(preprocessing: Preprocessing) -> Spec:
    """The spec of episodes of one class with one image. `support` uses other shapes."""
    image_shape = (*preprocessing.size, 3)
    return Spec(
        inputs={
            'support': ArraySpec((1, 1, *image_shape)),
            'support_mask': ArraySpec((1, 1)),
            'query': ArraySpec((1, *image_shape)),
        },
        targets={
            'query_label': ArraySpec((1,), 'int32'),
            'classes': ArraySpec((1,), 'int32'),
        },
        preprocessing=preprocessing,
        examples=1,
        details=details_of('few_shot')(image_shape=image_shape),
    )


def _without_head(leaves: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name: leaf for name, leaf in leaves.items() if not name.startswith('head/')}


def _open(
    file: str, config: Config, spec: Spec, leaves: Mapping[str, np.ndarray]
) -> Model:
    import jax

    from jaxvision.pretrained import flax_variables
    from jaxvision.train import saved

    task = saved.build_task(config, spec)
    state = jax.eval_shape(task.init, jax.random.key(0), saved.blank_batch(spec))
    shapes = {'params': state.params['model'], **state.model_state['model']}
    try:
        variables = flax_variables.as_network(flax_variables.fit(leaves, shapes))
    except UserError as error:
        raise UserError(f'{file}: {error}') from None
    compiled = jax.jit(task.predict)

    def predict(inputs):
        return jax.device_get(compiled(variables, inputs))

    return Model(
        name=file,
        task=task,
        spec=spec,
        predict=predict,
        threads=config.data.threads,
        takes_any_size=True,
        variables=variables,
    )


def _class_names(leaves: Mapping[str, np.ndarray]) -> tuple[str, ...]:
    """The class names of ImageNet, if there are 1,000 classes, else numbers."""
    from jaxvision.pretrained import imagenet_classes

    bias = leaves.get('head/bias')
    if bias is None or bias.ndim != 1:
        raise UserError(
            '--weights: expected weights with a classification head. These have none. '
            'Train a head with --config.train.init_from, or give --support.'
        )
    if len(bias) == 1000:
        return tuple(imagenet_classes.class_names())
    return tuple(f'class {i}' for i in range(len(bias)))
