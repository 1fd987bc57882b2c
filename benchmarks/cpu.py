"""The CPU set: `make bench`, or

    python -m benchmarks.cpu [--only NAME ...] [--again] [--smoke] [--out FILE]

measures everything of MEASURES in under ten minutes on two cores, writes benchmarks/results/cpu.json after each measure
and goes on where it stopped: what the same code has measured here with the same versions is kept, unless --again.
"""

import argparse
from pathlib import Path

import torch

from benchmarks.harness import RESULTS, Settings
from benchmarks.run import run
from commands import run_command

MEASURES = (
    "training.step",
    "training.floor",
    "training.augmented",
    "training.norms",
    "training.memory",
    "training.growth",
    "input.pipeline",
    "cams.gradcam",
    "cams.slow",
    "seed_loop.epoch",
    "overhead.quickstart",
    "overhead.noop",
)
REPEATS = 3
SMOKE_RESULTS = Path("reports/benchmarks")  # ignored by git


def main() -> None:
    """Run the set, or some of it."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cpu", description=__doc__)
    add_options(parser, MEASURES)
    parser.add_argument("--out", type=Path, help="result file, instead of benchmarks/results/cpu.json")
    arguments = parser.parse_args()
    settings = Settings(torch.device("cpu"), arguments.smoke, 1 if arguments.smoke else REPEATS)
    file = arguments.out or (SMOKE_RESULTS if arguments.smoke else RESULTS) / "cpu.json"
    run(dict.fromkeys(arguments.only or MEASURES, settings), file, arguments.again)


def add_options(parser: argparse.ArgumentParser, measures: tuple[str, ...]) -> None:
    """The options of every set of measures."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--only", nargs="+", choices=measures, metavar="NAME", help=f"of {', '.join(measures)}")
    parser.add_argument("--again", action="store_true", help="also what has been measured before")
    parser.add_argument("--smoke", action="store_true", help="tiny sizes, to see that everything runs")


if __name__ == "__main__":
    run_command(main)
