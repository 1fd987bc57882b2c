"""Which axes each normalisation covers, against hand-written statistics."""

import pytest
import torch
from torch import nn

from src.model.norms import NORMS, LayerNorm2d

AXES = {"batch": (0, 2, 3), "layer": (1, 2, 3), "layer2d": (1,), "instance": (2, 3)}


@pytest.fixture
def x() -> torch.Tensor:
    torch.manual_seed(0)
    return torch.randn(3, 8, 5, 6) * 4 + 2  # (N, C, H, W)


def test_the_names_are_those_of_the_parameter() -> None:
    assert set(NORMS) == {"batch", "layer", "layer2d", "group", "instance", "none"}


@pytest.mark.parametrize("name", AXES)
def test_statistics_over_the_named_axes(name: str, x: torch.Tensor) -> None:
    axes = AXES[name]
    expected = (x - x.mean(axes, keepdim=True)) / x.std(axes, correction=0, keepdim=True)
    torch.testing.assert_close(NORMS[name](8)(x), expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("spread", [1.0, 1e-3])  # the second lets the norm's epsilon count
def test_layer_is_layer_norm_over_c_h_w_with_its_scale_per_channel(spread: float, x: torch.Tensor) -> None:
    x = x * spread
    norm, reference = NORMS["layer"](8), nn.LayerNorm([8, 5, 6])
    scale, shift = torch.linspace(-1, 2, 8), torch.linspace(3, -3, 8)
    with torch.no_grad():
        norm.weight.copy_(scale)
        norm.bias.copy_(shift)
        reference.weight.copy_(scale[:, None, None].expand(8, 5, 6))
        reference.bias.copy_(shift[:, None, None].expand(8, 5, 6))
    ours, theirs = (x.clone().requires_grad_() for _ in range(2))
    weights = torch.arange(float(x.numel())).view_as(x)  # a loss that every position has a part in
    torch.testing.assert_close(norm(ours), reference(theirs), atol=1e-5, rtol=1e-5)
    (norm(ours) * weights).sum().backward()
    (reference(theirs) * weights).sum().backward()
    torch.testing.assert_close(ours.grad, theirs.grad, atol=1e-2, rtol=1e-3)


def test_group_has_statistics_per_group(x: torch.Tensor) -> None:
    x = torch.cat([x] * 8, dim=1)  # 64 channels: 32 groups of 2
    grouped = x.view(3, 32, 2, 5, 6)
    mean, std = grouped.mean((2, 3, 4), keepdim=True), grouped.std((2, 3, 4), correction=0, keepdim=True)
    torch.testing.assert_close(NORMS["group"](64)(x), ((grouped - mean) / std).view_as(x), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(("channels", "groups"), [(64, 32), (512, 32), (16, 16), (48, 16), (12, 4), (7, 1)])
def test_groups_are_at_most_32_and_divide_the_channels(channels: int, groups: int) -> None:
    layer = NORMS["group"](channels)
    assert isinstance(layer, nn.GroupNorm)
    assert layer.num_groups == groups


def test_none_changes_nothing(x: torch.Tensor) -> None:
    assert NORMS["none"](8)(x) is x


def test_layer2d_scales_and_shifts_each_channel(x: torch.Tensor) -> None:
    norm = LayerNorm2d(8)
    assert norm.eps == 1e-6
    before = norm(x)
    with torch.no_grad():
        norm.weight.copy_(torch.arange(8.0))
        norm.bias.fill_(3)
    torch.testing.assert_close(norm(x)[:, 5], before[:, 5] * 5 + 3)


@pytest.mark.parametrize("name", ["batch", "layer", "layer2d", "group", "instance"])
def test_every_norm_has_a_scale_and_a_shift_per_channel(name: str) -> None:
    assert sum(p.numel() for p in NORMS[name](16).parameters()) == 32


@pytest.mark.parametrize("name", ["layer", "layer2d", "group", "instance"])
def test_images_do_not_influence_each_other(name: str, x: torch.Tensor) -> None:
    norm = NORMS[name](8)
    torch.testing.assert_close(norm(x)[1:2], norm(x[1:2]))
