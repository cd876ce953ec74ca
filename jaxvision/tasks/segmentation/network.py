"""A segmentation network with its preprocessing, its loss and its predictions."""

import dataclasses
import functools
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from jaxvision.core.errors import UserError
from jaxvision.core.fields import Field, Fields
from jaxvision.core.state import TrainState
from jaxvision.core.types import Batch, Tree
from jaxvision.image import color
from jaxvision.image.types import Size
from jaxvision.losses import segmentation as losses
from jaxvision.models.segmenters import maps
from jaxvision.models.types import Images, Predictions
from jaxvision.tasks.segmentation import augmentation
from jaxvision.tasks.shared.image_network import Forward, ImageNetwork
from jaxvision.train import update

Logits = Float[Array, 'b h w k']

FIELDS: Fields = {
    'cross_entropy': Field(1.0, 'Weight of the cross-entropy of pixels.', least=0),
    'focal': Field(0.0, 'Weight of the focal loss of pixels, gamma 2.', least=0),
    'dice': Field(1.0, 'Weight of the Dice loss of images.', least=0),
    'tversky': Field(
        0.0, 'Weight of the Tversky loss, 0.3 for false positives.', least=0
    ),
    'lovasz': Field(0.0, 'Weight of the Lovasz-softmax loss.', least=0),
    'boundary': Field(
        0.0, 'Weight of the boundary loss, beside a loss of regions.', least=0
    ),
    'class_weights': Field(
        '',
        'Factors of the classes in the cross-entropy and in the focal loss, with commas '
        'between them; empty: 1.',
    ),
    'auxiliary': Field(
        0.4, "Weight of the cross-entropy of a model's auxiliary logits.", least=0
    ),
    'objects': Field(
        1.0, 'Weight of the losses of centres and borders of objects.', least=0
    ),
}

# `(logits [H, W, K], labels [H, W]) -> (value, weight)` of an image.
LOSSES: dict[str, Callable[..., losses.Loss]] = {
    'cross_entropy': losses.cross_entropy,
    'focal': losses.focal,
    'dice': losses.dice,
    'tversky': losses.tversky,
    'lovasz': losses.lovasz,
}
# All losses that teach the classes.
CLASS_LOSSES = (*LOSSES, 'boundary')

# The maps of objects, and how often a pixel counts where the target is 1. Borders are rare.
OBJECT_MAPS = {'center': 1.0, 'border': 10.0}
# All maps of an example that the losses compare with.
MAPS = ('semantic', 'distances', *OBJECT_MAPS)

