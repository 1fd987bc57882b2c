"""The forward pass that the range test, training and validation share."""

import torch
from torch import nn

from src.data.prepared import Prepared
from src.model.device import Precision, autocast
from src.model.inputs import to_input


class FromPixels(nn.Module):
    """A model that takes stored images. It normalises them, applies autocast and returns fp32 logits.

    The range test uses it too, so both run in the same precision.
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
        """uint8 (N, S, S, 3) on any device -> float32 logits (N, classes) on the model's device"""
        x = to_input(images, self.mean, self.std, self.device, self.channels_last)
        with autocast(self.device, self.precision):
            logits: torch.Tensor = self.model(x)
        return logits.float()
