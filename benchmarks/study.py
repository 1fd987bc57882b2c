"""The study of docs/results/study-norms.md: does the norm matter on photographs?

    python -m benchmarks.study --data own/cifar10-jpeg.tar.xz

runs what is missing, one experiment after the other, in a copy of this repository that it keeps in .benchmarks/study
with an MLflow store and checkpoints of its own. Each finished run becomes a file in benchmarks/results/study-norms.
After an interruption, the same command resumes from the last completed epoch. `--minutes N` starts no further run after
N minutes.

At the end, and without `--data`, the runs in benchmarks/results/study-norms are compared: the numbers go into
benchmarks/results/study-norms.json, the figures into docs/images, and the page is filled.
"""

import argparse
import math
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import chdir, contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import study_page
from benchmarks.harness import RESULTS, SMOKE_RESULTS, commit
from benchmarks.logged import Logged, find
from benchmarks.recipes import SMOKE, Planned, experiment, own_images
from benchmarks.study_runs import SAMPLE, Finished, read_run, read_sample, write_run, write_sample
from benchmarks.workspace import copy_repository, processes_in
from src import artifacts, git, tracking
from src.comparison.groups import Group, group, notes_on, reached_targets, same_images
from src.comparison.images import draw_sample
from src.comparison.make_maps import check_images, run_maps
from src.comparison.maps import Maps, compare_maps, mean_agreement
from src.comparison.read import read_runs
from src.comparison.result import Comparison, to_json
from src.comparison.tables import mean_percent
from src.config.changes import uncommitted
from src.config.recipes import with_recipe
from src.data import prepared
from src.errors import UserError
from src.explain.agreement import Float32
from src.figures.comparison import draw
from src.figures.gradcam import EDGE, HEAD, LINE, cells, put_title, show
from src.figures.style import Described, save
from src.model.device import resolve_device
from src.params import Params, parse_params
from src.runtime.run import run_command
from src.statistics import mean_interval
from src.wording import norm_name
from src.yaml_files import nest

NAME = "study-norms"  # of the recipe and of the results
COPY = Path(".benchmarks/study")


@dataclass(frozen=True)
class Arm:
    """What the runs of an arm have in common, besides the recipe."""

    norm: str
    rate_of: str = ""  # the arm whose run of the same seed lends its learning rate; '' for a range test of its own


ARMS = {
    "batch": Arm("batch"),
    "layer": Arm("layer"),
    "layer2d": Arm("layer2d"),
    "group": Arm("group"),
    "layer-at-batch-rate": Arm("layer", rate_of="batch"),
}
SEEDS = (0, 1, 2)
# In this order: whoever stops early has all norms with the first seeds.
RUNS = [
    *((arm, seed) for seed in SEEDS for arm in ARMS if not ARMS[arm].rate_of),
    *((arm, seed) for seed in SEEDS for arm in ARMS if ARMS[arm].rate_of),
]
COMPARISONS = {
    "own-rate": ("batch", "layer", "layer2d", "group"),
    "common-rate": ("batch", "layer-at-batch-rate"),
}


def run_missing(
    runs: Sequence[tuple[str, int]],
    common: Mapping[str, Any],
    folder: Path,
    make: Callable[[Planned, Path], None],
    minutes: float = math.inf,
) -> list[str]:
    """`make` the files that `folder` lacks of `runs`; what failed, with the reason.

    `common` are settings for all runs, by dotted key. After `minutes` no further run is started.
    """
    started = time.perf_counter()
    failed: list[str] = []
    left: list[str] = []
    for arm, seed in runs:
        title, file = f"{arm}, seed {seed}", file_of(folder, arm, seed)
        try:
            wanted = planned(arm, seed, common, folder)
            if file.exists() and is_of(read_run(file).about, wanted.params):
                print(f"{title}: kept, {file.name}", flush=True)
            elif time.perf_counter() - started > 60 * minutes:
                left.append(title)
            else:
                print(f"{title} ...", flush=True)
                make(wanted, file)
        except UserError as error:  # the other runs do not need this one
            print(f"error: {error}", flush=True)
            failed.append(f"{title}: {error}")
    if left:
        print(f"not run yet: {'; '.join(left)}. The same command resumes")
    return failed


def file_of(folder: Path, arm: str, seed: int) -> Path:
    """The file of a run."""
    return folder / f"{arm}-{seed}.npz"


def planned(arm: str, seed: int, common: Mapping[str, Any], folder: Path) -> Planned:
    """The run of `arm` with `seed`; UserError if the run in `folder` that lends its rate is not there yet."""
    settings = {"norm": ARMS[arm].norm, "seed": seed, **common}
    if lender := ARMS[arm].rate_of:
        file = file_of(folder, lender, seed)
        if not file.exists():
            raise UserError(f"it takes the rate of {lender}, seed {seed}, which is not finished")
        settings["lr"] = read_run(file).about.lr
    return Planned(arm, settings, parse_params(nest(with_recipe(NAME) | settings)))


