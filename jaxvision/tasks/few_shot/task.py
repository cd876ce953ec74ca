"""Few-shot classification: classify images of new classes from a few labelled examples.

An example of this task is an episode of a few classes. It has some labelled images of each
class (the support set), and other images to classify (the query set).
"""

import dataclasses
import math

import jax
import numpy as np

from jaxvision.core import keys
from jaxvision.core.errors import UserError
from jaxvision.core.fields import Config, Field, Fields
from jaxvision.core.spec import ArraySpec, Preprocessing, Spec
from jaxvision.core.state import TrainState, create
from jaxvision.core.task import (
    Network,
    Shown,
    Task,
    metric_name,
)
from jaxvision.core.types import Batch, Example, Prepare, Records, Split, Tree
from jaxvision.data.episodes import Episodes, Form, divide
from jaxvision.data.protocol import Source, labels_of
from jaxvision.data.sources import open_source
from jaxvision.data.wrappers import Converted, in_memory_if_small
from jaxvision.tasks.few_shot import evaluation
from jaxvision.tasks.few_shot.comparison import Backbone
from jaxvision.tasks.few_shot.forms import (
    evaluated_forms,
    evaluation_name,
    largest_form,
)
from jaxvision.tasks.few_shot.methods import (
    COMPARING,
    WITHIN,
    make_scores,
    make_update,
)
from jaxvision.tasks.shared import class_labels, image_input
from jaxvision.train import optimizers, update

FIELDS: Fields = {
    'method': Field('protonet', 'Few-shot method.', choices=(*COMPARING, *WITHIN)),
    'layer': Field('pooled', 'Intermediate of the model that is used as features.'),
    'ways': Field(20, 'Classes per episode in training.', least=1),
    'shots': Field(1, 'Support images per class in training.', least=1),
    'queries': Field(5, 'Query images per class in training.', least=1),
    'evaluations': Field(
        '5x1,5x5,20x1',
        'WAYSxSHOTS of each evaluation; the first is the main one, and is exported.',
    ),
    'test_queries': Field(15, 'Query images per class in evaluation.', least=1),
    'test_episodes': Field(600, 'Episodes per evaluation.', least=1),
    'class_split_seed': Field(
        0,
        'Seed of the division into training and new classes, if all splits have the same '
        'classes.',
        least=0,
    ),
    'new_class_fraction': Field(
        0.4, 'Fraction of the classes that are new in this division.', above=0, below=1
    ),
    **image_input.FIELDS,
    'cosine_scale': Field(
        10.0,
        "Factor of the cosine similarities in the methods 'matching' and 'baseline'.",
        above=0,
    ),
    'inner_steps': Field(5, 'Gradient steps within an episode, in training.', least=1),
    'inner_lr': Field(0.1, 'Learning rate within an episode.', above=0),
    'test_steps': Field(
        10, 'Gradient steps within an episode, in evaluation and prediction.', least=1
    ),
    'augment': image_input.AUGMENT,
}

# Episodes of training: so many that few runs see one twice.
_EPISODES = 100_000


@dataclasses.dataclass(frozen=True, kw_only=True)
class Details:
    """The part of the spec that only this task has.

    Attributes:
        image_shape: (height, width, channels) of the images of an episode.
    """

    image_shape: tuple[int, ...]


def source(
    config: Config, source: Source, split: Split, preprocessing: Preprocessing | None
) -> Source:
    """Sample episodes from the images of a split.

    Episodes of the training split have training classes. Episodes of the other splits
    have new classes. To divide the classes it opens a second split of `config.data`:
    'test' if `split` is 'train', otherwise 'train'. If the two splits have a class in
    common, the fraction `task.new_class_fraction` of all classes becomes new. They are
    chosen at random by `task.class_split_seed`.

    Args:
        config: config of the run.
        source: the images.
        split: 'train', 'validation' or 'test'.
        preprocessing: preprocessing of the run; None before the run has begun, which chooses it.

    Returns:
        A source of episodes. The training split has 100,000, of training size. Other splits have
        `task.test_episodes` of the largest evaluation, the same for every seed of a run.

    Raises:
        UserError: Examples have no image or no label, an image has several labels, or there are
            too few classes or examples. Or the validation split has a class of training.
    """
    source.info.check_holds('image', 'label')
    if source.info.multi_label:
        raise UserError(
            f'data.source={config.data.source}: expected one label per image, but images '
            'of this dataset have several. Choose another dataset.'
        )
    options = config.task
    if split == 'train':
        train = source
        test = open_source(config.data, 'test')
    else:
        train = open_source(config.data, 'train')
        test = source
    known_classes, new_classes = divide(
        labels_of(train, 'few-shot learning'),
        labels_of(test, 'few-shot learning'),
        options.new_class_fraction,
        options.class_split_seed,
    )
    if split == 'validation':
        _check_validation(train, source)
    preprocessing = preprocessing or image_input.describe(config, source.info)[1]
    images = _resized(preprocessing, source)
    if split == 'train':
        form = Form(options.ways, options.shots, options.queries)
        return Episodes(images, known_classes, form, _EPISODES, config.seed)
    # The seed is 0 in every run, so that runs of several seeds have the same episodes.
    return Episodes(
        images, new_classes, largest_form(options), options.test_episodes, seed=0
    )


def _check_validation(train: Source, validation: Source) -> None:
    """Raise a UserError if a class of training is in the validation split."""
    shared = np.intersect1d(
        labels_of(train, 'few-shot learning'),
        labels_of(validation, 'few-shot learning'),
    )
    if len(shared):
        name = train.info.class_names[int(shared[0])]
        raise UserError(
            'data.validation: expected a split without classes of training, but it has the '
            f"class {name!r}. Set data.validation='none'."
        )


