"""Object detection: boxes, classes and scores.

jaxvision train --config detection
    generated scenes of one to three digits, 64x64 pixels; one-stage detector: AP 0.917,
    AP50 0.988 on 1,000 held-out scenes, 9,000 steps, 7 min 49 s on 2 cores

jaxvision train --config detection:digit_scenes/128
    scenes of up to five digits, 128x128 pixels: AP 0.910, AP50 0.985, 7,000 steps,
    10 min 26 s

jaxvision train --config detection:digit_scenes/64,faster_rcnn
    Faster R-CNN on the same scenes: AP 0.851, AP50 0.986, 9,000 steps,
    7 min 26 s

jaxvision train --config detection:digit_scenes/64,yolox
    YOLOX on the same scenes: AP 0.690, AP50 0.921, 1,000 steps of 32, 322 CPU s

jaxvision train --config detection:voc:FOLDER
    photographs, from ImageNet weights of EfficientNet-Lite0, which stay frozen. Needs the extra
    `pretrained`. Blood cells (BCCD): AP50 0.884 on its 72 test images, 100 epochs,
    15 min 48 s; `voc:FOLDER,faster_rcnn`: 0.882, 2,757 CPU s

jaxvision train --config detection:coco:FOLDER,faster_rcnn_coco
        --config.train.init_from=fasterrcnn_resnet50_fpn_coco-258fb6c6.pth
    torchvision's Faster R-CNN, or RetinaNet with `retinanet_coco`, from its weights of COCO. Not
    measured.

jaxvision train --config detection:coco:FOLDER,rt_detr
        --config.train.init_from=model.safetensors
    RT-DETR from its weights of COCO (PekingU/rtdetr_r18vd; others with
    --config.model.variant=r50vd). Not measured.
"""

from jaxvision.core import config as configs
from jaxvision.core.errors import unknown

# Initialised at random, or left out of the ImageNet weights.
_NEW_PARTS = 'model/features/backbone/head,model/features/pyramid'


def get_config(argument='digit_scenes/64'):
    source, _, recipe = argument.partition(',')
    if recipe and recipe not in _RECIPES:
        raise unknown('there is no recipe', recipe, _RECIPES)
    config = configs.default('detection')
    config.data.source = source
    config.model.name = 'dense_detector'
    config.optimizer.schedule = 'cosine'
    config.optimizer.ema = 0.998
    config.optimizer.clip = 10.0
    if source.startswith('digit_scenes'):
        _digit_scenes(config)
    else:
        _photographs(config)
    if recipe:
        _RECIPES[recipe](config)
    return config


def _digit_scenes(config):
    config.data.image_size = 128
    # Short trainings gain more from many steps than from large batches.
    config.data.batch_size = 8
    config.model.variant = 'cnn:16x1-32x1-64-128'
    config.model.options = {'strides': '4-8', 'width': 64}
    config.optimizer.lr = 2e-3
    config.optimizer.weight_decay = 0.05
    config.optimizer.warmup = '3000 examples'
    config.train.steps = '9000'
    config.train.eval_every = '4500'
    config.train.checkpoint_every = '4500'
    if config.data.source == 'digit_scenes/128':
        config.data.batch_size = 4
        config.train.steps = '7000'
        config.train.eval_every = '3500'
        config.train.checkpoint_every = '3500'


def _photographs(config):
    config.data.image_size = 320
    config.data.batch_size = 8
    config.model.variant = 'efficientnet:Lite0'
    # The published weights come from TensorFlow.
    backbone = {'padding': 'same', 'epsilon': 1e-3, 'drop_path': 0.0}
    config.model.options = {'strides': '8-16-32', 'width': 64, 'backbone': backbone}
    config.train.init_from = 'efficientnet_lite0:model->model/features/backbone'
    config.train.init_new = f'{_NEW_PARTS},model/head'
    # Training the backbone too costs six times as much on a CPU: --config.train.frozen=
    config.train.frozen = 'model/features/backbone'
    config.task.backbone_rate = 0.1
    config.task.augment.flip = True
    config.task.augment.scale = 0.5
    config.task.augment.color = 0.2
    config.optimizer.lr = 1e-3
    config.optimizer.weight_decay = 0.05
    config.optimizer.warmup = '2 epochs'
    config.train.steps = '100 epochs'
    config.train.eval_every = '25 epochs'
    config.train.checkpoint_every = '25 epochs'


def _faster_rcnn(config):
    config.model.name = 'faster_rcnn'
    config.task.nms_iou = 0.5
    config.task.least_score = 0.05
    if config.data.source.startswith('digit_scenes'):
        _small_stages(config)
        return
    # Anchors of 24 to 192 pixels: published ones are as large for images of this size.
    config.model.options.update(regions=100, anchor_scale=3.0, extra='pool')
    config.train.init_new = f'{_NEW_PARTS},model/first,model/second'


def _small_stages(config):
    config.model.options.update(hidden=128, anchor_scale=4.0, regions=16, pooled_size=5)
    config.task.anchor_samples = 64
    config.task.region_samples = 16
    config.task.positive_fraction = 0.5


def _yolox(config):
    config.model.name = 'yolox'
    config.task.candidates = 10
    config.task.box_weight = 5.0
    config.task.nms_iou = 0.65
    config.train.init_from = ''
    config.train.init_new = ''
    config.train.frozen = ''
    config.task.backbone_rate = 1.0
    if config.data.source.startswith('digit_scenes'):
        config.model.variant = '0.33x0.25'
        config.model.options = {}
        config.data.batch_size = 32
        config.train.steps = '1000'
        config.train.eval_every = '500'
        config.train.checkpoint_every = '500'
        return
    config.model.variant = 'nano'
    config.model.options = {}
    config.data.image_size = 416
    config.task.augment.mosaic = 0.5


def _faster_rcnn_coco(config):
    _published(config, 'faster_rcnn')


def _retinanet_coco(config):
    _published(config, 'retinanet')
    config.task.box_weight = 1.0
    config.task.most_detections = 300


def _rt_detr(config):
    _published(config, 'rt_detr')
    config.model.variant = 'r18vd'
    config.data.image_size = 640
    config.task.most_detections = 300
    config.task.least_score = 0.0
    config.optimizer.weight_decay = 1e-4


def _published(config, name):
    """Fine-tune published weights of COCO, whose file is given as train.init_from."""
    config.model.name = name
    config.model.variant = 'resnet50_fpn'
    config.model.options = {}
    config.data.image_size = 800
    config.data.batch_size = 4
    config.train.init_from = ''
    config.train.init_new = ''
    config.train.frozen = ''
    config.task.backbone_rate = 0.1
    config.task.nms_iou = 0.5
    config.task.least_score = 0.05
    config.optimizer.lr = 1e-4


_RECIPES = {
    'faster_rcnn': _faster_rcnn,
    'faster_rcnn_coco': _faster_rcnn_coco,
    'retinanet_coco': _retinanet_coco,
    'rt_detr': _rt_detr,
    'yolox': _yolox,
}
