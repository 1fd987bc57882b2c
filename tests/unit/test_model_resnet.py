"""The network's size, shape and names."""

import re

import pytest
import torch
import torchinfo
from torch import nn

from src.errors import UserError
from src.evaluation.summary import model_summary
from src.model.layers import find_layer
from src.model.norms import NORMS
from src.model.resnet import build, check_shape


@pytest.mark.parametrize("norm", ["batch", "layer"])
@pytest.mark.parametrize("strides", [[1, 2, 2, 2], [1, 1, 2, 2]])
def test_parameters_of_the_full_network(norm: str, strides: list[int]) -> None:
    assert sum(p.numel() for p in build(norm, 64, strides, 10).parameters()) == 11_173_962


@pytest.mark.parametrize(("strides", "millions"), [([1, 2, 2, 2], "555.43"), ([1, 1, 2, 2], "1763.39")])
def test_mult_adds_of_the_full_network(strides: list[int], millions: str) -> None:
    info = torchinfo.summary(build("batch", 64, strides, 10), (1, 3, 32, 32), verbose=0)
    assert f"{info.total_mult_adds / 1e6:.2f}" == millions


# The layer table of a recorded ResNet-18 (torchinfo): layer, kernel, input, output, parameters, mult-adds.
LAYERS = """
Conv2d: 1-1  [3, 3]  [1, 3, 32, 32]  [1, 64, 32, 32]  1,728  1,769,472
BatchNorm2d: 1-2  --  [1, 64, 32, 32]  [1, 64, 32, 32]  128  128
Sequential: 1-3  --  [1, 64, 32, 32]  [1, 64, 32, 32]  --  --
BasicBlock: 2-1  --  [1, 64, 32, 32]  [1, 64, 32, 32]  --  --
Conv2d: 3-1  [3, 3]  [1, 64, 32, 32]  [1, 64, 32, 32]  36,864  37,748,736
BatchNorm2d: 3-2  --  [1, 64, 32, 32]  [1, 64, 32, 32]  128  128
Conv2d: 3-3  [3, 3]  [1, 64, 32, 32]  [1, 64, 32, 32]  36,864  37,748,736
BatchNorm2d: 3-4  --  [1, 64, 32, 32]  [1, 64, 32, 32]  128  128
Sequential: 3-5  --  [1, 64, 32, 32]  [1, 64, 32, 32]  --  --
BasicBlock: 2-2  --  [1, 64, 32, 32]  [1, 64, 32, 32]  --  --
Conv2d: 3-6  [3, 3]  [1, 64, 32, 32]  [1, 64, 32, 32]  36,864  37,748,736
BatchNorm2d: 3-7  --  [1, 64, 32, 32]  [1, 64, 32, 32]  128  128
Conv2d: 3-8  [3, 3]  [1, 64, 32, 32]  [1, 64, 32, 32]  36,864  37,748,736
BatchNorm2d: 3-9  --  [1, 64, 32, 32]  [1, 64, 32, 32]  128  128
Sequential: 3-10  --  [1, 64, 32, 32]  [1, 64, 32, 32]  --  --
Sequential: 1-4  --  [1, 64, 32, 32]  [1, 128, 16, 16]  --  --
BasicBlock: 2-3  --  [1, 64, 32, 32]  [1, 128, 16, 16]  --  --
Conv2d: 3-11  [3, 3]  [1, 64, 32, 32]  [1, 128, 16, 16]  73,728  18,874,368
BatchNorm2d: 3-12  --  [1, 128, 16, 16]  [1, 128, 16, 16]  256  256
Conv2d: 3-13  [3, 3]  [1, 128, 16, 16]  [1, 128, 16, 16]  147,456  37,748,736
BatchNorm2d: 3-14  --  [1, 128, 16, 16]  [1, 128, 16, 16]  256  256
Sequential: 3-15  --  [1, 64, 32, 32]  [1, 128, 16, 16]  8,448  2,097,408
BasicBlock: 2-4  --  [1, 128, 16, 16]  [1, 128, 16, 16]  --  --
Conv2d: 3-16  [3, 3]  [1, 128, 16, 16]  [1, 128, 16, 16]  147,456  37,748,736
BatchNorm2d: 3-17  --  [1, 128, 16, 16]  [1, 128, 16, 16]  256  256
Conv2d: 3-18  [3, 3]  [1, 128, 16, 16]  [1, 128, 16, 16]  147,456  37,748,736
BatchNorm2d: 3-19  --  [1, 128, 16, 16]  [1, 128, 16, 16]  256  256
Sequential: 3-20  --  [1, 128, 16, 16]  [1, 128, 16, 16]  --  --
Sequential: 1-5  --  [1, 128, 16, 16]  [1, 256, 8, 8]  --  --
BasicBlock: 2-5  --  [1, 128, 16, 16]  [1, 256, 8, 8]  --  --
Conv2d: 3-21  [3, 3]  [1, 128, 16, 16]  [1, 256, 8, 8]  294,912  18,874,368
BatchNorm2d: 3-22  --  [1, 256, 8, 8]  [1, 256, 8, 8]  512  512
Conv2d: 3-23  [3, 3]  [1, 256, 8, 8]  [1, 256, 8, 8]  589,824  37,748,736
BatchNorm2d: 3-24  --  [1, 256, 8, 8]  [1, 256, 8, 8]  512  512
Sequential: 3-25  --  [1, 128, 16, 16]  [1, 256, 8, 8]  33,280  2,097,664
BasicBlock: 2-6  --  [1, 256, 8, 8]  [1, 256, 8, 8]  --  --
Conv2d: 3-26  [3, 3]  [1, 256, 8, 8]  [1, 256, 8, 8]  589,824  37,748,736
BatchNorm2d: 3-27  --  [1, 256, 8, 8]  [1, 256, 8, 8]  512  512
Conv2d: 3-28  [3, 3]  [1, 256, 8, 8]  [1, 256, 8, 8]  589,824  37,748,736
BatchNorm2d: 3-29  --  [1, 256, 8, 8]  [1, 256, 8, 8]  512  512
Sequential: 3-30  --  [1, 256, 8, 8]  [1, 256, 8, 8]  --  --
Sequential: 1-6  --  [1, 256, 8, 8]  [1, 512, 4, 4]  --  --
BasicBlock: 2-7  --  [1, 256, 8, 8]  [1, 512, 4, 4]  --  --
Conv2d: 3-31  [3, 3]  [1, 256, 8, 8]  [1, 512, 4, 4]  1,179,648  18,874,368
BatchNorm2d: 3-32  --  [1, 512, 4, 4]  [1, 512, 4, 4]  1,024  1,024
Conv2d: 3-33  [3, 3]  [1, 512, 4, 4]  [1, 512, 4, 4]  2,359,296  37,748,736
BatchNorm2d: 3-34  --  [1, 512, 4, 4]  [1, 512, 4, 4]  1,024  1,024
Sequential: 3-35  --  [1, 256, 8, 8]  [1, 512, 4, 4]  132,096  2,098,176
BasicBlock: 2-8  --  [1, 512, 4, 4]  [1, 512, 4, 4]  --  --
Conv2d: 3-36  [3, 3]  [1, 512, 4, 4]  [1, 512, 4, 4]  2,359,296  37,748,736
BatchNorm2d: 3-37  --  [1, 512, 4, 4]  [1, 512, 4, 4]  1,024  1,024
Conv2d: 3-38  [3, 3]  [1, 512, 4, 4]  [1, 512, 4, 4]  2,359,296  37,748,736
BatchNorm2d: 3-39  --  [1, 512, 4, 4]  [1, 512, 4, 4]  1,024  1,024
Sequential: 3-40  --  [1, 512, 4, 4]  [1, 512, 4, 4]  --  --
Linear: 1-7  --  [1, 512]  [1, 10]  5,130  5,130
"""


