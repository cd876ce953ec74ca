"""The recipes that names of files tell, against torchvision's and timm's own tables."""

from pathlib import Path

import pytest

from jaxvision.pretrained import known_files
from jaxvision.pretrained.recipes import RECIPES

IMAGENET, HALF = (0.485, 0.456, 0.406), (0.5, 0.5, 0.5)


# file: the shorter side, the crop, interpolation and mean of torchvision 0.29's `transforms` and
# timm 1.0.31's `default_cfgs`, whose crop_pct c of a size s is a shorter side of floor(s / c)
@pytest.mark.parametrize(
    'file, shorter, size, interpolation, mean, padding',
    [
        ('resnet50-11ad3fa6.pth', 232, 224, 'bilinear', IMAGENET, ''),
        ('mobilenet_v2-7ebf99e0.pth', 232, 224, 'bilinear', IMAGENET, ''),
        ('efficientnet_b1-c27df63c.pth', 255, 240, 'bilinear', IMAGENET, ''),
        ('vit_l_16-852ce7e3.pth', 242, 224, 'bilinear', IMAGENET, ''),
        ('vit_b_16_lc_swag-4e70ced5.pth', 224, 224, 'bicubic', IMAGENET, ''),
        (
            'models--timm--resnet50.a1_in1k/snapshots/767268603ca0cb0bfe326fa87277f19c419566ef/'
            'model.safetensors',
            235,
            224,
            'bicubic',
            IMAGENET,
            '',
        ),
        (
            'tf_efficientnet_b0.ns_jft_in1k.safetensors',
            256,
            224,
            'bicubic',
            IMAGENET,
            'same',
        ),
        ('tf_efficientnet_b1_aa-ea7a6ee0.pth', 272, 240, 'bicubic', IMAGENET, 'same'),
        ('tf_efficientnet_b4.ap_in1k.safetensors', 412, 380, 'bicubic', HALF, 'same'),
        (
            'timm/tf_efficientnet_lite0.in1k/model.safetensors',
            256,
            224,
            'bicubic',
            HALF,
            'same',
        ),
        ('tf_efficientnet_lite2-dcccb7df.pth', 292, 260, 'bicubic', HALF, 'same'),
        ('tf_efficientnet_lite4.in1k.safetensors', 413, 380, 'bilinear', HALF, 'same'),
    ],
)
def test_a_files_name_tells_its_recipe(
    file, shorter, size, interpolation, mean, padding
):
    known = known_files.find(Path(file))
    recipe = RECIPES[known.recipe]
    assert (recipe.shorter, recipe.size, recipe.interpolation, recipe.mean) == (
        shorter,
        size,
        interpolation,
        mean,
    )
    assert known.options.get('padding', '') == padding and known.image_size in (0, size)


@pytest.mark.parametrize(
    'file',
    [
        'resnet50-0676ba61.pth',
        'resnet50.pth',
        'seresnet50.a1_in1k.safetensors',
        'model.safetensors',
        'tf_efficientnet_b0/efficientnet_b0.ra_in1k.safetensors',
    ],
)
def test_other_names_tell_nothing(file):
    assert known_files.find(Path('/weights', file)) is None
