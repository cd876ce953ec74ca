"""The models once more in PyTorch, as references for tests/models, independent of jaxvision.

Modules and state-dict names are torchvision's (ResNet, VGG) and timm's (ViT); weights and pictures
come from tests/helpers/reference_weights.py. To write the stored arrays anew, with a Python that
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

TESTS = Path(__file__).parents[1]
sys.path.insert(0, str(TESTS))


class SmallCNN(nn.Module):
    def __init__(self, widths=(16, 32, 64), channels=1, num_classes=10):
        super().__init__()
        for stage, width in enumerate(widths, start=1):
            block = []
            for _ in range(2):
                block += [
                    nn.Conv2d(channels, width, 3, padding=1, bias=False),
                    nn.BatchNorm2d(width),
                    nn.ReLU(inplace=True),
                ]
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
    return nn.Sequential(
        nn.Conv2d(channels, out, 1, stride, bias=False), nn.BatchNorm2d(out)
    )


class ResNet(nn.Module):
    def __init__(self, block, depths, num_classes=10, cifar_stem=False):
        super().__init__()
        kernel, stride, padding = (3, 1, 1) if cifar_stem else (7, 2, 3)
        self.conv1 = nn.Conv2d(3, 64, kernel, stride, padding, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.maxpool = nn.Identity() if cifar_stem else nn.MaxPool2d(3, 2, 1)
        channels = 64
        for stage, depth in enumerate(depths):
            width = 64 * 2**stage
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


class VGG(nn.Module):
    """torchvision's, without the adaptive pooling before the classifier (an identity at 224)."""

    def __init__(self, depths, batch_norm, size, fc, num_classes=10):
        super().__init__()
        features, channels, self.names = [], 3, {}
        for block, (depth, width) in enumerate(
            zip(depths, (64, 128, 256, 512, 512), strict=True), 1
        ):
            for i in range(1, depth + 1):
                self.names[len(features)] = f'conv{block}_{i}'
                features.append(
                    nn.Conv2d(channels, width, 3, padding=1, bias=not batch_norm)
                )
                if batch_norm:
                    features.append(nn.BatchNorm2d(width))
                features.append(nn.ReLU())
                self.names[len(features) - 1] = f'relu{block}_{i}'
                channels = width
            features.append(nn.MaxPool2d(2, 2))
            self.names[len(features) - 1] = f'pool{block}'
        self.features = nn.Sequential(*features)
        if fc:
            self.classifier = nn.Sequential(
                nn.Flatten(),
                nn.Linear(512 * (size // 32) ** 2, 4096),
                nn.ReLU(),
                nn.Dropout(),
                nn.Linear(4096, 4096),
                nn.ReLU(),
                nn.Dropout(),
                nn.Linear(4096, num_classes),
            )
        else:
            self.classifier = nn.Sequential(
                nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, num_classes)
            )

    def forward(self, x):
        tensors = {}
        for i, layer in enumerate(self.features):
            x = layer(x)
            if i in self.names:
                tensors[self.names[i]] = x
        tensors['logits'] = self.classifier(x)
        return tensors


class ViTAttention(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x):
        q, k, v = (
            part.unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for part in self.qkv(x).chunk(3, dim=-1)
        )
        y = F.scaled_dot_product_attention(q, k, v)
        return self.proj(y.transpose(1, 2).flatten(2))


class ViTBlock(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.attn = ViTAttention(width, heads)
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.mlp = nn.Sequential(
            OrderedDict(
                fc1=nn.Linear(width, 4 * width),
                act=nn.GELU(approximate='tanh'),
                fc2=nn.Linear(4 * width, width),
            )
        )

    def forward(self, x):
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class ViT(nn.Module):
    def __init__(self, size, patch, width, depth, heads, cls, num_classes=10):
        super().__init__()
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width)) if cls else None
        self.pos_embed = nn.Parameter(torch.zeros(1, cls + (size // patch) ** 2, width))
        self.patch_embed = nn.Sequential(
            OrderedDict(proj=nn.Conv2d(3, width, patch, patch))
        )
        self.blocks = nn.Sequential(*(ViTBlock(width, heads) for _ in range(depth)))
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.head = nn.Linear(width, num_classes)

    def forward(self, x):
        x = self.patch_embed(x).flatten(2).transpose(1, 2)
        if self.cls_token is not None:
            x = torch.cat([self.cls_token.expand(len(x), -1, -1), x], dim=1)
        x = x + self.pos_embed
        tensors = {'embedded': x}
        for i, block in enumerate(self.blocks, 1):
            tensors[f'block{i}'] = x = block(x)
        tensors['tokens'] = x = self.norm(x)
        tensors['pooled'] = x = x[:, 0] if self.cls_token is not None else x.mean(1)
        tensors['logits'] = self.head(x)
        return tensors


# name of the stored array file: (network, picture size, channels)
REFERENCES = {
    'cnn': (SmallCNN(), 28, 1),
    'resnet18_cifar': (ResNet(BasicBlock, (2, 2, 2, 2), cifar_stem=True), 32, 3),
    'resnet50': (ResNet(Bottleneck, (3, 4, 6, 3)), 64, 3),
    'vgg11_fc': (VGG((1, 1, 2, 2, 2), False, 64, fc=True), 64, 3),
    'vgg16_bn_pool': (VGG((2, 2, 3, 3, 3), True, 32, fc=False), 32, 3),
    'vit_ti16_cls': (ViT(64, 16, 192, 12, 3, cls=True), 64, 3),
    'vit_s8_mean': (ViT(32, 8, 384, 12, 6, cls=False), 32, 3),
}


@torch.no_grad()
def main():
    from helpers.reference_weights import draw, excerpt, pictures

    for name, (model, size, channels) in REFERENCES.items():
        state = {
            key: torch.from_numpy(np.asarray(draw(key, tuple(value.shape)), np.float32))
            for key, value in model.state_dict().items()
            if value.is_floating_point()
        }
        model.load_state_dict(state, strict=True)
        image = torch.from_numpy(np.asarray(pictures(size, channels), np.float32))
        tensors = model.eval()(image.permute(0, 3, 1, 2))
        arrays = {
            key: excerpt(value.permute(0, 2, 3, 1) if value.ndim == 4 else value)
            for key, value in tensors.items()
        }
        np.savez_compressed(TESTS / 'models' / 'data' / f'{name}.npz', **arrays)
        print(name, 'logits of the first picture:', tensors['logits'][0, :3].tolist())


if __name__ == '__main__':
    main()
