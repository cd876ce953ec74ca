"""The models once more in PyTorch, as references for tests/models, independent of jaxvision.

Modules and state-dict names are torchvision's (ResNet, VGG) and timm's (ViT); weights and pictures
come from tests/models/reference_weights.py. To write the stored arrays anew, with a Python that
has PyTorch:

    python tests/bench/torch_references.py
"""

import sys
from collections import OrderedDict
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

TESTS = Path(__file__).parents[1] / 'models'
sys.path.insert(0, str(TESTS))


class SmallCNN(nn.Module):
    def __init__(self, widths=(16, 32, 64), channels=1, num_classes=10):
        super().__init__()
        for stage, width in enumerate(widths, start=1):
            block = []
            for _ in range(2):
                block += [nn.Conv2d(channels, width, 3, padding=1, bias=False),
                          nn.BatchNorm2d(width), nn.ReLU(inplace=True)]
                channels = width
            self.add_module(f'stage{stage}', nn.Sequential(*block))
        self.fc = nn.Linear(channels, num_classes)
        self.depth = len(widths)

    def forward(self, x):
        tensors = {}
        for stage in range(1, self.depth + 1):
            if stage > 1:
                x = F.max_pool2d(x, 2)
            tensors[f'stage{stage}'] = x = self.get_submodule(f'stage{stage}')(x)
        tensors['pooled'] = x = x.mean((2, 3))
        tensors['logits'] = self.fc(x)
        return tensors


class BasicBlock(nn.Module):
    expansion = 1

    def __init__(self, channels, width, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.downsample = downsample(channels, width, stride)

    def forward(self, x):
        y = F.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        return F.relu(y + (self.downsample(x) if self.downsample else x))


class Bottleneck(nn.Module):
    expansion = 4

    def __init__(self, channels, width, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, 4 * width, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(4 * width)
        self.downsample = downsample(channels, 4 * width, stride)

    def forward(self, x):
        y = F.relu(self.bn1(self.conv1(x)))
        y = F.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        return F.relu(y + (self.downsample(x) if self.downsample else x))


def downsample(channels, out, stride):
    if stride == 1 and channels == out:
        return None
    return nn.Sequential(nn.Conv2d(channels, out, 1, stride, bias=False), nn.BatchNorm2d(out))


class ResNet(nn.Module):
    def __init__(self, block, depths, num_classes=10, cifar_stem=False):
        super().__init__()
        kernel, stride, padding = (3, 1, 1) if cifar_stem else (7, 2, 3)
        self.conv1 = nn.Conv2d(3, 64, kernel, stride, padding, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.maxpool = nn.Identity() if cifar_stem else nn.MaxPool2d(3, 2, 1)
        channels = 64
        for stage, depth in enumerate(depths):
            width = 64 * 2 ** stage
            blocks = []
            for i in range(depth):
                blocks.append(block(channels, width, 2 if stage > 0 and i == 0 else 1))
                channels = width * block.expansion
            self.add_module(f'layer{stage + 1}', nn.Sequential(*blocks))
        self.fc = nn.Linear(channels, num_classes)

    def forward(self, x):
        tensors = {'stem': F.relu(self.bn1(self.conv1(x)))}
        x = self.maxpool(tensors['stem'])
        for stage in (1, 2, 3, 4):
            tensors[f'stage{stage}'] = x = self.get_submodule(f'layer{stage}')(x)
        tensors['pooled'] = x = x.mean((2, 3))
        tensors['logits'] = self.fc(x)
        return tensors
