"""ResNet: He et al., "Deep Residual Learning for Image Recognition", 2015.

In v1 the first convolution of a bottleneck has the stride, as in the paper. In v1.5 the 3x3
convolution has it, which is more accurate. In vd, of PaddleDetection, a shortcut of stride 2 takes
means of 2x2 cells before its 1x1 convolution (ResNet-D of arXiv 1812.01187), and the first block
of every stage has a convolution there. The last scale of every block starts at zero, so that every
block starts as the identity (Goyal et al. 2017).

For segmentation, the last stages can keep the resolution. Their 3x3 convolutions are then dilated,
as in torchvision: the first block of a stage has the dilation of the stage before.
"""

from collections.abc import Callable
from functools import partial

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from jaxvision.models.blocks import convolution, layers, pooling
from jaxvision.models.types import Images, Keys, Maps, Outputs

zeros = nn.initializers.zeros


class BasicBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut, then ReLU, called as `block(x, keys)`.

    Attributes:
        width: number of output channels.
        stride: of the first convolution and of the shortcut.
        drop_path: rate at which the convolutions' branch is dropped in training.
        conv: builds a convolution from its width, window and strides, with `padding`,
            `kernel_dilation` and `name`.
        norm: builds a norm from `name` and, for the last one, `scale_init`.
        projects: whether the shortcut is that of a first block of vd, see `shortcut`.
        dilations: of the first and of the second 3x3 convolution, cells from one tap to
            the next. A bottleneck has only a first one.
    """

    width: int
    stride: int
    drop_path: float
    conv: Callable
    norm: Callable
    projects: bool = False
    dilations: tuple[int, int] = (1, 1)

    @nn.compact
    def __call__(self, x: Images, keys: Keys) -> Maps:
        first, second = self.dilations
        y = self.conv(
            self.width,
            (3, 3),
            self.stride,
            padding=first,
            kernel_dilation=first,
            name='conv1',
        )(x)
        y = nn.relu(self.norm(name='norm1')(y))
        y = self.conv(
            self.width, (3, 3), padding=second, kernel_dilation=second, name='conv2'
        )(y)
        y = self.norm(scale_init=zeros, name='norm2')(y)
        y = layers.DropPath(self.drop_path, name='drop_path')(y, keys)
        return nn.relu(y + shortcut(self, x, y))


class BottleneckBlock(nn.Module):
    """1x1, 3x3 and 1x1 convolutions beside a shortcut, then ReLU.

    A call is `block(x, keys)`, with keys for dropping, or None.

    Attributes:
        width: number of channels inside. The output has four times as many.
        stride: of the 3x3 convolution and of the shortcut.
        drop_path: rate at which the convolutions' branch is dropped in training.
        conv: builds a convolution from its width, window and strides, with `padding`,
            `kernel_dilation` and `name`.
        norm: builds a norm from `name` and, for the last one, `scale_init`.
        projects: whether the shortcut is that of a first block of vd, see `shortcut`.
        dilations: of the first and of the second 3x3 convolution, cells from one tap to
            the next. A bottleneck has only a first one.
    """

    width: int
    stride: int
    drop_path: float
    conv: Callable
    norm: Callable
    projects: bool = False
    dilations: tuple[int, int] = (1, 1)
    version = 'v1.5'

    @nn.compact
    def __call__(self, x: Images, keys: Keys) -> Maps:
        stride1 = 1
        stride2 = self.stride
        if self.version == 'v1':
            stride1 = self.stride
            stride2 = 1
        y = self.conv(self.width, (1, 1), stride1, name='conv1')(x)
        y = nn.relu(self.norm(name='norm1')(y))
        y = self.conv(
            self.width,
            (3, 3),
            stride2,
            padding=self.dilations[0],
            kernel_dilation=self.dilations[0],
            name='conv2',
        )(y)
        y = nn.relu(self.norm(name='norm2')(y))
        y = self.conv(4 * self.width, (1, 1), name='conv3')(y)
        y = self.norm(scale_init=zeros, name='norm3')(y)
        y = layers.DropPath(self.drop_path, name='drop_path')(y, keys)
        return nn.relu(y + shortcut(self, x, y))


class FirstBottleneckBlock(BottleneckBlock):
    """A bottleneck with the stride in its first convolution, as in v1."""

    version = 'v1'


def shortcut(
    block: nn.Module,
    x: Images,
    branch: Float[Array, '_ _ _ _'],
) -> Float[Array, '...']:
    """Apply the identity, or a projection if the block changes the shape.

    Call it in the block's compact method: the projection consists of the new submodules
    'shortcut_conv', a 1x1 convolution, and 'shortcut_norm'. A block that `projects` has
    it for every shape, and takes means of 2x2 cells instead of a stride of 2.

    Args:
        block: the block, with `conv`, `norm`, `stride` and `projects`.
        x: its input, [B, H, W, C].
        branch: output of the other branch. Only its shape is used.

    Returns:
        `x` or its projection, in the shape of `branch`. The two are not added here.
    """
    stride = block.stride
    if block.projects and stride == 2:
        x = _means(x)
        stride = 1
    elif x.shape == branch.shape and not block.projects:
        return x
    x = block.conv(branch.shape[-1], (1, 1), stride, name='shortcut_conv')(x)
    return block.norm(name='shortcut_norm')(x)


def _means(x: Images) -> Maps:
    """The mean of each 2x2 cells; of the cells that there are at an odd border."""
    _, height, width, _ = x.shape
    x = jnp.pad(x, ((0, 0), (0, height % 2), (0, width % 2), (0, 0)), mode='edge')
    return nn.avg_pool(x, (2, 2), (2, 2))


# (name, width, window, stride) of the convolutions of each stem.
STEMS = {
    'imagenet': (('stem', 64, 7, 2),),
    'deep': (('stem1', 32, 3, 2), ('stem2', 32, 3, 1), ('stem3', 64, 3, 1)),
    'cifar': (('stem', 64, 3, 1),),
}


class ResNet(nn.Module):
    """A stem and stages of residual blocks, each stage at half the resolution of the last.

    A call `(image, train, keys)` returns (logits, intermediates): 'stem' (before
    pooling), 'stage1', 'stage2', ..., 'pooled', 'logits'. Without a head, the logits
    are the pooled features. `train` changes batch norm only. Blocks are dropped if
    there are `keys`.

    Attributes:
        num_classes: length of the logits, 0 for no head.
        block: the class of the blocks, such as `BasicBlock`, with the same fields.
        depths: number of blocks of each stage.
        stem: 'imagenet' (7x7 of stride 2, then pooling), 'deep' (three of 3x3 instead of
            7x7) or 'cifar' (3x3 of stride 1).
        projects: whether the first block of every stage `projects`, as in vd.
        output_stride: pixels of a cell of the last map. Stages that would exceed it are
            dilated instead.
        norm: 'batch', 'group' or 'frozen'.
        momentum: fraction of the running statistics that a training step keeps.
        epsilon: added to the variance.
        drop_path: rate of the last block. It grows linearly with depth, from 0.
        remat: recompute each block in the backward pass, which saves memory.
        dtype: of the computation.
        param_dtype: of the parameters.
    """

    num_classes: int
    block: type[nn.Module]
    depths: tuple[int, ...]
    stem: str = 'imagenet'
    projects: bool = False
    output_stride: int = 32
    norm: str = 'batch'
    momentum: float = 0.9
    epsilon: float = 1e-5
    drop_path: float = 0.0
    remat: bool = False
    dtype: DTypeLike = jnp.float32
    param_dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self,
        image: Images,
        train: bool = False,
        keys: Keys = None,
    ) -> Outputs:
        conv = partial(
            convolution.Conv,
            use_bias=False,
            kernel_init=layers.he_normal,
            dtype=self.dtype,
            param_dtype=self.param_dtype,
        )
        norm = layers.normalization(
            self.norm,
            train,
            self.dtype,
            self.param_dtype,
            self.momentum,
            self.epsilon,
        )
        block = self.block
        if self.remat:
            block = nn.remat(self.block)
        intermediates = {}

        x = image
        for name, width, window, stride in STEMS[self.stem]:
            padding = window // 2
            x = conv(
                width, (window, window), stride, padding=padding, name=f'{name}_conv'
            )(x)
            x = nn.relu(norm(name=f'{name}_norm')(x))
        intermediates['stem'] = x
        if self.stem != 'cifar':
            # Zeros do not change a maximum after a ReLU, and int8 has no -inf.
            x = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
            x = pooling.max_pool(x, (3, 3), (2, 2))

        rates = np.linspace(0, self.drop_path, sum(self.depths))
        drop_paths = iter(rates.tolist())
        for stage, depth in enumerate(self.depths, start=1):
            width = 64 * 2 ** (stage - 1)
            for i in range(1, depth + 1):
                stride, dilations = self._sampling(stage, i)
                x = block(
                    width,
                    stride,
                    next(drop_paths),
                    conv,
                    norm,
                    projects=self.projects and i == 1,
                    dilations=dilations,
                    name=f'stage{stage}_block{i}',
                )(x, keys)
            intermediates[f'stage{stage}'] = x

        x = x.mean(axis=(1, 2))
        intermediates['pooled'] = x
        logits = layers.head(self.num_classes, self.param_dtype)(x)
        intermediates['logits'] = logits
        return logits, intermediates

    def _sampling(self, stage: int, block: int) -> tuple[int, tuple[int, int]]:
        """The stride and the dilations of a block; stages and blocks count from 1."""
        stem_stride = 1 if self.stem == 'cifar' else 4
        # Without dilation.
        stage_stride = stem_stride * 2 ** (stage - 1)
        dilation = max(stage_stride // self.output_stride, 1)
        if block > 1:
            return 1, (dilation, dilation)
        stride = 2 if stage > 1 and dilation == 1 else 1
        return stride, (max(dilation // 2, 1), dilation)


# (block, number of blocks of each stage) of each variant.
SIZES = {
    '18': (BasicBlock, (2, 2, 2, 2)),
    '34': (BasicBlock, (3, 4, 6, 3)),
    '50': (BottleneckBlock, (3, 4, 6, 3)),
    '101': (BottleneckBlock, (3, 4, 23, 3)),
    '152': (BottleneckBlock, (3, 8, 36, 3)),
}
VARIANTS = tuple(SIZES)


def make(
    variant: str,
    *,
    num_classes: int,
    dtype: DTypeLike = jnp.float32,
    param_dtype: DTypeLike = jnp.float32,
    stem: str = 'imagenet',
    version: str = 'v1.5',
    output_stride: int = 32,
    norm: str = 'batch',
    momentum: float = 0.9,
    epsilon: float = 1e-5,
    drop_path: float = 0.0,
    remat: bool = False,
) -> ResNet:
    """Build a ResNet.

    Args:
        variant: '18', '34', '50', '101' or '152'.
        num_classes: length of the logits, 0 for no head.
        dtype: of the computation.
        param_dtype: of the parameters.
        stem: 'imagenet' (7x7 of stride 2, then pooling), 'deep' (three of 3x3 instead of
            7x7) or 'cifar' (3x3 of stride 1).
        version: 'v1.5' has the stride in the 3x3 convolution of a bottleneck. 'v1' has it in the
            first 1x1 convolution, and is only for '50' and larger. 'vd' is v1.5 with means in
            the shortcuts, and is published with the stem 'deep'.
        output_stride: pixels of a cell of the last map, 8, 16 or 32. Below 32, the last
            stages are dilated instead of strided, for segmentation. The stem 'cifar' has
            a fourth of all strides, and is only for 32.
        norm: 'batch', 'group' (32 groups), or 'frozen': batch norm that training does not
            change.
        momentum: fraction of the running statistics that a training step keeps.
        epsilon: added to the variance.
        drop_path: rate of the last block. It grows linearly with depth, from 0 in the first.
        remat: recompute each block in the backward pass, which saves memory.

    Raises:
        UserError: The variant or an option is unknown.
    """
    layers.one_of('variant', variant, VARIANTS)
    layers.one_of('stem', stem, STEMS)
    layers.one_of('norm', norm, ('batch', 'group', 'frozen'))
    output_strides = (32,) if stem == 'cifar' else (8, 16, 32)
    layers.one_of('output_stride', output_stride, output_strides)
    block, depths = SIZES[variant]
    versions = ('v1.5', 'vd')
    if block is BottleneckBlock:
        versions = ('v1', 'v1.5', 'vd')
    layers.one_of('version', version, versions)
    if version == 'v1':
        block = FirstBottleneckBlock
    return ResNet(
        num_classes,
        block,
        depths,
        stem=stem,
        projects=version == 'vd',
        output_stride=output_stride,
        norm=norm,
        momentum=momentum,
        epsilon=epsilon,
        drop_path=drop_path,
        remat=remat,
        dtype=dtype,
        param_dtype=param_dtype,
    )
