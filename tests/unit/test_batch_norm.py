"""Batch norm over the batch of several ranks, which are threads here, is batch norm over the whole batch."""

from threading import Barrier, Thread, current_thread
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from src.training import batch_norm
from src.training.batch_norm import BatchNormOverRanks, over_ranks
from src.training.untrained import new_model
from tests.unit.training_helpers import make_params


class Threads:
    """In the place of `torch.distributed`: each rank is a thread, and waits for the others."""

    def __init__(self, count: int) -> None:
        self.barrier = Barrier(count, timeout=20)
        self.given: list[Tensor | None] = [None] * count

    def get_world_size(self) -> int:
        return len(self.given)

    def _all(self, mine: Tensor) -> list[Tensor]:
        self.given[int(current_thread().name)] = mine.clone()
        self.barrier.wait()
        found = [tensor for tensor in self.given if tensor is not None]
        self.barrier.wait()
        return found

    def all_gather(self, parts: list[Tensor], mine: Tensor) -> None:
        for part, other in zip(parts, self._all(mine), strict=True):
            part.copy_(other)

    def all_reduce(self, mine: Tensor) -> None:
        mine.copy_(torch.stack(self._all(mine)).sum(0))


def together(norms: list[nn.Module], parts: list[Tensor], wanted: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
    """Outputs and gradients of the inputs of each rank."""
    outs: list[Tensor] = [torch.empty(0)] * len(parts)

    def work(rank: int) -> None:
        outs[rank] = norms[rank](parts[rank])
        outs[rank].backward(wanted[rank])

    threads = [Thread(target=work, args=(rank,), name=str(rank)) for rank in range(len(parts))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return outs, [part.grad for part in parts if part.grad is not None]


@settings(deadline=None, max_examples=40)
@given(sizes=st.lists(st.integers(0, 5), min_size=2, max_size=4).filter(lambda s: sum(s) > 1), seed=st.integers(0, 99))
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_any_split_is_the_whole_batch(layout: torch.memory_format, sizes: list[int], seed: int) -> None:
    """Values far from zero: a variance of mean squares minus a squared mean would have lost its digits."""
    generator = torch.Generator().manual_seed(seed)
    x = (torch.randn(sum(sizes), 3, 4, 2, generator=generator) + 10).to(memory_format=layout)
    dy = torch.randn(x.shape, generator=generator)
    whole = nn.BatchNorm2d(3)
    nn.init.uniform_(whole.weight, generator=generator)
    norms: list[nn.Module] = []
    for _ in sizes:
        norm = BatchNormOverRanks(3)
        norm.load_state_dict(whole.state_dict())
        norms.append(norm)
    parts = [part.detach().requires_grad_() for part in x.split(sizes)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(batch_norm, "dist", Threads(len(sizes)))
        outs, gradients = together(norms, parts, list(dy.split(sizes)))
    x.requires_grad_()
    y = whole(x)
    y.backward(dy)

    def close(actual: Any, expected: Any) -> None:
        torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-4)

    close(torch.cat(outs), y)
    close(torch.cat(gradients), x.grad)
    close(sum(norm.weight.grad for norm in norms), whole.weight.grad)
    close(sum(norm.bias.grad for norm in norms), whole.bias.grad)
    for norm in norms:
        for name, buffer in whole.named_buffers():
            close(norm.get_buffer(name), buffer)
    assert torch.equal(norms[0].eval()(x), BatchNormOverRanks.__base__.forward(norms[0], x))


def test_bf16_images_have_fp32_statistics() -> None:
    x = (torch.randn(8, 3, 4, 4) + 3).bfloat16()
    parts = [part.detach().requires_grad_() for part in x.split([3, 5])]
    norms: list[nn.Module] = [BatchNormOverRanks(3), BatchNormOverRanks(3)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(batch_norm, "dist", Threads(2))
        outs, gradients = together(norms, parts, [torch.ones_like(part) for part in parts])
    assert {tensor.dtype for tensor in (*outs, *gradients)} == {torch.bfloat16}
    whole = nn.BatchNorm2d(3)
    torch.testing.assert_close(torch.cat(outs), whole(x), rtol=0.02, atol=0.01)  # bf16 has eight bits
    torch.testing.assert_close(norms[1].running_var, whole.running_var)


@pytest.mark.parametrize(("device", "kind"), [("cpu", BatchNormOverRanks), ("cuda", nn.SyncBatchNorm)])
def test_only_the_batch_norms_are_replaced_and_nothing_is_renamed(device: str, kind: type[nn.Module]) -> None:
    model = new_model(make_params(), 3)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    after = over_ranks(model, torch.device(device))
    assert all(torch.equal(tensor, before[name]) for name, tensor in after.state_dict().items())
    assert list(after.state_dict()) == list(before)
    assert sum(isinstance(module, kind) for module in after.modules()) == 20
    assert not any(type(module) is nn.BatchNorm2d for module in after.modules())
    layer = new_model(make_params(norm="layer"), 3)
    assert [type(m) for m in over_ranks(layer, torch.device(device)).modules()] == [type(m) for m in layer.modules()]
