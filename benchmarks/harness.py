"""How every set of measures runs: in turns, one process per measure, into a result file that can be continued.

A measure is a function `(settings: Settings) -> Iterable[Row]` with the name GROUP.FUNCTION. `find` knows its module.
"""

import argparse
import hashlib
import math
import os
import platform
import statistics
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib import import_module, metadata
from multiprocessing import get_context, set_start_method
from pathlib import Path
from typing import Any, TypeVar
from unittest import mock

import numpy as np
import torch

from src import artifacts, git
from src.config.recipes import base
from src.data.prepared import Prepared, Split
from src.errors import UserError
from src.model.device import hardware_name, resolve_device
from src.params import Params, parse_params
from src.processes import keep_memory
from src.yaml_files import flatten, nest

LIBRARIES = {"torch": "PyTorch", "torchvision": "torchvision", "mlflow": "MLflow", "dvc": "DVC",
             "albumentations": "Albumentations", "grad-cam": "grad-cam"}  # fmt: skip
CODE = ("src", "stages", "commands", "recipes", "benchmarks", "params.yaml", "dvc.yaml")  # what a measurement rests on
MODULES = {"training": "speed", "input": "speed", "cams": "speed",
           "store": "growth", "experiments": "growth", "large": "growth"}  # fmt: skip
RESULTS = Path("benchmarks/results")
SMOKE_RESULTS = Path("reports/benchmarks")  # ignored by git
REPEATS = 3
# For processes of the other side: PyTorch's default, which `keep_memory` changes and a child inherits.
PLAIN = {"THP_MEM_ALLOC_ENABLE": "0"}

T = TypeVar("T")


@dataclass(frozen=True)
class Settings:
    """How to measure. `smoke` means tiny sizes, to see that the code runs. Medians are over `repeats`."""

    device: torch.device
    smoke: bool
    repeats: int


@dataclass(frozen=True)
class Row:
    """Two measurements and the goal for their ratio: at least `goal`, or at most with `at_most`."""

    name: str  # what is compared with what
    ours: float
    against: float
    unit: str
    goal: float | None  # None: for information
    at_most: bool = False
    note: str = ""  # sizes, and what `against` is

    def __post_init__(self) -> None:
        if not (math.isfinite(self.ours) and math.isfinite(self.against) and self.against > 0):
            raise ValueError(f"{self.name}: {self.ours} against {self.against} {self.unit} has no ratio")

    @property
    def ratio(self) -> float:
        """ours / against"""
        return self.ours / self.against

    @property
    def reached(self) -> bool:
        """Whether the ratio meets the goal, if there is one."""
        if self.goal is None:
            return True
        return self.ratio <= self.goal if self.at_most else self.ratio >= self.goal

    def to_json(self, measure: str) -> dict[str, Any]:
        """The row of `measure` in a result file."""
        return {"measure": measure, **asdict(self), "ratio": self.ratio, "reached": self.reached}


Measure = Callable[[Settings], Iterable[Row]]
Plan = Mapping[str, Settings]


def in_turn(ours: Callable[[], float], against: Callable[[], float], repeats: int) -> tuple[float, float]:
    """`in_turn_cold` after an unmeasured call of both."""
    ours()
    against()
    return in_turn_cold(ours, against, repeats)


def in_turn_cold(ours: Callable[[], float], against: Callable[[], float], repeats: int) -> tuple[float, float]:
    """The medians of what both return. They alternate, so that a change of the machine's speed affects both."""
    pairs = [(ours(), against()) for _ in range(repeats)]
    return statistics.median(a for a, _ in pairs), statistics.median(b for _, b in pairs)


