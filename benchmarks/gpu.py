"""The CUDA set, in one go or in pieces:

    python -m benchmarks.gpu [--minutes 8] [--only NAME ...] [--again] [--out DIR]

writes gpu.json into DIR (benchmarks/results) after each measure and goes on where it stopped; a measure that fails is
recorded with its reason and the others go on. --minutes starts none after so many minutes, for machines that are lent
for short. `--device cpu --smoke` runs all of it with tiny sizes, to see that it runs. It includes the peers that
benchmarks/peers.py finds. Accuracy and the time of whole trainings are those of benchmarks/recipes.py.
"""

import argparse
import statistics
from pathlib import Path
from typing import Any

from benchmarks.cpu import REPEATS, SMOKE_RESULTS, add_options
from benchmarks.epoch import train_rates
from benchmarks.harness import RESULTS, Row, Settings
from benchmarks.peers import MEASURES as PEER_MEASURES
from benchmarks.peers import plan as peer_plan
from benchmarks.run import run
from commands import run_command
from src.model.device import resolve_device

MEASURES = (
    "training.floor",
    "training.step",
    "training.norms",
    "training.augmented",
    "input.pipeline",
    "seed_loop.epoch",
    "cams.gradcam",
    "gpu.batch_norm",
    "gpu.layer_norm",
    "training.growth",
)
BATCHES = (256, 512, 1024)
IMAGES = 44_032  # whole batches of each size


def batch_norm(settings: Settings) -> list[Row]:
    """Images/s of training with batch norm by batch size, compiled against eager."""
    return _compiled("batch", settings)


def layer_norm(settings: Settings) -> list[Row]:
    """Images/s of training with layer norm by batch size, compiled against eager."""
    return _compiled("layer", settings)


def _compiled(norm: str, settings: Settings) -> list[Row]:
    batches, images = ((16,), 32) if settings.smoke else (BATCHES, IMAGES)
    rows = []
    for batch in batches:
        changes: dict[str, Any] = {"norm": norm, "train.batch_size": batch, "data.size": 32}
        changes |= {"model.width": 4} if settings.smoke else {}
        eager, compiled = (_rate(changes | {"train.compile": choice}, images, settings) for choice in (False, True))
        note = f"epochs of {images:,} images with augmentation, width {changes.get('model.width', 64)}"
        name = f"training, {norm} norm, batch {batch}: compiled / eager"
        rows.append(Row(name, compiled, eager, "images/s", None, note=note))
    return rows


def main() -> None:
    """Run the set, or some of it."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__)
    add_options(parser, MEASURES + PEER_MEASURES)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--minutes", type=float, help="start no further measure after so many")
    parser.add_argument("--out", type=Path, metavar="DIR")
    arguments = parser.parse_args()
    device = resolve_device(arguments.device)
    settings = Settings(device, arguments.smoke, 1 if arguments.smoke else REPEATS)
    plan = {**dict.fromkeys(MEASURES, settings), **peer_plan(settings)}
    file = (arguments.out or (SMOKE_RESULTS if arguments.smoke else RESULTS)) / "gpu.json"
    chosen = {name: plan[name] for name in arguments.only or plan if name in plan}
    run(chosen, file, arguments.again, arguments.minutes)


def _rate(changes: dict[str, Any], images: int, settings: Settings) -> float:
    """The median of `repeats` epochs after the first."""
    rates = train_rates(changes, 0.01, images, settings.device, 1 + settings.repeats)
    return statistics.median(rates)


if __name__ == "__main__":
    run_command(main)
