"""A published network, opened to answer, which no run of ours has trained."""

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
    from jaxvision.pretrained import packaged_weights, recipes, weights_file

    file = str(packaged_weights.locate(file))
    family, _, variant = model.partition(':')
    leaves, identity = weights_file.read(file, family)
    how = recipes.named(recipe) if recipe else identity.recipe
    size = image_size or identity.image_size or how.size
    if size < 1:
        raise UserError(f'--image_size {size}: it is at least 1')
    config = configs.default('few_shot' if by_support else 'classification')
    config.model.name, config.model.variant = family, variant
    config.model.options, config.data.image_size = identity.options, size
    start_jax(config.lock())
    publisher = identity.format.publisher
    print(f'{file}: {family} as of {publisher}, images as of {how.at(size)}')
    spec, open_with = (
        {**how.at(size).spec(), 'examples': 1},
        _open_comparison if by_support else _open_classifier,
    )
    return open_with(file, config, spec, leaves)


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

    from jaxvision.pretrained import flax_variables
    from jaxvision.train import saved

    task = saved.build_task(config, spec)
    state = jax.eval_shape(task.init, jax.random.key(0), saved.blank_batch(spec))
    shapes = {'params': state.params['model'], **state.model_state['model']}
    try:
        variables = flax_variables.as_network(flax_variables.fit(leaves, shapes))
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
    from jaxvision.pretrained import imagenet

    bias = leaves.get('head/bias')
    if bias is None or bias.ndim != 1:
        raise UserError(
            'these weights have no head, so they name no classes: train one on them, '
            'with --config.train.init_from'
        )
    names = (
        imagenet.class_names()
        if len(bias) == 1000
        else [f'class {i}' for i in range(len(bias))]
    )
    return {'class_names': names, 'multi_label': False}