def in_process(module: str, *arguments: object, environment: Mapping[str, str] | None = None) -> float:
    """The number in the last line of `python -m benchmarks.MODULE ARGUMENTS`. Raises UserError if that fails."""
    command = [sys.executable, "-m", f"benchmarks.{module}", *map(str, arguments)]
    given = {**os.environ, **(environment or {})}
    done = subprocess.run(command, env=given, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise UserError(f"benchmarks.{module} failed: {done.stderr.strip()[-500:]}")
    return float(done.stdout.splitlines()[-1])


def in_new_process(function: Callable[..., T], *arguments: Any, environment: Mapping[str, str] | None = None) -> T:
    """The result of `function(*arguments)` in a Python process that only does this, with additional `environment`."""
    with mock.patch.dict(os.environ, environment or {}), ProcessPoolExecutor(1, get_context("spawn")) as pool:
        return pool.submit(_call, function, arguments).result()


def _call(function: Callable[..., T], arguments: Sequence[Any]) -> T:
    set_start_method(None, force=True)  # the workers of a DataLoader would inherit `spawn`
    return function(*arguments)


def now(device: torch.device) -> float:
    """Seconds on a monotonic clock, after `device` has finished its work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def seconds_of(work: Callable[[], object], device: torch.device) -> float:
    """The duration of `work`, including what it starts on `device`."""
    start = now(device)
    work()
    return now(device) - start


def median_seconds(work: Callable[[], object], device: torch.device, repeats: int) -> float:
    """The median duration of `work`, after an unmeasured run."""
    work()
    return statistics.median(seconds_of(work, device) for _ in range(repeats))


def params_with(changes: Mapping[str, Any]) -> Params:
    """The committed parameters with dotted changes, such as {"train.batch_size": 256}.

    Values that an earlier `-S` or recipe left in params.yaml would measure another experiment.
    """
    return parse_params(nest(flatten(base()) | dict(changes)))


def random_data(train: int, size: int = 32, classes: int = 10) -> Prepared:
    """`train` training images of noise and no others, because speed does not depend on the images."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (train, size, size, 3), np.uint8)
    none = Split(images[:0], np.zeros(0, np.int64))
    names = [str(label) for label in range(classes)]
    noise = Split(images, rng.integers(0, classes, train))
    return Prepared(noise, none, none, names, (0.5, 0.5, 0.5), (0.3, 0.3, 0.3), "noise", "", None)


def machine(device: torch.device) -> dict[str, str]:
    """Hardware, system and library versions. The version of a library that is not installed is ''."""
    installed = {found.name: found.version for found in metadata.distributions()}
    return {
        "hardware": hardware_name(device),
        "processor": hardware_name(torch.device("cpu")),
        "threads": str(torch.get_num_threads()),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
    } | {library: installed.get(library, "") for library in LIBRARIES}


def commit() -> str:
    """The commit that is measured, with `+changes` if files of CODE differ from it. '' without a repository."""
    changed = git.output("status", "--porcelain", "--", *CODE, f":!{RESULTS.as_posix()}").strip()
    return git.output("rev-parse", "--short", "HEAD").strip() + ("+changes" if changed else "")


def code_digest() -> str:
    """12 digits of a SHA-256 over the files of CODE, which also identifies the code where there is no git."""
    digest = hashlib.sha256()
    for file in sorted(file for path in map(Path, CODE) for file in (path, *path.rglob("*"))):
        if file.suffix in (".py", ".yaml"):
            digest.update(f"{file.as_posix()}\0".encode() + file.read_bytes() + b"\0")
    return digest.hexdigest()[:12]


def run(plan: Plan, file: Path, again: bool, minutes: float = math.inf) -> None:
    """Measure what `file` lacks, or everything with `again`, write `file` after each measure, and print the table.

    `file` keeps results of the same machine and versions. After `minutes` no further measure starts. Raises UserError
    if `plan` is empty, or if a measure failed.
    """
    if not plan:
        raise UserError("nothing to measure, see --help")
    started, code, revision = time.perf_counter(), code_digest(), commit()
    about = machine(next(iter(plan.values())).device)
    result: dict[str, Any] = artifacts.read_json(file) if file.exists() else {"machine": about}
    # A machine that is lent in pieces may come back with another kernel.
    if result["machine"] | {"system": about["system"]} != about:
        print(f"{file} has results of another machine or other versions. They are replaced")
        result = {}
    measures, rows = result.get("measures", {}), result.get("rows", [])
    left: list[str] = []
    for name, settings in plan.items():
        current = {"settings": asdict(settings) | {"device": settings.device.type}, "code": code, "failed": None}
        if not again and current.items() <= measures.get(name, {}).items():
            print(f"{name}: measured before, kept")
            continue
        if time.perf_counter() - started > 60 * minutes:
            left.append(name)
            continue
        print(f"{name} ...", flush=True)
        start = time.perf_counter()
        new, failed = measure(name, settings)
        seconds = round(time.perf_counter() - start, 1)
        measures[name] = current | {
            "failed": failed, "seconds": seconds, "date": f"{datetime.now(UTC):%Y-%m-%d}", "commit": revision,
        }  # fmt: skip
        rows = [row for row in rows if row["measure"] != name]
        rows += [row.to_json(name) for row in new]
        rows.sort(key=lambda row: list(measures).index(row["measure"]))
        artifacts.write_json(file, {"machine": about, "measures": measures, "rows": rows})
    if measures:
        print(table({"machine": about, "measures": measures, "rows": rows}))
    if left:
        print(f"not measured yet: {', '.join(left)}. The same command continues")
    if failures := [name for name in plan if measures.get(name, {}).get("failed")]:
        raise UserError(f"failed, see above: {', '.join(failures)}. The same command tries again")


def measure(name: str, settings: Settings) -> tuple[list[Row], str | None]:
    """The rows of a measure, or the reason why there are none.

    In a process of its own, because a measure may change how its process allocates, run out of memory, or break its
    GPU context.
    """
    try:
        return in_new_process(_measure, name, settings), None
    except UserError as error:
        return [], str(error)
    except Exception as error:  # the other measures do not need this one
        traceback.print_exc()
        return [], f"{type(error).__name__}: {error}".splitlines()[0][:300]


def _measure(name: str, settings: Settings) -> list[Row]:
    keep_memory()  # as a stage does
    return list(find(name)(settings))


def find(name: str) -> Measure:
    """The measure with the name GROUP.FUNCTION."""
    group, function = name.split(".")
    found: Measure = getattr(import_module(f"benchmarks.{MODULES.get(group, group)}"), function)
    return found


def table(result: Mapping[str, Any]) -> str:
    """The content of a result file as a Markdown table, with the failures and what it all rests on."""
    lines = ["| measured | ours | against | ratio | goal | |", "|---|---|---|---|---|---|"]
    for row in result["rows"]:
        name = f"{row['name']} ({row['note']})" if row["note"] else row["name"]
        ours, against = (f"{_number(row[side])} {row['unit']}" for side in ("ours", "against"))
        goal = verdict = ""
        if row["goal"] is not None:
            goal = f"{'≤' if row['at_most'] else '≥'} {row['goal']:g}"
            verdict = "reached" if row["reached"] else "**falls short**"
        lines.append(f"| {name} | {ours} | {against} | {row['ratio']:.3g} | {goal} | {verdict} |")
    for name, one in result["measures"].items():
        if one["failed"]:
            reason = " ".join(one["failed"].replace("|", "/").split())
            lines.append(f"| `{name}` | | | | | failed: {reason} |")

    about, measures = result["machine"], result["measures"].values()
    processor = f" on {about['processor']}" if about["processor"] != about["hardware"] else ""
    versions = ", ".join(f"{shown} {about[name]}" for name, shown in LIBRARIES.items() if about[name])
    dates, commits, repeats = (
        ", ".join(sorted({str(value) for value in values if value}))
        for values in zip(*((one["date"], one["commit"], one["settings"]["repeats"]) for one in measures), strict=True)
    )
    lines += [
        "",
        f"{about['hardware']}{processor}, {about['system']}; Python {about['python']}, {versions}; {dates}, "
        f"commit {commits or 'unknown'}. Medians of {repeats}; {sum(one['seconds'] for one in measures) / 60:.1f} "
        "minutes in all.",
    ]
    if any(one["settings"]["smoke"] for one in measures):
        lines.append("A smoke run: it shows that the code runs, and its numbers mean nothing.")
    return "\n".join(lines)


def _number(value: float) -> str:
    """Three digits, or a whole number with thousands separators: 1.36 and 226,000."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def add_options(parser: argparse.ArgumentParser, measures: Sequence[str]) -> None:
    """The options of every set of measures."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--only", nargs="+", choices=measures, metavar="NAME", help=f"of {', '.join(measures)}")
    parser.add_argument("--again", action="store_true", help="also what has been measured before")
    parser.add_argument("--smoke", action="store_true", help="tiny sizes, to see that everything runs")


