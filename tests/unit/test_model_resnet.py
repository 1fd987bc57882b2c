"""The network's size, shape and names."""

import pytest
import torch
import torchinfo
from torch import nn

from src.errors import UserError
from src.model.layers import find_layer
from src.model.norms import NORMS
from src.model.resnet import build, check_shape


@pytest.mark.parametrize("norm", ["batch", "layer"])
@pytest.mark.parametrize("strides", [[1, 2, 2, 2], [1, 1, 2, 2]])
def test_parameters_of_the_full_network(norm: str, strides: list[int]) -> None:
    assert sum(p.numel() for p in build(norm, 64, strides, 10).parameters()) == 11_173_962


def test_mult_adds_of_the_full_network() -> None:
    info = torchinfo.summary(build("batch", 64, [1, 2, 2, 2], 10), (1, 3, 32, 32), verbose=0)
    assert f"{info.total_mult_adds / 1e6:.2f}" == "555.43"


@pytest.mark.parametrize("norm", NORMS)
def test_shapes_through_the_stages(norm: str) -> None:
    model = build(norm, 4, [1, 2, 2, 2], 7)
    shapes = []
    for stage in (model.layer1, model.layer2, model.layer3, model.layer4):
        stage.register_forward_hook(lambda _m, _i, out: shapes.append(tuple(out.shape)))
    assert model(torch.randn(2, 3, 16, 16)).shape == (2, 7)
    assert shapes == [(2, 4, 16, 16), (2, 8, 8, 8), (2, 16, 4, 4), (2, 32, 2, 2)]


def test_convolutions_have_a_bias_only_without_norm() -> None:
    def biases(norm: str) -> set[bool]:
        return {m.bias is not None for m in build(norm, 4, [1, 2, 2, 2], 2).modules() if isinstance(m, nn.Conv2d)}

    assert biases("batch") == {False}
    assert biases("none") == {True}


def test_the_same_seed_gives_the_same_convolutions_for_every_norm() -> None:
    weights = []
    for norm in ("batch", "layer", "group"):
        torch.manual_seed(3)
        weights.append(build(norm, 4, [1, 2, 2, 2], 2).layer3[0].conv2.weight)
    assert torch.equal(weights[0], weights[1])
    assert torch.equal(weights[0], weights[2])


def test_a_norm_over_a_single_value_is_refused() -> None:
    check_shape("instance", 32, [1, 2, 2, 2], batch_size=1)
    check_shape("batch", 16, [2, 2, 2, 2], batch_size=2)
    with pytest.raises(UserError, match=r"model\.strides \[2, 2, 2, 2\]"):
        check_shape("instance", 16, [2, 2, 2, 2], batch_size=8)
    with pytest.raises(UserError, match=r"train\.batch_size is 1"):
        check_shape("batch", 16, [2, 2, 2, 2], batch_size=1)


@pytest.fixture(scope="module")
def model() -> nn.Module:
    return build("batch", 4, [1, 2, 2, 2], 2)


@pytest.mark.parametrize(
    ("dotted", "actual"),
    [
        ("layer4", "layer4"),
        ("layer4[-1]", "layer4.1"),
        ("layer2[-2]", "layer2.0"),
        ("layer1[0].conv1", "layer1.0.conv1"),
        ("layer2[0].shortcut[1]", "layer2.0.shortcut.1"),
    ],
)
def test_layers_by_name(model: nn.Module, dotted: str, actual: str) -> None:
    assert find_layer(model, dotted) is model.get_submodule(actual)


@pytest.mark.parametrize(
    ("dotted", "says"),
    [
        ("layer5", "the model has conv1, norm1, layer1, layer2, layer3, layer4, linear"),
        ("layer1[0].conv3", r"layer1\[0\] has conv1, norm1, conv2, norm2, shortcut"),
        ("layer4[2]", "layer4 has indices -2 to 1"),
        ("layer4[-3]", "layer4 has indices -2 to 1"),
        ("conv1[0]", "conv1 is one Conv2d"),
        ("conv1.weight", "conv1 has no layers"),
        ("layer1[0].shortcut[0]", r"shortcut is empty"),
        ("", "write it like"),
        ("layer4[x]", "write it like"),
    ],
)
def test_wrong_layers_are_told_what_exists(model: nn.Module, dotted: str, says: str) -> None:
    with pytest.raises(UserError, match=says):
        find_layer(model, dotted)
