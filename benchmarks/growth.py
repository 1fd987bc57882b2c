"""What MLflow, DVC and images cost as runs, experiments and images become many."""

import io
import logging
import os
import shutil
import signal
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import chdir, closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import requests
from PIL import Image
from requests.adapters import HTTPAdapter
from urllib3 import Retry

from benchmarks.harness import Row, Settings, in_turn_cold, median_seconds, seconds_of
from benchmarks.workspace import copy_repository, python
from commands.ui import listen
from src import artifacts, results
from src.comparison.read import read_runs
from src.config.overrides import flags
from src.data.images import fit
from src.errors import UserError
from src.params import load_params
from src.tracking import Mirror, open_store

EPOCHS = 20
RUN: dict[str, object] = {
    "train.epochs": EPOCHS, "data.shapes.train": 500, "data.shapes.test": 10_000, "model.width": 4, "gradcam.count": 4,
    "train.batch_size": 100, "train.workers": 0, "lr": 0.01,
}  # fmt: skip
FAR = 100_000  # runs that docs/scale/capacity.md extrapolates to
COMPARED = 100  # runs that `compare` reads over a server: of a thousand it would be half of the whole set's time
PREDICTIONS = "metrics/predictions.csv"
DVC_COMMANDS = {
    "dvc exp show": ("exp", "show", "--csv"),
    "dvc gc --all-experiments --dry": ("gc", "--workspace", "--all-experiments", "--dry", "--force"),
    "dvc status": ("status",),
}
PHOTO = (500, 375)  # pixels, about the mean of ImageNet's
SIDE = 224

Quantities = dict[str, tuple[float, str]]  # value and unit, by name


def local(settings: Settings) -> Iterator[Row]:
    """The SQLite file of one machine, as stages and `compare` use it."""
    measured = []
    with real_run(settings) as (root, counts):
        files = size(root / "mlartifacts") / 2**20
        for count in counts:
            multiply(root / "mlflow.db", count, root / "mlartifacts")
            stored = size(root / "mlflow.db") / 2**10 / count
            measured.append(as_clients(count, settings) | {"the store, a run": (stored, "KiB")})
    note = f"{EPOCHS} epochs and a range test of 300 batches; with its model and figures"
    yield from grown("SQLite", counts, measured)
    yield Row("files of a run", files, 1.0, "MiB", None, note=note)


def server(settings: Settings) -> Iterator[Row]:
    """`mlflow server` with two workers over such a file."""
    measured = []
    with real_run(settings) as (root, counts), serving(root) as address:
        os.environ["MLFLOW_TRACKING_URI"] = address
        patient = {"MLFLOW_TRACKING_URI": address, "MLFLOW_HTTP_REQUEST_TIMEOUT": "120"}
        python(root, "-m", "commands.sync", **patient)  # the real run, now there too
        client, experiment = open_store()
        page = partial(client.search_runs, [experiment], max_results=100)  # as MLflow's UI
        for count in counts:
            multiply(root / "served.db", count, root / "served" / experiment)
            clients = as_clients(count, settings, compared=count <= COMPARED)
            listed = 1000 * median_seconds(page, settings.device, settings.repeats)
            measured.append(clients | {"list 100 runs": (listed, "ms")})
    yield from grown("server, sqlite", counts, measured)


def as_clients(count: int, settings: Settings, compared: bool = True) -> Quantities:
    """What a stage waits for with `count` runs in the store and, if `compared`, `compare`."""
    params, key = load_params(), results.Model.read().model_key
    history = artifacts.read_csv(results.Epoch.PATH)
    opening, epochs = [], []
    for number in range(settings.repeats):
        start = time.perf_counter()
        with Mirror(params.model_copy(update={"seed": 1_000_000 + count + number}), key) as mirror:
            opening.append(1000 * (time.perf_counter() - start))
            epochs += [1000 * seconds_of(partial(mirror.epoch, row), settings.device) for row in history]
        if not mirror.complete:
            raise UserError(f"the store did not take a run: {mirror.failure}")
        open_store()[0].delete_run(mirror.run_id)  # so that the number of runs stays
    measured = {"open a run": (statistics.median(opening), "ms"), "log an epoch": (statistics.median(epochs), "ms")}
    if compared:
        start = time.perf_counter()
        found = len(read_runs().runs)
        measured["open `compare`"] = time.perf_counter() - start, "s"
        if found != count:
            raise UserError(f"`compare` read {found} runs instead of {count}")
    return measured


def grown(where: str, counts: Sequence[int], measured: Sequence[Quantities]) -> Iterator[Row]:
    """Each quantity with every larger number of runs, and on the straight line at FAR, against the smallest number."""
    for name, (first, unit) in measured[0].items():
        points = [
            (n, quantities[name][0], "") for n, quantities in zip(counts, measured, strict=True) if name in quantities
        ]
        most, last, _ = points[-1]
        slope = max(0.0, (last - first) / (most - counts[0]))
        line = f"not measured: the line through {counts[0]:,} and {most:,} runs"
        for count, value, note in [*points[1:], (FAR, first + slope * (FAR - counts[0]), line)]:
            title = f"{where}: {name}, {count:,} runs / {counts[0]:,}"
            yield Row(title, value, first, unit, None, note=note)


