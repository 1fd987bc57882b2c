"""Results of the recipes for docs/results/README.md: each runs end to end as a DVC experiment.

    python -m benchmarks.recipes --data own/cifar10-jpeg.tar.xz --data-name "CIFAR-10 (JPEG q75 copy)"

runs all of them at their full length, and `--only laptop --seeds 3` one of them with three seeds. It writes
benchmarks/results/recipes-DEVICE.json after each run, and at the end the curves and the page.

The same command continues after an interruption: an unfinished training resumes from its last completed epoch, and runs
that the store or the file has from the same code are kept. `--minutes` starts no further run after so many minutes.

The experiments run in .benchmarks/recipes, a copy of these files that is a git repository of its own. Checkpoints and
DVC's cache stay there for the next start, and the workspace may change meanwhile. The MLflow runs go to the store of
this checkout.
"""

import argparse
import math
import os
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import chdir
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks import recipe_results
from benchmarks.harness import RESULTS, SMOKE_RESULTS, commit
from benchmarks.logged import COMMIT, Logged, find
from benchmarks.recipe_results import Results, label
from benchmarks.workspace import copy_repository
from src import artifacts, git
from src.config.changes import uncommitted
from src.config.overrides import flags
from src.config.recipes import with_recipe
from src.errors import UserError
from src.locks import locked
from src.model.device import resolve_device
from src.params import Params, parse_params
from src.processes import die_with_parent
from src.runtime.run import run_command
from src.tracking import open_store, shown_uri, tracking_uri
from src.yaml_files import nest

COPY = Path(".benchmarks/recipes")

SMOKE: dict[str, Any] = {
    "lr": 0.01, "data.source": "shapes", "data.shapes.train": 64, "data.shapes.test": 32, "model.width": 4,
    "train.epochs": 1, "train.batch_size": 16, "lr_range.iterations": 10, "gradcam.count": 4,
}  # fmt: skip


@dataclass(frozen=True)
class Planned:
    """One run: a recipe, with the settings that this benchmark gives to it."""

    name: str  # of VARIANTS
    settings: dict[str, Any]  # dotted keys
    params: Params  # all of it, resolved


def plan(names: list[str], common: dict[str, Any], seeds: int | None) -> list[Planned]:
    """The runs of the variants `names` with the settings `common`.

    Each variant runs with seeds 0 to `seeds` - 1, or with the seed of its recipe if `seeds` is None. Raises UserError
    if a recipe is missing or a value is not allowed.
    """
    runs = []
    for name in names:
        recipe, own = recipe_results.VARIANTS[name]
        keys = with_recipe(recipe)
        for more in [{}] if seeds is None else [{"seed": seed} for seed in range(seeds)]:
            settings = own | more | common
            runs.append(Planned(name, settings, parse_params(nest(keys | settings))))
    return runs


def run_all(runs: list[Planned], results: Results, measure: Callable[[Planned], Logged], minutes: float) -> list[str]:
    """Add to `results` what it lacks of `runs`, and write it after each; what failed, each with its reason.

    After `minutes` no further run is started, and a line says which are left.
    """
    started = time.perf_counter()
    failed: list[str] = []
    left: list[str] = []
    for planned in runs:
        title = f"{label(planned.name)}, seed {planned.params.seed}"
        if time.perf_counter() - started > 60 * minutes:
            left.append(title)
            continue
        print(f"{title} ...", flush=True)
        try:
            results.add(measure(planned))
        except UserError as error:  # the others go on
            print(f"error: {error}", flush=True)
            failed.append(f"{title}: {error}")
    if left:
        print(f"not measured yet: {'; '.join(left)}; the same command continues")
    return failed


def measure(planned: Planned, results: Results, device_type: str, revision: str) -> Logged:
    """The run of `planned` from the store, else from the file, else made here, in a repository, for `revision`."""
    client, store = open_store()
    found = find(client, store, planned.name, planned.params, device_type)
    if found := found or results.known(planned.name, planned.params, device_type):
        print(f"  kept: run {found.run_id}")
        return found
    return experiment(planned, device_type, revision)


