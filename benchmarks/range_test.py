"""Regret of `lr: auto`: what a short training loses by the rate of its range test, against the best fixed rate.

    python -m benchmarks.range_test [--data own/cifar10-jpeg.tar.xz]

fills docs/explanation/range-test.md from benchmarks/results/range-test.json. With --data it first measures what that
file lacks. It trains width-16 networks at each rate of a grid and at the rate of each seed's range test, in SETTINGS
that differ in data, norm, batch size and optimiser. Accuracy is that on images that the run did not train on: the rest
of the training images, or more generated ones. Test images are not used. A rate at which seed 0 is HOPELESS points
below its best rate is not trained with other seeds.

Each training and the losses of each sweep are written to the file at once, and the same command resumes there. A
changed rule reads the sweeps of the file, so it runs only trainings at rates that are new. To measure changed training
code, delete the file.

Half of the settings are for developing the rule (`--half develop`), the others only for confirming it.
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import combinations
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from benchmarks.document import put
from benchmarks.harness import RESULTS, commit, machine, params_with
from benchmarks.workspace import prepare_once
from src import artifacts
from src.data import prepared
from src.data.prepare import channel_statistics
from src.data.prepared import Prepared, Split
from src.data.split import drawn
from src.errors import UserError
from src.evaluation.logits import predict_logits
from src.model.device import Precision, resolve_precision
from src.params import Params
from src.processes import cores, keep_memory
from src.runtime.run import run_command
from src.training.loop import train
from src.training.lr_range import Sweep, choose_rate, sweep
from src.wording import hundredths, percent

FILE = RESULTS / "range-test.json"
DOCUMENT = Path("docs/explanation/range-test.md")
CACHE = Path(".benchmarks/range-test")
SEEDS = (0, 1, 2)
GRID = {
    "sgd": (0.003, 0.01, 0.03, 0.1, 0.3, 1.0),
    "adamw": (0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03),
}
HOPELESS = 10
SHARES = {"photographs": 0.2, "small": 0.02}  # of the training images
UNSEEN = 5000  # images that accuracy is measured on
SHAPES = {"data.source": "shapes", "data.shapes.train": 6000, "data.shapes.test": UNSEEN, "data.size": 32}

Data = Literal["photographs", "small", "shapes"]


@dataclass(frozen=True)
class Setting:
    """What is trained: on which images, with which norm, batch size and optimiser, for how many epochs."""

    half: Literal["develop", "confirm"]
    data: Data
    norm: str
    batch: int
    optimizer: Literal["sgd", "adamw"]
    epochs: int

    @property
    def name(self) -> str:
        """For the table and the file."""
        return f"{self.data}, {self.norm} norm, batch {self.batch}, {self.optimizer}"

    def params(self, seed: int) -> Params:
        """params.yaml with this setting."""
        return params_with(
            {
                "norm": self.norm, "seed": seed, "device": "cpu", "model.width": 16,
                "train.batch_size": self.batch, "train.optimizer": self.optimizer, "train.epochs": self.epochs,
                "train.weight_decay": 0.0005 if self.optimizer == "sgd" else 0.05, "train.workers": 0,
                "data.val_share": 0.0,
            }
        )  # fmt: skip


SETTINGS = (
    Setting("develop", "photographs", "batch", 128, "sgd", 4),
    Setting("develop", "photographs", "layer", 128, "sgd", 4),
    Setting("develop", "photographs", "group", 512, "adamw", 5),
    Setting("develop", "small", "layer", 32, "sgd", 15),
    Setting("develop", "small", "batch", 32, "adamw", 15),
    Setting("develop", "shapes", "batch", 128, "sgd", 5),
    Setting("confirm", "photographs", "batch", 512, "sgd", 5),
    Setting("confirm", "photographs", "layer2d", 128, "sgd", 4),
    Setting("confirm", "photographs", "layer", 128, "adamw", 4),
    Setting("confirm", "small", "batch", 32, "sgd", 15),
    Setting("confirm", "small", "group", 128, "sgd", 20),
    Setting("confirm", "shapes", "layer", 32, "adamw", 4),
)


@dataclass(frozen=True)
class Job:
    """One training at `rate`, or one range test (`rate` None)."""

    setting: Setting
    seed: int
    rate: float | None


def run(job: Job) -> dict[str, Any]:
    """Do `job` on one core: {'lrs': ..., 'losses': ...} of a sweep, or {'accuracy': ...} of a training."""
    torch.set_num_threads(1)
    params = job.setting.params(job.seed)
    ready, unseen = load(job.setting.data)
    device, precision = torch.device("cpu"), resolve_precision("auto", torch.device("cpu"))
    start = time.perf_counter()
    if job.rate is None:
        result: dict[str, Any] = curve(ready, params, device, precision)
    else:
        result = {"accuracy": accuracy(ready, unseen, params, job.rate, device, precision)}
    return result | {"seconds": round(time.perf_counter() - start, 1)}


def curve(ready: Prepared, params: Params, device: torch.device, precision: Precision) -> dict[str, Any]:
    """Rates and losses of a sweep, rounded; none if too few losses were finite."""
    try:
        swept = sweep(ready, params, device, precision)
    except UserError:
        return {"lrs": [], "losses": []}
    return {
        name: [float(f"{value:.5g}") for value in values]
        for name, values in (("lrs", swept.lrs), ("losses", swept.losses))
    }


def accuracy(
    ready: Prepared, unseen: Split, params: Params, rate: float, device: torch.device, precision: Precision
) -> float:
    """Accuracy on `unseen` after training at `rate`; that of chance if the training diverges."""
    with tempfile.TemporaryDirectory() as checkpoints:
        try:
            trained = train(
                ready, params, rate, device, precision, Path(checkpoints), lambda row: None, lambda sentence: None
            )
            logits = predict_logits(trained.model, unseen, ready.mean, ready.std, device=device, batch_size=500)
        except UserError:  # a loss or a logit is not finite
            return 1 / len(ready.classes)
    return float((logits.argmax(axis=1) == unseen.labels).mean())


@lru_cache(maxsize=1)
def load(data: Data) -> tuple[Prepared, Split]:
    """Images to train on, without validation images, and others to measure accuracy on."""
    keep_memory()
    ready = prepared.load(CACHE / ("shapes" if data == "shapes" else "photographs"))
    if data == "shapes":
        return ready, ready.test
    images, labels = ready.train.images, ready.train.labels
    used = drawn(labels, SHARES[data], 0)
    rest = np.setdiff1d(np.arange(len(labels)), used)
    held = rest[drawn(labels[rest], UNSEEN / len(rest), 1)]
    own = Split(images[used], labels[used])
    mean, std = channel_statistics(own.images)
    return replace(ready, train=own, mean=mean, std=std), Split(images[held], labels[held])


def make_cache(archive: str) -> None:
    """Decode and draw the images once, for all processes."""
    photographs = {"data.source": "folder", "data.path": archive, "data.size": 32}
    for name, changes in {"shapes": SHAPES, "photographs": photographs}.items():
        prepare_once(CACHE / name, changes | {"data.val_share": 0.0})


class Record:
    """The file of results: trainings and sweeps."""

    def __init__(self, file: Path) -> None:
        """Continue with `file` if it exists."""
        self.file = file
        self.about: dict[str, Any] = artifacts.read_json(file) if file.exists() else {}
        self.rows: list[dict[str, Any]] = self.about.pop("rows", [])

    def find(self, job: Job) -> dict[str, Any] | None:
        """The row of a job that was done."""
        return next((row for row in self.rows if row["job"] == _json(job)), None)

    def rate(self, setting: Setting, seed: int) -> float | None:
        """The rate that the stage lr_range would use; None if the sweep is not done, or it would reject its curve."""
        row = self.find(Job(setting, seed, None))
        if row is None or not row["lrs"]:
            return None
        params = setting.params(seed)
        width = params.lr_range.smoothing * params.lr_range.iterations
        try:
            return choose_rate(Sweep(np.array(row["lrs"]), np.array(row["losses"]), width), params)
        except UserError:
            return None

    def add(self, job: Job, result: dict[str, Any]) -> None:
        """Keep the result of a job, and write the file."""
        self.rows.append({"job": _json(job), **result})
        self.about = {"machine": machine(torch.device("cpu")), "commit": commit(), "date": time.strftime("%Y-%m-%d")}
        artifacts.write_json(self.file, self.about | {"rows": self.rows})


def _json(job: Job) -> dict[str, Any]:
    setting = job.setting
    about: dict[str, Any] = {"setting": setting.name, "epochs": setting.epochs, "seed": job.seed, "rate": job.rate}
    if job.rate is None:
        sweep_of = setting.params(job.seed).lr_range
        about["sweep"] = [sweep_of.start, sweep_of.end, sweep_of.iterations, sweep_of.mode]
    return about


def jobs(settings: Iterable[Setting], record: Record) -> Iterator[Job]:
    """All sweeps, then all trainings: at the rates of the grid, and at those that the sweeps chose."""
    settings = list(settings)
    for setting in settings:
        for seed in SEEDS:
            yield Job(setting, seed, None)
    for setting in settings:
        for rate in GRID[setting.optimizer]:
            yield Job(setting, SEEDS[0], rate)
    for setting in settings:
        for rate in hopeful(setting, record):
            for seed in SEEDS[1:]:
                yield Job(setting, seed, rate)
    for setting in settings:
        for seed in SEEDS:
            chosen = record.rate(setting, seed)
            if chosen is not None:
                yield Job(setting, seed, chosen)


def hopeful(setting: Setting, record: Record) -> list[float]:
    """Rates at which the first seed is less than HOPELESS points below its best, of those that it was trained at."""
    rows = {rate: record.find(Job(setting, SEEDS[0], rate)) for rate in GRID[setting.optimizer]}
    found = {rate: row["accuracy"] for rate, row in rows.items() if row is not None}
    return [rate for rate, accuracy in found.items() if accuracy > max(found.values()) - HOPELESS / 100]


def run_all(settings: Iterable[Setting], record: Record, minutes: float) -> bool:
    """Do what `record` lacks, one job per core at a time; False if time ran out first."""
    end = time.monotonic() + 60 * minutes
    running: dict[Future[dict[str, Any]], Job] = {}
    with ProcessPoolExecutor(cores(), mp_context=get_context("spawn")) as pool:
        while True:
            waiting = (job for job in jobs(settings, record) if record.find(job) is None)
            left = [job for job in dict.fromkeys(waiting) if job not in running.values()]
            if time.monotonic() < end:
                running |= {pool.submit(run, job): job for job in left[: cores() - len(running)]}
            if not running:
                return not left
            for done in wait(running, return_when=FIRST_COMPLETED).done:
                job, result = running.pop(done), done.result()
                record.add(job, result)
                shown = result.get("accuracy", "swept")
                print(f"{job.setting.name}, seed {job.seed}, rate {job.rate}: {shown}", flush=True)


def summary(settings: Iterable[Setting], record: Record) -> list[dict[str, Any]]:
    """One row per setting: mean accuracy at the best rate of the grid, and what `auto` loses against it, in points."""
    rows = []
    for setting in settings:
        several = hopeful(setting, record)
        by_rate = {
            rate: [_accuracy(record, Job(setting, seed, rate)) for seed in (SEEDS if rate in several else SEEDS[:1])]
            for rate in GRID[setting.optimizer]
        }
        means = {rate: statistics.mean(of) for rate, of in by_rate.items()}
        best = max(means, key=lambda rate: means[rate])
        chosen = [record.rate(setting, seed) for seed in SEEDS]
        reached = [
            1 / 10 if rate is None else _accuracy(record, Job(setting, seed, rate))
            for seed, rate in zip(SEEDS, chosen, strict=True)
        ]
        rows.append(
            {
                "setting": setting,
                "means": means,
                "best_rate": best,
                "best": means[best],
                "rates": chosen,
                "regret": 100 * (means[best] - statistics.mean(reached)),
            }
        )
    return rows


def constant_rates(rows: list[dict[str, Any]]) -> dict[str, tuple[float, float]]:
    """For each optimiser the fixed rate with the least mean regret over its settings, and that regret in points."""
    found = {}
    for optimizer, rates in GRID.items():
        own = [row for row in rows if row["setting"].optimizer == optimizer]
        if own:
            regrets = {rate: statistics.mean(100 * (row["best"] - row["means"][rate]) for row in own) for rate in rates}
            best = min(regrets, key=lambda rate: regrets[rate])
            found[optimizer] = (best, regrets[best])
    return found


def agreement(rows: list[dict[str, Any]]) -> tuple[int, int]:
    """Pairs of seeds whose rates agree within a factor of 2, and all pairs."""
    pairs = [pair for row in rows for pair in combinations(row["rates"], 2)]
    return sum(None not in pair and max(pair) <= 2 * min(pair) for pair in pairs), len(pairs)


def _accuracy(record: Record, job: Job) -> float:
    row = record.find(job)
    if row is None:
        raise UserError(f"not trained yet: {job.setting.name}, seed {job.seed}, rate {job.rate}")
    return float(row["accuracy"])


def section(half: str, record: Record) -> str:
    """Table and goals of a half of the settings, as Markdown, or a sentence if trainings are missing."""
    settings = [setting for setting in SETTINGS if setting.half == half]
    if any(record.find(job) is None for job in jobs(settings, record)):
        return "Not measured yet."
    rows = summary(settings, record)
    lines = ["| setting | best rate | accuracy | rates of `auto` | regret |", "|---|---|---|---|---|"]
    for row in rows:
        rates = ", ".join("rejected" if rate is None else f"{rate:g}" for rate in row["rates"])
        cells = [row["setting"].name, f"{row['best_rate']:g}", percent(row["best"]), rates, hundredths(row["regret"])]
        lines.append(f"| {' | '.join(cells)} |")
    regrets = [row["regret"] for row in rows]
    alike, pairs = agreement(rows)
    rejected = sum(rate is None for row in rows for rate in row["rates"])
    lines += [
        "",
        "| measure | goal | measured |",
        "|---|---|---|",
        f"| mean regret, points | at most 1 | {hundredths(statistics.mean(regrets))} |",
        f"| worst regret, points | at most 4 | {hundredths(max(regrets))} |",
        f"| range tests without a suggestion | 0 | {rejected} |",
        f"| pairs of seeds whose rates agree within a factor of 2 | 9 of 10 | {alike} of {pairs} |",
    ]
    for optimizer, (rate, regret) in constant_rates(rows).items():
        mean = statistics.mean(row["regret"] for row in rows if row["setting"].optimizer == optimizer)
        goal = f"below {hundredths(regret)}, that of the best constant rate {rate:g}"
        lines.append(f"| mean regret with {optimizer}, points | {goal} | {hundredths(mean)} |")
    return "\n".join(lines)


def fill(document: str, record: Record) -> str:
    """`document` with the results in its places. Raises UserError on a missing or unknown place."""
    halves = {half: section(half, record) for half in ("develop", "confirm")}
    return put(document, halves | {"basis": basis(record)})


def basis(record: Record) -> str:
    """Hardware, versions and date of the results."""
    if not record.about:
        return "Not measured yet."
    used = record.about["machine"]
    versions = f"Python {used['python']}, PyTorch {used['torch']}"
    last = f"The last training ran on {record.about['date']} with commit {record.about['commit']}."
    return f"Hardware: {used['hardware']}, one training per core. {versions}. {last}"


def main() -> None:
    """Measure what is missing, then fill the page."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.range_test",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--data", metavar="PATH", help="CIFAR-10 as a folder or archive of images")
    parser.add_argument("--half", choices=("develop", "confirm", "both"), default="both")
    parser.add_argument("--minutes", type=float, default=180, help="start no training after so many minutes")
    arguments = parser.parse_args()
    record = Record(FILE)
    if arguments.data:
        os.environ["OMP_NUM_THREADS"] = "1"
        make_cache(str(Path(arguments.data).resolve()))
        settings = [setting for setting in SETTINGS if arguments.half in (setting.half, "both")]
        if not run_all(settings, record, arguments.minutes):
            print("not finished; the same command continues")
    artifacts.write_text(DOCUMENT, fill(DOCUMENT.read_text(encoding="utf-8"), record))


if __name__ == "__main__":
    run_command(main)