@contextmanager
def real_run(settings: Settings) -> Iterator[tuple[Path, tuple[int, ...]]]:
    """A copy of this repository after a run of the pipeline, as the folder of this process, and how many to make."""
    for name in ("MLFLOW_TRACKING_URI", "DVC_ROOT"):
        os.environ.pop(name, None)
    with tempfile.TemporaryDirectory() as folder:
        root = copy_repository(Path(folder).resolve() / "normlens")
        fewer = {"data.shapes.train": 200, "data.shapes.test": 100} if settings.smoke else {}
        python(root, "-m", "recipes", "quick", *flags(RUN | fewer))
        with chdir(root):
            yield root, (2, 4) if settings.smoke else (10, 100, 1000)


def multiply(store: Path, count: int, files: Path) -> None:
    """Copy the real run in the SQLite file `store` until it has `count`, each with a folder of its own in `files`.

    Through MLflow a thousand copies would take minutes. They have the real predictions of all test images, and their
    own ids, seeds and keys, so that `compare` takes them for different models.
    """
    client, experiment = open_store()
    runs = client.search_runs([experiment], max_results=count)
    original: str = min(runs, key=lambda run: run.info.start_time).info.run_id
    copies = {uuid.uuid4().hex: number for number in range(len(runs), count)}
    with tempfile.TemporaryDirectory() as folder:
        predictions = client.download_artifacts(original, PREDICTIONS, folder)
        for run_id in copies:
            target = files / run_id / "artifacts" / PREDICTIONS
            target.parent.mkdir(parents=True)
            shutil.copyfile(predictions, target)
    with closing(sqlite3.connect(store)) as connection, connection:
        connection.row_factory = sqlite3.Row
        for table in ("runs", "params", "tags", "metrics", "latest_metrics", "inputs"):
            owner = "destination_id" if table == "inputs" else "run_uuid"
            rows = list(map(dict, connection.execute(f"SELECT * FROM {table} WHERE {owner} = ?", [original])))
            places = ", ".join(f":{name}" for name in rows[0])
            made = (copied(row, original, *copy) for copy in copies.items() for row in rows)
            connection.executemany(f"INSERT INTO {table} VALUES ({places})", made)


def copied(row: dict[str, Any], original: str, run_id: str, number: int) -> dict[str, Any]:
    """A row of the run `original`, for its copy `run_id`."""
    changes: dict[str, Any] = {"input_uuid": uuid.uuid4().hex, "start_time": row.get("start_time", 0) + number}
    own = {"run_key": run_id, "model_key": run_id, "seed": str(number)}
    if row.get("key") in own:
        changes["value"] = own[row["key"]]
    copy = {name: value.replace(original, run_id) if isinstance(value, str) else value for name, value in row.items()}
    return copy | {name: value for name, value in changes.items() if name in row}


@contextmanager
def serving(root: Path) -> Iterator[str]:
    """The address of `mlflow server` with the store `root`/served.db and its files in `root`/served."""
    with listen(0) as free:
        port = free.getsockname()[1]
    places = ["--backend-store-uri", f"sqlite:///{root}/served.db", "--artifacts-destination", f"{root}/served"]
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "2"]
    environment = os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    process = subprocess.Popen([*command, *places], env=environment, stdout=subprocess.DEVNULL, start_new_session=True)
    try:
        with requests.Session() as session:  # for three minutes
            session.mount("http://", HTTPAdapter(max_retries=Retry(180, backoff_factor=1, backoff_max=1)))
            session.get(f"http://127.0.0.1:{port}/health").raise_for_status()
        yield f"http://127.0.0.1:{port}"
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def cache(settings: Settings) -> Iterator[Row]:
    """DVC's commands and the size of its cache with 10 and 100 experiments of the whole pipeline.

    One is run. The others are its workspace with another seed and other weights.
    """
    few, many = (2, 4) if settings.smoke else (10, 100)
    repeats = min(settings.repeats, 3)  # they are slow
    measured: list[Quantities] = []
    with real_run(settings) as (root, _):
        for first, last in ((1, few), (few, many)):
            save_experiments(first, last)
            taken = {
                name: (statistics.median(python(root, "-m", "dvc", *command) for _ in range(repeats)), "s")
                for name, command in DVC_COMMANDS.items()
            }
            measured.append(taken | {"DVC's cache": (size(root / ".dvc/cache") / 2**20, "MiB")})
    for name, (value, unit) in measured[0].items():
        yield Row(f"{name}, {many:,} experiments / {few:,}", measured[1][name][0], value, unit, None)


