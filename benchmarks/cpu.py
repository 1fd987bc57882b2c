"""Measure the speed on a CPU.

    python -m benchmarks.cpu [--only NAME ...] [--again] [--smoke] [--out PATH]

takes ten minutes on two cores and writes benchmarks/results/cpu.json after each measure. The same command continues
after an interruption. It keeps what the same code has measured here, unless you add --again.
"""

from functools import partial

from benchmarks.harness import run_set
from src.runtime.run import run_command

MEASURES = (
    "training.step", "training.floor", "training.augmented", "training.norms", "training.memory", "training.growth",
    "input.pipeline", "cams.gradcam", "cams.slow", "seed_loop.epoch", "overhead.quickstart", "overhead.noop",
)  # fmt: skip

if __name__ == "__main__":
    run_command(partial(run_set, "cpu", __doc__, MEASURES))
