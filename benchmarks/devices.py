"""Measure one training over several devices against one of them.

    python -m benchmarks.devices [--device auto] [--only NAME ...] [--again] [--smoke]

measures an epoch on 2, 4, ... and all of this machine's GPUs or cores, and writes benchmarks/results/devices-cpu.json
(or -cuda). All train on the same batches, so the ratio is the speed-up. On a CPU one process already uses all cores.
"""

from functools import partial

from benchmarks.harness import run_set
from benchmarks.speed import speed_up
from src.runtime.run import run_command

MEASURES = ("devices.batch_norm", "devices.own_batch_norms", "devices.layer_norm")

batch_norm = partial(speed_up, "batch norm over all", {"norm": "batch", "train.sync_batch_norm": True})
own_batch_norms = partial(speed_up, "batch norm over each part", {"norm": "batch", "train.sync_batch_norm": False})
layer_norm = partial(speed_up, "layer norm", {"norm": "layer"})

if __name__ == "__main__":
    run_command(partial(run_set, "devices", __doc__, MEASURES, device="auto"))
