"""The layer table of a model."""

import re

from torch import nn
from torchinfo import summary

COLUMNS = ("kernel_size", "input_size", "output_size", "num_params", "mult_adds")


def model_summary(model: nn.Module, size: int) -> str:
    """Every layer with kernel, input, output, parameters and mult-adds, for one image of `size` x `size` pixels."""
    device = next(model.parameters()).device
    table = str(summary(model, (1, 3, size, size), col_names=COLUMNS, depth=3, device=device, verbose=0))
    return re.sub(r"Units\.(\w)\w*", r"\1", table) + "\n"  # torchinfo 1.8.0 prints Units.MEGABYTES for M
