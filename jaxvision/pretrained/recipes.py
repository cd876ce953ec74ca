"""Preprocessing of published ImageNet networks: resize, crop and normalisation, by name."""

import dataclasses

from jaxvision.core.errors import unknown
from jaxvision.core.spec import Preprocessing


@dataclasses.dataclass(frozen=True)
class Recipe:
    """The preprocessing that goes with a file of pretrained weights.

    The shorter side of an image is resized to `size` / `crop`, then the central square is
    cut out. Without a crop the whole image is stretched into the square.

    Attributes:
        name: as `task.recipe` gives it.
        size: side of the square, pixels.
        crop: side of the square as a fraction of the resized shorter side; 0: no crop.
        interpolation: 'bilinear' or 'bicubic'.
        mean: of red, green and blue in [0, 1].
        std: of red, green and blue in [0, 1].
    """

    name: str
    size: int = 224
    crop: float = 0.875
    interpolation: str = 'bilinear'
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)

    def at(self, size: int) -> 'Recipe':
        """The same for squares of another side, pixels."""
        return dataclasses.replace(self, size=size)

    def preprocessing(self) -> Preprocessing:
        """The preprocessing that a run's spec holds."""
        return Preprocessing(
            size=(self.size, self.size),
            resize='shorter_side',
            shorter=self.shorter,
            interpolation=self.interpolation,
            mean=self.mean,
            std=self.std,
            recipe=self.name,
        )

    @property
    def shorter(self) -> int:
        """The shorter side before the crop, rounded down as timm does; 0: there is no crop."""
        return int(self.size / self.crop + 1e-6) if self.crop else 0


_HALF = dict(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))


def _torchvision() -> list[Recipe]:
    recipes = [
        # IMAGENET1K_V1, its first weights.
        Recipe('torchvision'),
        # IMAGENET1K_V2.
        Recipe('torchvision_v2', crop=224 / 232),
        # IMAGENET1K_SWAG_E2E_V1.
        Recipe('torchvision_swag', crop=1.0, interpolation='bicubic'),
        Recipe('torchvision_efficientnet_b1_v2', 240, 240 / 255),
        Recipe('torchvision_vit_l_16', crop=224 / 242),
        Recipe('torchvision_convnext_T', crop=224 / 236),
        Recipe('torchvision_convnext_S', crop=224 / 230),
        Recipe('torchvision_convnext_B', crop=224 / 232),
    ]
    # By the size that the tensors of a file tell.
    shorter_sides = {224: 256, 240: 256, 288: 288, 300: 320, 380: 384}
    for size, shorter in shorter_sides.items():
        name = f'torchvision_efficientnet_{size}'
        recipes.append(Recipe(name, crop=size / shorter, interpolation='bicubic'))
    return recipes


def _google() -> list[Recipe]:
    """Google's evaluation of EfficientNet, with 16 pixels beyond the crop on every side.

    Google resizes the images of the Lites without antialiasing, bilinear. These recipes are
    the nearest, as timm found.
    """
    recipes = []
    # The first is also timm's of B0 and MobileNetV2, and that of ConvNeXt's authors.
    for size in (224, 240, 260, 300, 380):
        name = f'efficientnet_{size}'
        recipes.append(Recipe(name, size, size / (size + 32), 'bicubic'))
    lites = {
        224: 'bicubic',
        240: 'bicubic',
        260: 'bicubic',
        280: 'bilinear',
        300: 'bilinear',
    }
    for size, interpolation in lites.items():
        name = f'efficientnet_lite_{size}'
        crop = size / (size + 32)
        recipes.append(Recipe(name, size, crop, interpolation, **_HALF))
    return recipes


def _timm() -> list[Recipe]:
    return [
        Recipe('timm', crop=0.95, interpolation='bicubic'),
        # timm's default weights of EfficientNet's B1 (ra4_e3600_r240_in1k), which alone have
        # this mean; then of its B2 to B4 and of ConvNeXt. timm's other weights of these
        # networks have other recipes, and no tensor tells which a file holds.
        Recipe('timm_efficientnet_b1', crop=1.0, interpolation='bicubic', **_HALF),
        Recipe('timm_full', crop=1.0, interpolation='bicubic'),
        Recipe('timm_vit', crop=0.9, interpolation='bicubic', **_HALF),
        Recipe('timm_vit_384', 384, 1.0, 'bicubic', **_HALF),
    ]


def _timm_tensorflow() -> list[Recipe]:
    """TensorFlow's EfficientNets in timm, with AdvProp and without, and the Lites."""
    recipes = []
    crops = {224: 0.875, 240: 0.882, 260: 0.89, 300: 0.904, 380: 0.922}
    for i, (size, crop) in enumerate(crops.items()):
        name = f'timm_tf_efficientnet_b{i}'
        recipes.append(Recipe(name, size, crop, 'bicubic'))
        recipes.append(Recipe(f'{name}_ap', size, crop, 'bicubic', **_HALF))
    lites = (
        (224, 0.875, 'bicubic'),
        (240, 0.882, 'bicubic'),
        (260, 0.89, 'bicubic'),
        (300, 0.904, 'bilinear'),
        (380, 0.92, 'bilinear'),
    )
    for i, (size, crop, interpolation) in enumerate(lites):
        name = f'timm_tf_efficientnet_lite{i}'
        recipes.append(Recipe(name, size, crop, interpolation, **_HALF))
    return recipes


def _others() -> list[Recipe]:
    return [
        Recipe('keras_tf', **_HALF),
        # BGR less these means, of [0, 255]. The converted first layer takes RGB.
        Recipe(
            'keras_caffe',
            mean=(123.68 / 255, 116.779 / 255, 103.939 / 255),
            std=(1 / 255,) * 3,
        ),
        Recipe('augreg', crop=0.0, **_HALF),
    ]


RECIPES = {
    recipe.name: recipe
    for recipe in (
        *_torchvision(),
        *_google(),
        *_timm(),
        *_timm_tensorflow(),
        *_others(),
    )
}


def named(name: str) -> Recipe:
    """Return the recipe of this name.

    Raises:
        UserError: There is no such recipe. The message lists those that there are.
    """
    if name not in RECIPES:
        raise unknown('there is no recipe', name, RECIPES)
    return RECIPES[name]
