"""ResNet-18 for small images with a choice of norms.

He et al., "Deep Residual Learning for Image Recognition", CVPR 2016, https://arxiv.org/abs/1512.03385. This is the
variant that is common for CIFAR (https://github.com/kuangliu/pytorch-cifar): a 3x3 stem without max-pooling, four
stages of two basic blocks, an average over all positions, and one linear layer. It has 11,173,962 parameters and
555.43 M mult-adds at width 64, strides 1-2-2-2, 10 classes and 32x32 images.

The initial weights are PyTorch's defaults (uniform, He et al. 2015 with a = sqrt(5)), as in the five source projects.
They also let `norm: none` train: each residual branch starts small, so activations do not grow with depth.

Two options from the literature are off by default. With `zero_init`, the last norm of each block starts with scale 0,
so each block starts as its shortcut (Goyal et al., "Accurate, Large Minibatch SGD", 2017, section 5.1,
https://arxiv.org/abs/1706.02677). For `weight_standardization`, see `StandardizedConv2d`.
"""

from collections.abc import Callable, Sequence
from functools import partial

import torch
import torch.nn.functional as F
from torch import nn

from src.errors import UserError
from src.model.norms import GROUPS, NORMS

Norm = Callable[[int], nn.Module]
Conv = Callable[..., nn.Conv2d]


class Conv2d(nn.Conv2d):
    """A convolution that subsamples its input first if its kernel is 1x1 and strided.

    The result is the same. The gradient of oneDNN's strided 1x1 convolution writes past its memory on channels-last
    tensors with fewer channels than a vector holds (8 with AVX2, 16 with AVX-512). Some norms and torch.compile make
    tensors channels-last on their own. See https://github.com/uxlfoundation/oneDNN/issues/6035. To look for such
    writes, run `python -m tests.faults.memory`.
    """

    def _conv_forward(self, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
        """(N, C_in, H, W) -> (N, C, H', W')"""
        if self.kernel_size == (1, 1) and self.stride != (1, 1):
            rows, columns = self.stride
            return F.conv2d(x[:, :, ::rows, ::columns], weight, bias)
        out: torch.Tensor = super()._conv_forward(x, weight, bias)
        return out


class StandardizedConv2d(Conv2d):
    """A convolution that standardises each filter to mean 0 and variance 1 before use.

    Intended for norms over single images. A norm must follow, because the scale of the output no longer depends on the
    scale of the weights. Qiao et al., "Micro-Batch Training with Batch-Channel Normalization and Weight
    Standardization", 2019, https://arxiv.org/abs/1903.10520
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, C_in, H, W) -> (N, C, H', W')"""
        # In fp32, also under autocast: the 8 bits of bf16 are too few for a mean over thousands of weights.
        with torch.autocast(x.device.type, enabled=False):
            variance, mean = torch.var_mean(self.weight, dim=(1, 2, 3), keepdim=True, correction=0)  # (C, 1, 1, 1)
            # PyTorch's initial weights have variance 1 / (3 inputs). The added floor is a small share of it.
            weight = (self.weight - mean) * torch.rsqrt(variance + 1e-5 / self.weight[0].numel())
        return self._conv_forward(x, weight, self.bias)


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut, which is a 1x1 convolution if the shape changes."""

    def __init__(self, channels_in: int, channels: int, stride: int, norm: Norm, conv: Conv) -> None:
        super().__init__()
        self.conv1 = conv(channels_in, channels, 3, stride=stride, padding=1)
        self.norm1 = norm(channels)
        self.conv2 = conv(channels, channels, 3, padding=1)
        self.norm2 = norm(channels)
        self.shortcut = nn.Sequential()
        if stride != 1 or channels_in != channels:
            self.shortcut = nn.Sequential(conv(channels_in, channels, 1, stride=stride), norm(channels))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, C_in, H, W) -> (N, C, ceil(H / stride), ceil(W / stride))"""
        out = F.relu(self.norm1(self.conv1(x)))
        out = self.norm2(self.conv2(out))
        return F.relu(out + self.shortcut(x))


class ResNet18(nn.Module):
    """Stem, four stages of two basic blocks (`layer1` to `layer4`), average over positions, linear layer.

    The stages have 1, 2, 4 and 8 times `width` channels.
    """

    def __init__(self, norm: Norm, width: int, strides: Sequence[int], classes: int, conv: Conv) -> None:
        super().__init__()
        self.conv1 = conv(3, width, 3, padding=1)
        self.norm1 = norm(width)
        self.layer1 = _stage(width, width, strides[0], norm, conv)
        self.layer2 = _stage(width, 2 * width, strides[1], norm, conv)
        self.layer3 = _stage(2 * width, 4 * width, strides[2], norm, conv)
        self.layer4 = _stage(4 * width, 8 * width, strides[3], norm, conv)
        self.linear = nn.Linear(8 * width, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Normalised images (N, 3, H, W) -> logits (N, classes)"""
        x = F.relu(self.norm1(self.conv1(x)))  # (N, w, H, W)
        x = self.layer1(x)  # (N, w, H, W) at stride 1
        x = self.layer2(x)  # (N, 2w, H/2, W/2) at stride 2
        x = self.layer3(x)  # (N, 4w, H/4, W/4)
        x = self.layer4(x)  # (N, 8w, H/8, W/8)
        x = x.mean(dim=(2, 3))  # (N, 8w)
        logits: torch.Tensor = self.linear(x)
        return logits


def build(
    norm: str,
    width: int,
    strides: Sequence[int],
    classes: int,
    *,
    zero_init: bool = False,
    weight_standardization: bool = False,
) -> ResNet18:
    """Build a model with random weights from PyTorch's global generator.

    Convolutions only have a bias with `norm: none`, because the shift of a norm makes it redundant. `zero_init` has no
    effect with `none`.
    """
    conv = partial(StandardizedConv2d if weight_standardization else Conv2d, bias=norm == "none")
    model = ResNet18(NORMS[norm], width, strides, classes, conv)
    if zero_init:
        for name, parameter in model.named_parameters():
            if name.endswith("norm2.weight"):
                nn.init.zeros_(parameter)
    return model


def check_shape(norm: str, width: int, size: int, strides: Sequence[int], batch_size: int) -> None:
    """Raise UserError if the variance of a norm would be over a single value.

    This can happen if `strides` shrink an image of `size` x `size` pixels to one position. It always affects instance
    norm. It affects group norm with one channel per group, and batch norm with one image per batch.
    """
    for stage, stride in enumerate(strides):
        size = -(-size // stride)
        channels = width * 2**stage
        alone = {"instance": True, "group": GROUPS % channels == 0, "batch": batch_size == 1}
        if size == 1 and alone.get(norm, False):
            raise UserError(
                f"the variance of {norm} norm would be over a single value. model.strides {list(strides)} shrink an "
                f"image to 1x1 with {channels} channels, and train.batch_size is {batch_size}. Use smaller strides, a "
                "larger data.size or another norm"
            )


def _stage(channels_in: int, channels: int, stride: int, norm: Norm, conv: Conv) -> nn.Sequential:
    """Two blocks. The first one changes the shape."""
    return nn.Sequential(
        BasicBlock(channels_in, channels, stride, norm, conv),
        BasicBlock(channels, channels, 1, norm, conv),
    )
