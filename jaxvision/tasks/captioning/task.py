"""Image captioning with attention: Show, Attend and Tell (Xu et al. 2015, arXiv 1502.03044).

The training is by cross-entropy, or self-critical (Rennie et al. 2017, arXiv 1612.00563).
"""

import dataclasses
import functools
import itertools
from collections.abc import Sequence

import jax
import numpy as np
from jax.typing import DTypeLike

from jaxvision.core import keys
from jaxvision.core.errors import UserError
from jaxvision.core.fields import Config, Field, Fields
from jaxvision.core.rows import evenly_spaced
from jaxvision.core.spec import ArraySpec, Preprocessing, Spec
from jaxvision.core.state import TrainState, create
from jaxvision.core.task import (
    Evaluation,
    Network,
    Task,
)
from jaxvision.core.types import Batch, Prepare
from jaxvision.data import decode, pipeline
from jaxvision.data.protocol import Source, Unreadable, captions_of
from jaxvision.image import color
from jaxvision.metrics import captions as metrics
from jaxvision.metrics import cider
from jaxvision.tasks.captioning import evaluation, losses, tokens
from jaxvision.tasks.captioning.network import CaptionNetwork
from jaxvision.tasks.shared import image_input
from jaxvision.train import optimizers, update

FIELDS: Fields = {
    'recipe': Field(
        '',
        'Recipe of pretrained weights whose mean and std normalise the images; empty: those '
        "of the run or file in train.init_from; 'none': those of this dataset.",
    ),
    'layer': Field('stage4', 'Feature map of the model to which the decoder attends.'),
    'decoder': {
        'hidden': Field(256, 'Number of units of the LSTM.', least=1),
        'embedding': Field(64, 'Size of the word embedding.', least=1),
        'attention': Field(128, 'Size of the attention keys.', least=1),
    },
    'doubly_stochastic': Field(
        1.0,
        'Weight of the regulariser that prefers equal total attention to all places.',
        least=0,
    ),
    'self_critical': Field(
        False, 'Train with the CIDEr-D of sampled captions as reward.'
    ),
    'beam_size': Field(5, 'Number of captions that the beam search keeps.', least=1),
    'max_words': Field(
        30,
        'Largest number of words in a caption; longer captions are cut in training.',
        least=1,
    ),
    'min_count': Field(
        1,
        'Smallest number of occurrences that puts a word into the vocabulary.',
        least=1,
    ),
    'vocabulary_examples': Field(
        10_000,
        'Largest number of training examples whose captions make the vocabulary.',
        least=1,
    ),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class NgramStatistics:
    """Rarities of the n-grams of the training captions: `cider.Statistics` as tuples.

    Attributes:
        parent: for each n-gram, the number of the n-gram without its last word; -1: there is none.
        word: the number of its last word.
        rarity: log(examples / examples with the n-gram), and at the end log(examples),
            for unknown n-grams.
    """

    parent: tuple[int, ...]
    word: tuple[int, ...]
    rarity: tuple[float, ...]

    @classmethod
    def of(cls, tables: cider.Statistics) -> 'NgramStatistics':
        """Convert the arrays of `cider.Statistics` to tuples, for the spec."""
        return cls(
            parent=tuple(tables.parent.tolist()),
            word=tuple(tables.word.tolist()),
            rarity=tuple(tables.rarity.tolist()),
        )

    def tables(self, dtype: DTypeLike) -> cider.Statistics:
        """Convert back to arrays; `dtype` is the floating dtype of the rarities."""
        return cider.Statistics(
            parent=np.array(self.parent, np.int32),
            word=np.array(self.word, np.int32),
            rarity=np.array(self.rarity, dtype),
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Details:
    """The part of the spec that only this task has.

    Attributes:
        vocabulary: the words by number, special tokens first.
        ngrams: n-gram statistics of the training captions; None without self-critical
            training.
    """

    vocabulary: tuple[str, ...]
    ngrams: NgramStatistics | None = None


def describe(config: Config, source: Source) -> Spec:
    """Describe the images, the captions and the vocabulary of a dataset.

    The captions of up to `task.vocabulary_examples` examples are read, and up to 512 images are
    decoded for mean and std unless pretrained weights define them.

    Raises:
        UserError: Examples have no image or no captions, no caption can be read, or the images
            do not fit the pretrained weights.
    """
    info = source.info
    info.check_holds('image', 'captions')
    # A caption describes the whole image, so images are not cropped.
    of_dataset = Preprocessing.of_dataset(
        info.image_shape, config.data.image_size, 'stretch'
    )
    preprocessing = image_input.as_weights(
        config, of_dataset, info.image_shape, ('stretch',)
    )
    texts = read_texts(config, source)
    captions = [_tokenize_all(example) for example in texts]
    vocabulary = tokens.vocabulary(captions, config.task.min_count)
    targets = _describe_captions(config, texts, captions)
    if 'scene' in info.holds:
        targets['scene'] = ArraySpec(np.shape(source[0]['scene']), 'int32')
    ngrams = None
    if config.task.self_critical:
        number = tokens.make_numbering(vocabulary, targets['captions'].shape)
        numbered = np.stack([number(example) for example in texts])
        ngrams = NgramStatistics.of(cider.statistics(numbered))
    spec = Spec(
        inputs={'image': image_input.array_spec(preprocessing, info)},
        targets=targets,
        preprocessing=preprocessing,
        details=Details(vocabulary=vocabulary, ngrams=ngrams),
    )
    prepare = make_prepare(config, spec)
    return image_input.with_statistics(spec, config, source, prepare)


def describe_evaluated(config: Config, spec: Spec, sources: Sequence[Source]) -> Spec:
    """Enlarge the array of references so that it holds all captions of the evaluated splits.

    Args:
        config: config of the run.
        spec: spec with an array for the training captions.
        sources: the evaluated splits, of which all captions are read.

    Returns:
        The spec with another size, in bytes, of the target 'references', which never shrinks.
    """
    (size,) = spec.targets['references'].shape
    for source in sources:
        every_row = np.arange(len(source))
        for texts in _read_captions(config, source, every_row):
            size = max(size, len(tokens.as_bytes(texts)))
    return spec.replace(targets={**spec.targets, 'references': ArraySpec((size,))})


def read_texts(config: Config, source: Source) -> list[Sequence[str]]:
    """Read the captions of up to `task.vocabulary_examples` examples, evenly spaced.

    Returns:
        The captions of each example, without examples that cannot be read or have none.

    Raises:
        UserError: No caption can be read.
    """
    rows = evenly_spaced(len(source), config.task.vocabulary_examples)
    texts = _read_captions(config, source, rows)
    if not texts:
        raise UserError(
            f'data.source={config.data.source}: expected captions in the training split, but '
            'none can be read. Choose another dataset.'
        )
    return texts


def _read_captions(
    config: Config, source: Source, rows: np.ndarray
) -> list[Sequence[str]]:
    """Read the captions of rows, in order, without rows that cannot be read."""

    def read(i: int) -> Sequence[str]:
        try:
            return captions_of(source, int(rows[i]))
        except Unreadable:
            # The data pipeline reports or replaces this example, by data.on_corrupt.
            return []

    texts = pipeline.read_ahead(read, 0, len(rows), config.data.threads)
    return list(filter(len, texts))


def _tokenize_all(texts: Sequence[str]) -> list[list[str]]:
    return [metrics.tokenize(text) for text in texts]


def _describe_captions(
    config: Config, texts: Sequence[Sequence[str]], captions: list[list[list[str]]]
) -> dict[str, ArraySpec]:
    """Describe arrays that hold the captions of the examples, with END after each caption."""
    longest = max(map(len, itertools.chain.from_iterable(captions)))
    length = min(config.task.max_words, longest) + 1
    captions_per_image = max(map(len, texts))
    # Captions of other examples may be longer than the captions that were read.
    size = 2 * max(len(tokens.as_bytes(example)) for example in texts)
    return {
        'caption': ArraySpec((length,), 'int32'),
        'captions': ArraySpec((captions_per_image, length), 'int32'),
        'references': ArraySpec((size,)),
    }


def make(config: Config, spec: Spec) -> Task:
    """Build the task of a captioner.

    Raises:
        UserError: The model, its variant or the optimizer is wrong.
    """
    options = config.task
    vocabulary = spec.details.vocabulary
    network = CaptionNetwork.build(config, spec, vocabulary)
    if options.self_critical:
        tables = spec.details.ngrams.tables(network.dtype)
        loss = losses.self_critical(network, tables)
    else:
        loss = losses.teacher_forced(network, options.doubly_stochastic)
    tx, lr = optimizers.make(config, spec.examples)
    descend = update.from_loss(
        loss, tx, accumulate=config.optimizer.accumulate, ema=config.optimizer.ema
    )

    def init(key: jax.Array, batch: Batch) -> TrainState:
        images = color.to_float(batch['image'], network.dtype)
        init_key = keys.stream(key, 'init')
        variables = network.model.init(init_key, images, batch['caption'][:, 0])
        params = {'model': variables.pop('params')}
        return create(
            key, params, {'model': tx}, {'model': variables}, ema=config.optimizer.ema
        )

    def evaluate(state: TrainState, batch: Batch) -> Batch:
        outputs = network.predict(state.variables, batch)
        return evaluation.record(outputs, batch)

    return Task(
        init=init,
        update=update.with_learning_rate(descend, lr),
        evaluations={
            'eval': Evaluation(
                evaluate=evaluate,
                summarize=functools.partial(evaluation.summarize, vocabulary),
                metrics=evaluation.metric_names('scene' in spec.targets),
                record=evaluation.record,
            )
        },
        predict=network.predict,
        predictor='image',
        network=Network(normalize=network.normalize, apply=network.apply),
        best='cider_d',
        prepare=make_prepare(config, spec),
        figures=functools.partial(evaluation.draw, vocabulary),
        show=functools.partial(evaluation.show, vocabulary),
    )


def make_prepare(config: Config, spec: Spec) -> Prepare:
    """Build the host function that stretches images and converts captions to numbers.

    In training an example gets one of its captions, chosen at random, as 'caption', and
    for self-critical training the first R as 'captions' [R, L]. Missing captions are
    rows of END. In evaluation it gets the first caption as 'caption', all captions as
    text in 'references', and its 'scene' if it has one. Long captions are cut, and
    unknown words become UNKNOWN. Without captions, as in prediction, it gets only
    'image'. In evaluation the function raises `Unreadable` if the text is longer than
    the array of references.
    """
    shape = spec.inputs['image'].shape
    size, _, channels = shape
    is_resized = spec.preprocessing.resize != 'none'
    number = tokens.make_numbering(
        spec.details.vocabulary, spec.targets['captions'].shape
    )
    (references_size,) = spec.targets['references'].shape

    def training_arrays(texts, rng):
        text = texts[rng.integers(len(texts))]
        arrays = {'caption': number([text])[0]}
        if config.task.self_critical:
            arrays['captions'] = number(texts)
        return arrays

    def evaluation_arrays(texts):
        references = tokens.pad(tokens.as_bytes(texts), references_size)
        return {'caption': number(texts)[0], 'references': references}

    def prepare(example, rng):
        image = example['image']
        # A user's image may have any size, although all of the dataset have the same.
        if is_resized or np.shape(image) != shape:
            image = decode.stretch(image, size, channels)
        prepared = {'image': image}
        if 'captions' in example:
            texts = list(example['captions'])
            if rng is None:
                prepared |= evaluation_arrays(texts)
            else:
                prepared |= training_arrays(texts, rng)
        if rng is None and 'scene' in example:
            prepared['scene'] = example['scene']
        return prepared

    return prepare
