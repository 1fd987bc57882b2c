"""What a pipeline costs beside its work: starting stages, tracking, DVC."""

import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from benchmarks.harness import Row, Settings, in_new_process, in_turn
from benchmarks.recipes import SMOKE
from benchmarks.workspace import copy_repository, python
from src import artifacts
from src.config.overrides import flags

# What each stage imports of other libraries, without what these import in turn and what they load later (MLflow its
# store, PyTorch its compiler). A test finds each name among the imports of the stage's code.
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
NO_TELEMETRY = {"MLFLOW_DISABLE_TELEMETRY": "true"}
DVC_REPRO = ("-m", "dvc", "repro")
ONE_STAGE = "stages:\n  one:\n    cmd: touch made\n    outs:\n    - made\n"


def quickstart(settings: Settings) -> Iterator[Row]:
    """`make quickstart` after installation, without its work, against the least that its processes need."""
    with tempfile.TemporaryDirectory() as folder:
        copy, empty = copy_repository(Path(folder) / "normlens"), empty_pipeline(Path(folder) / "empty")
        before = bare_imports()  # and after, because the speed of the machine may change
        whole = python(copy, "-m", "recipes", "quick", *flags(SMOKE if settings.smoke else {}))
        whole += python(copy, "-m", "commands.summary")
        work = seconds_of_work(copy / artifacts.METRICS)
        imports = (before + bare_imports()) / 2
        repeats = range(settings.repeats)
        stores = [Path(folder) / f"{number}.db" for number in repeats]
        store = statistics.median(in_new_process(make_store, file, environment=NO_TELEMETRY) for file in stores)
        nothing = statistics.median(python(empty, *DVC_REPRO) for _ in repeats)
    note = (
        f"{whole:.1f} s without {work:.1f} s of sweep, training, evaluation and maps, one run; against: bare imports "
        f"of {len(LIBRARIES)} stages {imports:.1f} s, an MLflow store {store:.1f} s, DVC's no-op {nothing:.1f} s"
    )
    against = imports + store + nothing
    yield Row("quickstart without its work / imports + store + DVC", whole - work, against, "s", 1.4, True, note)


def noop(settings: Settings) -> Iterator[Row]:
    """`dvc repro` with nothing to do: this pipeline against a pipeline of one stage."""
    with tempfile.TemporaryDirectory() as folder:
        copy, empty = copy_repository(Path(folder) / "normlens"), empty_pipeline(Path(folder) / "empty")
        python(copy, "-m", "recipes", "quick", *flags(SMOKE))
        all_of, one = (partial(python, place, *DVC_REPRO) for place in (copy, empty))
        seconds = in_turn(all_of, one, 3 * settings.repeats)
    note = "against: one stage without dependencies, the same settings of DVC"
    yield Row("dvc repro of 8 stages / of 1, nothing to do", *seconds, "s", 1.5, True, note)


def seconds_of_work(metrics: Path) -> float:
    """Seconds in the sweep, the epochs, the evaluation, the measures of maps, and one of the five computations of maps.

    The first computation of maps also loads the library, and the others are not timed. What is left out counts against
    us. The sweep's seconds include the loading of PyTorch's optimisers, which LIBRARIES does not.
    """
    names = ("lr_range", "train", "evaluate", "gradcam")
    sweep, train, test, maps = (artifacts.read_json(metrics / f"{name}.json") for name in names)
    drawn = maps["shown"] / maps["images_per_second"] if maps["shown"] else 0.0
    tested = test["images"] / test["images_per_second"]
    return float(sweep["seconds"] + train["seconds"] + tested + drawn + maps["measure_seconds"])


def empty_pipeline(target: Path) -> Path:
    """A repository with a pipeline of one stage, which is up to date, and with this repository's settings of DVC."""
    (target / ".dvc").mkdir(parents=True)
    (target / ".dvc" / "config").write_bytes(Path(".dvc/config").read_bytes())
    (target / "dvc.yaml").write_text(ONE_STAGE, encoding="utf-8")
    subprocess.run(["git", "init", "-q"], cwd=target, check=True)
    python(target, *DVC_REPRO)
    return target


def bare_imports() -> float:
    """Seconds of Python processes that only import the libraries of a stage, for all stages."""
    return sum(python(Path(), "-c", f"import {', '.join(libraries)}") for libraries in LIBRARIES.values())


def make_store(file: Path) -> float:
    """Seconds in which MLflow makes a store in `file`."""
    from mlflow import MlflowClient  # not part of the seconds

    start = time.perf_counter()
    MlflowClient(f"sqlite:///{file}").search_experiments()
    return time.perf_counter() - start
