"""Format of torchvision's FCN: fcn_resnet50 and fcn_resnet101."""

from jaxvision.pretrained.families import torchvision_segmenters as segmenters

FORMATS = (segmenters.make_format('classifier.0.weight', segmenters.FCN_HEAD),)
