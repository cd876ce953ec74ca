"""How the images of published ImageNet networks are resized, cropped and normalised."""

import dataclasses

from jaxvision.core.errors import unknown
from jaxvision.core.spec import Preprocessing


@dataclasses.dataclass(frozen=True)
class Recipe:
    """The shorter side is resized to `size` / `crop`, then the central square of `size` is cut
    out; of crop 0 the whole image is squashed into the square. Mean and deviation are of RGB in
    [0, 1]."""

    name: str
    size: int = 224
    crop: float = 0.875
    interpolation: str = 'bilinear'
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    deviation: tuple[float, float, float] = (0.229, 0.224, 0.225)

    def __str__(self) -> str:
        cut = f'shorter side to {self.shorter}, central' if self.crop else 'squashed to'

        def numbers(values):
            return ', '.join(f'{value:.3g}' for value in values)

        return (
            f'{self.name}: {cut} {self.size}x{self.size}, {self.interpolation}; mean '
            f'{numbers(self.mean)}, deviation {numbers(self.deviation)}'
        )

    def at(self, size: int) -> 'Recipe':
        return dataclasses.replace(self, size=size)

    def preprocessing(self) -> Preprocessing:
        """The preprocessing that a run's spec holds."""
        return Preprocessing(
            size=(self.size, self.size),
            resize='shorter_side',
            shorter=self.shorter,
            interpolation=self.interpolation,
            mean=self.mean,
            std=self.deviation,
            recipe=self.name,
        )

    @property
    def shorter(self) -> int:
        """The shorter side before the crop, rounded down as timm does; 0: there is no crop."""
        return int(self.size / self.crop + 1e-6) if self.crop else 0


_HALF = dict(mean=(0.5, 0.5, 0.5), deviation=(0.5, 0.5, 0.5))

RECIPES = {
    recipe.name: recipe
    for recipe in (
        Recipe('torchvision'),  # its first weights, IMAGENET1K_V1
        Recipe('torchvision_v2', crop=224 / 232),  # IMAGENET1K_V2
        Recipe('timm', crop=0.95, interpolation='bicubic'),
        Recipe(
            'torchvision_swag', crop=1.0, interpolation='bicubic'
        ),  # IMAGENET1K_SWAG_E2E_V1
        # As much of the image as there is beyond the crop, size by size.
        *(
            Recipe(
                f'torchvision_efficientnet_{size}',
                crop=size / shorter,
                interpolation='bicubic',
            )
            for size, shorter in (
                (224, 256),
                (240, 256),
                (288, 288),
                (300, 320),
                (380, 384),
            )
        ),
        Recipe('torchvision_efficientnet_b1_v2', 240, 240 / 255),
        Recipe('torchvision_vit_l_16', crop=224 / 242),
        *(
            Recipe(f'torchvision_convnext_{variant}', crop=224 / shorter)
            for variant, shorter in (('T', 236), ('S', 230), ('B', 232))
        ),
        # Google's evaluation: 16 pixels beyond the crop on every side. Of the Lites, whose images it
        # resizes without antialiasing, bilinear, this is the nearest, as timm found. The first is also
        # timm's of B0 and MobileNetV2, and that of ConvNeXt's authors.
        *(
            Recipe(f'efficientnet_{size}', size, size / (size + 32), 'bicubic')
            for size in (224, 240, 260, 300, 380)
        ),
        *(
            Recipe(f'efficientnet_lite_{size}', size, size / (size + 32), how, **_HALF)
            for size, how in (
                (224, 'bicubic'),
                (240, 'bicubic'),
                (260, 'bicubic'),
                (280, 'bilinear'),
                (300, 'bilinear'),
            )
        ),
        # timm's default weights of EfficientNet's B1 (ra4_e3600_r240_in1k), which alone have this
        # mean; then of its B2 to B4 and of ConvNeXt. timm's other weights of these networks have
        # other recipes, and no tensor tells which a file holds.
        Recipe('timm_efficientnet_b1', crop=1.0, interpolation='bicubic', **_HALF),
        Recipe('timm_full', crop=1.0, interpolation='bicubic'),
        # TensorFlow's, with AdvProp and without.
        *(
            Recipe(
                f'timm_tf_efficientnet_b{i}{end}',
                size,
                crop,
                'bicubic',
                **normalization,
            )
            for i, (size, crop) in enumerate(
                ((224, 0.875), (240, 0.882), (260, 0.89), (300, 0.904), (380, 0.922))
            )
            for end, normalization in (('', {}), ('_ap', _HALF))
        ),
        *(
            Recipe(f'timm_tf_efficientnet_lite{i}', size, crop, how, **_HALF)
            for i, (size, crop, how) in enumerate(
                (
                    (224, 0.875, 'bicubic'),
                    (240, 0.882, 'bicubic'),
                    (260, 0.89, 'bicubic'),
                    (300, 0.904, 'bilinear'),
                    (380, 0.92, 'bilinear'),
                )
            )
        ),
        Recipe('keras_tf', **_HALF),
        Recipe('timm_vit', crop=0.9, interpolation='bicubic', **_HALF),
        Recipe('timm_vit_384', 384, 1.0, 'bicubic', **_HALF),
        Recipe('augreg', crop=0.0, **_HALF),
        # 'caffe': BGR less these means, of [0, 255]; the order is in the converted first layer.
        Recipe(
            'keras_caffe',
            mean=(123.68 / 255, 116.779 / 255, 103.939 / 255),
            deviation=(1 / 255,) * 3,
        ),
    )
}


def named(name: str) -> Recipe:
    """Raises a UserError that lists the recipes, where there is none of this name."""
    if name not in RECIPES:
        raise unknown('there is no recipe', name, RECIPES)
    return RECIPES[name]
