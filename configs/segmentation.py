"""Segmentation: the class of each pixel, and objects.

jaxvision train --config segmentation
    generated scenes of one to three digits, 64x64 pixels, 11 classes

jaxvision train --config segmentation:digit_scenes/128,mask_rcnn
    Mask R-CNN on scenes of up to five digits, 128x128 pixels

jaxvision train --config segmentation:coco:FOLDER,mask_rcnn
        --config.train.init_from=maskrcnn_resnet50_fpn_coco-bf2d0c1e.pth
    torchvision's Mask R-CNN from its weights of COCO. Not measured.
"""

from jaxvision.core import config as configs
from jaxvision.core.errors import unknown


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
    config.model.variant = 'cnn:16x1-32x1-64x1-96'
    config.optimizer.warmup = '3000 examples'
    config.train.steps = '3000'
    config.train.eval_every = '1500'
    config.train.checkpoint_every = '1500'


def _photographs(config):
    config.data.image_size = 320
    config.data.batch_size = 8
    config.model.variant = 'cnn:16x1-32x1-64x1-96x1-128'
    config.task.augment.flip = True
    config.task.augment.scale = 0.5
    config.task.augment.color = 0.2
    config.optimizer.warmup = '2 epochs'
    config.train.steps = '100 epochs'
    config.train.eval_every = '25 epochs'
    config.train.checkpoint_every = '25 epochs'


def _objects(config):
    config.task.objects = True


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
    config.optimizer.warmup = '2 epochs'
    config.train.steps = '100 epochs'
    config.train.eval_every = '25 epochs'
    config.train.checkpoint_every = '25 epochs'


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


_RECIPES = {'mask_rcnn': _mask_rcnn, 'objects': _objects}
