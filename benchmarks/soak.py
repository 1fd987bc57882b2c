"""Whether anything grows: 20 tiny experiments through DVC's queue, in a copy of this repository.

    python -m benchmarks.soak    28 minutes on two busy cores; --smoke runs 2 experiments, to see that it runs

One worker (`dvc queue start -j 1`), so that one process sees all 20: it is the only one that lives on, every stage and
every `dvc exp run` is a process of its own. After each experiment its memory and open files are sampled, and what the
experiments leave on the disk. Whatever grows by more than LIMITS from the second sample to the last (by the first, all
code is loaded) is a failure, as is an MLflow run that is not whole, or anything left behind. The result goes to
benchmarks/results/soak.json.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import chdir
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch

from benchmarks.cpu import SMOKE_RESULTS
from benchmarks.harness import RESULTS, commit, machine
from benchmarks.recipes import SMOKE as TINY
from benchmarks.workspace import copy_repository
from commands import run_command
from src import artifacts, record
from src.errors import UserError
from src.params import hydra_value
from src.processes import experiment_environment
from src.tracking import open_store

RUNS = 20
SETTINGS: dict[str, Any] = TINY | {"device": "cpu", "train.epochs": 2, "train.workers": 0}
PATIENCE = 900  # seconds without a finished experiment after which something hangs
LITTER = re.compile(r"\..+\.\d+(\.\w+)?")  # names of the temporary files of `artifacts.atomic`

# The growth that is allowed over the whole run. A leak of one an experiment would be 18; what comes and goes with the
# experiment that runs at the time of a sample is less. Memory: less than 1 MiB an experiment is the noise of the heap.
LIMITS = {
    "open_files": 4.0,
    "threads": 2.0,
    "memory_mib": 16.0,
    "children": 2.0,
    "zombies": 0.0,
    "lock_files": 2.0,
    "checkpoints": 2.0,  # the three newest are kept, and the second sample is taken before there are three
    "copies": 2.0,
    "temporary_files": 2.0,
}


@dataclass(frozen=True)
class Sample:
    """What there was when `finished` experiments had ended. What is not in LIMITS is told, and not judged."""

    finished: int
    seconds: float  # since the queue was started
    open_files: int  # of the queue's worker, pipes and sockets too
    threads: int
    memory_mib: float  # that no other process shares (USS)
    children: int
    zombies: int
    lock_files: int  # in .locks
    checkpoints: int  # models in .checkpoints
    copies: int  # of the repository, in .dvc/tmp/exps
    temporary_files: int  # in TMPDIR
    dvc_files: int  # in .dvc/tmp but for the copies: DVC's own books of the queue
    store_mib: float  # mlflow.db


def growth(samples: Sequence[Sample], name: str) -> float:
    """How much `name` grows from the second sample to the last, by the straight line through them all."""
    values = [float(getattr(sample, name)) for sample in samples[1:]]
    if len(values) < 2:
        return 0.0
    slope, _ = np.polyfit(np.arange(len(values)), values, 1)
    return float(slope) * (len(values) - 1)


def grown(samples: Sequence[Sample]) -> list[str]:
    """A sentence for each thing that grows by more than its limit."""
    return [
        f"{name} grows by {growth(samples, name):.1f} over {len(samples)} experiments; {limit:g} is allowed"
        for name, limit in LIMITS.items()
        if growth(samples, name) > limit + 1e-6
    ]


def sample(root: Path, worker: psutil.Process, finished: int, started: float) -> Sample:
    """What there is now. `started` is on time.perf_counter's clock."""
    children = worker.children(recursive=True)
    books = root / ".dvc/tmp"
    copies = temporary_copies(root)
    return Sample(
        finished=finished,
        seconds=round(time.perf_counter() - started, 1),
        open_files=worker.num_fds(),
        threads=worker.num_threads(),
        memory_mib=round(worker.memory_full_info().uss / 2**20, 1),
        children=len(children),
        zombies=sum(status_of(child) == psutil.STATUS_ZOMBIE for child in children),
        lock_files=len(files_in(root / ".locks")),
        checkpoints=len(list((root / ".checkpoints").glob("*/"))),
        copies=len(copies),
        temporary_files=len(files_in(root.parent / "tmp")),
        dvc_files=sum(not any(file.is_relative_to(copy) for copy in copies) for file in files_in(books)),
        store_mib=round((root / "mlflow.db").stat().st_size / 2**20, 2),
    )


def status_of(process: psutil.Process) -> str:
    """Running, sleeping, zombie, ...; '' where it has ended meanwhile."""
    try:
        return str(process.status())
    except psutil.NoSuchProcess:
        return ""


def files_in(folder: Path) -> list[Path]:
    """All files below `folder`."""
    return [Path(place) / name for place, _, names in os.walk(folder) for name in names]


def temporary_copies(root: Path) -> list[Path]:
    """The copies of the repository in which DVC runs queued experiments."""
    return [path for path in (root / ".dvc/tmp/exps").glob("tmp*") if path.is_dir()]


def processes_in(root: Path) -> list[psutil.Process]:
    """The processes that work in `root` or below, with their command line in `info`; not this one."""
    return [
        process
        for process in psutil.process_iter(["cmdline", "cwd"])
        if process.pid != os.getpid() and process.info["cwd"] and Path(process.info["cwd"]).is_relative_to(root)
    ]