def is_of(about: Logged, params: Params) -> bool:
    """Whether `params`, with the code in this folder, would train the same model again."""
    return about.is_of(params, resolve_device(params.device).type)


def logged(wanted: Planned, revision: str) -> Logged:
    """The run of `wanted`: from the store, else made here."""
    kind = resolve_device(wanted.params.device).type
    client, store = tracking.open_store()
    return find(client, store, wanted.name, wanted.params, kind) or experiment(wanted, kind, revision)


def keep(wanted: Planned, about: Logged, file: Path, data_name: str) -> None:
    """Write the file of a run, with maps of the test images in this workspace, and these images beside it."""
    (run,) = read_runs([about.run_id]).runs
    data = check_images([run], prepared.load(), wanted.params)
    sample, settings = draw_sample(data, prepared.load_files("test")), wanted.params.gradcam
    layer, device, store = settings.layers[-1], resolve_device(wanted.params.device), tracking.Reader()
    with tempfile.TemporaryDirectory() as temporary:
        store.download_model(run.id, "model.json", temporary)
        maps = run_maps(store, run, sample, settings, layer, device, temporary)
    write_sample(file.with_name(SAMPLE), sample)
    write_run(file, Finished(about, run, data_name, settings.method, layer, maps))


def read_all(folder: Path) -> dict[tuple[str, int], Finished]:
    """The finished runs in `folder` by arm and seed, in the order of RUNS."""
    files = {key: file_of(folder, *key) for key in RUNS}
    return {key: read_run(file) for key, file in files.items() if file.exists()}


def compare_all(found: Mapping[tuple[str, int], Finished], folder: Path) -> dict[str, Comparison]:
    """Those of COMPARISONS of which two arms have a run; `folder` has the sample of test images."""
    compared = {}
    for name, arms in COMPARISONS.items():
        of_arms = [[found[arm, seed] for seed in SEEDS if (arm, seed) in found] for arm in arms]
        if sum(bool(of_arm) for of_arm in of_arms) > 1:
            own = all(not ARMS[arm].rate_of for arm in arms)
            compared[name] = compare_runs([one for of_arm in of_arms for one in of_arm], own, folder)
    return compared


def compare_runs(found: Sequence[Finished], own_rates: bool, folder: Path) -> Comparison:
    """Runs grouped by norm. Without `own_rates`, the rate that each run used counts as its parameter `lr`."""
    runs = [one.run for one in found]
    if not own_rates:
        runs = [
            replace(run, params={**run.params, "lr": f"{one.about.lr:g}"}) for run, one in zip(runs, found, strict=True)
        ]
    groups = group(runs, ["norm"])
    notes = notes_on(groups, ["norm"])
    return Comparison(["norm"], groups, reached_targets(runs), notes, maps_of(groups, found, folder))


def maps_of(groups: Sequence[Group], found: Sequence[Finished], folder: Path) -> Maps | None:
    """The maps of all runs compared; None if they are of different images, methods or layers."""
    runs = [one.run for one in found]
    kinds = {(one.method, one.layer, one.run.params["gradcam.image_weight"]) for one in found}
    if len(kinds) > 1 or not same_images(runs):
        return None
    method, layer, weight = kinds.pop()
    sample = read_sample(folder / SAMPLE)
    return compare_maps(groups, {one.run.id: one.maps for one in found}, sample, method, layer, float(weight))


def numbers(found: Mapping[tuple[str, int], Finished], compared: Mapping[str, Comparison]) -> dict[str, Any]:
    """What the file of numbers holds: where each run comes from, and the comparisons."""
    runs = [{"arm": arm, "data": one.data_name, **asdict(one.about)} for (arm, _), one in found.items()]
    return {"runs": runs, **{name: to_json(comparison) for name, comparison in compared.items()}}


def write_figures(compared: Mapping[str, Comparison], folder: Path) -> None:
    """The figures that the page shows, in place of those in `folder`."""
    shutil.rmtree(folder, ignore_errors=True)
    for name, comparison in compared.items():
        for figure, drawn in draw(comparison).items():
            if figure in study_page.FIGURES[name]:
                save(drawn, folder / name / f"{figure}.png")


