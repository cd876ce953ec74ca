"""Maps of one image, computed for a run, a weights file or an exported model."""

import dataclasses
import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt8

from jaxvision.attribution import (
    cam,
    gradients,
    intermediates,
    rollout,
)
from jaxvision.attribution.types import (
    HostImage,
    HostScore,
    Images,
    Score,
    Scores,
)
from jaxvision.cli.explain import baselines, hiding
from jaxvision.cli.explain.methods import METHODS, Settings
from jaxvision.cli.explain.subjects import (
    Boxes,
    HostScores,
    Numbers,
    Subject,
    Target,
    Words,
)
from jaxvision.cli.predict.model import Model
from jaxvision.core import keys
from jaxvision.core.errors import UserError, not_a_choice
from jaxvision.core.types import Json, Records, Tree
from jaxvision.image import color

Map = Float[np.ndarray, 'h w']
Pixels = UInt8[np.ndarray, 'h w c']

_CAMS = {
    'grad_cam': cam.grad_cam,
    'grad_cam_plus_plus': cam.grad_cam_plus_plus,
    'hires_cam': cam.hires_cam,
}

# What explainers of one model with other variables share: compiled programs and their layers.
_SHARED = ('_scores', '_chances', '_layer_gradient', '_attention', '_predict')


@dataclasses.dataclass(frozen=True, kw_only=True)
class Explanation:
    """A map with what is known about it.

    Attributes:
        map: importance of each pixel, float32.
        facts: for the report, such as the layer, or the gap of integrated gradients.
    """

    map: Map
    facts: Json


