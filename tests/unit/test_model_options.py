"""Zero-initialised blocks and weight standardisation."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from src.model.norms import NORMS
from src.model.resnet import BasicBlock, StandardizedConv2d, build

STRIDES = [1, 2, 2, 2]


@pytest.mark.parametrize("norm", [name for name in NORMS if name != "none"])
def test_a_zero_initialised_block_begins_as_its_shortcut(norm: str) -> None:
    torch.manual_seed(0)
    model = build(norm, 4, STRIDES, 3, zero_init=True)
    blocks = [module for module in model.modules() if isinstance(module, BasicBlock)]
    assert len(blocks) == 8
    for block in blocks:
        x = torch.randn(2, block.conv1.in_channels, 8, 8)
        torch.testing.assert_close(block(x), F.relu(block.shortcut(x)))
    norms = [name for name, p in model.named_parameters() if "norm" in name and (p == 0).all() and "weight" in name]
    assert norms == [f"layer{stage}.{block}.norm2.weight" for stage in (1, 2, 3, 4) for block in (0, 1)]


def test_zero_init_changes_no_other_weight_and_nothing_without_norms() -> None:
    def weights(norm: str, zero_init: bool) -> dict[str, torch.Tensor]:
        torch.manual_seed(0)
        return build(norm, 4, STRIDES, 3, zero_init=zero_init).state_dict()

    for norm in ("batch", "none"):
        plain, zero = weights(norm, False), weights(norm, True)
        changed = {name for name in plain if not torch.equal(plain[name], zero[name])}
        assert all(name.endswith("norm2.weight") for name in changed)
        assert len(changed) == (8 if norm == "batch" else 0)


def test_standardised_weights_by_hand() -> None:
    """One filter of 1x1 over four channels with weights 1, 2, 3, 6: mean 3, variance 3.5."""
    conv = StandardizedConv2d(4, 1, 1, bias=False)
    with torch.no_grad():
        conv.weight.copy_(torch.tensor([1.0, 2, 3, 6]).view(1, 4, 1, 1))
    expected = (torch.tensor([1.0, 2, 3, 6]) - 3) / 3.5**0.5
    out = conv(torch.eye(4).view(4, 4, 1, 1)).flatten()
    torch.testing.assert_close(out, expected, atol=1e-5, rtol=1e-5)


def test_scale_and_shift_of_a_filter_do_not_matter() -> None:
    torch.manual_seed(0)
    conv = StandardizedConv2d(8, 4, 3, padding=1, bias=False)
    x = torch.randn(2, 8, 6, 6)
    before = conv(x)
    with torch.no_grad():
        conv.weight.mul_(7).add_(3)
    torch.testing.assert_close(conv(x), before, atol=1e-3, rtol=1e-3)


def test_under_autocast_the_statistics_stay_in_fp32() -> None:
    torch.manual_seed(0)
    conv = StandardizedConv2d(8, 4, 3, padding=1, bias=False)
    x = torch.randn(2, 8, 6, 6)
    with torch.no_grad():
        conv.weight.mul_(0.001).add_(1)  # in bf16 all of these weights are the same number
        exact = conv(x)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            low = conv(x)
    assert low.dtype == torch.bfloat16
    torch.testing.assert_close(low.float(), exact, atol=0.3, rtol=0.02)


@pytest.mark.parametrize("norm", [name for name in NORMS if name != "none"])
def test_every_norm_trains_with_both(norm: str) -> None:
    model = build(norm, 4, STRIDES, 3, zero_init=True, weight_standardization=True)
    plain = build(norm, 4, STRIDES, 3)
    assert sum(p.numel() for p in model.parameters()) == sum(p.numel() for p in plain.parameters())
    convolutions = [m for m in model.modules() if isinstance(m, nn.Conv2d)]
    assert all(isinstance(m, StandardizedConv2d) for m in convolutions)
    loss = F.cross_entropy(model(torch.randn(4, 3, 16, 16)), torch.tensor([0, 1, 2, 0]))
    assert loss < 20
    loss.backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
