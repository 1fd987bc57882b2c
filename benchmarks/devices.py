"""One training over several devices against one of them:

    python -m benchmarks.devices [--device auto] [--only NAME ...] [--again] [--smoke]

measures an epoch on 2, 4, ... of this machine's GPUs, or cores, up to all of them, and writes
benchmarks/results/devices-cpu.json (or -cuda). All train on the same batches, which several devices cut into parts,
so the ratio is the speed-up of one and the same training. On a CPU one process uses all cores already.
"""

import argparse
from functools import partial
from typing import Any

import torch

from benchmarks.cpu import REPEATS, SMOKE_RESULTS, add_options
from benchmarks.epoch import ours, together
from benchmarks.harness import RESULTS, Row, Settings, in_turn_cold
from benchmarks.run import run
from commands import run_command
from src.errors import UserError
from src.model.device import count_devices, resolve_device
from src.processes import cores

MEASURES = ("devices.batch_norm", "devices.own_batch_norms", "devices.layer_norm")
BATCH = {"cpu": 128, "cuda": 1024}
BATCHES = {"cpu": 4, "cuda": 40}  # of an epoch
RATE = 0.01


def batch_norm(settings: Settings) -> list[Row]:
    """Images/s with batch norm over the batch of all devices."""
    return _speed_up("batch norm over all", {"norm": "batch", "train.sync_batch_norm": True}, settings)


def own_batch_norms(settings: Settings) -> list[Row]:
    """Images/s with batch norm over each device's part: what the exchange of statistics costs."""
    return _speed_up("batch norm over each part", {"norm": "batch", "train.sync_batch_norm": False}, settings)


def layer_norm(settings: Settings) -> list[Row]:
    """Images/s with layer norm, which needs no other device."""
    return _speed_up("layer norm", {"norm": "layer"}, settings)


def counts(device: torch.device) -> list[int]:
    """2, 4, ... and all devices of this machine; UserError where there is one."""
    most = cores() if device.type == "cpu" else count_devices("auto", device)
    if most < 2:
        raise UserError(f"several devices are to be compared with one, but this machine has {most} for {device}")
    return sorted({2**power for power in range(1, most.bit_length()) if 2**power <= most} | {most})


def main() -> None:
    """Run the set, or some of it."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.devices", description=__doc__)
    add_options(parser, MEASURES)
    parser.add_argument("--device", default="auto")
    arguments = parser.parse_args()
    device = resolve_device(arguments.device)
    settings = Settings(device, arguments.smoke, 1 if arguments.smoke else REPEATS)
    file = (SMOKE_RESULTS if arguments.smoke else RESULTS) / f"devices-{device.type}.json"
    run(dict.fromkeys(arguments.only or MEASURES, settings), file, arguments.again)


def _speed_up(name: str, changes: dict[str, Any], settings: Settings) -> list[Row]:
    kind = settings.device.type
    batch = 8 if settings.smoke else BATCH[kind]
    images = batch * (2 if settings.smoke else BATCHES[kind])
    changes = changes | {"train.batch_size": batch} | ({"model.width": 4} if settings.smoke else {})
    rows = []
    for count in counts(settings.device)[: 1 if settings.smoke else None]:
        rates = in_turn_cold(
            partial(together, changes, RATE, images, settings.device, count),
            partial(ours, changes, RATE, images, settings.device),
            settings.repeats,
        )
        called = "processes" if kind == "cpu" else "GPUs"
        note = f"{images:,} images in batches of {batch}, the second epoch"
        rows.append(Row(f"training, {name}: {count} {called} / 1", *rates, "images/s", None, note=note))
    return rows


if __name__ == "__main__":
    run_command(main)
