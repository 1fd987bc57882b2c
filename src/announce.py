"""What an experiment will run, for the first lines that the pipeline prints."""

import torch

from src.config.changes import uncommitted
from src.data.sources.folder import source_name
from src.model.device import resolve_device
from src.params import Params
from src.wording import SOURCES, norm_name
from src.yaml_files import shown

# While these are as committed, training takes as long as with the committed params.yaml.
SLOW = ("data.source", "data.size", "data.share", "model.width", "model.strides", "train.epochs")


def announce(params: Params) -> str:
    """Lines with data, network, epochs and device, and whether this training takes hours."""
    data = params.data
    device = resolve_device("auto") if params.device == "auto" else torch.device(params.device)
    source = f"images in {shown(source_name(data))}" if data.source == "folder" else SOURCES[data.source]
    lines = [
        "This experiment:",
        f"  data     {source}, {data.size} x {data.size} pixels",
        f"  network  ResNet-18 of width {params.model.width} with {norm_name(params.norm)}",
        f"  epochs   {params.train.epochs}",
        f"  device   {device}",
    ]
    if device.type == "cpu" and data.source == "cifar10" and uncommitted().keys().isdisjoint(SLOW):
        lines.append(
            "With the committed params.yaml, training on a CPU takes hours. For a shorter run use: "
            "python -m recipes laptop, python -m recipes quick or dvc exp run -S train.epochs=2"
        )
    return "\n".join(lines)
