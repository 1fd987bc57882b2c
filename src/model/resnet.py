"""ResNet-18 for small images, with a choice of normalisation layer.

He et al., "Deep Residual Learning for Image Recognition", CVPR 2016, https://arxiv.org/abs/1512.03385, in the variant
that is common for CIFAR (https://github.com/kuangliu/pytorch-cifar): a 3x3 stem without max-pooling, four stages of
two basic blocks, an average over all positions, one linear layer. 11,173,962 parameters and 555.43 M mult-adds at width
64, strides 1-2-2-2, 10 classes and 32x32 images.

The initial weights are PyTorch's own (uniform, He et al. 2015 with a = sqrt(5)), as in the projects that this one is
compared with. They also let `norm: none` train: each residual branch starts small, so nothing grows with depth.
"""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import nn

from src.errors import UserError
from src.model.norms import NORMS

Norm = Callable[[int], nn.Module]


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut, which is a 1x1 convolution where the shape changes."""

    def __init__(self, channels_in: int, channels: int, stride: int, norm: Norm, bias: bool) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels, 3, stride=stride, padding=1, bias=bias)
        self.norm1 = norm(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=bias)
        self.norm2 = norm(channels)
        self.shortcut = nn.Sequential()
        if stride != 1 or channels_in != channels:
            self.shortcut = nn.Sequential(nn.Conv2d(channels_in, channels, 1, stride=stride, bias=bias), norm(channels))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, C_in, H, W) -> (N, C, ceil(H / stride), ceil(W / stride))"""
        out = F.relu(self.norm1(self.conv1(x)))
        out = self.norm2(self.conv2(out))
        return F.relu(out + self.shortcut(x))


class ResNet18(nn.Module):
    """Stem, `layer1` to `layer4` of two basic blocks each (width, 2, 4 and 8 times width channels), average, linear."""

    def __init__(self, norm: Norm, width: int, strides: Sequence[int], classes: int, bias: bool) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, 3, padding=1, bias=bias)
        self.norm1 = norm(width)
        self.layer1 = _stage(width, width, strides[0], norm, bias)
        self.layer2 = _stage(width, 2 * width, strides[1], norm, bias)
        self.layer3 = _stage(2 * width, 4 * width, strides[2], norm, bias)
        self.layer4 = _stage(4 * width, 8 * width, strides[3], norm, bias)
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


def build(norm: str, width: int, strides: Sequence[int], classes: int) -> ResNet18:
    """A new model with random weights from PyTorch's global generator.

    A convolution has a bias only where no normalisation follows it: the shift of a normalisation layer would make the
    bias redundant, and without one (`none`) the bias is the only shift left.
    """
    return ResNet18(NORMS[norm], width, strides, classes, bias=norm == "none")


def check_shape(norm: str, size: int, strides: Sequence[int], batch_size: int) -> None:
    """UserError where a batch leaves `batch` or `instance` a single value in a channel, which has no variance.

    It happens where `strides` shrink images of `size` pixels a side to one position.
    """
    for stride in strides:
        size = -(-size // stride)
    if size == 1 and (norm == "instance" or (norm == "batch" and batch_size == 1)):
        raise UserError(
            f"norm {norm} needs more than one value in each channel, but model.strides {list(strides)} shrink an image "
            f"to 1x1 and train.batch_size is {batch_size}: choose smaller strides, a larger data.size or another norm"
        )


def _stage(channels_in: int, channels: int, stride: int, norm: Norm, bias: bool) -> nn.Sequential:
    """Two blocks; the first one changes the shape."""
    return nn.Sequential(
        BasicBlock(channels_in, channels, stride, norm, bias),
        BasicBlock(channels, channels, 1, norm, bias),
    )
