"""The norms by name, the values of `norm` in params.yaml.

For an activation of shape (N, C, H, W), each norm computes its mean and variance over these axes:

| name     | statistics over           | one pair of statistics per | learned scale and shift | own state          |
|----------|---------------------------|----------------------------|-------------------------|--------------------|
| batch    | N, H, W                   | channel                    | per channel             | running statistics |
| layer    | C, H, W                   | image                      | per channel             | - |
| layer2d  | C                         | image and position         | per channel             | - |
| group    | C/groups, H, W            | image and group            | per channel             | - |
| instance | H, W                      | image and channel          | per channel             | - |
| none     | (no normalisation)        | -                          | - (the convolutions have a bias instead) | - |

All except `none` have the same number of parameters, so they only differ in their statistics.
"""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import nn

GROUPS = 32  # Wu & He, "Group Normalization", ECCV 2018, https://arxiv.org/abs/1803.08494


class LayerNorm2d(nn.LayerNorm):
    """Layer norm over the channels at each position, as in ConvNeXt.

    Liu et al., "A ConvNet for the 2020s", CVPR 2022, https://arxiv.org/abs/2201.03545
    """

    def __init__(self, channels: int) -> None:
        super().__init__(channels, eps=1e-6)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, C, H, W) -> (N, C, H, W)"""
        x = x.permute(0, 2, 3, 1)  # (N, C, H, W) -> (N, H, W, C)
        x = F.layer_norm(x, self.normalized_shape, self.weight, self.bias, self.eps)
        return x.permute(0, 3, 1, 2)  # (N, H, W, C) -> (N, C, H, W)


def _layer(channels: int) -> nn.Module:
    """Group norm with one group: layer norm over (C, H, W), with scale and shift per channel instead of per element.

    Ba et al., "Layer Normalization", 2016, https://arxiv.org/abs/1607.06450
    """
    return nn.GroupNorm(1, channels)


def _group(channels: int) -> nn.Module:
    """32 groups, or the largest power of two below 32 that divides the channels."""
    return nn.GroupNorm(math.gcd(GROUPS, channels), channels)


def _instance(channels: int) -> nn.Module:
    """Instance norm with scale and shift, like the other norms. By default, PyTorch's has no parameters.

    Ulyanov et al., "Instance Normalization", 2016, https://arxiv.org/abs/1607.08022
    """
    return nn.InstanceNorm2d(channels, affine=True)


def _none(channels: int) -> nn.Module:
    return nn.Identity()


NORMS: dict[str, Callable[[int], nn.Module]] = {
    "batch": nn.BatchNorm2d,  # Ioffe & Szegedy, ICML 2015, https://arxiv.org/abs/1502.03167
    "layer": _layer,
    "layer2d": LayerNorm2d,
    "group": _group,
    "instance": _instance,
    "none": _none,
}
