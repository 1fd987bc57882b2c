"""What DVC costs as experiments grow: 10 and 100 of the whole pipeline, each with weights and metrics of its own.

One is run; the others are its workspace with another seed and other weights, saved as `dvc exp save` does, in one
process. To DVC they are experiments like any other.
"""

import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from benchmarks.harness import Row, Settings
from benchmarks.overhead import python
from benchmarks.store import real_run
from src.errors import UserError

SAVE = """  # of the weights the last bytes differ: another file to DVC's cache, which keeps whole files
import sys
from pathlib import Path
from dvc.repo import Repo

first, last = map(int, sys.argv[1:])
params, weights = Path("params.yaml"), Path("models/model.safetensors")
text, content = params.read_text(), weights.read_bytes()
for number in range(first, last):
    params.write_text(text.replace("seed: 0 ", f"seed: {number} ", 1))
    weights.unlink()
    weights.write_bytes(content[:-8] + number.to_bytes(8, "little"))
    with Repo() as repo:
        repo.experiments.save(name=f"copy-{number}", force=True)
params.write_text(text)
"""


def cache(settings: Settings) -> list[Row]:
    """`dvc exp show`, `dvc gc` that would keep them all, `dvc repro` with nothing to do, and the cache's size."""
    counts = [2, 4] if settings.smoke else [10, 100]
    measured: list[dict[str, tuple[float, str]]] = []
    with real_run(settings.smoke) as (root, _, _):
        saved = 1  # the real one
        for count in counts:
            save(root, saved, count)
            saved = count
            shown = seconds(root, settings, "exp", "show", "--csv")
            swept = seconds(root, settings, "gc", "--workspace", "--all-experiments", "--dry", "--force")
            measured.append(
                {
                    "dvc exp show": (shown, "s"),
                    "dvc gc --all-experiments --dry": (swept, "s"),
                    "dvc status": (seconds(root, settings, "status"), "s"),
                    "DVC's cache": (size(root / ".dvc/cache") / 2**20, "MiB"),
                }
            )
    return [
        Row(
            f"{name}, {counts[1]:,} experiments / {counts[0]:,}", measured[1][name][0], measured[0][name][0], unit, None
        )
        for name, (_, unit) in measured[0].items()
    ]


def save(root: Path, first: int, last: int) -> None:
    """Experiments number `first` to `last`."""
    command = [sys.executable, "-c", SAVE, str(first), str(last)]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise UserError(f"saving experiments failed: {done.stderr.strip()[-500:]}")


def seconds(root: Path, settings: Settings, *command: str) -> float:
    """The median of `repeats` (at most 3: they are slow) runs of a DVC command."""
    taken = []
    for _ in range(min(settings.repeats, 3)):
        start = time.perf_counter()
        python(root, "dvc", *command)
        taken.append(time.perf_counter() - start)
    return float(np.median(taken))


def size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
