"""What a pipeline costs beside its work: starting stages, tracking, DVC.

python -m benchmarks.overhead STORE    the seconds in which MLflow makes a store, the file STORE
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path

from benchmarks.harness import Row, Settings, in_process, in_turn
from benchmarks.workspace import copy_repository
from src import artifacts
from src.errors import UserError

# What each stage imports of other people's, or less: what these import in their turn is not named, nor is what they
# load later (MLflow its store, PyTorch its compiler). A test finds each name among the imports of the stage's code.
LIBRARIES = {
    "check": ("albumentations", "torch"),
    "download": ("pydantic", "requests"),
    "prepare": ("matplotlib.figure", "pydantic", "torch"),
    "lr_range": ("matplotlib.figure", "pydantic", "scipy.ndimage", "torch"),
    "train": ("mlflow", "pydantic", "torch"),
    "evaluate": ("matplotlib.figure", "mlflow", "pydantic", "torch", "torchinfo"),
    "gradcam": ("matplotlib.figure", "mlflow", "pydantic", "pytorch_grad_cam", "torch"),
    "report": ("jinja2", "matplotlib.figure", "mlflow", "pydantic"),
}
TINY = ("data.shapes.train=200", "data.shapes.test=100", "model.width=8", "train.epochs=1", "lr=0.01",
        "lr_range.iterations=10", "gradcam.count=4", "gradcam.measure.images=0")  # fmt: skip
NOOPS = 3  # per repeat: they are short
ONE_STAGE = "stages:\n  one:\n    cmd: touch made\n    outs:\n    - made\n"


def quickstart(settings: Settings) -> list[Row]:
    """`make quickstart` after installation without its work, against the least that its processes need."""
    with tempfile.TemporaryDirectory() as folder:
        copy, empty = copy_repository(Path(folder) / "normlens"), empty_pipeline(Path(folder) / "empty")
        flags = settings_of(TINY) if settings.smoke else []
        before = bare_imports()  # and after: the machine may slow down or speed up meanwhile
        start = time.perf_counter()
        python(copy, "recipes", "quick", *flags)
        python(copy, "commands.summary")
        whole = time.perf_counter() - start
        work = seconds_of_work(copy / artifacts.METRICS)
        imports = (before + bare_imports()) / 2
        store = median(lambda: in_process("overhead", Path(tempfile.mkdtemp(dir=folder)) / "mlflow.db"), settings)
        nothing = median(partial(repro, empty), settings)
    note = (
        f"{whole:.1f} s without {work:.1f} s of sweep, training, evaluation and maps, one run; against: bare imports "
        f"of {len(LIBRARIES)} stages {imports:.1f} s, an MLflow store {store:.1f} s, DVC's no-op {nothing:.1f} s"
    )
    against = imports + store + nothing
    return [Row("quickstart without its work / imports + store + DVC", whole - work, against, "s", 1.4, True, note)]


def noop(settings: Settings) -> list[Row]:
    """`dvc repro` with nothing to do: this pipeline against a pipeline of one stage."""
    with tempfile.TemporaryDirectory() as folder:
        copy, empty = copy_repository(Path(folder) / "normlens"), empty_pipeline(Path(folder) / "empty")
        python(copy, "recipes", "quick", *settings_of(TINY))
        ours, against = in_turn(partial(repro, copy), partial(repro, empty), NOOPS * settings.repeats)
    note = "against: one stage without dependencies, the same settings of DVC"
    return [Row("dvc repro of 8 stages / of 1, nothing to do", ours, against, "s", 1.5, True, note)]


def seconds_of_work(metrics: Path) -> float:
    """Seconds in the sweep, the epochs, the evaluation, the measures of maps, and one of the five computations of maps.

    The first computation of maps loads the library, which is no work, and the others are not timed by themselves: what
    is left out counts against us. The sweep's seconds have the loading of what PyTorch's optimisers need in them,
    and LIBRARIES does not.
    """
    sweep, train, test, maps = (
        artifacts.read_json(metrics / f"{name}.json") for name in ("lr_range", "train", "evaluate", "gradcam")
    )
    of_maps = maps["shown"] / maps["images_per_second"] if maps["shown"] else 0.0
    of_maps += maps["measure_seconds"]
    return float(sweep["seconds"] + train["seconds"] + test["images"] / test["images_per_second"] + of_maps)


def empty_pipeline(target: Path) -> Path:
    """A repository with a pipeline of one stage which is up to date, and with the settings of DVC that this one has."""
    (target / ".dvc").mkdir(parents=True)
    (target / ".dvc" / "config").write_bytes(Path(".dvc/config").read_bytes())
    (target / "dvc.yaml").write_text(ONE_STAGE, encoding="utf-8")
    subprocess.run(["git", "init", "-q"], cwd=target, check=True)
    repro(target)
    return target


def repro(repository: Path) -> float:
    """Seconds of `dvc repro` in `repository`."""
    start = time.perf_counter()
    python(repository, "dvc", "repro")
    return time.perf_counter() - start


def bare_imports() -> float:
    """Seconds of the imports of all stages."""
    return sum(bare_import(names) for names in LIBRARIES.values())


def bare_import(libraries: Sequence[str]) -> float:
    """Seconds of a Python that imports `libraries` and ends."""
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", f"import {', '.join(libraries)}"], capture_output=True, check=True)
    return time.perf_counter() - start


def python(repository: Path, module: str, *arguments: str) -> None:
    """Run `python -m MODULE ARGUMENTS` in `repository`, with a store of its own; UserError where it fails."""
    environment = {key: value for key, value in os.environ.items() if key not in ("MLFLOW_TRACKING_URI", "DVC_ROOT")}
    command = [sys.executable, "-m", module, *arguments]
    done = subprocess.run(command, cwd=repository, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise UserError(f"python -m {module} failed: {(done.stdout + done.stderr).strip()[-500:]}")


def settings_of(overrides: Iterable[str]) -> list[str]:
    """Overrides as arguments: -S key=value ..."""
    return [part for override in overrides for part in ("-S", override)]


def median(seconds: Callable[[], float], settings: Settings) -> float:
    """The median of `repeats` calls; each starts a process, so that there is nothing to warm up but the disk."""
    return statistics.median(seconds() for _ in range(settings.repeats))


def main() -> None:
    """Print the seconds in which MLflow makes the store that the command line names."""
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    from mlflow import MlflowClient  # here: the measures themselves need none of it

    start = time.perf_counter()
    MlflowClient(f"sqlite:///{sys.argv[1]}").search_experiments()
    print(time.perf_counter() - start)


if __name__ == "__main__":
    main()
