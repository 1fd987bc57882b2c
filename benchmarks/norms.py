"""The norms side by side: the committed recipe with the norm alone changed, through the whole pipeline.

    python -m benchmarks.norms --data own/cifar10-jpeg.tar.xz --data-name "CIFAR-10 (JPEG q75 copy)" --epochs 3

writes benchmarks/results/norms-DEVICE.json, and the curves and Grad-CAM figure of each norm beside it, and prints the
table of the README. DEVICE is cpu or cuda, as the pipeline found it. `--table FILE` prints the table of an old result.
Without --epochs the run has the full length, which is meant for a GPU. The experiments need a git repository: where the
files came without one, `git init && git add -A && git commit -m start` makes it.
"""

import argparse
import shlex
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from benchmarks.measure import RESULTS, commit, machine
from commands import run_command
from src import artifacts
from src.errors import UserError

FIGURES = ("report/curves", "lr_range/lr_range", "gradcam/predicted", "evaluate/reliability")


def main() -> None:
    """Run the experiments, or print the table of an old result."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.norms", description=__doc__)
    parser.add_argument("--data", default="", help="archive or folder of images; without it the official CIFAR-10")
    parser.add_argument("--data-name", default="CIFAR-10", help="name of the data in the table")
    parser.add_argument("--norms", nargs="+", default=["batch", "layer"])
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="other parameters, for every norm")
    parser.add_argument("--table", type=Path, help="only print the table of this result file")
    arguments = parser.parse_args()
    if arguments.table:
        print(table(artifacts.read_json(arguments.table)))
        return
    runs = {norm: run(norm, arguments) for norm in arguments.norms}
    first = next(iter(runs.values()))
    result = {
        "command": shlex.join(["python", "-m", "benchmarks.norms", *sys.argv[1:]]),
        "data": arguments.data_name,
        **machine(torch.device(first["device"])),
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "commit": commit(),
        "runs": runs,
    }
    artifacts.write_json(RESULTS / f"norms-{first['device']}.json", result)
    print(table(result))


def run(norm: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """One experiment through every stage; returns its metrics and copies its figures to results/norms-DEVICE/."""
    settings = [f"norm={norm}", f"train.epochs={arguments.epochs}", *arguments.set]
    if arguments.data:
        settings += ["data.source=folder", f"data.path={arguments.data}"]
    flags = [part for setting in settings for part in ("-S", setting)]
    done = subprocess.run([sys.executable, "-m", "recipes", "standard", *flags], check=False)
    if done.returncode != 0:
        raise UserError(f"the experiment with norm {norm} failed; its message is above")
    metrics = {name: artifacts.read_json(artifacts.METRICS / f"{name}.json") for name in ("train", "evaluate")}
    model = artifacts.read_json(artifacts.MODEL)
    for figure in FIGURES:
        target = RESULTS / f"norms-{model['device']}" / f"{norm}-{Path(figure).name}.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(artifacts.FIGURES / f"{figure}.png", target)
    return metrics | {key: model[key] for key in ("hardware", "device", "precision", "lr", "epochs", "parameters")}


def table(result: dict[str, Any]) -> str:
    """The result as Markdown, with what it rests on in the last line."""
    lines = [
        "| norm | epochs | peak rate | test accuracy (95 % interval) | calibration error | images/s | training |",
        "|---|---|---|---|---|---|---|",
    ]
    for norm, about in result["runs"].items():
        test, train = about["evaluate"], about["train"]
        lines.append(
            f"| `{norm}` | {about['epochs']} | {about['lr']:g} | {test['accuracy']:.2%} "
            f"({test['accuracy_low']:.2%} to {test['accuracy_high']:.2%}) | {test['ece']:.3f} | "
            f"{train['images_per_second']:,.0f} | {train['seconds'] / 60:.1f} min |"
        )
    precision = next(iter(result["runs"].values()))["precision"]
    lines += [
        "",
        f"{result['data']}; `{result['command']}`; {result['hardware']}, {precision}; Python {result['python']}, "
        f"PyTorch {result['torch']}; {result['date']}, commit {result['commit']}.",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    run_command(main)