def experiment(planned: Planned, device_type: str, revision: str) -> Logged:
    """Run `planned` here, in a repository whose original is at `revision`, and read its run from the store."""
    client, store = open_store()
    name = f"{planned.name}-seed{planned.params.seed}".replace(":", "-").replace("=", "-")  # a name that git takes
    command = [sys.executable, "-m", "recipes", planned.params.recipe, "--name", name, *flags(planned.settings)]
    environment = {key: value for key, value in os.environ.items() if key != "DVC_ROOT"}
    environment["MLFLOW_TRACKING_URI"] = tracking_uri()
    # DVC ends with this process, else it would still train while the next start runs the same recipe.
    done = subprocess.run(command, env=environment, check=False, preexec_fn=partial(die_with_parent, signal.SIGTERM))
    if done.returncode != 0:
        raise UserError("the recipe failed, its message is above")
    found = find(client, store, planned.name, planned.params, device_type)
    if found is None:
        raise UserError(
            f"the recipe ran, but {shown_uri()} has no complete run of it: see the warnings above.\n"
            f"  If DVC restored the run from its cache, delete the cache and run the recipe again: rm -r {COPY}"
        )
    client.set_tag(found.run_id, COMMIT, revision)  # DVC ran in a copy, and the copy's commit says nothing
    return replace(found, commit=revision)


def common_settings(arguments: argparse.Namespace) -> dict[str, Any]:
    """What all runs have in common, as dotted keys."""
    settings: dict[str, Any] = {"device": arguments.device}
    if arguments.smoke:
        return settings | SMOKE
    if arguments.data:
        settings |= own_images(Path(arguments.data).resolve())
    return settings


def own_images(path: Path) -> dict[str, Any]:
    """The settings, as dotted keys, for the images of a folder or an archive."""
    digest = artifacts.sha256_file(path) if path.is_file() else ""  # of a folder, only the prepared images count
    return {"data.source": "folder", "data.path": str(path), "data.sha256": digest}


def command_line(arguments: argparse.Namespace) -> str:
    """The command that makes the whole table, without what only says how much of it to make now."""
    parts = ["python", "-m", "benchmarks.recipes"]
    if arguments.smoke:
        return shlex.join([*parts, "--smoke"])
    if arguments.data:
        parts += ["--data", arguments.data]
    return shlex.join([*parts, "--data-name", arguments.data_name])


def main() -> None:
    """Run what is missing, and fill the page."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.recipes", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = list(recipe_results.VARIANTS)
    parser.add_argument("--data", default="", metavar="PATH", help="archive or folder of images, else CIFAR-10 itself")
    parser.add_argument("--data-name", default="CIFAR-10", metavar="NAME", help="of the data, for the page")
    parser.add_argument("--only", nargs="+", choices=names, metavar="NAME", help=f"of {', '.join(names)}")
    parser.add_argument("--seeds", type=int, metavar="N", help="run each with seeds 0 to N - 1, not its recipe's seed")
    parser.add_argument("--minutes", type=float, default=math.inf, help="start no further run after so many")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--smoke", action="store_true", help="tiny sizes, to see that it runs; nothing is kept of it")
    parser.add_argument("--out", type=Path, metavar="DIR", help="of the result file, instead of benchmarks/results")
    arguments = parser.parse_args()
    if arguments.seeds is not None and arguments.seeds < 1:
        raise UserError("--seeds must be 1 or more")
    if uncommitted():
        undo = git.undo(artifacts.PARAMS)
        raise UserError(f"params.yaml differs from the last commit, and recipes start from the commit. Run: {undo}")

    kind = resolve_device(arguments.device).type
    folder = arguments.out or (SMOKE_RESULTS if arguments.smoke else RESULTS)
    data = "generated shapes, a smoke run" if arguments.smoke else arguments.data_name
    revision = commit() or "unknown"
    settings = common_settings(arguments)

    with tempfile.TemporaryDirectory() as temporary, locked(Path(".locks/recipes.lock"), _say_who):
        copy = copy_repository((Path(temporary) if arguments.smoke else COPY).resolve())
        results = Results((folder / f"recipes-{kind}.json").resolve(), data, command_line(arguments))
        if arguments.smoke:  # a store that goes with the copy
            os.environ["DVC_ROOT"] = str(copy)
            os.environ.pop("MLFLOW_TRACKING_URI", None)
        else:
            os.environ.setdefault("DVC_ROOT", str(Path.cwd()))
        with chdir(copy):  # from here on the code and the recipes are those of the copy, whatever changes here
            runs = plan(arguments.only or names, settings, arguments.seeds)
            failed = run_all(runs, results, lambda run: measure(run, results, kind, revision), arguments.minutes)
    print(recipe_results.section(results.content()))
    recipe_results.draw(folder)
    if folder == RESULTS:
        recipe_results.write_document()
    if failed:
        raise UserError("failed, and tried again by the same command:\n  " + "\n  ".join(failed))


def _say_who(holder: str) -> None:
    print(f"{holder} is running recipes here: waiting for it", flush=True)


if __name__ == "__main__":
    run_command(main)
