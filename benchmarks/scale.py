"""Measure how costs grow with runs, experiments and images, for docs/scale/capacity.md.

    python -m benchmarks.scale [--only NAME ...] [--again] [--smoke] [--out PATH]

takes under 15 minutes on two cores and writes benchmarks/results/scale.json after each measure.
"""

from functools import partial

from benchmarks.harness import run_set
from src.runtime.run import run_command

MEASURES = ("store.local", "store.server", "experiments.cache", "large.decode", "large.read")

if __name__ == "__main__":
    run_command(partial(run_set, "scale", __doc__, MEASURES, repeats=5))
