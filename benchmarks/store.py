"""What the MLflow store costs as runs grow: 10, 100 and 1,000 of 20 epochs, each a copy of one real run.

The copies are made within the database, by SQL: through MLflow a thousand of them would take minutes, and their rows
are the same. Each has an id, a seed and keys of its own, so that `compare` takes it for a run of another model, and the
real predictions of 10,000 test images. Other files are not copied: nothing here reads them.
"""

import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import chdir, contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

import sqlalchemy as sql

from benchmarks.harness import Row, Settings, median_seconds
from benchmarks.overhead import python, settings_of
from benchmarks.workspace import copy_repository
from commands.ui import listen
from src import artifacts
from src.comparison.stored import read_runs
from src.errors import UserError
from src.params import Params, load_params
from src.tracking import Mirror, open_store

EPOCHS = 20
RUN = (f"train.epochs={EPOCHS}", "data.shapes.train=500", "data.shapes.test=10000", "model.width=4", "gradcam.count=4",
       "train.batch_size=100", "train.workers=0", "lr=0.01")  # fmt: skip
SMOKE_RUN = (*RUN[2:], f"train.epochs={EPOCHS}", "data.shapes.train=200", "data.shapes.test=100")
FAR = 100_000  # runs that docs/scale/capacity.md extrapolates to
PAGE = 100  # runs that MLflow's UI asks for at once
PREDICTIONS = "metrics/predictions.csv"
COMPARED = 100  # runs that `compare` reads over a server: of a thousand it would be half of the whole set's time
START = 180.0  # seconds until a server answers


def local(settings: Settings) -> list[Row]:
    """The SQLite file of one machine, as stages and `compare` use it."""
    rows: list[dict[str, Any]] = []
    with real_run(settings.smoke) as (root, params, key):
        store = f"sqlite:///{root / 'mlflow.db'}"
        files = sum(file.stat().st_size for file in (root / "mlartifacts").rglob("*") if file.is_file())
        for count in sizes(settings):
            multiply(store, count, root / "mlartifacts")
            measured = as_clients(params, key, count, settings)
            size = (root / "mlflow.db").stat().st_size
            rows.append(measured | {"the store, a run": ((size / 2**10 / count), "KiB")})
    note = f"{EPOCHS} epochs and a range test of 300 batches; with its model and figures"
    return [*grown("SQLite", sizes(settings), rows), Row("files of a run", files / 2**20, 1.0, "MiB", None, note=note)]


def server(settings: Settings) -> list[Row]:
    """`mlflow server` with two workers over such a store, or over the empty database of `--store`."""
    rows: list[dict[str, Any]] = []
    name = settings.options.get("store", "sqlite").partition(":")[0].partition("+")[0]
    with real_run(settings.smoke) as (root, params, key):
        store = settings.options.get("store") or f"sqlite:///{root / 'served.db'}"
        with serving(root, store) as address:
            os.environ["MLFLOW_TRACKING_URI"] = address
            python_with(root, address, "commands.sync")  # the real run, now there too
            for count in sizes(settings):
                multiply(store, count, root / "served" / open_store()[1])
                measured = as_clients(params, key, count, settings, compared=count <= COMPARED)
                client, experiment = open_store()
                page = partial(client.search_runs, [experiment], max_results=PAGE)
                listing = median_seconds(page, settings.device, settings.repeats)
                rows.append(measured | {f"list {PAGE} runs": (1000 * listing, "ms")})
    return grown(f"server, {name}", sizes(settings), rows)


def as_clients(
    params: Params, key: str, count: int, settings: Settings, compared: bool = True
) -> dict[str, tuple[float, str]]:
    """What a stage and, where `compared`, `compare` wait for."""
    history = artifacts.read_csv(artifacts.METRICS / "history.csv")
    opening, epochs = [], []
    for number in range(settings.repeats):
        other = params.model_copy(update={"seed": 1_000_000 + count + number})
        start = time.perf_counter()
        with Mirror(other, key) as mirror:
            opening.append(time.perf_counter() - start)
            for row in history:
                start = time.perf_counter()
                mirror.epoch(row)
                epochs.append(time.perf_counter() - start)
        if not mirror.complete:
            raise UserError(f"the store did not take a run: {mirror.failure}")
        open_store()[0].delete_run(mirror.run_id)  # out of every list, so that the number of runs stays
    measured = {
        "open a run": (1000 * statistics.median(opening), "ms"),
        "log an epoch": (1000 * statistics.median(epochs), "ms"),
    }
    if compared:
        start = time.perf_counter()
        found = len(read_runs().runs)
        measured["open `compare`"] = time.perf_counter() - start, "s"
        if found != count:
            raise UserError(f"`compare` read {found} runs instead of {count}")
    return measured


def grown(where: str, counts: list[int], measured: list[dict[str, tuple[float, str]]]) -> list[Row]:
    """Each quantity at every larger number of runs, and on the straight line at FAR, against the smallest number."""
    rows = []
    for name, (first, unit) in measured[0].items():
        known = [(n, quantities[name][0]) for n, quantities in zip(counts, measured, strict=True) if name in quantities]
        most, last = known[-1]
        a_run = (last - first) / (most - counts[0])
        points = [(f"{count:,} runs", value, "") for count, value in known[1:]]
        line = f"not measured: the line through {counts[0]:,} and {most:,} runs"
        points.append((f"{FAR:,} runs", first + max(a_run, 0.0) * (FAR - counts[0]), line))
        rows += [
            Row(f"{where}: {name}, {at} / {counts[0]:,}", value, first, unit, None, note=n) for at, value, n in points
        ]
    return rows