def _resized(preprocessing: Preprocessing, source: Source) -> Source:
    """Resize the images of a source to one size, and keep them in memory if they are small."""
    image = image_input.array_spec(preprocessing, source.info)
    if preprocessing.resize == 'none':
        return source
    resize = image_input.make_resize(preprocessing, image.shape[-1])

    def convert(example):
        return {**example, 'image': resize(example['image'])}

    resized = Converted(source, convert)
    return in_memory_if_small(resized, math.prod(image.shape))


def describe(config: Config, source: Source) -> Spec:
    """Describe the episodes of the main evaluation, the training classes and the images.

    The query images of up to 64 episodes are read to measure mean and std, unless
    pretrained weights define them.

    Args:
        config: config of the run.
        source: training episodes, from this module's `source`.

    Raises:
        UserError: `task.evaluations` or `task.inner_steps` is wrong, or the images do not fit the
            pretrained weights.
    """
    _check(config.task)
    image, preprocessing = image_input.describe(config, source.info)
    form = evaluated_forms(config.task)[0]
    queries = form.ways * form.queries
    spec = Spec(
        inputs={
            'support': ArraySpec((form.ways, form.shots, *image.shape)),
            'support_mask': ArraySpec((form.ways, form.shots)),
            'query': ArraySpec((queries, *image.shape)),
        },
        targets={
            'query_label': ArraySpec((queries,), 'int32'),
            'classes': ArraySpec((form.ways,), 'int32'),
        },
        class_names=tuple(source.info.class_names),
        preprocessing=preprocessing,
        details=Details(image_shape=image.shape),
    )

    def query_images(batch):
        return batch['query'][batch['present']].reshape(-1, *image.shape)

    return image_input.with_statistics(
        spec, config, source, None, query_images, most=64
    )


def make(config: Config, spec: Spec) -> Task:
    """Build the task of a few-shot classifier.

    `Task.network` is the backbone: images [B, H, W, C] to features [B, D].

    Raises:
        UserError: The model, the optimizer or a field of `config.task` is wrong. A method that
            adapts all weights and a model with batch norm raise it in `Task.init`.
    """
    _check(config.task)
    options = config.task
    backbone = Backbone.build(config, spec)
    tx, lr = optimizers.make(config, spec.examples)
    scores = make_scores(options, backbone, options.test_steps)

    def init(key: jax.Array, batch: Batch) -> TrainState:
        params, model_state = _init_model(options, backbone, spec, key)
        return create(
            key,
            {'model': params},
            {'model': tx},
            {'model': model_state},
            ema=config.optimizer.ema,
        )

    def predict(variables: Tree, inputs: Batch) -> Batch:
        logits, _ = scores(
            variables['params']['model'],
            variables['model_state']['model'],
            backbone.images(inputs),
            backbone.mask(inputs),
        )
        return {'logits': logits, 'probabilities': jax.nn.softmax(logits)}

    forms = evaluated_forms(options)
    main_evaluation = evaluation_name(forms[0])
    return Task(
        init=init,
        update=update.with_learning_rate(make_update(config, backbone, tx), lr),
        evaluations={
            evaluation_name(form): evaluation.make(predict, form) for form in forms
        },
        main_evaluation=main_evaluation,
        predict=predict,
        predictor='support',
        network=Network(normalize=backbone.normalize, apply=backbone.apply),
        best=metric_name(main_evaluation, 'accuracy'),
        prepare=make_prepare(spec),
        show=show,
    )


def _init_model(
    options: Config, backbone: Backbone, spec: Spec, key: jax.Array
) -> tuple[Tree, Tree]:
    """Initialise the parameters and the model state, with a head for the baseline."""
    params, model_state = backbone.init(key)
    if model_state and options.method in WITHIN:
        raise UserError(
            f'task.method={options.method}: expected a model without '
            f'{", ".join(model_state)}, because the method cannot adapt them to an episode. '
            'Choose a model without batch norm, such as model.name=strided.'
        )
    if options.method == 'baseline' and spec.class_names:
        width = backbone.width(params, model_state)
        params['head'] = jax.random.normal(
            keys.stream(key, 'head'), (len(spec.class_names), width), backbone.dtype
        )
    return params, model_state


def make_prepare(spec: Spec) -> Prepare:
    """Build the host function that resizes the images of a user.

    An example with 'image' gets it as uint8 [H, W, C] of the model's input size. Episodes, which
    have none, are returned unchanged.
    """
    channels = spec.details.image_shape[-1]
    resize = image_input.make_resize(spec.preprocessing, channels)

    def prepare(example, rng):
        if 'image' not in example:
            return example
        return {**example, 'image': resize(example['image'])}

    return prepare


def show(inputs: Example, outputs: Records) -> Shown:
    """Name the most likely of the classes in `inputs['class_names']`, which the user chose.

    Args:
        inputs: 'class_names' of the support set, and 'original', the image as uint8 [h, w, 3],
            if a picture is needed.
        outputs: 'probabilities' [N] of one query, in the order of 'class_names'.

    Returns:
        (answer, picture). The answer has 'class' and 'probability' of the most likely class,
        and 'top', a list of {'class', 'probability'} of the five most likely ones. The picture
        is 'original' with bars for 'top', or None without 'original'.
    """
    return class_labels.show(inputs['class_names'], False, inputs, outputs)


def _check(options: Config) -> None:
    images = options.shots + options.queries
    if options.method == 'reptile' and images < options.inner_steps:
        raise UserError(
            f'task.inner_steps={options.inner_steps}: expected at most task.shots + '
            f'task.queries = {images}, because reptile needs one image of each class in '
            'every step. Set fewer steps, or more shots or queries.'
        )
