"""Preprocessing of published ImageNet networks by name: resize, crop and normalisation."""

import dataclasses

from jaxvision.core.errors import unknown
from jaxvision.core.spec import Preprocessing, ResizeRule


@dataclasses.dataclass(frozen=True)
class Recipe:
    """The preprocessing for a file of pretrained weights.

    The shorter side of an image is resized to `size` / `crop`, then the central square is
    cropped. Without a crop, the whole image is stretched into the square.

    Attributes:
        name: the name for `task.recipe`.
        size: side of the square in pixels.
        crop: side of the square as a fraction of the resized shorter side; 0: no crop.
        interpolation: 'bilinear' or 'bicubic'.
        mean: mean of red, green and blue in [0, 1].
        std: std of red, green and blue in [0, 1].
        resize: 'shorter_side' for the crop or the stretch above, or another rule of
            `Preprocessing`.
    """

    name: str
    size: int = 224
    crop: float = 0.875
    interpolation: str = 'bilinear'
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    resize: ResizeRule = 'shorter_side'

    def at(self, size: int) -> 'Recipe':
        """Copy the recipe for squares of another side in pixels. `crop` stays."""
        return dataclasses.replace(self, size=size)

    def preprocessing(self) -> Preprocessing:
        """Convert the recipe to the preprocessing of a spec."""
        return Preprocessing(
            size=(self.size, self.size),
            resize=self.resize,
            shorter=self.shorter,
            interpolation=self.interpolation,
            mean=self.mean,
            std=self.std,
            recipe=self.name,
        )

    @property
    def shorter(self) -> int:
        """The shorter side before the crop in pixels, rounded down as in timm; 0: no crop."""
        if not self.crop:
            return 0
        return int(self.size / self.crop + 1e-6)


@dataclasses.dataclass(frozen=True)
class BoundedRecipe(Recipe):
    """The preprocessing of a detector or a segmenter whose canvas depends on the image.

    The shorter side of an image is resized to `size`, or to less, so that the longer
    one has at most `longest` pixels. `crop` and `interpolation` are not used.

    Attributes:
        longest: most pixels of the longer side.
        resize: 'bounded', or 'unpadded' with antialiasing, see `Preprocessing`.
    """

    longest: int = 1333
    resize: ResizeRule = 'bounded'

    def at(self, size: int) -> 'BoundedRecipe':
        """Copy the recipe for another shorter side, and scale `longest` with it."""
        longest = round(self.longest * size / self.size)
        return dataclasses.replace(self, size=size, longest=longest)

    def preprocessing(self) -> Preprocessing:
        """Convert the recipe to the preprocessing of a spec."""
        return Preprocessing(
            size=(self.size, self.longest),
            resize=self.resize,
            mean=self.mean,
            std=self.std,
            recipe=self.name,
        )


_HALF = dict(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))


def _torchvision() -> list[Recipe]:
    """List the evaluations of torchvision's weights."""
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
    # EfficientNets, by the image size that the tensors reveal.
    shorter_sides = {224: 256, 240: 256, 288: 288, 300: 320, 380: 384}
    for size, shorter in shorter_sides.items():
        name = f'torchvision_efficientnet_{size}'
        recipes.append(Recipe(name, crop=size / shorter, interpolation='bicubic'))
    recipes.append(BoundedRecipe('torchvision_detection', size=800, longest=1333))
    # torchvision does not bound the longer side.
    recipes.append(
        BoundedRecipe(
            'torchvision_segmentation', size=520, longest=8320, resize='unpadded'
        )
    )
    return recipes


def _google() -> list[Recipe]:
    """List Google's evaluations of EfficientNet, with 16 pixels around the crop.

    Google resizes the images of the Lites bilinearly without antialiasing. These recipes are the
    nearest ones, according to timm.
    """
    recipes = []
    # timm uses the first one for B0 and MobileNetV2, and the authors of ConvNeXt use it too.
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
    """List the evaluations of timm's default weights."""
    return [
        Recipe('timm', crop=0.95, interpolation='bicubic'),
        # EfficientNet B1 (ra4_e3600_r240_in1k), then B2 to B4 and ConvNeXt. Other weights of
        # timm for these networks have other recipes, which tensors do not reveal.
        Recipe('timm_efficientnet_b1', crop=1.0, interpolation='bicubic', **_HALF),
        Recipe('timm_full', crop=1.0, interpolation='bicubic'),
        Recipe('timm_vit', crop=0.9, interpolation='bicubic', **_HALF),
        Recipe('timm_vit_384', 384, 1.0, 'bicubic', **_HALF),
    ]


def _timm_tensorflow() -> list[Recipe]:
    """List TensorFlow's EfficientNets in timm, with and without AdvProp, and the Lites."""
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


def _yolox() -> list[Recipe]:
    """List the evaluations of YOLOX, on images in [0, 255]."""
    return [
        Recipe(
            f'yolox_{size}',
            size,
            crop=0.0,
            interpolation='',
            mean=(0.0, 0.0, 0.0),
            std=(1 / 255, 1 / 255, 1 / 255),
            resize='top_left',
        )
        for size in (416, 640)
    ]


def _others() -> list[Recipe]:
    """List the evaluations of Keras applications, AugReg, RT-DETR and SegFormer."""
    return [
        Recipe('keras_tf', **_HALF),
        # Keras subtracts these means from BGR in [0, 255]. The converted layer takes RGB.
        Recipe(
            'keras_caffe',
            mean=(123.68 / 255, 116.779 / 255, 103.939 / 255),
            std=(1 / 255,) * 3,
        ),
        Recipe('augreg', crop=0.0, **_HALF),
        # Images in [0, 1].
        Recipe('rt_detr', 640, crop=0.0, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0)),
        # The backbone of SegFormer as a classifier, and SegFormer itself.
        Recipe('mit', interpolation='bicubic'),
        Recipe('segformer', 512, crop=0.0),
    ]


RECIPES = {
    recipe.name: recipe
    for recipe in (
        *_torchvision(),
        *_google(),
        *_timm(),
        *_timm_tensorflow(),
        *_yolox(),
        *_others(),
    )
}


def named(name: str) -> Recipe:
    """Look up a recipe by name.

    Raises:
        UserError: There is no such recipe. The message lists all names.
    """
    if name not in RECIPES:
        raise unknown('there is no recipe', name, RECIPES)
    return RECIPES[name]
