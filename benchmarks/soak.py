"""Check that nothing grows over 20 tiny experiments in DVC's queue, in a copy of this repository.

    python -m benchmarks.soak    half an hour on two cores; --smoke runs 3 experiments, to see that it runs

One worker runs them all, and it is the only process that lives on. The command fails if anything grows by more than
LIMITS from the second experiment to the last (by the first, all code is loaded), if an MLflow run is incomplete, or if
anything is left behind. It writes benchmarks/results/soak.json.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import chdir
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import psutil
import torch

from benchmarks.harness import RESULTS, SMOKE_RESULTS, commit, machine
from benchmarks.recipes import SMOKE
from benchmarks.workspace import copy_repository, processes_in
from src import artifacts, record
from src.config.overrides import flags
from src.errors import UserError
from src.processes import experiment_environment
from src.runtime.run import run_command
from src.tracking import open_store

SETTINGS = SMOKE | {"device": "cpu", "train.epochs": 2, "train.workers": 0}
PATIENCE = 900  # seconds without a finished experiment after which something hangs
FILES = {  # what to count in the repository
    "lock_files": ".locks/*",
    "checkpoints": ".checkpoints/*/",
    "copies": ".dvc/tmp/exps/tmp*/",
    "temporary_files": "../tmp/**/*",
    "dvc_files": ".dvc/tmp/exps/[!t]*/**/*",
}
# The growth that is allowed over the whole run. A leak of one per experiment would be 18. What comes and goes with the
# experiment at the time of a sample is less, and so is the noise of the heap.
LIMITS = {
    "open_files": 4.0, "threads": 2.0, "memory_mib": 16.0, "children": 2.0, "zombies": 0.0, "lock_files": 2.0,
    "checkpoints": 2.0, "copies": 2.0, "temporary_files": 2.0,
}  # fmt: skip

Sample = dict[str, float]


def sample(root: Path, worker: psutil.Process) -> Sample:
    """Sizes of the queue's worker and of the repository `root`."""
    children = {child.pid for child in worker.children(recursive=True)}
    return {
        "open_files": worker.num_fds(),  # with pipes and sockets
        "threads": worker.num_threads(),
        "memory_mib": round(worker.memory_full_info().uss / 2**20, 1),  # that no other process shares
        "children": len(children),
        "zombies": sum(p.pid in children and p.info["status"] == "zombie" for p in psutil.process_iter(["status"])),
        **{name: len(list(root.glob(pattern))) for name, pattern in FILES.items()},
        "store_mib": round((root / "mlflow.db").stat().st_size / 2**20, 2),
    }


def soak(root: Path, count: int) -> list[Sample]:
    """Run `count` experiments in the repository `root`, and take a sample after each."""
    environment = experiment_environment() | {"TMPDIR": str(root.parent / "tmp")}
    seeds = f"seed={','.join(map(str, range(count)))}"
    for command in (["exp", "run", "--queue", *flags(SETTINGS), "-S", seeds], ["queue", "start", "-j", "1"]):
        subprocess.run([sys.executable, "-m", "dvc", *command], cwd=root, env=environment, check=True)
    started = last = time.perf_counter()
    samples: list[Sample] = []
    while (busy := processes_in(root)) or len(samples) < count:
        worker = next((p for p in busy if "queue-worker" in (p.info["cmdline"] or [])), None)
        finished = len(list(root.glob(".git/refs/exps/[0-9a-f][0-9a-f]/*/*")))  # DVC keeps each as a reference
        if worker and finished > len(samples):
            last = time.perf_counter()
            samples.append({"finished": finished, "seconds": round(last - started, 1), **sample(root, worker)})
            print(samples[-1], flush=True)
        if time.perf_counter() - last > PATIENCE:
            running = ", ".join(str(process.pid) for process in busy)
            raise UserError(f"no experiment ended in {PATIENCE} s after {len(samples)}. Running processes: {running}")
        time.sleep(0.5)
    return samples


def growth(samples: Sequence[Sample]) -> dict[str, float]:
    """How much each of LIMITS grows from the second sample to the last, by the straight line through them all."""
    values = np.array([[one[name] for name in LIMITS] for one in samples[1:]])
    slopes = np.polyfit(np.arange(len(values)), values, 1)[0]
    return {name: round(float(slope) * (len(values) - 1), 2) for name, slope in zip(LIMITS, slopes, strict=True)}


def left_behind(root: Path) -> list[str]:
    """A message for each copy of the repository and each temporary file of `artifacts.atomic` in `root`."""
    left = (*root.glob(FILES["copies"]), *root.rglob(".*.[0-9]*"))
    return [f"{path.relative_to(root)} is left" for path in left]


def broken_runs(count: int) -> list[str]:
    """A message if this folder's MLflow runs are not `count` complete ones."""
    client, experiment = open_store()
    found = []
    for run in client.search_runs([experiment]):
        epochs = [metric.step for metric in client.get_metric_history(run.info.run_id, "train/loss")]
        found.append((int(run.data.params["seed"]), run.info.status, run.data.tags.get("stages"), epochs))
    expected = [(seed, "FINISHED", ",".join(record.STAGES), [1, 2]) for seed in range(count)]
    return [] if sorted(found) == expected else [f"MLflow has the runs {sorted(found)}"]


def main() -> None:
    """Run, and write the result. Raises UserError if something is wrong."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--smoke", action="store_true", help="3 experiments, to see that it runs; nothing is kept")
    smoke = parser.parse_args().smoke
    count, file = (3, SMOKE_RESULTS / "soak.json") if smoke else (20, RESULTS / "soak.json")
    content = {
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "commit": commit() or "unknown",
        "command": "python -m benchmarks.soak" + (" --smoke" if smoke else ""),
        "machine": machine(torch.device("cpu")),
        "experiments": count,
        "settings": SETTINGS,
        "limits": LIMITS,
    }
    for name in ("DVC_ROOT", "MLFLOW_TRACKING_URI"):
        os.environ.pop(name, None)  # the store is the copy's
    with tempfile.TemporaryDirectory() as folder:
        root = copy_repository(Path(folder).resolve() / "normlens")
        (root.parent / "tmp").mkdir()
        samples = soak(root, count)
        with chdir(root):
            wrong = broken_runs(count) + left_behind(root)
    sizes = growth(samples)
    if not smoke:  # two samples only differ by chance
        wrong += [f"{name} grows by {sizes[name]} > {limit:g}" for name, limit in LIMITS.items() if sizes[name] > limit]
    artifacts.write_json(file, content | {"growth": sizes, "wrong": wrong, "samples": samples})
    if wrong:
        raise UserError("the soak failed:\n  " + "\n  ".join(wrong))
    print(f"nothing grows; {file}")


if __name__ == "__main__":
    run_command(main)
