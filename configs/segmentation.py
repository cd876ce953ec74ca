"""Segmentation: the class of each pixel, and objects.

jaxvision train --config segmentation
    generated scenes of one to three digits, 64x64 pixels, 11 classes: mIoU 0.892,
    Dice 0.937 on 1,000 held-out scenes, 9,000 steps, 9 min on 2 cores

jaxvision train --config segmentation:masks:FOLDER
    photographs, by a U-Net on ImageNet weights of EfficientNet-Lite0, which stay frozen.
    Needs the extra `pretrained`

jaxvision train --config segmentation:masks:FOLDER,cells
    objects that touch each other, such as cells under a microscope. Nuclei (DSB2018): Dice
    0.916, AP 0.526, AP50 0.754 on its 132 test images, 38 epochs, 28 min 37 s on 2
    shared cores

jaxvision train --config segmentation:masks:FOLDER,deeplab
        --config.train.init_from=deeplabv3_resnet50_coco-cd0a2569.pth
    torchvision's DeepLabv3, or SegFormer with `segformer`, from published weights. Not measured.

jaxvision train --config segmentation:digit_scenes/128,mask_rcnn
    Mask R-CNN on scenes of up to five digits, 128x128 pixels: mask AP 0.808, box AP 0.850,
    7,000 steps, 16 min 11 s on 2 shared cores

jaxvision train --config segmentation:coco:FOLDER,mask_rcnn
        --config.train.init_from=maskrcnn_resnet50_fpn_coco-bf2d0c1e.pth
    torchvision's Mask R-CNN from its weights of COCO. Not measured.
"""

from jaxvision.core import config as configs
from jaxvision.core.errors import unknown

# Initialised at random, or left out of the ImageNet weights.
_NEW_PARTS = (
    'model/backbone/head',
    *(f'model/up{stride}' for stride in (2, 4, 8, 16)),
    *(f'model/up{stride}_reduction' for stride in (2, 4, 8, 16)),
    'model/head',
)


def get_config(argument='digit_scenes/64'):
    source, _, recipe = argument.partition(',')
    if recipe and recipe not in _RECIPES:
        raise unknown('there is no recipe', recipe, _RECIPES)
    if recipe == 'mask_rcnn':
        return _mask_rcnn(source)
    config = configs.default('segmentation')
    config.data.source = source
    config.model.name = 'segmentation_unet'
    config.optimizer.schedule = 'cosine'
    config.optimizer.ema = 0.998
    config.optimizer.clip = 10.0
    config.optimizer.lr = 3e-3
    config.optimizer.weight_decay = 0.05
    if source.startswith('digit_scenes'):
        _digit_scenes(config)
    else:
        _photographs(config)
    if recipe:
        _RECIPES[recipe](config)
    return config


def _digit_scenes(config):
    config.data.image_size = 128
    config.data.batch_size = 16
    config.model.variant = 'cnn:16x1-32x1-64-128'
    config.model.options = {'finest': 2}
    config.optimizer.warmup = '3000 examples'
    config.train.steps = '9000'
    config.train.eval_every = '4500'
    config.train.checkpoint_every = '4500'


def _photographs(config):
    config.data.image_size = 320
    config.data.batch_size = 8
    config.model.variant = 'efficientnet:Lite0'
    # The published weights come from TensorFlow.
    backbone = {'padding': 'same', 'epsilon': 1e-3, 'drop_path': 0.0}
    config.model.options = {'finest': 2, 'backbone': backbone}
    config.train.init_from = 'efficientnet_lite0:model->model/backbone'
    config.train.init_new = ','.join(_NEW_PARTS)
    # Training the backbone too costs several times as much on a CPU: --config.train.frozen=
    config.train.frozen = 'model/backbone'
    config.task.backbone_rate = 0.1
    config.task.augment.flip = True
    config.task.augment.scale = 0.5
    config.task.augment.color = 0.2
    config.optimizer.lr = 2e-3
    _epochs(config, 100)


def _epochs(config, number):
    config.optimizer.warmup = '2 epochs'
    config.train.steps = f'{number} epochs'
    config.train.eval_every = f'{number // 4} epochs'
    config.train.checkpoint_every = f'{number // 4} epochs'


def _cells(config):
    """Objects that touch each other and have no upright direction, as under a microscope."""
    config.task.objects = True
    config.task.contrast = True
    # Small objects are seen enlarged, and a step sees a part of the image.
    config.data.image_size = 512
    config.task.augment.part = 256
    config.model.variant = 'cnn:16x1-32x1-64x1-96x1-128'
    config.model.options = {'finest': 2}
    config.train.init_from = ''
    config.train.init_new = ''
    config.train.frozen = ''
    config.task.backbone_rate = 1.0
    config.task.augment.flip = False
    config.task.augment.turn = True
    config.task.augment.scale = 0.5
    config.task.augment.rotate = 45.0
    config.task.augment.color = 0.3
    config.optimizer.lr = 3e-3
    _epochs(config, 38)
    # An evaluation separates the objects of all test images, which takes 20 s on 2 cores.
    config.train.eval_every = '19 epochs'


def _deeplab(config):
    _published(config, 'deeplab', 'resnet50')


def _segformer(config):
    _published(config, 'segformer', 'b0')


def _published(config, name, variant):
    """Fine-tune published weights, whose file is given as train.init_from."""
    config.model.name = name
    config.model.variant = variant
    config.model.options = {}
    config.data.image_size = 512
    config.data.batch_size = 4
    config.train.init_from = ''
    config.train.init_new = ''
    config.train.frozen = ''
    config.optimizer.lr = 1e-4


def _mask_rcnn(source):
    """Mask R-CNN, which is a detector with masks."""
    config = configs.default('detection')
    config.data.source = source
    config.model.name = 'mask_rcnn'
    config.optimizer.schedule = 'cosine'
    config.optimizer.ema = 0.998
    config.optimizer.clip = 10.0
    config.optimizer.weight_decay = 0.05
    config.task.nms_iou = 0.5
    config.task.least_score = 0.05
    if source.startswith('digit_scenes'):
        _small_stages(config)
    else:
        _photographs_with_masks(config)
    return config


def _photographs_with_masks(config):
    """Fine-tune torchvision's weights of COCO, whose file is given as train.init_from."""
    config.model.variant = 'resnet50_fpn'
    config.data.image_size = 800
    config.data.batch_size = 4
    config.task.backbone_rate = 0.1
    config.task.augment.flip = True
    config.task.augment.scale = 0.5
    config.optimizer.lr = 1e-4
    _epochs(config, 100)


def _small_stages(config):
    config.data.image_size = 128
    # Short trainings gain more from many steps than from large batches.
    config.data.batch_size = 4
    config.model.variant = 'cnn:16x1-32x1-64-128'
    # Strokes of digits are two or three pixels wide: masks need the map of stride 2.
    config.model.options = {
        'strides': '2-4-8',
        'width': 32,
        'hidden': 128,
        'anchor_scale': 4.0,
        'regions': 16,
        'pooled_size': 5,
        'mask_width': 32,
        'mask_depth': 2,
    }
    config.task.anchor_samples = 64
    config.task.region_samples = 16
    config.task.positive_fraction = 0.5
    config.task.most_detections = 20
    config.optimizer.lr = 2e-3
    config.optimizer.warmup = '3000 examples'
    config.train.steps = '7000'
    config.train.eval_every = '3500'
    config.train.checkpoint_every = '3500'


_RECIPES = {
    'cells': _cells,
    'deeplab': _deeplab,
    'mask_rcnn': _mask_rcnn,
    'segformer': _segformer,
}
