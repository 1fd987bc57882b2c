"""Run measures, each in a process of its own, and keep each result as soon as it is there.

Of its own, because a measure may change how its process allocates or computes, run out of memory, or leave a GPU
context that answers nothing but errors, and the next one must not notice. `python -m benchmarks.run NAME SETTINGS OUT`
is that process.
"""

import json
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Mapping
from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from typing import Any

import torch

from benchmarks.harness import Measure, Row, Settings
from benchmarks.results import Results, table
from src import artifacts
from src.errors import UserError
from stages import keep_memory

Plan = Mapping[str, Settings]


def run(plan: Plan, file: Path, again: bool, minutes: float | None = None) -> None:
    """Measure what `file` does not hold yet (all, for `again`) and print the table; UserError names what failed.

    After `minutes` no further measure is started, and a line says which are left.
    """
    if not plan:
        raise UserError("nothing to measure, see --help")
    started = time.perf_counter()
    results = Results(file, next(iter(plan.values())))
    if results.replaces:
        print(f"{file} holds results of another machine or other versions; they are replaced")
    left: list[str] = []
    for name, settings in plan.items():
        if results.has(name, settings) and not again:
            print(f"{name}: measured before, kept")
            continue
        if minutes is not None and time.perf_counter() - started > 60 * minutes:
            left.append(name)
            continue
        print(f"{name} ...", flush=True)
        start = time.perf_counter()
        rows, failed = measure(name, settings)
        results.add(name, settings, time.perf_counter() - start, rows, failed)
    print(table(results.content()))
    if left:
        print(f"not measured yet: {', '.join(left)}; the same command goes on")
    failures = [name for name in plan if results.measures.get(name, {}).get("failed")]
    if failures:
        raise UserError(f"failed, see above: {', '.join(failures)}; the same command tries them again")


def measure(name: str, settings: Settings) -> tuple[list[Row], str | None]:
    """The rows of a measure, or why there are none."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "rows.json"
        given = json.dumps(asdict(settings) | {"device": str(settings.device)})
        done = subprocess.run([sys.executable, "-m", "benchmarks.run", name, given, str(out)], check=False)
        if not out.exists():
            return [], f"its process ended with code {done.returncode}"
        answer = artifacts.read_json(out)
    return [Row(**row) for row in answer["rows"]], answer["failed"]


def find(name: str) -> Measure:
    """The function of this folder that `name`, MODULE.FUNCTION, stands for."""
    module, _, function = name.partition(".")
    found: Measure = getattr(import_module(f"benchmarks.{module}"), function)
    return found


def main(name: str, given: str, out: str) -> None:
    """Run one measure; its rows, or the reason of its failure, go into the file `out`."""
    keep_memory()  # as a stage does
    content = json.loads(given)
    answer: dict[str, Any]
    try:
        settings = Settings(**content | {"device": torch.device(content["device"])})
        answer = {"rows": [asdict(row) for row in find(name)(settings)], "failed": None}
    except UserError as error:
        answer = {"rows": [], "failed": str(error)}
    except Exception as error:  # any failure of one measure is a result, and must not stop the others
        traceback.print_exc()
        answer = {"rows": [], "failed": f"{type(error).__name__}: {error}".splitlines()[0][:300]}
    artifacts.write_json(Path(out), answer)


if __name__ == "__main__":
    main(*sys.argv[1:])