def test_the_layer_table_is_the_recorded_one() -> None:
    table = model_summary(build("batch", 64, [1, 2, 2, 2], 10), 32)
    rows = [re.sub(r"^(│    )*[├└]─", "", line) for line in table.splitlines() if line.startswith(("├", "│"))]
    # Our layers have names, which torchinfo writes behind their kinds: "Conv2d (conv1): 1-1".
    ours = [re.sub(r"  +", "  ", re.sub(r" \(\w+\):", ":", row)).strip() for row in rows]
    assert ours == LAYERS.strip().splitlines()
    assert "Total params: 11,173,962" in table


def test_a_layer_norm_with_a_scale_per_position_would_have_more_parameters() -> None:
    """What tells `layer` from LayerNorm over [C, H, W] by its count alone."""
    model = build("layer", 64, [1, 2, 2, 2], 10)
    shapes: dict[str, torch.Size] = {}

    def note(name: str, out: torch.Tensor) -> None:
        shapes[name] = out.shape[1:]

    for name, module in model.named_modules():
        if isinstance(module, nn.GroupNorm):
            module.register_forward_hook(lambda _m, _i, out, name=name: note(name, out))
    model(torch.zeros(1, 3, 32, 32))
    assert len(shapes) == 20
    for name, shape in shapes.items():
        model.set_submodule(name, nn.LayerNorm(shape))
    assert sum(p.numel() for p in model.parameters()) == 12_393_162


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
    check_shape("instance", 4, 32, [1, 2, 2, 2], batch_size=1)
    check_shape("batch", 4, 16, [2, 2, 2, 2], batch_size=2)
    check_shape("group", 8, 16, [2, 2, 2, 2], batch_size=1)
    with pytest.raises(UserError, match=r"model\.strides \[2, 2, 2, 2\]"):
        check_shape("instance", 4, 16, [2, 2, 2, 2], batch_size=8)
    with pytest.raises(UserError, match=r"train\.batch_size is 1"):
        check_shape("batch", 4, 16, [2, 2, 2, 2], batch_size=1)
    with pytest.raises(UserError, match="32 channels"):
        check_shape("group", 4, 16, [2, 2, 2, 2], batch_size=8)


