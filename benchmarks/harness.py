"""What every measure shares: its settings and rows, taking turns, the clock, the machine, and the machine's floor.

A measure is a function `(settings: Settings) -> list[Row]`, named MODULE.FUNCTION after its place in this folder;
benchmarks/cpu.py and benchmarks/gpu.py list them, benchmarks/run.py runs them.
"""

import hashlib
import math
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from recipes.read import base, nest
from src import git
from src.data.prepared import Prepared, Split
from src.errors import UserError
from src.model.device import hardware_name, resolve_precision
from src.params import Params, parse_params
from src.yaml_files import flatten

LIBRARIES = ("torch", "torchvision", "mlflow", "dvc", "albumentations", "grad-cam")
CODE = ("src", "stages", "commands", "recipes", "benchmarks", "params.yaml", "dvc.yaml")  # what a measurement rests on
RESULTS = Path("benchmarks/results")
# For processes of the other side: PyTorch's default, which `stages.keep_memory` changes and a child inherits.
PLAIN = {"THP_MEM_ALLOC_ENABLE": "0"}

MATMUL_SIDE = 4096
COPY_BYTES = 2**30
FLOOR_REPEATS = 5


@dataclass(frozen=True)
class Settings:
    """How to measure: `smoke` is tiny sizes and shows only that the code runs; medians are over `repeats` (odd)."""

    device: torch.device
    smoke: bool
    repeats: int
    options: dict[str, str] = field(default_factory=dict)  # what one measure alone needs: paths, names

    def __post_init__(self) -> None:
        if self.repeats < 1 or self.repeats % 2 == 0:
            raise ValueError(f"repeats is {self.repeats}; it must be odd, so that the median is a measured value")


@dataclass(frozen=True)
class Row:
    """Two measurements and the goal of their ratio.

    Rates (images/s) have a lower bound as their goal; durations and sizes an upper one (`at_most`).
    """

    name: str  # what is compared with what, for the table
    ours: float
    against: float
    unit: str  # "images/s", "s", ...
    goal: float | None  # None: informative only
    at_most: bool = False
    note: str = ""  # sizes, what `against` is

    def __post_init__(self) -> None:
        if not (math.isfinite(self.ours) and math.isfinite(self.against) and self.against > 0):
            raise ValueError(f"{self.name}: {self.ours} against {self.against} {self.unit} has no ratio")

    @property
    def ratio(self) -> float:
        """ours / against"""
        return self.ours / self.against

    @property
    def reached(self) -> bool:
        """Whether the ratio meets the goal; a row without one always does."""
        if self.goal is None:
            return True
        return self.ratio <= self.goal if self.at_most else self.ratio >= self.goal


Measure = Callable[[Settings], list[Row]]


def in_turn(ours: Callable[[], float], against: Callable[[], float], repeats: int) -> tuple[float, float]:
    """The medians of what both return: each is called once unmeasured, then they alternate `repeats` times.

    So that a machine which slows down or speeds up meanwhile does it to both.
    """
    ours()
    against()
    return in_turn_cold(ours, against, repeats)


def in_turn_cold(ours: Callable[[], float], against: Callable[[], float], repeats: int) -> tuple[float, float]:
    """`in_turn` without the unmeasured call: for work that starts a process and warms up in there."""
    pairs = [(ours(), against()) for _ in range(repeats)]
    return statistics.median(a for a, _ in pairs), statistics.median(b for _, b in pairs)


