"""Recognise published files by name if their tensors do not reveal the preprocessing."""

import re
from pathlib import Path
from typing import NamedTuple

from jaxvision.core.types import Values
from jaxvision.pretrained.families.inverted_residual import OPTIONS

# Names of all files on the Hugging Face Hub, where the folder identifies the weights.
_HUB_NAMES = ('model.safetensors', 'pytorch_model.bin')


class KnownFile(NamedTuple):
    """A published file that is recognised by its name.

    Attributes:
        pattern: regular expression of a part of the name, before which there is no
            small letter or digit.
        recipe: name of the preprocessing in recipes.py.
        options: options of our model, added to those that the tensors reveal.
        image_size: side of the images in pixels; 0: given by the tensors or the recipe.
    """

    pattern: str
    recipe: str
    options: Values = {}
    image_size: int = 0


def _timm_tf_efficientnets() -> list[KnownFile]:
    """List EfficientNets of TensorFlow in timm, with the same tensor names as timm's weights."""
    options = OPTIONS['tensorflow']({})
    files = []
    for i, size in enumerate((224, 240, 260, 300, 380)):
        net = f'tf_efficientnet_b{i}'
        lite = f'tf_efficientnet_lite{i}'
        files += [
            # AdvProp, before the next pattern, which also matches these names.
            KnownFile(f'{net}[._]ap', f'timm_{net}_ap', options, size),
            KnownFile(net, f'timm_{net}', options, size),
            KnownFile(lite, f'timm_{lite}', options, size),
        ]
    return files


# Names of torchvision end with a hash, and names of timm with the training, such as '.a1_in1k'.
KNOWN = (
    KnownFile(
        '(?:resnet(?:50-11ad3fa6|101-cd907fc2|152-f82ba261)|mobilenet_v2-7ebf99e0)',
        'torchvision_v2',
    ),
    KnownFile('efficientnet_b1-c27df63c', 'torchvision_efficientnet_b1_v2'),
    KnownFile('vit_l_16-852ce7e3', 'torchvision_vit_l_16'),
    KnownFile(r'vit_[bl]_\d+_(?:lc_)?swag', 'torchvision_swag'),
    KnownFile(r'resnet\d+[._]tv2_in1k', 'torchvision_v2'),
    # The other sizes of SegFormer on the hub are 512.
    KnownFile('segformer-b5-finetuned-ade-640-640', 'segformer', image_size=640),
    KnownFile(
        r'segformer-b\d-finetuned-cityscapes-1024-1024', 'segformer', image_size=1024
    ),
    KnownFile(r'resnet\d+[._](?:a[12]|b[12]k|c[12]|d)_(?:in1k|0)', 'timm'),
    *_timm_tf_efficientnets(),
)


def find(path: Path) -> KnownFile | None:
    """Look up a file by its name, without opening it; None if it is not known.

    A file called model.safetensors or pytorch_model.bin, as on the Hugging Face Hub, is
    looked up by its whole path.
    """
    name = str(path.absolute()) if path.name in _HUB_NAMES else path.name
    for known in KNOWN:
        if re.search(f'(?<![a-z0-9]){known.pattern}', name):
            return known
    return None