@pytest.mark.parametrize("strides", [[2, 2, 2, 2], [4, 4, 1, 1], [1, 2, 2, 2]])
@pytest.mark.parametrize("width", [4, 8, 12])
@pytest.mark.parametrize("norm", ["group", "instance", "layer"])
def test_what_is_refused_is_what_a_single_image_breaks(norm: str, width: int, strides: list[int]) -> None:
    def works() -> bool:
        try:
            build(norm, width, strides, 3).train()(torch.rand(1, 3, 16, 16))
        except ValueError:  # PyTorch's: more than 1 value per channel
            return False
        return True

    def is_allowed() -> bool:
        try:
            check_shape(norm, width, 16, strides, batch_size=1)
        except UserError:
            return False
        return True

    assert works() == is_allowed()


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
        ("layer5", "has conv1, norm1, layer1, layer2, layer3, layer4, linear"),
        ("layer1[0].conv3", r"layer1\[0\] has conv1, norm1, conv2, norm2, shortcut"),
        ("layer4[2]", "layer4 has indices -2 to 1"),
        ("layer4[-3]", "layer4 has indices -2 to 1"),
        ("conv1[0]", "conv1 is .* Conv2d"),
        ("conv1.weight", "conv1 has no layers"),
        ("layer1[0].shortcut[0]", r"shortcut is empty"),
        ("", r"layer1\[0\]\.conv1"),
        ("layer4[x]", r"layer1\[0\]\.conv1"),
    ],
)
def test_wrong_layers_are_told_what_exists(model: nn.Module, dotted: str, says: str) -> None:
    with pytest.raises(UserError, match=says):
        find_layer(model, dotted)
