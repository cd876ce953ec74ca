"""The preprocessing that belongs to the weights in `train.init_from`."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from jaxvision.core.fields import Config
from jaxvision.core.spec import Preprocessing
from jaxvision.pretrained import flax_variables, weights_file
from jaxvision.train import init_from
from jaxvision.train.saved import read_config, read_run_spec


class OfWeights(NamedTuple):
    """The preprocessing of a source of weights.

    Attributes:
        source: the run or file with the weights.
        preprocessing: the preprocessing of its images. For a file, to squares of
            `data.image_size`.
        image_size: `data.image_size` of the run; 0: the source is a file.
    """

    source: Path
    preprocessing: Preprocessing
    image_size: int


def of_weights(config: Config) -> Iterator[OfWeights]:
    """Yield the preprocessing of each source in `train.init_from` that has one.

    A source is yielded once, even if several of its parts are used.

    Raises:
        UserError: A source is neither a run nor weights of this model.
    """
    for source in dict.fromkeys(init_from.sources(config.train.init_from)):
        with init_from.naming_field(config.train.init_from):
            weights = _of_source(config, source)
        if weights:
            yield weights


def _of_source(config: Config, source: Path) -> OfWeights | None:
    if source.is_file():
        model = flax_variables.model_of_weights(config)
        recipe = weights_file.identify(source, model).recipe
        preprocessing = recipe.at(config.data.image_size).preprocessing()
        return OfWeights(source, preprocessing, 0)
    trained = read_config(source)
    preprocessing = read_run_spec(source, trained).preprocessing
    if not preprocessing:
        return None
    return OfWeights(source, preprocessing, trained.data.image_size)


def describe(config: Config, chosen: Preprocessing | None) -> Iterator[str]:
    """Yield a line for each source of weights: its preprocessing, or how it differs.

    Without a source, a recipe of the run itself gives one line.

    Args:
        config: the config of the run.
        chosen: the preprocessing of the run; None: no line.
    """
    if chosen is None:
        return
    sources = list(of_weights(config))
    if not sources and chosen.recipe:
        yield f'preprocessing: {chosen.describe()}'
    for source, preprocessing, _ in sources:
        differences = _differences(chosen, preprocessing)
        if differences:
            yield (
                f'preprocessing: {chosen.describe()}. It differs from that of the weights '
                f'in {source}: {"; ".join(differences)}'
            )
        else:
            yield f'preprocessing: as in {source}: {chosen.describe()}'


def _differences(chosen: Preprocessing, of_source: Preprocessing) -> list[str]:
    """Describe each difference with the value of the source."""
    differences = []
    if chosen.size != of_source.size:
        height, width = of_source.size
        differences.append(f'the size is {height}x{width} there')
    rule = of_source.resize_in_words()
    if chosen.resize_in_words() != rule:
        differences.append(f'the images are {rule} there')
    for name in ('mean', 'std'):
        values = getattr(of_source, name)
        if getattr(chosen, name) != values:
            numbers = ', '.join(f'{value:.3g}' for value in values) or 'none'
            differences.append(f'the {name} is {numbers} there')
    return differences
