"""The MLflow store: where it is, how it is opened, and what every part of this package asks of it."""

import json
import math
import os
import socket
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import Any, cast

import psutil
from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.exceptions import MlflowException
from sqlalchemy import Engine, event

from src import artifacts
from src.errors import UserError
from src.locks import locked
from src.processes import stops_wait

EXPERIMENT = "normlens"
COMPARISONS = "comparisons"  # the experiment that holds what commands.compare found
BATCH = 100  # parameters that the server takes in one call; it takes 1,000 metrics
PAGE = 100  # runs asked for at once: a thousand are 130,000 rows, which take a server longer than a call may take
LONGEST = 6000  # characters of a parameter's value
SLOW = 1.0  # seconds; a call that takes longer is slow
UPLOADS = ("log_artifact", "log_model_artifacts")  # of large files over a slow line: they take what they take


def tracking_uri() -> str:
    """MLFLOW_TRACKING_URI where set, else a SQLite file in the main repository, also from inside queued runs."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{artifacts.root() / 'mlflow.db'}"


def open_store(patience: float = math.inf) -> tuple[MlflowClient, str]:
    """A client of the store and the id of the experiment, both created where they are missing.

    Once slow calls to a server have taken `patience` seconds in all, the client raises TimeoutError instead.
    """
    root = artifacts.root()
    uri = tracking_uri()
    store = root / "mlflow.db"
    if not uri.startswith("http"):
        from mlflow.store.db import utils  # takes half a second, which clients of a server do without

        utils.MAX_RETRY_COUNT = 1  # MLflow tries to open a database ten times, within 100 s
    if uri == f"sqlite:///{store}":
        # Processes that migrate one fresh SQLite file at once corrupt it for good: one at a time, renamed into place.
        with lock("mlflow"):
            if not (store.exists() and store.stat().st_size):  # an empty file would be migrated where it is
                with artifacts.atomic(store) as temporary, unsynced():
                    experiment_id(MlflowClient(f"sqlite:///{temporary}"))
    call = _Patience(patience) if uri.startswith("http") else _whole
    client = cast(MlflowClient, _Client(MlflowClient(uri), call))
    return client, experiment_id(client)


class _Client:
    """An `MlflowClient` whose calls are made by `call(method, *arguments)`."""

    def __init__(self, client: MlflowClient, call: Callable[..., Any]) -> None:
        self._client = client
        self._call = call

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._client, name)
        return partial(self._call, value) if callable(value) else value


def _whole(method: Callable[..., Any], *args: Any, **named: Any) -> Any:
    """A call to a database is not stopped in the middle.

    One of twenty that were would leave its transaction open, and all later calls would wait for it in vain: also the
    one that says how the run has ended.
    """
    with stops_wait():
        return method(*args, **named)


class _Patience:
    """Slow calls to a server take `seconds` in all, and one call more."""

    def __init__(self, seconds: float) -> None:
        self._left = seconds

    def __call__(self, method: Callable[..., Any], *args: Any, **named: Any) -> Any:
        if self._left <= 0:
            raise TimeoutError("the server is too slow to be waited for")
        start = time.monotonic()
        try:
            return method(*args, **named)
        finally:
            taken = time.monotonic() - start
            if taken > SLOW and method.__name__ not in UPLOADS:
                self._left -= taken


@contextmanager
def unsynced() -> Iterator[None]:
    """SQLite files that are opened within do not wait for the disk.

    MLflow makes a store by many changes of its schema, and waits for the disk after each: seconds instead of 0.6 s. A
    store of which a crash leaves half is a temporary file that nobody reads; `atomic` waits for the disk once.
    """

    def connected(connection: sqlite3.Connection, _: object) -> None:
        connection.execute("PRAGMA synchronous = OFF")

    event.listen(Engine, "connect", connected)
    try:
        yield
    finally:
        event.remove(Engine, "connect", connected)


def experiment_id(client: MlflowClient, name: str = EXPERIMENT) -> str:
    """The id of `name`; its artifacts get an explicit place, else those of a queued run vanish with its copy."""
    found = client.get_experiment_by_name(name)
    if found is None:
        local = client.tracking_uri.startswith("sqlite:")
        try:
            place = (artifacts.root() / "mlartifacts").as_uri() if local else None
            tags = {"mlflow.experimentKind": "custom_model_development"}  # runs with curves, not prompts
            return str(client.create_experiment(name, artifact_location=place, tags=tags))
        except MlflowException as error:
            found = error.error_code == "RESOURCE_ALREADY_EXISTS" and client.get_experiment_by_name(name)
            if not found:  # else somebody else was faster
                raise
    return str(found.experiment_id)


def lock(name: str) -> AbstractContextManager[None]:
    return locked(artifacts.root() / ".locks" / f"{name}.lock")


@contextmanager
def readable() -> Iterator[None]:
    """A store that cannot be read within is a UserError, whatever MLflow makes of an answer that is none."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"the store at {tracking_uri()} cannot be read: {first_line(error)}") from None


