"""The forward pass that the range test, training and validation share."""

import torch
from torch import nn

from src.data.prepared import Prepared
from src.model.device import Precision, autocast
from src.model.inputs import to_input


class FromPixels(nn.Module):
    """A model that takes stored images: normalisation, autocast, logits in fp32.

    In one place, so that the range test sweeps the rate in the same precision that training uses.
    """

    def __init__(
        self, model: nn.Module, prepared: Prepared, device: torch.device, precision: Precision, channels_last: bool
    ) -> None:
        super().__init__()
        self.model = model
        self.mean = prepared.mean
        self.std = prepared.std
        self.device = device
        self.precision = precision
        self.channels_last = channels_last

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """uint8 (N, S, S, 3) on any device -> float32 logits (N, classes) on the model's"""
        x = to_input(images, self.mean, self.std, self.device, self.channels_last)
        with autocast(self.device, self.precision):
            logits: torch.Tensor = self.model(x)
        return logits.float()
