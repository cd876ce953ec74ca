"""Preprocessing and options that the name of a published file tells, where its tensors do not."""

import re
from pathlib import Path
from typing import NamedTuple

from jaxvision.core.types import Values
from jaxvision.pretrained.families.inverted_residual import OPTIONS

# The Hugging Face Hub calls every file so; there the folders tell the weights.
_HUB_NAMES = ('model.safetensors', 'pytorch_model.bin')


class KnownFile(NamedTuple):
    """A published file that is recognised by its name.

    Attributes:
        pattern: regular expression of the name, or of its beginning.
        recipe: name of the preprocessing in recipes.py.
        options: of our model, beside those that the tensors tell.
        image_size: side of the images, pixels; 0: as the tensors tell, or the recipe.
    """

    pattern: str
    recipe: str
    options: Values = {}
    image_size: int = 0


def _timm_tf_efficientnets() -> list[KnownFile]:
    """TensorFlow's own weights, whose tensors timm calls as those that it trained itself."""
    options = OPTIONS['tensorflow']({})
    files = []
    for i, size in enumerate((224, 240, 260, 300, 380)):
        net = f'tf_efficientnet_b{i}'
        lite = f'tf_efficientnet_lite{i}'
        files += [
            # With AdvProp; before the pattern that fits these names as well.
            KnownFile(f'{net}[._]ap', f'timm_{net}_ap', options, size),
            KnownFile(net, f'timm_{net}', options, size),
            KnownFile(lite, f'timm_{lite}', options, size),
        ]
    return files


# torchvision's names end with the beginning of a hash; timm's with the training, '.a1_in1k'.
KNOWN = (
    KnownFile(
        '(?:resnet(?:50-11ad3fa6|101-cd907fc2|152-f82ba261)|mobilenet_v2-7ebf99e0)',
        'torchvision_v2',
    ),
    KnownFile('efficientnet_b1-c27df63c', 'torchvision_efficientnet_b1_v2'),
    KnownFile('vit_l_16-852ce7e3', 'torchvision_vit_l_16'),
    KnownFile(r'vit_[bl]_\d+_(?:lc_)?swag', 'torchvision_swag'),
    KnownFile(r'resnet\d+[._]tv2_in1k', 'torchvision_v2'),
    KnownFile(r'resnet\d+[._](?:a[12]|b[12]k|c[12]|d)_(?:in1k|0)', 'timm'),
    *_timm_tf_efficientnets(),
)


def find(path: Path) -> KnownFile | None:
    """Find what is known of a file by its name, or by its folders on the Hugging Face Hub."""
    name = str(path.absolute()) if path.name in _HUB_NAMES else path.name
    for known in KNOWN:
        if re.search(f'(?<![a-z0-9]){known.pattern}', name):
            return known
    return None
