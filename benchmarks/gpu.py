"""Measure the speed on a CUDA GPU.

    python -m benchmarks.gpu [--minutes 8] [--only NAME ...] [--again] [--out PATH]

writes benchmarks/results/gpu.json after each measure. The same command continues after an interruption. `--device cpu
--smoke` runs the set in tiny sizes, to see that it runs. It includes the clones that benchmarks/peers.py finds.
"""

from functools import partial

from benchmarks import peers
from benchmarks.harness import Plan, Settings, run_set
from benchmarks.speed import compiled
from src.runtime.run import run_command

MEASURES = (
    "training.floor", "training.step", "training.norms", "training.augmented", "input.pipeline", "seed_loop.epoch",
    "cams.gradcam", "gpu.batch_norm", "gpu.layer_norm", "training.growth",
)  # fmt: skip

batch_norm, layer_norm = partial(compiled, "batch"), partial(compiled, "layer")


def plan(settings: Settings) -> Plan:
    """The set, with the peers that are cloned."""
    return dict.fromkeys(MEASURES, settings) | dict(peers.plan(settings))


if __name__ == "__main__":
    run_command(partial(run_set, "gpu", __doc__, MEASURES + peers.MEASURES, device="cuda", plan_of=plan))