def run_set(
    name: str,
    doc: str | None,
    measures: Sequence[str],
    repeats: int = REPEATS,
    device: str = "",
    plan_of: Callable[[Settings], Plan] | None = None,
) -> None:
    """The command `python -m benchmarks.NAME`, which writes NAME.json, or NAME-DEVICE.json for any device.

    Without a default `device`, the set runs on the CPU. `plan_of` leaves out measures that this machine lacks.
    """
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks.{name}", description=doc)
    add_options(parser, measures)
    parser.add_argument("--minutes", type=float, default=math.inf, metavar="N", help="start no further measure after N")
    parser.add_argument("--out", type=Path, metavar="PATH", help="result file or its folder: benchmarks/results")
    parser.set_defaults(device="cpu")
    if device:
        parser.add_argument("--device", default=device)
    arguments = parser.parse_args()
    settings = Settings(resolve_device(arguments.device), arguments.smoke, 1 if arguments.smoke else repeats)
    plan = plan_of(settings) if plan_of else dict.fromkeys(measures, settings)
    file = arguments.out or (SMOKE_RESULTS if arguments.smoke else RESULTS)
    if file.suffix != ".json":
        file /= f"{name}-{settings.device.type}.json" if device == "auto" else f"{name}.json"
    run({one: plan[one] for one in arguments.only or plan if one in plan}, file, arguments.again, arguments.minutes)
