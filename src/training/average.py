"""Exponential moving average (EMA) of the weights: `train.ema`.

Polyak & Juditsky, "Acceleration of Stochastic Approximation by Averaging", 1992. The decay grows at first, as in
TensorFlow's ExponentialMovingAverage. Otherwise the nearly untrained weights of the first steps would keep a large
share in a short training.
"""

import copy
from typing import Any

import torch
from torch import nn

WARM_UP = 10  # after n steps, the decay is at most (1 + n) / (10 + n)


class Average:
    """A copy of `model` with its running statistics. `update` moves it towards the model after each step.

    `torch.optim.swa_utils` counts the steps on the device. This class counts them on the CPU, so no step waits for a
    GPU.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.model = copy.deepcopy(model)
        self.decay = decay
        self.steps = 0

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Move the average towards the weights of `model`. The first call copies them."""
        share = 1 - min(self.decay, (1 + self.steps) / (WARM_UP + self.steps)) if self.steps else 1.0
        for mine, its in zip(self.model.state_dict().values(), model.state_dict().values(), strict=True):
            if mine.is_floating_point():
                mine.lerp_(its, share)
            else:  # an integer buffer: the batch count of batch norm
                mine.copy_(its)
        self.steps += 1

    def state_dict(self) -> dict[str, Any]:
        """The averaged weights and the number of steps."""
        return {"model": self.model.state_dict(), "steps": self.steps}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        self.model.load_state_dict(state["model"])
        self.steps = state["steps"]
