"""The study of docs/study-norms.md: four norms over three seeds, run by the very lines of that page.

    python -m benchmarks.study

queues the twelve experiments in a copy of this repository, runs two at a time, compares them, and puts numbers and
figures into benchmarks/results, docs/images and the page. With `--data` the recipe `standard` is run on images of your
own instead, which is meant for a GPU. The workspace and its MLflow store stay as they are. With `--keep` the copy stays
too: there the same command goes on with experiments that were not run, and compares anew those that were.
"""

import argparse
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import chdir, contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.cpu import SMOKE_RESULTS
from benchmarks.measure import RESULTS, commit, machine
from benchmarks.recipes import SMOKE
from benchmarks.soak import finished_experiments
from benchmarks.study_page import FIGURES, write_document
from benchmarks.study_plan import NORMS, SEEDS, SHAPES, Study
from benchmarks.workspace import copy_repository
from commands import run_command
from src import artifacts
from src.errors import UserError
from src.model.device import resolve_device
from src.processes import experiment_environment

SAID = Path("study.json")  # in the copy: what is known of its runs
LOOK = 10.0  # seconds between two looks at the queue, each of which takes one of a core
PATIENCE = 1800.0  # seconds without the end of an experiment after which the queue counts as stuck


def trained(study: Study, about: dict[str, Any]) -> dict[str, Any]:
    """Run what is missing of `study` in this folder, a copy of the repository; `about` it, and how long it took.

    UserError where a line fails, or where the folder has another study.
    """
    said = artifacts.read_json(SAID) if SAID.exists() else about | {"lines": study.lines(), "minutes": 0.0}
    if said["lines"] != study.lines():
        raise UserError(f"{Path.cwd()} holds another study; give --keep another folder")
    queue, start, *_ = study.lines()
    started = time.perf_counter()
    if not SAID.exists():
        _shell(queue)
    artifacts.write_json(SAID, said)
    if finished_experiments(Path.cwd()) < study.count:
        _shell(start)
        try:
            _wait(study.count)
        finally:
            said["minutes"] = round(said["minutes"] + (time.perf_counter() - started) / 60, 1)
            artifacts.write_json(SAID, said)
    return said


def _shell(line: str) -> None:
    print(f"$ {line}", flush=True)
    environment = experiment_environment()
    for name in ("DVC_ROOT", "MLFLOW_TRACKING_URI"):  # the store is the copy's
        environment.pop(name, None)
    if subprocess.run(line, shell=True, env=environment, check=False).returncode != 0:
        raise UserError(f"this line failed, its message is above: {line}")


def _wait(count: int) -> None:
    """Until DVC has collected `count` experiments; UserError where one fails or none ends for PATIENCE."""
    finished, last = 0, time.perf_counter()
    while finished < count:
        time.sleep(LOOK)
        if "Failed" in _status():  # it leaves no reference, so nothing else would show it
            raise UserError(f"an experiment failed, see `dvc queue logs`:\n{_status()}")
        if (now := finished_experiments(Path.cwd())) > finished:
            finished, last = now, time.perf_counter()
            print(f"{finished} of {count} experiments", flush=True)
        if time.perf_counter() - last > PATIENCE:
            raise UserError(f"no experiment ended for {PATIENCE:.0f} s\n{_status()}")


def _status() -> str:
    command = [sys.executable, "-m", "dvc", "queue", "status"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout


def main() -> None:
    """Run, keep the result and write the page."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.study", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", default="", metavar="PATH", help="archive or folder of images: `standard` is run")
    parser.add_argument("--data-name", default="your images", metavar="NAME", help="of --data, for the page")
    parser.add_argument("--jobs", type=int, default=2, metavar="N", help="experiments at a time (%(default)s)")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="folder of the copy, instead of a temporary one")
    parser.add_argument("--smoke", action="store_true", help="tiny sizes, to see that it runs; nothing is kept of it")
    arguments = parser.parse_args()
    path = Path(arguments.data).resolve()
    if arguments.data:
        data = {"data.source": "folder", "data.path": str(path)}
        study = Study("study-images", "standard", data, jobs=arguments.jobs, threads=None)
    else:
        study = replace(SHAPES, jobs=arguments.jobs)
    device = resolve_device("auto" if arguments.data else "cpu")
    if arguments.smoke:
        study = Study(study.name, study.recipe, SMOKE | {"device": "cpu"}, NORMS[:2], SEEDS[:2], study.jobs)
    about = {
        "data": arguments.data_name if arguments.data else "generated shapes",
        "command": _command(arguments),
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "commit": commit() or "unknown",
        "machine": machine(device),
    }
    target = (SMOKE_RESULTS if arguments.smoke else RESULTS).resolve()
    images = (target if arguments.smoke else FIGURES).resolve() / study.name
    with _folder(arguments.keep) as folder, chdir(copy_repository(folder / "normlens")):
        found = trained(study, about)
        for line in study.lines()[2:]:
            _shell(line)
        content = found | {
            "lines": [line.replace(str(path), arguments.data) if arguments.data else line for line in found["lines"]],
            "experiments": study.count,
            "compared_by": about["commit"],
            "comparison": artifacts.read_json(Path("reports/compare.json")),
        }
        shutil.rmtree(images, ignore_errors=True)
        shutil.copytree("reports/compare", images)
    artifacts.write_json(target / f"{study.name}.json", content)
    if not arguments.smoke:
        write_document()
    print(f"{study.count} experiments in {content['minutes']} minutes: {target / study.name}.json, {images}")


@contextmanager
def _folder(kept: Path | None) -> Iterator[Path]:
    if kept is not None:
        yield kept.resolve()
        return
    with tempfile.TemporaryDirectory() as temporary:
        yield Path(temporary).resolve()


def _command(arguments: argparse.Namespace) -> str:
    parts = ["python", "-m", "benchmarks.study"]
    if arguments.data:
        parts += ["--data", arguments.data, "--data-name", arguments.data_name]
    if arguments.jobs != 2:
        parts += ["--jobs", str(arguments.jobs)]
    return shlex.join([*parts, *(["--smoke"] if arguments.smoke else [])])


if __name__ == "__main__":
    run_command(main)
