"""Trials for the recipe laptop: short trainings that differ from it in one choice, judged by the validation split.

    python -m benchmarks.trials --data own/cifar10-jpeg.tar.xz [--only NAME ...] [--minutes N]

trains each of TRIALS with seed 0 and writes benchmarks/results/laptop-trials.json after each of them, then the table
in docs/results/README.md. Test images are not used. The same command resumes an interrupted trial after its last
completed epoch and skips what the file has. Trials change the recipe as it is now: once it has changed, they run
again, and the earlier rows stay in the table. To measure changed training code, delete the file.
"""

import argparse
import math
import shutil
import statistics
import time
from pathlib import Path
from typing import Any

from benchmarks.harness import RESULTS, commit, machine
from benchmarks.recipe_results import TRIALS_FILE, write_document
from benchmarks.workspace import prepare_once
from src import artifacts
from src.config.recipes import with_recipe
from src.data import prepared
from src.data.prepared import Prepared
from src.errors import UserError
from src.model.device import resolve_device, resolve_precision
from src.params import Params, parse_params
from src.processes import keep_memory
from src.runtime.run import run_command
from src.training.history import table_head, table_line
from src.training.key import model_key
from src.training.loop import train
from src.training.lr_range import choose_rate, sweep
from src.yaml_files import nest

FILE = RESULTS / TRIALS_FILE
CACHE = Path(".benchmarks/trials")

CROP = [
    {"name": "Pad", "padding": "size/8", "border_mode": 4},
    {"name": "RandomCrop", "height": "size", "width": "size"},
]
HOLE = {
    "name": "CoarseDropout", "num_holes_range": [1, 1], "hole_height_range": ["size/4", "size/4"],
    "hole_width_range": ["size/4", "size/4"], "fill": 0, "p": 0.5,
}  # fmt: skip

# Name, and what differs from the recipe laptop, as dotted keys of params.yaml.
TRIALS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("recipe", {}),
    ("rate-auto", {"lr": "auto"}),
    ("rate-0.2", {"lr": 0.2}),
    ("hole", {"augment": [*CROP, {"name": "AlternatingFlip"}, HOLE]}),
    ("random-flip", {"augment": [*CROP, {"name": "HorizontalFlip", "p": 0.5}]}),
    ("width-32", {"model.width": 32, "train.epochs": 9}),
    ("ema-0.99", {"train.ema": 0.99}),
    ("batch-64", {"train.batch_size": 64, "lr": 0.05}),
    ("zero-init", {"model.zero_init": True}),
)

# Groups of params.yaml that shape a training; the file keeps their values.
SHAPING = ("norm", "seed", "lr", "precision", "model", "lr_range", "train", "optimizer", "schedule", "augment")


class Record:
    """The file of results: one row per training."""

    def __init__(self, file: Path) -> None:
        """Continue with `file` if it exists."""
        self.file = file
        self.rows: list[dict[str, Any]] = artifacts.read_json(file)["rows"] if file.exists() else []

    def has(self, keys: dict[str, Any], data_digest: str) -> bool:
        """Whether a training with these parameters (dotted) on this data was recorded."""
        return any((row["params"], row["data_digest"]) == (shaping(keys), data_digest) for row in self.rows)

    def add(self, row: dict[str, Any]) -> None:
        """Keep a row, and write the file."""
        self.rows.append(row)
        artifacts.write_json(self.file, {"rows": self.rows})


def keys_of(changes: dict[str, Any]) -> dict[str, Any]:
    """All parameters of the recipe laptop with `changes`, as dotted keys."""
    return with_recipe("laptop") | changes


def shaping(keys: dict[str, Any]) -> dict[str, Any]:
    """Those of the dotted `keys` that shape a training."""
    return {key: value for key, value in keys.items() if key.partition(".")[0] in SHAPING}


def run(ready: Prepared, params: Params, checkpoints: Path) -> dict[str, Any]:
    """Train `params` on the training split, or resume from `checkpoints`, and return what the validation split says.

    A training that fails, for example because its loss is not finite, has its reason under `failed`.
    """
    device = resolve_device(params.device)
    precision = resolve_precision(params.precision, device)
    found: dict[str, Any] = {"precision": precision, "machine": machine(device)}
    try:
        lr = choose_rate(sweep(ready, params, device, precision), params) if params.lr == "auto" else params.lr
        found |= {"lr": lr, "model_key": model_key(params, lr, ready.digest, device.type, precision)}
        print(f"rate {lr:g}\n{table_head()}", flush=True)
        trained = train(
            ready,
            params,
            lr,
            device,
            precision,
            checkpoints / found["model_key"],
            on_epoch=lambda row: print(table_line(row), flush=True),
            say=print,
        )
    except UserError as error:
        return found | {"failed": " ".join(str(error).split())}
    kept = trained.history[trained.epoch - 1]
    return found | {
        "accuracy": kept["val_accuracy"],
        "loss": kept["val_loss"],
        "seconds": sum(row["seconds"] or 0 for row in trained.history),
        "images_per_second": statistics.fmean(row["images_per_second"] or 0 for row in trained.history),
    }


def run_all(trials: dict[str, dict[str, Any]], ready: Prepared, results: Record, minutes: float) -> None:
    """Run what `results` lacks of `trials`, and start no further one after so many minutes."""
    end = time.monotonic() + 60 * minutes
    for name, changes in trials.items():
        keys = keys_of(changes)
        if results.has(keys, ready.digest):
            print(f"{name}: measured before")
            continue
        if time.monotonic() > end:
            print(f"{name}: not measured yet, the same command continues")
            continue
        print(f"{name} ...", flush=True)
        row = run(ready, parse_params(nest(keys)), CACHE / "checkpoints")
        results.add(
            {
                "name": name,
                **row,
                "images": {"train": len(ready.train), "val": len(ready.val)},
                "data_digest": ready.digest,
                "params": shaping(keys),
                "commit": commit(),
                "date": time.strftime("%Y-%m-%d"),
            }
        )
        if "model_key" in row:
            shutil.rmtree(CACHE / "checkpoints" / row["model_key"], ignore_errors=True)


def main() -> None:
    """Run the trials, then fill the page."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.trials", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    trials = dict(TRIALS)
    parser.add_argument("--data", required=True, metavar="PATH", help="CIFAR-10 as a folder or archive of images")
    parser.add_argument("--only", nargs="+", choices=trials, metavar="NAME", help=f"of {', '.join(trials)}")
    parser.add_argument("--minutes", type=float, default=math.inf, help="start no trial after so many minutes")
    arguments = parser.parse_args()
    keep_memory()
    path = Path(arguments.data).resolve()
    prepare_once(CACHE / path.name, {"data.source": "folder", "data.path": str(path)})
    chosen = {name: trials[name] for name in arguments.only or trials}
    run_all(chosen, prepared.load(CACHE / path.name), Record(FILE), arguments.minutes)
    write_document()


if __name__ == "__main__":
    run_command(main)
