"""How far it goes: the set of docs/scale/capacity.md.

    python -m benchmarks.scale [--only NAME ...] [--again] [--smoke] [--out FILE] [--store URI]

measures what tracking, DVC and images cost as they become many, in under 15 minutes on two cores, and writes
benchmarks/results/scale.json after each measure. Most rows compare a larger number with the smallest: their ratio says
how much the cost grew. `--store` is an empty database for the server's runs in place of a SQLite file, such as that of
docs/scale/shared-server.md: postgresql+psycopg2://mlflow@127.0.0.1:5432/mlflow (with .venv-scale active).
"""

import argparse
from pathlib import Path

import torch

from benchmarks.cpu import SMOKE_RESULTS, add_options
from benchmarks.harness import RESULTS, Settings
from benchmarks.run import run
from commands import run_command

MEASURES = ("store.local", "store.server", "experiments.cache", "large.decode", "large.read")
REPEATS = 5


def main() -> None:
    """Run the set, or some of it."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale", description=__doc__)
    add_options(parser, MEASURES)
    parser.add_argument("--out", type=Path, help="result file, instead of benchmarks/results/scale.json")
    parser.add_argument("--store", default="", metavar="URI", help="database of the server, instead of a SQLite file")
    arguments = parser.parse_args()
    repeats = 1 if arguments.smoke else REPEATS
    plain = Settings(torch.device("cpu"), arguments.smoke, repeats)
    served = Settings(
        torch.device("cpu"), arguments.smoke, repeats, {"store": arguments.store} if arguments.store else {}
    )
    plan = {name: served if name == "store.server" else plain for name in arguments.only or MEASURES}
    file = arguments.out or (SMOKE_RESULTS if arguments.smoke else RESULTS) / "scale.json"
    run(plan, file, arguments.again)


if __name__ == "__main__":
    run_command(main)
