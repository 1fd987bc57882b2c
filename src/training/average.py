"""An average of the weights over the steps: `train.ema`.

Polyak & Juditsky, "Acceleration of Stochastic Approximation by Averaging", 1992; with the growing decay of TensorFlow's
ExponentialMovingAverage, so that the untrained weights do not stay in the average of a short training.
"""

import copy
from typing import Any

import torch
from torch import nn

WARM_UP = 10  # after n steps the decay is at most (1 + n) / (10 + n)


class Average:
    """A copy of `model`, running statistics included, that `update` moves towards it after each step.

    The steps are counted here and not on the device (as `torch.optim.swa_utils` does), so that no step waits for a GPU.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.model = copy.deepcopy(model)
        self.decay = decay
        self.steps = 0

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Take in the weights of `model`; the first ones are copied."""
        share = 1 - min(self.decay, (1 + self.steps) / (WARM_UP + self.steps)) if self.steps else 1.0
        for mine, its in zip(self.model.state_dict().values(), model.state_dict().values(), strict=True):
            if mine.is_floating_point():
                mine.lerp_(its, share)
            else:  # the number of batches that batch norm has seen
                mine.copy_(its)
        self.steps += 1

    def state_dict(self) -> dict[str, Any]:
        """The averaged weights and the number of steps."""
        return {"model": self.model.state_dict(), "steps": self.steps}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what `state_dict` gave."""
        self.model.load_state_dict(state["model"])
        self.steps = state["steps"]