def hero(found: Mapping[tuple[str, int], Finished], folder: Path) -> Described | None:
    """A test image with its map by one run per norm and the accuracies over all seeds; None until all norms have a run.

    Of the images of the sample in `folder` that all these runs answer right, it is the one whose maps agree least.
    """
    arms = COMPARISONS["own-rate"]
    first = {arm: next((found[arm, seed] for seed in SEEDS if (arm, seed) in found), None) for arm in arms}
    runs = [one for one in first.values() if one is not None]
    if len(runs) < len(arms):
        return None
    sample = read_sample(folder / SAMPLE)
    right = np.all([one.run.predictions.predicted == one.run.predictions.true for one in runs], axis=0)
    maps: list[Float32] = [(one.maps / 255).astype(np.float32) for one in runs]
    place = int(np.where(right[sample.indices], mean_agreement(maps), np.inf).argmin())
    true = runs[0].run.predictions.true[sample.indices[place]]
    heading = f"Where four norms look to answer “{true}”"
    weight = float(runs[0].run.params["gradcam.image_weight"])
    count = 1 + len(arms)
    figure, sheet, corners = cells(count, count, heading, head=HEAD, left=EDGE, title=2 * LINE, bar=weight)
    show(sheet, corners[0], sample.images[place])
    put_title(sheet, corners[0], f"test image\n{true}", fontsize=9)
    for arm, corner, values in zip(arms, corners[1:], maps, strict=True):
        accuracies = [found[arm, seed].run.metrics["test/accuracy"] for seed in SEEDS if (arm, seed) in found]
        show(sheet, corner, sample.images[place], values[place], weight)
        put_title(sheet, corner, f"{norm_name(ARMS[arm].norm)}\n{mean_percent(mean_interval(accuracies))}", fontsize=9)
    return Described(figure, f"A test image of the class {true}, and its map by one run of each of {len(arms)} norms.")


@contextmanager
def workplace(smoke: bool) -> Iterator[None]:
    """A copy of the repository as this process's folder, with a store of its own; for a smoke run a temporary one.

    Raises UserError if another process works there: an experiment outlives a killed study.
    """
    with tempfile.TemporaryDirectory() as temporary:
        place = Path(temporary).resolve() / "normlens" if smoke else COPY.resolve()
        if busy := processes_in(place):
            raise UserError(f"process {busy[0].pid} still works in {place}. Let it finish or end it, then start again")
        copy = copy_repository(place)
        os.environ["DVC_ROOT"] = str(copy)
        os.environ.pop("MLFLOW_TRACKING_URI", None)
        with chdir(copy):
            yield


def main() -> None:
    """Run what is missing, compare what is there, and write numbers, figures and page."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.study", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", default="", metavar="PATH", help="archive or folder of images: run what is missing")
    parser.add_argument(
        "--data-name",
        default="CIFAR-10 (JPEG q75 copy)",
        metavar="NAME",
        help="name of --data on the page: %(default)s",
    )
    parser.add_argument("--minutes", type=float, default=math.inf, metavar="N", help="start no further run after this")
    parser.add_argument("--smoke", action="store_true", help="tiny sizes, to see that it runs; no result is kept")
    arguments = parser.parse_args()
    results = (SMOKE_RESULTS if arguments.smoke else RESULTS).resolve()
    folder, failed = results / NAME, list[str]()
    runs, common, data_name = RUNS, dict[str, Any](), arguments.data_name
    if arguments.smoke:
        shutil.rmtree(folder, ignore_errors=True)
        runs = [(arm, seed) for arm, seed in RUNS if ARMS[arm].norm in ("batch", "layer") and seed < 2]
        common, data_name = {**SMOKE, "device": "cpu"}, "generated shapes, a smoke run"
    elif arguments.data:
        common = own_images(Path(arguments.data).resolve())
    if common:
        if uncommitted():
            undo = git.undo(artifacts.PARAMS)
            raise UserError(f"params.yaml differs from the last commit, and recipes start from the commit. Run: {undo}")
        revision = commit() or "unknown"
        with workplace(arguments.smoke):
            failed = run_missing(
                runs, common, folder, lambda wanted, file: keep(wanted, logged(wanted, revision), file, data_name),
                arguments.minutes,
            )  # fmt: skip
    found = read_all(folder)
    compared = compare_all(found, folder)
    if found:
        artifacts.write_json(folder.with_suffix(".json"), numbers(found, compared))
    write_figures(compared, folder / "figures" if arguments.smoke else study_page.IMAGES)
    if (picture := hero(found, folder)) is not None and not arguments.smoke:
        save(picture, study_page.HERO)
    if not arguments.smoke:
        study_page.write_document(list(found.values()), compared, len(RUNS))
    print(f"{len(found)} of {len(runs)} runs are in {folder}")
    if failed:
        raise UserError("failed, the same command tries again:\n  " + "\n  ".join(failed))


if __name__ == "__main__":
    run_command(main)