# {name: (values [B], weights [B])}
Terms = dict[str, losses.Loss]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Segmenter(ImageNetwork):
    """A segmentation network with its preprocessing.

    If the run has objects, the last two of the model's logits are those of centre and
    border.
    """

    @property
    def class_weights(self) -> Float[Array, 'k'] | None:
        """The factors of the classes in the losses of pixels; None: 1."""
        text = self.options.loss.class_weights
        if not text:
            return None
        return jnp.array(parse_weights(text, len(self.spec.class_names)))

    @property
    def has_objects(self) -> bool:
        """Whether the network predicts centres and borders of objects."""
        return 'center' in self.spec.targets

    def loss(
        self, params: Tree, state: TrainState, batch: Batch, key: jax.Array
    ) -> update.TermsAndAux:
        """The loss of training, as `update.from_loss` takes it: `terms` of changed images."""
        images, targets = self._augmented(batch, key)
        forward = functools.partial(self.train, params, state, images, batch, key)
        terms, model_state = self.terms(forward, images.shape[1:3], targets, key)
        return terms, {'model_state': model_state}

    def terms(
        self, forward: Forward, size: Size, batch: Batch, key: PRNGKeyArray
    ) -> tuple[update.Terms, Tree]:
        """The losses of pixels and images.

        Each loss of `task.loss` with a weight above 0 is a term, times its weight. With
        objects, 'center' and 'border' are sigmoid cross-entropies. A term whose map the
        batch lacks is left out: evaluation prepares label maps alone. Nothing is random.
        """
        del key
        targets = {name: batch[name] for name in MAPS if name in batch}
        outputs, model_state = forward()
        outputs = at_size(outputs, size)
        terms = self._class_terms(outputs, targets)
        if 'center' in targets:
            terms |= self._object_terms(outputs['logits'], targets)
        weighted = {}
        for name, (values, weights) in terms.items():
            option = 'objects' if name in OBJECT_MAPS else name
            factor = self.options.loss[option]
            if factor:
                weighted[name] = (factor * values, weights)
        return weighted, model_state

    def _class_terms(self, outputs: Predictions, targets: Batch) -> Terms:
        """The losses of the classes by name, of which the config has weights."""
        chosen = {
            name: loss for name, loss in LOSSES.items() if self.options.loss[name]
        }
        number = len(self.spec.class_names)
        logits = outputs['logits'][..., :number]
        labels = targets['semantic']
        terms = {}
        for name, loss in chosen.items():
            if name in ('cross_entropy', 'focal'):
                loss = functools.partial(loss, class_weights=self.class_weights)
            terms[name] = jax.vmap(loss)(logits, labels)
        if 'distances' in targets:
            terms['boundary'] = jax.vmap(losses.boundary)(
                logits, labels, targets['distances']
            )
        if 'auxiliary' in outputs:
            terms['auxiliary'] = jax.vmap(losses.cross_entropy)(
                outputs['auxiliary'][..., :number], labels
            )
        return terms

    def _object_terms(self, logits: Logits, targets: Batch) -> Terms:
        """The losses of centres and borders."""
        number = len(self.spec.class_names)
        terms = {}
        for place, (name, factor) in enumerate(OBJECT_MAPS.items(), start=number):
            target = targets[name].astype(jnp.float32) / 255
            loss = functools.partial(losses.binary_cross_entropy, factor=factor)
            terms[name] = jax.vmap(loss)(
                logits[..., place], target, targets['semantic']
            )
        return terms

    def _augmented(self, batch: Batch, key: PRNGKeyArray) -> tuple[Images, Batch]:
        """Change images and their maps at random, and normalise the images."""
        targets = {name: batch[name] for name in MAPS if name in batch}
        images, targets = augmentation.apply(
            self.options.augment,
            key,
            batch['index'],
            color.to_float(batch['image'], self.dtype),
            targets,
        )
        return self.normalize(images), targets

    def predict(self, variables: Tree, inputs: Batch) -> Batch:
        """Predict the class of each pixel of `inputs['image']`, [B, H, W, C] in [0, 255].

        The result has 'probabilities' [B, H, W, K]. With objects it also has 'center'
        and 'border' [B, H, W] in [0, 1].
        """
        outputs = at_size(self.outputs(variables, inputs), inputs['image'].shape[1:3])
        logits = outputs['logits'].astype(jnp.float32)
        number = len(self.spec.class_names)
        predictions = {'probabilities': jax.nn.softmax(logits[..., :number])}
        if self.has_objects:
            predictions['center'] = jax.nn.sigmoid(logits[..., number])
            predictions['border'] = jax.nn.sigmoid(logits[..., number + 1])
        return predictions


def at_size(outputs: Predictions, size: Size) -> Predictions:
    """Resize logits [B, h, w, K] by name bilinearly to a (height, width) in pixels."""
    return {name: maps.resized(logits, size) for name, logits in outputs.items()}


def parse_weights(text: str, number: int) -> list[float]:
    """Read `task.loss.class_weights`, a factor for each of `number` classes.

    Raises:
        UserError: There is another number of factors, or one is no number of at least 0,
            or all are 0.
    """
    try:
        weights = [float(part) for part in text.split(',')]
    except ValueError:
        weights = []
    are_factors = all(0 <= weight < math.inf for weight in weights) and any(weights)
    if len(weights) != number or not are_factors:
        raise UserError(
            f'task.loss.class_weights={text!r}: expected {number} numbers of at least 0, '
            'not all 0, with commas between them. Give one for each class, or leave it '
            'empty.'
        )
    return weights