@dataclasses.dataclass(frozen=True)
class Explainer:
    """A model whose predictions are explained.

    Attributes:
        model: the model.
        subject: its targets and scores.
        settings: arguments of the methods.
    """

    model: Model
    subject: Subject
    settings: Settings

    def check(self, method: str) -> None:
        """Check that the model has what a method needs, before any image is read.

        Raises:
            UserError: There is no such method, layer or baseline, or the model cannot be
                explained by the method.
        """
        if method not in METHODS:
            raise not_a_choice('--method', method, METHODS)
        baselines.check(self.settings.baseline)
        if METHODS[method].needs == 'score':
            return
        if self.model.variables is None:
            able = [name for name, each in METHODS.items() if each.needs == 'score']
            raise UserError(
                f'--method={method}: expected a run or --weights, because exported models '
                f'have no gradients. Choose one of {", ".join(able)}.'
            )
        if METHODS[method].needs == 'layer':
            self._check_layer()
        if METHODS[method].needs == 'attention' and not self._attention_names:
            raise UserError(
                f'--method={method}: expected a ViT, whose blocks have attention. Choose '
                'another method.'
            )

    def targets(self, pixels: Pixels, example: Records, number: int) -> list[Target]:
        """List the targets of an image.

        Args:
            pixels: the prepared image.
            example: its prepared example.
            number: of targets, at most.
        """
        (outputs,) = self.model.predict_each([example], 1)
        targets = self.subject.targets(example, outputs)[:number]
        if isinstance(self.subject, Boxes) and self.model.variables is not None:
            raw = self._raw(self.model.variables, {'image': pixels[None]})
            row = jax.tree.map(lambda array: np.asarray(array[0]), raw)
            targets = [self.subject.with_row(target, row) for target in targets]
        return targets

    def explain(
        self, method: str, pixels: Pixels, target: Target, number: int
    ) -> Explanation:
        """Explain the score of a target.

        Args:
            method: one of `METHODS`.
            pixels: the prepared image.
            target: one of `targets`.
            number: of the image, which selects its random numbers.

        Raises:
            UserError: The gradient of the score is zero everywhere.
        """
        needs = METHODS[method].needs
        if needs == 'gradient':
            return self._by_gradient(method, pixels, target, number)
        if needs == 'layer':
            return self._by_layer(method, pixels, target)
        if needs == 'attention':
            return self._by_attention(pixels)
        return self._by_score(method, pixels, target, number)

    def class_score(self, name: str) -> Score:
        """Make the score of a class as a function of images in [0, 1], on the device.

        Raises:
            UserError: The scores of the model belong to predictions.
        """
        numbers = self.subject.anywhere(name)
        # A compiled function of it serves all classes.
        return jax.tree_util.Partial(self._score, self.model.variables, numbers)

    def _score(self, variables: Tree, numbers: Numbers, images: Images) -> Scores:
        return self._scores(variables, images, numbers)

    def host_score(self, target: Target) -> HostScore:
        """Make the score of a target as a function of images on the host."""
        if isinstance(self.subject, Words):
            return self._by_network(self._scores, target)
        return self._by_prediction(self.subject.host_score, target)

    def probability(self, target: Target) -> HostScore:
        """Make a score in [0, 1] of a target as a function of images on the host."""
        if isinstance(self.subject, Words):
            return self._by_network(self._chances, target)
        return self._by_prediction(self.subject.probability, target)

    def _by_prediction(
        self, read: Callable[[Records, Numbers], HostScores], target: Target
    ) -> HostScore:
        """A score that predictions have."""

        def score(images: Float[np.ndarray, 'n h w c']) -> HostScores:
            outputs = self.model.predict({'image': _whole_numbers(images)})
            return np.asarray(read(outputs, target.numbers), np.float64)

        return score

    def _by_network(self, compute: Callable[..., Array], target: Target) -> HostScore:
        """A score that the outputs of the network have."""

        def score(images: Float[np.ndarray, 'n h w c']) -> HostScores:
            pixels = color.to_float(jnp.asarray(_whole_numbers(images)))
            values = compute(self.model.variables, pixels, target.numbers)
            return np.asarray(values, np.float64)

        return score

    def with_variables(self, variables: Tree) -> 'Explainer':
        """The same with other variables, such as random ones."""

        def predict(inputs: Records) -> Records:
            return jax.device_get(self._predict(variables, inputs))

        model = dataclasses.replace(self.model, variables=variables, predict=predict)
        other = dataclasses.replace(self, model=model)
        # The compiled programs take the variables as an argument.
        for name in _SHARED:
            other.__dict__[name] = getattr(self, name)
        return other

    def _by_gradient(
        self, method: str, pixels: Pixels, target: Target, number: int
    ) -> Explanation:
        images = _batch_of(pixels)

        def score(images: Float[Array, 'b h w c']) -> Float[Array, 'b']:
            return self._scores(self.model.variables, images, target.numbers)

        if method == 'gradient':
            values = gradients.gradient(score, images)
            return _made(np.abs(values[0]).max(axis=-1))
        if method == 'input_x_gradient':
            values = gradients.input_x_gradient(score, images)
            return _made(values[0].sum(axis=-1))
        if method == 'smooth_grad':
            key = keys.stream(jax.random.key(self.settings.seed), 'explain')
            image_keys = keys.per_example(key, jnp.array([number]))
            samples = self.settings.samples_of(method)
            values = gradients.smooth_grad(score, images, image_keys, samples=samples)
            return _made(np.abs(values[0]).max(axis=-1), samples=samples)
        return self._integrated(score, images, pixels)

    def _integrated(
        self,
        score: Callable[[Float[Array, 'b h w c']], Float[Array, 'b']],
        images: Float[Array, 'b h w c'],
        pixels: Pixels,
    ) -> Explanation:
        """Integrated gradients, averaged over the baselines."""
        blanks = self._baselines('integrated_gradients', pixels)
        results = [
            gradients.converged_integrated_gradients(
                score, images, jnp.asarray(blank)[None]
            )
            for blank in blanks.values()
        ]
        maps = [np.asarray(each.attribution[0]).sum(axis=-1) for each in results]
        return _made(
            np.mean(maps, axis=0),
            gap=max(float(each.gap[0]) for each in results),
            steps=max(int(each.steps[0]) for each in results),
            baselines=list(blanks),
        )

    def _by_layer(self, method: str, pixels: Pixels, target: Target) -> Explanation:
        images = _batch_of(pixels)
        layer, activations, slopes = self._reached(images, target)
        if isinstance(self.subject, Words):
            activations = self._without_places(activations, target.numbers, layer)
        maps = _CAMS[method](activations, slopes)
        upsampled = cam.upsample(maps, images.shape[1:3])
        return _made(upsampled[0], layer=layer, cells=list(maps.shape[1:]))

    def _reached(
        self, images: Array, target: Target
    ) -> tuple[str, Float[Array, 'b h w c'], Float[Array, 'b h w c']]:
        """The layer of the user, or the last one that reaches the score, and its gradient.

        Returns:
            (its name, its activations, the gradients of the score).
        """
        names = [self.settings.layer]
        if not self.settings.layer:
            names = self._default_layers
        for layer in names:
            found = self._layer_gradient(
                self.model.variables, images, target.numbers, layer
            )
            slopes = self._features(found.gradients, images)
            # A compiled call has NaN for a gradient that is zero everywhere.
            if bool(jnp.any(jnp.nan_to_num(slopes) != 0)):
                return layer, self._features(found.activations, images), slopes
        raise gradients.zero_gradient(' or '.join(names))

    def _without_places(
        self, activations: Array, numbers: Numbers, layer: str
    ) -> Array:
        """Set channels to 0 that are the same without an image: codes of the position."""
        shape = self.model.spec.inputs['image'].shape
        blank = jnp.zeros((1, *shape), jnp.float32)
        other = self._layer_gradient(self.model.variables, blank, numbers, layer)
        is_constant = jnp.all(activations == other.activations, axis=(0, 1, 2))
        return jnp.where(is_constant, 0, activations)

    def _by_attention(self, pixels: Pixels) -> Explanation:
        images = _batch_of(pixels)
        attentions = self._attention(self.model.variables, images)
        maps = rollout.rollout_maps(attentions, images.shape[1:3])
        upsampled = cam.upsample(maps, images.shape[1:3])
        return _made(upsampled[0], blocks=len(attentions))

    def _by_score(
        self, method: str, pixels: Pixels, target: Target, number: int
    ) -> Explanation:
        image = pixels.astype(np.float32) / 255
        blanks = self._baselines(method, pixels)
        score = self.host_score(target)
        maps = [
            hiding.map_of(method, score, image, blank, self.settings, number)
            for blank in blanks.values()
        ]
        facts = {'baselines': list(blanks)}
        if METHODS[method].samples:
            facts['samples'] = self.settings.samples_of(method)
        return _made(np.mean(maps, axis=0), **facts)

    def _baselines(self, method: str, pixels: Pixels) -> dict[str, HostImage]:
        names = self.settings.baseline or baselines.default(method)
        preprocessing = self.model.spec.preprocessing
        mean = preprocessing.mean if preprocessing else ()
        return baselines.make(names, pixels.astype(np.float32) / 255, mean)

    def _features(self, tensor: Array, images: Array) -> Float[Array, 'b h w c']:
        """A layer as feature maps, if it has tokens."""
        if tensor.ndim == 3:
            return cam.token_features(tensor, images.shape[1:3])
        return tensor

    def _network(self, variables: Tree, numbers: Numbers, images: Array):
        """Apply the network to images in [0, 1]."""
        network = self.model.task.network
        inputs = self.subject.inputs(numbers, len(images))
        return network.apply(variables, network.normalize(images), *inputs)

    @functools.cached_property
    def _scores(self):
        def scores(variables: Tree, images: Array, numbers: Numbers) -> Array:
            outputs, _ = self._network(variables, numbers, images)
            return self.subject.score(outputs, numbers)

        return jax.jit(scores)

    @functools.cached_property
    def _chances(self):
        """The probabilities of words."""

        def chances(variables: Tree, images: Array, numbers: Numbers) -> Array:
            outputs, _ = self._network(variables, numbers, images)
            return self.subject.chance(outputs, numbers)

        return jax.jit(chances)

    @functools.cached_property
    def _layer_gradient(self):
        def compute(
            variables: Tree, images: Array, numbers: Numbers, layer: str
        ) -> intermediates.LayerGradient:
            return intermediates.layer_gradient(
                functools.partial(self._network, variables, numbers),
                images,
                layer,
                lambda outputs: self.subject.score(outputs, numbers),
            )

        return jax.jit(compute, static_argnums=3)

    @functools.cached_property
    def _attention(self):
        def compute(variables: Tree, images: Array) -> list[Array]:
            _, inner = self._network(variables, {}, images)
            return [inner[name] for name in self._attention_names]

        return jax.jit(compute)

    @functools.cached_property
    def _raw(self):
        return jax.jit(self.model.task.raw_predict)

    @functools.cached_property
    def _predict(self):
        return jax.jit(self.model.task.predict)

    @functools.cached_property
    def _layers(self) -> list[str]:
        """The layers on the path to the outputs."""
        return intermediates.layers(*self._blank)

    @functools.cached_property
    def _default_layers(self) -> list[str]:
        """Layers for class activation maps, the best one first."""
        return intermediates.default_layers(*self._blank)

    @property
    def _blank(self):
        """The network, and one blank image."""
        shape = (1, *self.model.spec.inputs['image'].shape)
        numbers = {}
        if isinstance(self.subject, Words):
            (length,) = self.model.spec.targets['caption'].shape
            numbers = {'caption': np.zeros((1, length), np.int32)}
        network = functools.partial(self._network, self.model.variables, numbers)
        return network, jnp.zeros(shape)

    def _check_layer(self) -> None:
        layer = self.settings.layer
        if not layer:
            # An error, if there is none.
            assert self._default_layers
        elif layer not in self._layers:
            raise not_a_choice('--layer', layer, self._layers)

    @functools.cached_property
    def _attention_names(self) -> list[str]:
        if self.model.task.predictor != 'image':
            return []
        return [name for name in self._layers if name.startswith('attention')]


def _batch_of(pixels: Pixels) -> Float[Array, '1 h w c']:
    """A batch of one image in [0, 1]."""
    return color.to_float(jnp.asarray(pixels))[None]


def _whole_numbers(
    images: Float[np.ndarray, 'n h w c'],
) -> UInt8[np.ndarray, 'n h w c']:
    """Images in [0, 1] as a user's files are: exported models take whole numbers."""
    return np.rint(255 * images).astype(np.uint8)


def _made(map_: Array | np.ndarray, **facts: object) -> Explanation:
    return Explanation(map=np.asarray(map_, np.float32), facts=facts)
