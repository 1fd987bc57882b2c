"""An average of the weights over the steps: `train.ema`.

Polyak & Juditsky, "Acceleration of Stochastic Approximation by Averaging", 1992; with the growing decay of TensorFlow's
ExponentialMovingAverage, so that the untrained weights do not stay in a short training's average.
"""

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

Tensors = tuple[torch.Tensor, ...] | list[torch.Tensor]

WARM_UP = 10  # after n steps the decay is at most (1 + n) / (10 + n)


def make_average(model: nn.Module, decay: float) -> AveragedModel:
    """A copy of `model`, running statistics included, that `update_parameters(model)` moves towards it after a step."""

    @torch.no_grad()
    def move(averaged: Tensors, current: Tensors, steps: torch.Tensor | int) -> None:
        # The count lives on the device; its history is known, so it is not read from there.
        count = torch.as_tensor(steps, dtype=torch.float32)
        share = 1 - torch.clamp((1 + count) / (WARM_UP + count), max=decay)
        for mine, its in zip(averaged, current, strict=True):
            if mine.is_floating_point():
                mine.lerp_(its, share.to(mine.device))
            else:  # the number of batches that batch norm has seen
                mine.copy_(its)

    return AveragedModel(model, multi_avg_fn=move, use_buffers=True)
