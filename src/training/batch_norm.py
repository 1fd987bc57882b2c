"""Batch norm over the batch of all ranks: `train.sync_batch_norm`.

The statistics are then those of the whole batch, as on one device. Otherwise each rank normalises its own part of the
batch, and the statistics become noisier with every device.
"""

from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import nn


def over_ranks(model: nn.Module, device: torch.device) -> nn.Module:
    """Replace each batch norm of `model` by one over all ranks. Parameters, their names and other norms stay the same.

    CUDA uses PyTorch's SyncBatchNorm, which supports no other device.
    """
    if device.type == "cuda":
        converted: nn.Module = nn.SyncBatchNorm.convert_sync_batchnorm(model)  # type: ignore[no-untyped-call]
        return converted
    for parent in list(model.modules()):
        for name, child in parent.named_children():
            if isinstance(child, nn.BatchNorm2d):
                norm = BatchNormOverRanks(child.num_features, child.eps, child.momentum, dtype=child.weight.dtype)
                norm.load_state_dict(child.state_dict())
                setattr(parent, name, norm)
    return model


class BatchNormOverRanks(nn.BatchNorm2d):
    """`BatchNorm2d` whose training statistics cover the images of all ranks. A rank may have no images."""

    @torch.compiler.disable  # type: ignore[untyped-decorator]  # it communicates with the other ranks
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, C, H, W) -> (N, C, H, W)"""
        if not self.training:
            return super().forward(x)
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        assert self.momentum is not None
        y, mean, var, count = _Normalize.apply(x, self.weight, self.bias, self.eps)
        with torch.no_grad():
            self.num_batches_tracked += 1
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(var * (count / (count - 1)), self.momentum)
        out: torch.Tensor = y
        return out


class _Normalize(torch.autograd.Function):
    """x -> weight * (x - mean) / sqrt(var + eps) + bias, with mean and var over the x of all ranks."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, eps: float) -> Any:
        """Return y, mean and biased variance (C,), and the number of values per channel, all over all ranks."""
        values = x.numel() // x.shape[1]
        mean, var = torch.zeros_like(weight), torch.zeros_like(weight)
        if values:  # the fp32 tensors stay 0 and make PyTorch return fp32 statistics, also of bf16 images
            mean, var = torch.batch_norm_update_stats(x, mean, var, 0.0)
        # Chan et al., "Updating Formulae and a Pairwise Algorithm for Computing Sample Variances", 1979
        mine = torch.cat((mean, var, mean.new_full((1,), values))).double()
        parts = [torch.empty_like(mine) for _ in range(dist.get_world_size())]
        dist.all_gather(parts, mine)
        # (ranks, C), (ranks, C), (ranks, 1)
        means, variances, counts = torch.split(torch.stack(parts), [len(mean), len(mean), 1], dim=1)
        count = counts.sum()
        whole = (counts * means).sum(0) / count
        var = ((counts * (variances + (means - whole) ** 2)).sum(0) / count).to(weight.dtype)
        mean = whole.to(weight.dtype)
        ctx.save_for_backward(x, weight, mean, var)
        ctx.eps, ctx.count = eps, float(count)
        ctx.mark_non_differentiable(mean, var)
        return F.batch_norm(x, mean, var, weight, bias, eps=eps), mean, var, ctx.count

    @staticmethod
    def backward(ctx: Any, dy: torch.Tensor, *_: Any) -> Any:
        """Ioffe & Szegedy, ICML 2015, section 3. The two sums over a channel run over all ranks."""
        x, weight, mean, var = ctx.saved_tensors
        if x.numel():
            # With the statistics as constants: dy * weight / std, the sum of dy * (x - mean) / std, the sum of dy.
            dx, dweight, dbias = torch.ops.aten.native_batch_norm_backward(
                dy, x, weight, mean, var, None, None, False, ctx.eps, [True, True, True]
            )
        else:
            dx, dweight, dbias = torch.zeros_like(x), torch.zeros_like(weight), torch.zeros_like(weight)
        sums = torch.stack((dweight, dbias))
        dist.all_reduce(sums)
        scale = torch.rsqrt(var + ctx.eps)
        slope = weight * scale**2 * sums[0] / ctx.count
        offset = weight * scale * sums[1] / ctx.count - slope * mean
        dx -= torch.addcmul(offset.view(1, -1, 1, 1), x, slope.view(1, -1, 1, 1))
        return dx, dweight, dbias, None