def save_experiments(first: int, last: int) -> None:
    """Save experiments number `first` to `last` - 1 in this folder, as `dvc exp save` does."""
    from dvc.repo import Repo  # type: ignore[import-untyped]

    logging.getLogger("dvc").setLevel(logging.ERROR)  # else a few lines per experiment
    params, weights = artifacts.PARAMS.read_text(encoding="utf-8"), artifacts.WEIGHTS.read_bytes()
    for number in range(first, last):
        artifacts.PARAMS.write_text(params.replace("seed: 0 ", f"seed: {number} ", 1), encoding="utf-8")
        artifacts.WEIGHTS.unlink()  # it may be a link to DVC's cache
        artifacts.WEIGHTS.write_bytes(weights[:-8] + number.to_bytes(8, "little"))
        with Repo() as repo:
            repo.experiments.save(name=f"copy-{number}", force=True)
    artifacts.PARAMS.write_text(params, encoding="utf-8")


def size(path: Path) -> int:
    """Bytes of a file, or of all files in a folder."""
    return sum(file.stat().st_size for file in (path, *path.rglob("*")) if file.is_file())


def decode(settings: Settings) -> Iterator[Row]:
    """One core: JPEG files to squares of 224 pixels as `prepare` makes them, against copies of such squares."""
    rng = np.random.default_rng(0)
    files = [photo(rng) for _ in range(4 if settings.smoke else 32)]
    squares = rng.integers(0, 256, (len(files), SIDE, SIDE, 3), np.uint8)

    def rate(work: Callable[[], object]) -> float:
        return len(files) / median_seconds(work, settings.device, settings.repeats)

    decoded = rate(lambda: [square(file) for file in files])
    drafted = rate(lambda: [square(file, draft=True) for file in files])
    copied = rate(lambda: [image.copy() for image in squares])
    kilobytes = statistics.mean(map(len, files)) / 1000
    note = f"{PHOTO[0]}x{PHOTO[1]}, {kilobytes:.0f} kB, to {SIDE}x{SIDE}, one core"
    yield Row("decode and cut a JPEG / with libjpeg's half size", decoded, drafted, "images/s", None, note=note)
    yield Row("decode and cut a JPEG / copy a prepared image", decoded, copied, "images/s", None, note=note)


def photo(rng: np.random.Generator) -> bytes:
    """A JPEG of a photograph's size, with smooth areas, edges and grain: 89 kB, and the mean of ImageNet's is 108."""
    width, height = PHOTO
    small = Image.fromarray(rng.integers(0, 256, (height // 25, width // 25, 3), np.uint8))
    smooth = np.asarray(small.resize(PHOTO, Image.Resampling.BICUBIC), np.int16)
    pixels = np.clip(smooth + rng.normal(0, 12, (height, width, 1)), 0, 255).astype(np.uint8)
    with io.BytesIO() as out:
        Image.fromarray(pixels).save(out, "JPEG", quality=90)
        return out.getvalue()


def square(file: bytes, draft: bool = False) -> npt.NDArray[np.uint8]:
    """(SIDE, SIDE, 3): the central square, as `prepare` cuts it out."""
    with Image.open(io.BytesIO(file)) as image:
        if draft:
            image.draft("RGB", (SIDE, SIDE))
        return fit(image, SIDE)


def read(settings: Settings) -> Iterator[Row]:
    """Prepared images from a disk whose cache is empty: one by one in random order, against whole shards."""
    shard = 16 if settings.smoke else 256  # images that are read at once
    count = 40 * shard
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "images"
        content = np.random.default_rng(0).integers(0, 256, (shard, SIDE, SIDE, 3), np.uint8).tobytes()
        with file.open("wb") as out:
            out.writelines([content] * (count // shard))
            out.flush()
            os.fsync(out.fileno())
        rng = np.random.default_rng(0)
        cold, whole = in_turn_cold(
            lambda: read_rate(file, rng.permutation(count)[: count // 4], 1),
            lambda: read_rate(file, rng.permutation(count // shard), shard),
            settings.repeats,
        )
    note = f"{count:,} images of {SIDE}x{SIDE} in one file, {count * SIDE**2 * 3 / 1e9:.1f} GB; shards of {shard}"
    yield Row("read from the disk in random order / in whole shards", cold, whole, "images/s", None, note=note)
    yield Row("bytes so read", cold * SIDE**2 * 3 / 1e6, whole * SIDE**2 * 3 / 1e6, "MB/s", None)


def read_rate(file: Path, order: npt.NDArray[np.int64], size: int) -> float:
    """Images/s, read in groups of `size` in this `order`, after Linux has dropped the file from memory."""
    with file.open("rb") as opened:
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    images = np.memmap(file, np.uint8, "r").reshape(-1, size, SIDE, SIDE, 3)
    start = time.perf_counter()
    for index in order:
        np.array(images[index])
    return len(order) * size / (time.perf_counter() - start)