def sizes(settings: Settings) -> list[int]:
    return [2, 4] if settings.smoke else [10, 100, 1000]


@contextmanager
def real_run(smoke: bool) -> Iterator[tuple[Path, Params, str]]:
    """A copy of this repository after a pipeline, as this process's workspace: its root, parameters and model key."""
    before = {name: os.environ.pop(name, None) for name in ("MLFLOW_TRACKING_URI", "DVC_ROOT")}
    with tempfile.TemporaryDirectory() as folder:
        root = copy_repository(Path(folder).resolve() / "normlens")
        python(root, "recipes", "quick", *settings_of(SMOKE_RUN if smoke else RUN))
        try:
            with chdir(root):
                yield root, load_params(), str(artifacts.read_json(artifacts.MODEL)["model_key"])
        finally:
            os.environ.pop("MLFLOW_TRACKING_URI", None)
            os.environ.update({name: value for name, value in before.items() if value is not None})


def multiply(store: str, count: int, files: Path) -> None:
    """Make copies of the real run until the store has `count`; each has a folder of its own in `files`."""
    client, experiment = open_store()
    runs = client.search_runs([experiment], max_results=1000)
    original = min(runs, key=lambda run: run.info.start_time)
    ids = [uuid.uuid4().hex for _ in range(count - len(runs))]
    with tempfile.TemporaryDirectory() as folder:
        predictions = client.download_artifacts(original.info.run_id, PREDICTIONS, folder)
        for run_id in ids:
            target = files / run_id / "artifacts" / PREDICTIONS
            target.parent.mkdir(parents=True)
            shutil.copyfile(predictions, target)
    numbered = [{"id": run_id, "number": len(runs) + number} for number, run_id in enumerate(ids)]
    engine = sql.create_engine(store)
    with engine.begin() as connection:
        tables = sql.MetaData()
        tables.reflect(connection, only=["runs", "params", "tags", "metrics", "latest_metrics", "inputs"])
        copies = sql.Table("copies", tables, sql.Column("id", sql.String(32)), sql.Column("number", sql.Integer),
                           prefixes=["TEMPORARY"])  # fmt: skip
        copies.create(connection)
        connection.execute(copies.insert(), numbered)
        for name in ("runs", "params", "tags", "metrics", "latest_metrics", "inputs"):
            table = tables.tables[name]
            owner = "destination_id" if name == "inputs" else "run_uuid"
            chosen = [changed(column, owner, copies, original.info.run_id) for column in table.columns]
            each = table.join(copies, sql.true())  # every row with every copy, as is meant
            rows = sql.select(*chosen).select_from(each).where(table.c[owner] == original.info.run_id)
            connection.execute(table.insert().from_select([column.name for column in table.columns], rows))
        copies.drop(connection)
    engine.dispose()


def changed(column: "sql.Column[Any]", owner: str, copies: sql.Table, original: str) -> "sql.ColumnElement[Any]":
    """What a copy has in a column: the original's value, but for what must be its own."""
    table = column.table
    number = sql.cast(copies.c.number, sql.String)
    if column.name in (owner, "input_uuid"):
        return copies.c.id
    if (table.name, column.name) == ("runs", "artifact_uri"):
        return sql.func.replace(column, original, copies.c.id)
    if (table.name, column.name) == ("tags", "value"):
        return sql.case((table.c.key.in_(["run_key", "model_key"]), copies.c.id), else_=column)
    if (table.name, column.name) == ("params", "value"):
        return sql.case((table.c.key == "seed", number), else_=column)
    if (table.name, column.name) == ("runs", "start_time"):
        return column + copies.c.number
    return column


@contextmanager
def serving(root: Path, store: str) -> Iterator[str]:
    """The address of `mlflow server` over `store`, its files in `root`/served."""
    with listen(0) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "2",
               "--backend-store-uri", store, "--artifacts-destination", str(root / "served")]  # fmt: skip
    environment = os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    with (root / "server.log").open("wb") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)
    try:
        deadline = time.monotonic() + START
        while not answers(f"http://127.0.0.1:{port}/health"):
            if process.poll() is not None or time.monotonic() > deadline:
                said = (root / "server.log").read_text(encoding="utf-8", errors="replace")[-500:]
                raise UserError(f"mlflow server does not answer: {said}")
            time.sleep(0.2)
        yield f"http://127.0.0.1:{port}"
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def answers(address: str) -> bool:
    try:
        with urlopen(address, timeout=5) as answer:
            return bool(answer.status == 200)
    except (URLError, OSError):
        return False


def python_with(root: Path, uri: str, module: str) -> None:
    """`python -m MODULE` in `root`, with a tracking server."""
    environment = os.environ | {"MLFLOW_TRACKING_URI": uri, "MLFLOW_HTTP_REQUEST_TIMEOUT": "120"}
    done = subprocess.run(
        [sys.executable, "-m", module], cwd=root, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise UserError(f"python -m {module} failed: {(done.stdout + done.stderr).strip()[-500:]}")