def in_process(module: str, *arguments: object, environment: dict[str, str] | None = None) -> float:
    """The number in the last line that `python -m benchmarks.MODULE ARGUMENTS` prints; UserError where it fails."""
    command = [sys.executable, "-m", f"benchmarks.{module}", *map(str, arguments)]
    given = os.environ | (environment or {})
    done = subprocess.run(command, env=given, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise UserError(f"benchmarks.{module} failed: {done.stderr.strip()[-500:]}")
    return float(done.stdout.splitlines()[-1])


def now(device: torch.device) -> float:
    """Seconds on a clock that only goes forward, read when `device` has done all that it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def seconds_of(work: Callable[[], object], device: torch.device) -> float:
    """How long `work` takes, what it starts on `device` included."""
    start = now(device)
    work()
    return now(device) - start


def median_seconds(work: Callable[[], object], device: torch.device, repeats: int) -> float:
    """The median of `repeats` runs of `work`, after an unmeasured one."""
    work()
    return statistics.median(seconds_of(work, device) for _ in range(repeats))


def matmul_dtype(device: torch.device) -> torch.dtype:
    """bf16, or fp32 where the hardware has no bf16."""
    return torch.bfloat16 if resolve_precision("auto", device) == "bf16" else torch.float32


def matmul_rate(device: torch.device, side: int = MATMUL_SIDE) -> float:
    """Operations (additions and multiplications) per second of a square matrix product in `matmul_dtype`."""
    a, b = (torch.randn(side, side, device=device).to(matmul_dtype(device)) for _ in range(2))
    product = torch.empty_like(a)
    return 2 * side**3 / median_seconds(lambda: torch.mm(a, b, out=product), device, FLOOR_REPEATS)


def copy_bandwidth(device: torch.device, size: int = COPY_BYTES) -> float:
    """Bytes read plus bytes written per second by a copy of `size` bytes within the memory of `device`."""
    source = torch.ones(size, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    return 2 * size / median_seconds(lambda: target.copy_(source), device, FLOOR_REPEATS)


def floor_seconds(operations: float, moved: float, rate: float, bandwidth: float) -> float:
    """The least time for `operations` at `rate` (1/s) and `moved` bytes at `bandwidth` (bytes/s), one after the other.

    A sum: products are bound by arithmetic, norms and activations between them by memory, and each waits for the last.
    """
    return operations / rate + moved / bandwidth


def params_with(changes: dict[str, Any]) -> Params:
    """The committed parameters with dotted changes, e.g. {"train.batch_size": 256}.

    Values that an earlier `-S` or recipe left in params.yaml would measure another experiment.
    """
    return parse_params(nest(flatten(base()) | changes))


def random_data(train: int, size: int = 32, classes: int = 10) -> Prepared:
    """`train` images of noise, and neither validation nor test images: speed does not depend on what is seen."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (train, size, size, 3), np.uint8)
    labels = rng.integers(0, classes, train)
    none = Split(images[:0], labels[:0])
    half, third = (0.5, 0.5, 0.5), (0.3, 0.3, 0.3)
    names = [str(label) for label in range(classes)]
    return Prepared(Split(images, labels), none, none, names, half, third, "noise", "", None)


def machine(device: torch.device) -> dict[str, str]:
    """Hardware, system and library versions; a library that is not installed has the version ''."""
    return {
        "hardware": hardware_name(device),
        "processor": hardware_name(torch.device("cpu")),
        "threads": str(torch.get_num_threads()),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
    } | {library: _version(library) for library in LIBRARIES}


def commit() -> str:
    """The commit that is measured, with `+changes` where files of CODE differ from it; '' without a repository."""
    head = git.output("rev-parse", "--short", "HEAD").strip()
    changed = git.output("status", "--porcelain", "--", *CODE, f":!{RESULTS.as_posix()}").strip()
    return head + ("+changes" if changed else "")


def code_digest() -> str:
    """12 digits of a SHA-256 over the files of CODE: the same for the same program, also where there is no git."""
    digest = hashlib.sha256()
    for file in sorted(_code_files()):
        digest.update(f"{file.as_posix()}\0".encode() + file.read_bytes() + b"\0")
    return digest.hexdigest()[:12]


def _code_files() -> list[Path]:
    files: list[Path] = []
    for path in map(Path, CODE):
        files += [path] if path.is_file() else [f for f in path.rglob("*") if f.suffix in (".py", ".yaml")]
    return files


def _version(library: str) -> str:
    try:
        return version(library)
    except PackageNotFoundError:
        return ""
