"""A published network, opened to answer, which no run of ours has trained."""

from importlib import resources

from jaxvision.cli.predict.model import Model
from jaxvision.cli.runtime import start_jax
from jaxvision.core.errors import UserError


def open_weights(
    file: str,
    model: str,
    recipe: str | None,
    image_size: int | None,
    by_support: bool = False,
) -> Model:
    """The classifier of a file of weights; prints how it sees images.

    Args:
        file: of weights, or the name of packaged ones.
        model: 'NAME:VARIANT', as 'resnet:50'.
        recipe: of pretrained/recipes.py; None: that with which such files are published.
        image_size: None: the file's own, where it is of one, or the recipe's.
        by_support: not of its own classes, but of those that examples show: by the cosine of an
            image's features with the mean of theirs.
    Raises:
        UserError: the file is damaged, or of another model, or there is no such recipe.
    """
    from jaxvision.core import config as configs
    from jaxvision.pretrained import packaged, published, recipes

    file = str(packaged.find(file))
    family, _, variant = model.partition(':')
    found = published.read(file, family)
    how = recipes.named(recipe) if recipe else found.recipe
    size = image_size or found.image_size or how.size
    if size < 1:
        raise UserError(f'--image_size {size}: it is at least 1')
    config = configs.default('few_shot' if by_support else 'classification')
    config.model.name, config.model.variant = family, variant
    config.model.options, config.data.image_size = found.options, size
    start_jax(config.lock())
    print(
        f'{file}: {family} as of {found.format.publisher}, images as of {how.at(size)}'
    )
    spec, open_with = (
        {**how.at(size).spec(), 'examples': 1},
        _open_comparison if by_support else _open_classifier,
    )
    return open_with(file, config, spec, found.leaves)


def _open_classifier(file: str, config, spec: dict, leaves: dict) -> Model:
    return _open(
        file,
        config,
        {**spec, **_shapes(config.data.image_size), **_classes(leaves)},
        leaves,
    )


def _open_comparison(file: str, config, spec: dict, leaves: dict) -> Model:
    config.task.method = 'baseline'
    image = [config.data.image_size, config.data.image_size, 3]

    def array(dtype, *shape):
        return {'shape': list(shape), 'dtype': dtype}

    spec = {
        **spec,
        'class_names': [],
        'image': image,
        'inputs': {
            'support': array('uint8', 1, 1, *image),
            'support_mask': array('uint8', 1, 1),
            'query': array('uint8', 1, *image),
        },
        'targets': {'query_label': array('int32', 1), 'classes': array('int32', 1)},
    }
    features = {
        name: leaf for name, leaf in leaves.items() if not name.startswith('head/')
    }
    return _open(file, config, spec, features)


def _open(file: str, config, spec: dict, leaves: dict) -> Model:
    import jax

    from jaxvision.pretrained import convert, run_variables
    from jaxvision.train import run

    task = run.make_task(config, spec)
    state = jax.eval_shape(task.init, jax.random.key(0), run.blank_batch(spec))
    shapes = {'params': state.params['model'], **state.model_state['model']}
    try:
        variables = run_variables.of_player(convert.fitted(leaves, shapes))
    except UserError as error:
        raise UserError(f'{file}: {error}') from None
    predict = jax.jit(task.predict)
    return Model(
        file,
        task,
        spec,
        lambda inputs: jax.device_get(predict(variables, inputs)),
        config.data.threads,
    )


def _shapes(size: int) -> dict:
    return {
        'inputs': {'image': {'shape': [size, size, 3], 'dtype': 'uint8'}},
        'targets': {'label': {'shape': [], 'dtype': 'int32'}},
    }


def _classes(leaves: dict) -> dict:
    """ImageNet's names, where there are as many."""
    bias = leaves.get('head/bias')
    if bias is None or bias.ndim != 1:
        raise UserError(
            'these weights have no head, so they name no classes: train one on them, '
            'with --config.train.init_from'
        )
    names = (
        imagenet_classes()
        if len(bias) == 1000
        else [f'class {i}' for i in range(len(bias))]
    )
    return {'class_names': names, 'multi_label': False}


def imagenet_classes() -> list[str]:
    text = (
        resources.files('jaxvision.pretrained')
        .joinpath('imagenet_classes.txt')
        .read_text('utf-8')
    )
    return [line for line in text.splitlines() if not line.startswith('#')]