@contextmanager
def writable(what: str) -> Iterator[None]:
    """As `readable`: UserError where `what` does not reach the store."""
    try:
        yield
    except Exception as error:
        raise UserError(f"{what} did not reach {tracking_uri()}: {first_line(error)}") from None


def first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".strip().partition("\n")[0][:300]


def model_ids(run: Run) -> list[str]:
    """Of the models that a run logged."""
    return [output.model_id for output in run.outputs.model_outputs] if run.outputs is not None else []


def find_run(client: MlflowClient, experiment: str, key: str) -> Run | None:
    """The run with this `run_key`, the newest where there are several."""
    runs = client.search_runs([experiment], f"tags.run_key = '{key}'", max_results=1)
    return runs[0] if runs else None


def every_run(
    client: MlflowClient, experiments: Sequence[str], where: str = "", order_by: list[str] | None = None
) -> Iterator[Run]:
    """All runs of `experiments` (their ids) that MLflow's filter `where` leaves, newest first where nothing is said."""
    token: str | None = None
    while token != "":
        page = client.search_runs(list(experiments), where, max_results=PAGE, order_by=order_by, page_token=token)
        yield from page
        token = page.token or ""


def end_status(kind: type[BaseException] | None) -> str:
    """The state of a run whose block ended with an exception of this `kind`; Ctrl-C and SIGTERM are no Exception."""
    return "FINISHED" if kind is None else "FAILED" if issubclass(kind, Exception) else "KILLED"


def close_dead_runs(client: MlflowClient, experiment: str) -> None:
    """End as KILLED the runs of this machine that a dead process left open."""
    for run in client.search_runs([experiment], "attributes.status = 'RUNNING'"):
        if _left_open(run):
            # Read again: its process may have ended it, and itself, since the search. A dead process changes nothing.
            run = client.get_run(run.info.run_id)
            if run.info.status == "RUNNING" and _left_open(run):
                client.set_terminated(run.info.run_id, "KILLED")


def _left_open(run: Run) -> bool:
    """Whether the process that opened a run was one of this machine, and is dead."""
    host, pid, started = json.loads(run.data.tags.get("process", '["", 0, 0]'))
    return host == socket.gethostname() and not _alive(pid, started)


def this_process() -> str:
    """Host, process id and start: an id alone is given to another process one day."""
    me = psutil.Process()
    return json.dumps([socket.gethostname(), me.pid, _start(me)])


def _start(process: psutil.Process) -> float:
    """Seconds from the start of the machine to that of `process`, which no change of the clock moves."""
    return float(process.create_time() - psutil.boot_time())


def _alive(pid: int, started: float) -> bool:
    try:
        process = psutil.Process(pid)
        return process.status() != psutil.STATUS_ZOMBIE and abs(_start(process) - started) < 1.0
    except psutil.NoSuchProcess:
        return False
