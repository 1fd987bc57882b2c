"""Peers: other people's code on the same images in the same script, where a checkout of it is at hand.

    python -m benchmarks.peers [--kuangliu PATH] [--airbench PATH] [--seed PATH] [--device cuda] [--again] [--smoke]

PATH is a checkout of github.com/kuangliu/pytorch-cifar, of github.com/KellerJordan/cifar10-airbench, or the folder
ERA-V1-Session-11 in one of github.com/niharikavadapalli/ERA-V1 (seed 002). Writes benchmarks/results/peers-DEVICE.json.
The rows have no goal. benchmarks/peer_side.py says how each is run.
"""

import argparse
from pathlib import Path

import torch

from benchmarks.cpu import REPEATS, SMOKE_RESULTS, add_options
from benchmarks.epoch import ours
from benchmarks.measure import PLAIN, RESULTS, Row, Settings, in_process, in_turn_cold
from benchmarks.run import Plan, run
from benchmarks.seed_loop import recipe
from commands import run_command
from src.errors import UserError

PEERS = {
    "kuangliu": "kuangliu/pytorch-cifar",
    "airbench": "KellerJordan/cifar10-airbench",
    "seed": "niharikavadapalli/ERA-V1, ERA-V1-Session-11",
}
MEASURES = tuple(f"peers.{peer}" for peer in PEERS)
IMAGES = {"cpu": 1024, "cuda": 45_000}
SMOKE_IMAGES = 128  # the networks are of full size: they are the peers' own
LOADER_IMAGES, LOADER_BATCH = 44_800, 512  # whole batches: airbench leaves the rest out

KUANGLIU_BATCH = 128
KUANGLIU = {  # on top of seed 002's recipe
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
    images = _images(settings)
    rates = in_turn_cold(
        lambda: ours(recipe() | KUANGLIU, 0.1, images, settings.device),
        lambda: _peer("kuangliu", images, KUANGLIU_BATCH, settings),
        settings.repeats,
    )
    note = (
        f"ResNet-18, {images:,} images in batches of {KUANGLIU_BATCH}, pad 4, crop, flip; against: its `train(epoch)`"
    )
    return [Row("training, an epoch: ours / kuangliu's pytorch-cifar", *rates, "images/s", None, note=note)]


def seed(settings: Settings) -> list[Row]:
    """Images/s of an epoch in training with seed 002's recipe."""
    changes, images = recipe(), _images(settings)
    batch = changes["train.batch_size"]
    rates = in_turn_cold(
        lambda: ours(changes, changes["lr"], images, settings.device),
        lambda: _peer("seed", images, batch, settings),
        settings.repeats,
    )
    note = f"ResNet-18, {images:,} images in batches of {batch}, pad 4, crop, flip, hole of 8; against: its `train`"
    return [Row("training, an epoch: ours / seed 002's own loop", *rates, "images/s", None, note=note)]


def airbench(settings: Settings) -> list[Row]:
    """Images/s of the loaders alone."""
    images, batch = (LOADER_BATCH if settings.smoke else LOADER_IMAGES), LOADER_BATCH
    rates = in_turn_cold(
        lambda: in_process("peer_side", "our_loader", "-", images, settings.device, batch),
        lambda: _peer("airbench", images, batch, settings),
        settings.repeats,
    )
    note = (
        f"{images:,} images in batches of {batch}, pad 2, crop, flip, normalised; ours in fp32, batch by batch; "
        "against: its CifarLoader, fp16, an epoch at once"
    )
    return [Row("loader: ours / airbench's", *rates, "images/s", None, note=note)]


def plan(paths: dict[str, str], settings: Settings) -> Plan:
    """The measures of the peers whose checkout is given, with a sentence for each that is skipped."""
    for peer, repository in PEERS.items():
        if not paths.get(peer):
            print(f"peers.{peer}: skipped, it needs --{peer} and the path of a checkout of {repository}")
        elif not Path(paths[peer]).is_dir():
            raise UserError(f"--{peer} {paths[peer]} is not a folder")
    return {
        f"peers.{peer}": Settings(settings.device, settings.smoke, settings.repeats, {"path": path})
        for peer, path in paths.items()
        if path
    }


def add_paths(parser: argparse.ArgumentParser) -> None:
    """An option for the checkout of each peer."""
    for peer, repository in PEERS.items():
        parser.add_argument(f"--{peer}", default="", metavar="PATH", help=f"checkout of {repository}")


def main() -> None:
    """Measure against the peers that are given."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers", description=__doc__)
    add_options(parser, MEASURES)
    add_paths(parser)
    parser.add_argument("--device", type=torch.device, default=torch.device("cpu"))
    arguments = parser.parse_args()
    settings = Settings(arguments.device, arguments.smoke, 1 if arguments.smoke else REPEATS)
    chosen = plan({peer: getattr(arguments, peer) for peer in PEERS}, settings)
    file = (SMOKE_RESULTS if arguments.smoke else RESULTS) / f"peers-{settings.device.type}.json"
    run({name: chosen[name] for name in arguments.only or chosen if name in chosen}, file, arguments.again)


def _peer(side: str, images: int, batch: int, settings: Settings) -> float:
    """Images/s of a peer in its own process; one that takes a GPU where there is one sees none on a CPU's turn."""
    environment = PLAIN | ({"CUDA_VISIBLE_DEVICES": ""} if settings.device.type == "cpu" else {})
    checkout = Path(settings.options["path"]).resolve()
    return in_process("peer_side", side, checkout, images, settings.device, batch, environment=environment)


def _images(settings: Settings) -> int:
    return SMOKE_IMAGES if settings.smoke else IMAGES[settings.device.type]


if __name__ == "__main__":
    run_command(main)