def left_behind(root: Path) -> list[str]:
    """A sentence for each thing that the experiments left and should not have."""
    found = [f"process {p.pid} still runs: {' '.join(p.info['cmdline'] or [])[:200]}" for p in processes_in(root)]
    found += [f"the copy {path.relative_to(root)} is left" for path in temporary_copies(root)]
    files = (file for file in files_in(root) if ".git" not in file.parts and ".dvc" not in file.parts)
    return found + [f"the file {f.relative_to(root)} is left" for f in files if LITTER.fullmatch(f.name)]


def broken_runs(count: int) -> list[str]:
    """A sentence for each MLflow run, of `count` experiments in this folder, that is missing or not whole."""
    client, experiment = open_store()
    runs = client.search_runs([experiment])
    found = []
    seeds = sorted(int(run.data.params["seed"]) for run in runs)
    if seeds != list(range(count)):
        found.append(f"MLflow has runs of the seeds {seeds} instead of 0 to {count - 1}")
    for run in runs:
        epochs = [metric.step for metric in client.get_metric_history(run.info.run_id, "train/loss")]
        stages = run.data.tags.get("stages", "")
        if (run.info.status, stages, epochs) != ("FINISHED", ",".join(record.STAGES), [1, 2]):
            found.append(f"run {run.info.run_name} is {run.info.status}, has the stages {stages} and epochs {epochs}")
    return found


def finished_experiments(root: Path) -> int:
    """How many experiments DVC has collected: it keeps each as a git reference."""
    command = ["git", "for-each-ref", "--format=%(refname)", "refs/exps"]
    listed = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True).stdout
    return len(re.findall(r"^refs/exps/[0-9a-f]{2}/", listed, re.MULTILINE))


def soak(root: Path, count: int, environment: dict[str, str]) -> list[Sample]:
    """Queue `count` experiments in the repository `root`, run them and sample after each."""
    flags = [part for key, value in SETTINGS.items() for part in ("-S", f"{key}={hydra_value(value)}")]
    seeds = f"seed={','.join(map(str, range(count)))}"
    for command in (["exp", "run", "--queue", *flags, "-S", seeds], ["queue", "start", "-j", "1"]):
        subprocess.run([sys.executable, "-m", "dvc", *command], cwd=root, env=environment, check=True)
    started = last = time.perf_counter()
    samples: list[Sample] = []
    worker: psutil.Process | None = None
    while worker is None or status_of(worker) not in ("", psutil.STATUS_ZOMBIE):
        worker = worker or next((p for p in processes_in(root) if "queue-worker" in (p.info["cmdline"] or [])), None)
        finished = finished_experiments(root)
        if worker and finished > len(samples):
            samples.append(sample(root, worker, finished, started))
            last = time.perf_counter()
            print(f"{finished} of {count}: {samples[-1]}", flush=True)
        if time.perf_counter() - last > PATIENCE:
            raise UserError(f"no experiment ended in {PATIENCE} s, after {len(samples)}; see `dvc queue status`")
        time.sleep(0.5)
    if len(samples) < count:
        raise UserError(f"the queue has ended after {len(samples)} of {count} experiments")
    return samples


def table(samples: Sequence[Sample]) -> str:
    """Markdown: the first, second and last sample, and what grew."""
    lines = ["| | first | second | last | growth | allowed |", "|---|---|---|---|---|---|"]
    for name in (field.name for field in fields(Sample)):
        first, second, last = (getattr(samples[i], name) for i in (0, 1, -1))
        limit = f"{LIMITS[name]:g}" if name in LIMITS else ""
        lines.append(f"| {name} | {first:g} | {second:g} | {last:g} | {growth(samples, name):.1f} | {limit} |")
    return "\n".join(lines)


def main() -> None:
    """Run, print the table and write the result; UserError says what was wrong."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.soak", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--smoke", action="store_true", help="2 experiments, to see that it runs; nothing is kept")
    smoke = parser.parse_args().smoke
    count = 2 if smoke else RUNS
    target = (SMOKE_RESULTS if smoke else RESULTS).resolve() / "soak.json"
    about = {"date": f"{datetime.now(UTC):%Y-%m-%d}", "commit": commit() or "unknown"}
    with tempfile.TemporaryDirectory() as folder:
        root = copy_repository(Path(folder).resolve() / "normlens")
        (root.parent / "tmp").mkdir()
        for name in ("DVC_ROOT", "MLFLOW_TRACKING_URI"):
            os.environ.pop(name, None)  # the store is the copy's
        with chdir(root):
            samples = soak(root, count, experiment_environment() | {"TMPDIR": str(root.parent / "tmp")})
            wrong = grown(samples) + broken_runs(count) + left_behind(root)
    print(table(samples))
    content = about | {
        "command": "python -m benchmarks.soak" + (" --smoke" if smoke else ""),
        "machine": machine(torch.device("cpu")),
        "experiments": count,
        "settings": SETTINGS,
        "limits": LIMITS,
        "growth": {name: round(growth(samples, name), 2) for name in LIMITS},
        "wrong": wrong,
        "samples": [asdict(sample) for sample in samples],
    }
    artifacts.write_json(target, content)
    if wrong:
        raise UserError("the soak failed:\n  " + "\n  ".join(wrong))
    print(f"nothing grows; {target}")


if __name__ == "__main__":
    run_command(main)
