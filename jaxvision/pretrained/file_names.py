"""What the name of a published file tells of its weights, where its tensors do not."""

import re
from pathlib import Path
from typing import NamedTuple

from jaxvision.pretrained.families.inverted_residual import OPTIONS

_ANY = (
    'model.safetensors',
    'pytorch_model.bin',
)  # as the Hugging Face Hub calls all of them


class Known(NamedTuple):
    name: str  # a pattern
    recipe: str  # of recipes.py
    options: dict = {}  # of our model
    image_size: int = 0  # 0: as its tensors tell, or the recipe's


_TENSORFLOW = OPTIONS['tensorflow']({})

# torchvision's names end with the beginning of a hash; timm's with the training, '.a1_in1k'.
KNOWN = (
    Known(
        '(?:resnet(?:50-11ad3fa6|101-cd907fc2|152-f82ba261)|mobilenet_v2-7ebf99e0)',
        'torchvision_v2',
    ),
    Known('efficientnet_b1-c27df63c', 'torchvision_efficientnet_b1_v2'),
    Known('vit_l_16-852ce7e3', 'torchvision_vit_l_16'),
    Known(r'vit_[bl]_\d+_(?:lc_)?swag', 'torchvision_swag'),
    Known(r'resnet\d+[._]tv2_in1k', 'torchvision_v2'),
    Known(r'resnet\d+[._](?:a[12]|b[12]k|c[12]|d)_(?:in1k|0)', 'timm'),
    # These are TensorFlow's own weights, but called as timm's.
    *(
        Known(
            f'tf_efficientnet_b{i}{end}',
            f'timm_tf_efficientnet_b{i}{ap}',
            _TENSORFLOW,
            size,
        )
        for i, size in enumerate((224, 240, 260, 300, 380))
        for end, ap in (('[._]ap', '_ap'), ('', ''))
    ),
    *(
        Known(
            f'tf_efficientnet_lite{i}',
            f'timm_tf_efficientnet_lite{i}',
            _TENSORFLOW,
            size,
        )
        for i, size in enumerate((224, 240, 260, 300, 380))
    ),
)


def find(path: Path) -> Known | None:
    """Of the file's name, or where that is any file's of its folders'."""
    text = str(path.absolute()) if path.name in _ANY else path.name
    return next(
        (known for known in KNOWN if re.search(f'(?<![a-z0-9]){known.name}', text)),
        None,
    )
