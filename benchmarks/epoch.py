"""Epochs of this project's training, and one of them in a process of its own, or one a device.

    python -m benchmarks.epoch CHANGES RATE IMAGES DEVICE [OUT]

prints the images/s of the second epoch of two, or writes it to OUT: in the first, libraries choose their kernels.
"""

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

from benchmarks.harness import in_process, params_with, random_data
from src.launch import launch, launched
from src.model.device import resolve_precision
from src.training.loop import train
from src.training.ranks import ALONE, Ranks, joined
from stages import keep_memory

EPOCHS = 2


def ours(changes: dict[str, Any], rate: float, images: int, device: torch.device) -> float:
    """Images/s of a second epoch in a process of its own; see `train_rates`."""
    return in_process("epoch", json.dumps(changes), rate, images, device)


def together(changes: dict[str, Any], rate: float, images: int, device: torch.device, devices: int) -> float:
    """Images/s of a second epoch on so many devices of the kind of `device`; see `train_rates`."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "rate"
        module = ("-m", "benchmarks.epoch")
        launch((*module, json.dumps(changes), str(rate), str(images), str(device), str(out)), devices, 1, device.type)
        return float(out.read_text(encoding="utf-8"))


def train_rates(
    changes: dict[str, Any], rate: float, images: int, device: torch.device, epochs: int, ranks: Ranks = ALONE
) -> list[float]:
    """Images/s of each epoch but the first, without validation.

    Trains params.yaml with dotted `changes` on `images` of noise at `rate`, through the function that the stage `train`
    calls, checkpoints included.
    """
    params = params_with(changes | {"train.epochs": epochs})
    with tempfile.TemporaryDirectory() as checkpoints:
        trained = train(
            random_data(images),
            params,
            rate,
            device,
            resolve_precision(params.precision, device),
            Path(checkpoints),
            on_epoch=lambda row: None,
            say=lambda sentence: None,
            ranks=ranks,
        )
    return [float(row["images_per_second"] or 0) for row in trained.history[1:]]


def main(changes: str, rate: str, images: str, device: str, out: str = "") -> None:
    """Train and print, or as one of several processes let the first one write."""
    keep_memory()  # as a stage does
    given = json.loads(changes), float(rate), int(images), torch.device(device), EPOCHS
    if not launched():
        print(*train_rates(*given))
        return
    with joined(1, torch.device(device)) as ranks:
        (measured,) = train_rates(*given, ranks)
        if ranks.first:
            Path(out).write_text(str(measured), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
