"""The CUDA set, in one go or in pieces:

    python -m benchmarks.gpu [--data PATH --data-name NAME] [--kuangliu PATH] [--airbench PATH] [--seed PATH]
                             [--minutes 8] [--only NAME ...] [--again] [--out DIR]

writes gpu.json into DIR (benchmarks/results) after each measure and goes on where it stopped; a measure that fails is
recorded with its reason and the others go on. --minutes starts none after so many minutes, for machines that are lent
for short. PATH of --data is an archive or folder of images for the `standard` recipe, which else downloads CIFAR-10.
`--device cpu --smoke` runs all of it with tiny sizes, to see that it runs.
"""

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.cpu import REPEATS, SMOKE_RESULTS, add_options
from benchmarks.epoch import train_rates
from benchmarks.measure import CODE, RESULTS, Row, Settings
from benchmarks.peers import MEASURES as PEER_MEASURES
from benchmarks.peers import PEERS, add_paths
from benchmarks.peers import plan as peer_plan
from benchmarks.run import run
from commands import run_command
from src import artifacts
from src.errors import UserError
from src.model.device import resolve_device

MEASURES = (
    "training.floor",
    "training.step",
    "training.norms",
    "training.augmented",
    "input.pipeline",
    "seed_loop.epoch",
    "cams.gradcam",
    "gpu.standard",
    "gpu.batch_norm",
    "gpu.layer_norm",
    "training.growth",
)
BATCHES = (256, 512, 1024)
IMAGES = 44_032  # whole batches of each size
BEST_SEED = 92.44  # per cent, recorded by seed 002 on the original images

SMOKE_RUN = [
    "lr=0.01", "data.source=shapes", "data.shapes.train=64", "data.shapes.test=32", "model.width=4", "train.epochs=1",
    "train.batch_size=16", "lr_range.iterations=10", "gradcam.count=4",
]  # fmt: skip


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


def standard(settings: Settings) -> list[Row]:
    """The recipe `standard` as a DVC experiment in a copy of this repository: accuracy, and seconds of each stage."""
    overrides = SMOKE_RUN if settings.smoke else []
    data = settings.options.get("data", "")
    if data and not settings.smoke:
        overrides = ["data.source=folder", f"data.path={Path(data).resolve()}"]
    name = "generated shapes" if settings.smoke else settings.options["data_name"]
    with tempfile.TemporaryDirectory() as folder:
        copy = copy_repository(Path(folder) / "normlens")
        stages = run_stages(copy, [*overrides, f"device={settings.device}"])
        train, test = (artifacts.read_json(copy / artifacts.METRICS / f"{n}.json") for n in ("train", "evaluate"))
    whole = sum(stages.values())
    recipe = f"`standard`, {train['epochs']} epochs, {name}"
    interval = f"{test['accuracy_low']:.2%} to {test['accuracy_high']:.2%}"
    against = f"95 % interval {interval}; against: the best that a seed recorded, on the original CIFAR-10"
    rows = [
        Row(f"{recipe}: test accuracy", 100 * test["accuracy"], BEST_SEED, "%", None, note=against),
        Row(f"{recipe}: training / whole run", train["seconds"], whole, "s", None, note="validation included; one run"),
    ]
    rows += [Row(f"stages, {stage} / whole run", seconds, whole, "s", None) for stage, seconds in stages.items()]
    return rows


def run_stages(repository: Path, overrides: list[str]) -> dict[str, float]:
    """Run `standard` with `overrides`; the seconds of each stage, and of DVC before the first one."""
    flags = [part for override in overrides for part in ("-S", override)]
    command = [sys.executable, "-m", "recipes", "standard", *flags]
    environment = {key: value for key, value in os.environ.items() if key not in ("MLFLOW_TRACKING_URI", "DVC_ROOT")}
    environment["PYTHONUNBUFFERED"] = "1"
    marks = [("DVC before them", time.perf_counter())]
    lines: list[str] = []
    with subprocess.Popen(
        command, cwd=repository, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            lines.append(line)
            if line.startswith("Running stage '"):
                marks.append((line.split("'")[1], time.perf_counter()))
    if process.returncode != 0:
        raise UserError("the recipe standard failed: " + "".join(lines[-5:]).strip())
    ends = [start for _, start in marks[1:]] + [time.perf_counter()]
    return {name: end - start for (name, start), end in zip(marks, ends, strict=True)}


def copy_repository(target: Path) -> Path:
    """The files of CODE as they are, in a git repository of their own: experiments need one, and leave things in it."""
    for name in (*CODE, ".dvc/config", ".dvcignore", ".gitignore", "metrics/README.md", "own/README.md"):
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        if Path(name).is_dir():
            shutil.copytree(name, target / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copyfile(name, target / name)
    identity = ["-c", "user.name=NormLens", "-c", "user.email=normlens@localhost"]
    for command in (["init", "-q"], ["add", "-A"], [*identity, "commit", "-q", "-m", "start"]):
        subprocess.run(["git", *command], cwd=target, check=True)
    return target


def main() -> None:
    """Run the set, or some of it."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__)
    add_options(parser, MEASURES + PEER_MEASURES)
    add_paths(parser)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--data", default="", metavar="PATH")
    parser.add_argument("--data-name", default="CIFAR-10", metavar="NAME", help="of the data, for the table")
    parser.add_argument("--minutes", type=float, help="start no further measure after so many")
    parser.add_argument("--out", type=Path, metavar="DIR")
    arguments = parser.parse_args()
    device = resolve_device(arguments.device)
    settings = Settings(device, arguments.smoke, 1 if arguments.smoke else REPEATS)
    data = {"data": arguments.data, "data_name": arguments.data_name}
    plan = dict.fromkeys(MEASURES, settings)
    plan["gpu.standard"] = Settings(device, settings.smoke, settings.repeats, data)
    plan |= peer_plan({peer: getattr(arguments, peer) for peer in PEERS}, settings)
    file = (arguments.out or (SMOKE_RESULTS if arguments.smoke else RESULTS)) / "gpu.json"
    chosen = {name: plan[name] for name in arguments.only or plan if name in plan}
    run(chosen, file, arguments.again, arguments.minutes)


def _rate(changes: dict[str, Any], images: int, settings: Settings) -> float:
    """The median of `repeats` epochs after the first."""
    rates = train_rates(changes, 0.01, images, settings.device, 1 + settings.repeats)
    return statistics.median(rates)


if __name__ == "__main__":
    run_command(main)
