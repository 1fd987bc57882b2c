"""Other projects' code against ours, on the same images of noise, each side in a process of its own.

    python -m benchmarks.peers [--only NAME ...] [--device cuda] [--again] [--smoke]

measures every peer that is cloned into .benchmarks/peers, and names the others:

    git clone https://github.com/kuangliu/pytorch-cifar .benchmarks/peers/pytorch-cifar
    git clone https://github.com/KellerJordan/cifar10-airbench .benchmarks/peers/cifar10-airbench
    git clone https://github.com/niharikavadapalli/ERA-V1 .benchmarks/peers/ERA-V1

The last one holds the source project of the recipe seed-002. Writes benchmarks/results/peers-DEVICE.json. The rows have
no goal. benchmarks/peer_side.py says how each peer is run.
"""

import argparse
from collections.abc import Callable

import torch

from benchmarks.harness import (
    PLAIN,
    REPEATS,
    RESULTS,
    SMOKE_RESULTS,
    Plan,
    Row,
    Settings,
    add_options,
    in_process,
    in_turn_cold,
    run,
)
from benchmarks.peer_side import FOLDERS
from benchmarks.seed_loop import recipe
from benchmarks.speed import ours
from src.runtime.run import run_command

MEASURES = tuple(f"peers.{peer}" for peer in FOLDERS)
IMAGES = {"cpu": 1024, "cuda": 45_056}  # whole batches of BATCH: airbench's loader leaves the rest out
SMOKE_IMAGES = 128  # the networks are of full size: they are the peers' own
BATCH = 512

KUANGLIU_BATCH = 128
KUANGLIU = {  # on top of the recipe seed-002
    "train.batch_size": KUANGLIU_BATCH,
    "train.optimizer": "sgd",
    "train.weight_decay": 5e-4,
    "train.schedule": "cosine",
    "augment": [
        {"name": "Pad", "padding": 4, "fill": 0},
        {"name": "RandomCrop", "height": "size", "width": "size"},
        {"name": "HorizontalFlip", "p": 0.5},
    ],
}


def kuangliu(settings: Settings) -> list[Row]:
    """Images/s of an epoch in training with pytorch-cifar's settings."""
    name, what = "training, an epoch: ours / kuangliu's pytorch-cifar", "pad 4, crop, flip; against: its `train(epoch)`"
    changes = recipe() | KUANGLIU
    return _rows(name, what, "kuangliu", KUANGLIU_BATCH, settings, lambda n: ours(changes, 0.1, n, settings.device))


def seed(settings: Settings) -> list[Row]:
    """Images/s of an epoch in training with the recipe seed-002."""
    name, what = "training, an epoch: ours / seed 002's own loop", "pad 4, crop, flip, hole of 8; against: its `train`"
    changes = recipe() | {"train.batch_size": BATCH}
    return _rows(name, what, "seed", BATCH, settings, lambda n: ours(changes, changes["lr"], n, settings.device))


def airbench(settings: Settings) -> list[Row]:
    """Images/s of the loaders alone."""
    what = (
        "pad 2, crop, flip, normalised; ours in fp32, batch by batch; against: its CifarLoader, fp16, an epoch at once"
    )

    def loader(images: int) -> float:
        return in_process("peer_side", "our_loader", images, settings.device, min(BATCH, images))

    return _rows("loader: ours / airbench's", what, "airbench", BATCH, settings, loader)


def _rows(name: str, what: str, side: str, batch: int, settings: Settings, ours: Callable[[int], float]) -> list[Row]:
    """`ours` of so many images against the peer `side`, in turn."""
    images = SMOKE_IMAGES if settings.smoke else IMAGES[settings.device.type]
    batch = min(batch, images)
    # A peer that takes a GPU whenever it sees one sees none if the CPU is measured.
    environment = PLAIN | ({"CUDA_VISIBLE_DEVICES": ""} if settings.device.type == "cpu" else {})
    rates = in_turn_cold(
        lambda: ours(images),
        lambda: in_process("peer_side", side, images, settings.device, batch, environment=environment),
        settings.repeats,
    )
    return [Row(name, *rates, "images/s", None, note=f"{images:,} images in batches of {batch}, {what}")]


def plan(settings: Settings) -> Plan:
    """The measures of the peers that are cloned; each other one is named."""
    for peer, folder in FOLDERS.items():
        if not folder.is_dir():
            print(f"peers.{peer}: not measured, there is no {folder} (see python -m benchmarks.peers --help)")
    return {f"peers.{peer}": settings for peer, folder in FOLDERS.items() if folder.is_dir()}


def main() -> None:
    """Measure against the peers that are cloned."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers", description=__doc__)
    add_options(parser, MEASURES)
    parser.add_argument("--device", type=torch.device, default=torch.device("cpu"))
    arguments = parser.parse_args()
    settings = Settings(arguments.device, arguments.smoke, 1 if arguments.smoke else REPEATS)
    chosen = plan(settings)
    file = (SMOKE_RESULTS if arguments.smoke else RESULTS) / f"peers-{settings.device.type}.json"
    run({name: chosen[name] for name in arguments.only or chosen if name in chosen}, file, arguments.again)


if __name__ == "__main__":
    run_command(main)
