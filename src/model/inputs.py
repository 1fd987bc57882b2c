"""Conversion of stored images to the input of the model."""

from functools import cache

import numpy as np
import numpy.typing as npt
import torch

Rgb = tuple[float, float, float]


def to_input(
    images: torch.Tensor | npt.NDArray[np.uint8], mean: Rgb, std: Rgb, device: torch.device, channels_last: bool = False
) -> torch.Tensor:
    """Convert uint8 images (N, S, S, 3) to float32 (N, 3, S, S) on `device`, normalised per channel.

    `mean` and `std` are those of the training split, in units of 0..1. The images are copied to the device as uint8, a
    quarter of the bytes, and converted there.
    """
    tensor = images if isinstance(images, torch.Tensor) else torch.tensor(images)  # copies: arrays may be read-only
    tensor = tensor.to(device, non_blocking=True)
    layout = torch.channels_last if channels_last else torch.contiguous_format
    x = tensor.permute(0, 3, 1, 2).to(torch.float32, memory_format=layout)  # (N, S, S, 3) -> (N, 3, S, S)
    offset, scale = _statistics(mean, std, device)
    return x.sub_(offset).div_(scale)


@cache
def _statistics(mean: Rgb, std: Rgb, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and standard deviation in units of 0..255, each (1, 3, 1, 1) on `device`.

    Cached, because a copy per batch would make the CPU wait for the GPU.
    """
    with torch.inference_mode(False):
        offset = torch.tensor(mean, device=device).view(1, 3, 1, 1) * 255
        scale = torch.tensor(std, device=device).view(1, 3, 1, 1) * 255
    return offset, scale
