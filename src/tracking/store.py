"""The MLflow store: its address, how to open it, and the requests that all parts of this package share."""

import json
import math
import random
import re
import socket
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, cast

import psutil
from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.exceptions import MlflowException
from sqlalchemy import Engine, event

from src import artifacts
from src.addresses import redacted
from src.errors import UserError
from src.locks import locked
from src.processes import stops_wait
from src.tracking_uri import is_server, sqlite_file, sqlite_uri, tracking_uri

EXPERIMENT = "normlens"
COMPARISONS = "comparisons"  # the experiment with the results of commands.compare
BATCH = 100  # parameters per call that the server accepts; for metrics it is 1,000
PAGE = 100  # runs per request; 1,000 runs are 130,000 rows, for which a server needs longer than a call may take
LONGEST = 6000  # characters of a parameter's value
SLOW = 1.0  # seconds; a call that takes longer is slow
UPLOADS = ("log_artifact", "log_model_artifacts")  # may take longer, because files can be large
COLLISIONS = 5  # repetitions of a call that collides with that of another process
# Messages of SQLite, PostgreSQL, MySQL and SQL Server if another process has inserted the row first, or if two
# transactions wait for each other, and messages of MLflow after its own attempts. Servers pass them on.
COLLISION = re.compile(
    r"IntegrityError|UniqueViolation|unique constraint|duplicate (key|entry)|deadlock|Giving up after \d+ attempts"
    r"|Failed to set tags",
    re.IGNORECASE,
)


def shown_uri() -> str:
    """`tracking_uri` for display, without user and password."""
    return redacted(tracking_uri())


def open_store(patience: float = math.inf) -> tuple[MlflowClient, str]:
    """A client of the store and the id of the experiment. Both are created if they are missing.

    After slow calls to a server have taken `patience` seconds in total, the client raises TimeoutError. Raises
    UserError if MLflow can never use the address of the store.
    """
    uri = tracking_uri()
    if not is_server(uri):
        from mlflow.store.db import utils  # takes half a second; not needed for a server

        utils.MAX_RETRY_COUNT = 1  # MLflow tries to open a database ten times, within 100 s
    store = sqlite_file(uri)
    if store and not _is_made(store):
        _make(store)
    client = connect(uri, patience)
    return client, experiment_id(client)


def _make(store: Path) -> None:
    """Create the SQLite file of a store.

    Processes that migrate the same new file at once corrupt it. So one process at a time migrates a temporary file and
    renames it.
    """
    is_ours = store == artifacts.root() / "mlflow.db"  # other repositories may share another one
    with lock("mlflow") if is_ours else locked(store.with_name(f"{store.name}.lock")):
        if not _is_made(store):
            with artifacts.atomic(store) as temporary, unsynced():
                experiment_id(MlflowClient(sqlite_uri(temporary)))


def _is_made(store: Path) -> bool:
    """Whether the file of a store exists and is not empty. MLflow would migrate an empty file in place."""
    return store.exists() and store.stat().st_size > 0


def connect(uri: str, patience: float = math.inf) -> MlflowClient:
    """A client of the store at `uri` that repeats calls which collide with those of other processes."""
    call = _Patience(patience) if is_server(uri) else _whole
    return cast(MlflowClient, _Client(MlflowClient(uri), call))


class _Client:
    """An `MlflowClient` that makes its calls through `call(method, *arguments)` and repeats them if they collide.

    MLflow often looks for a row and inserts it if it is missing, for example a data set, a tag or an alias. If another
    process inserts it in between, the database rolls the call back, and the next attempt finds the row. A lock would
    not help with a server that several machines share.
    """

    def __init__(self, client: MlflowClient, call: Callable[..., Any]) -> None:
        self._client = client
        self._call = call

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._client, name)
        return partial(self._attempts, value) if callable(value) else value

    def _attempts(self, method: Callable[..., Any], *args: Any, **named: Any) -> Any:
        for attempt in range(COLLISIONS):
            try:
                return self._call(method, *args, **named)
            except MlflowException as error:
                if not COLLISION.search(str(error)):
                    raise
            time.sleep(random.uniform(0, 0.05 * 2**attempt))
        return self._call(method, *args, **named)


def _whole(method: Callable[..., Any], *args: Any, **named: Any) -> Any:
    """Do not interrupt a call to a database.

    One interrupted call in twenty leaves its transaction open and blocks later calls, including the one that sets the
    final status of the run.
    """
    with stops_wait():
        return method(*args, **named)


class _Patience:
    """Limit slow calls to a server to `seconds` in total, plus one call."""

    def __init__(self, seconds: float) -> None:
        self._left = seconds

    def __call__(self, method: Callable[..., Any], *args: Any, **named: Any) -> Any:
        if self._left <= 0:
            raise TimeoutError("the server is too slow")
        start = time.monotonic()
        try:
            return method(*args, **named)
        finally:
            taken = time.monotonic() - start
            if taken > SLOW and method.__name__ not in UPLOADS:
                self._left -= taken


@contextmanager
def unsynced() -> Iterator[None]:
    """Open SQLite files in the block without waiting for the disk.

    MLflow creates a store by many changes of its schema and waits for the disk after each, which takes seconds instead
    of 0.6 s. A crash only leaves a temporary file that nobody reads, and `atomic` waits for the disk once.
    """

    def connected(connection: sqlite3.Connection, _: object) -> None:
        connection.execute("PRAGMA synchronous = OFF")

    event.listen(Engine, "connect", connected)
    try:
        yield
    finally:
        event.remove(Engine, "connect", connected)


def experiment_id(client: MlflowClient, name: str = EXPERIMENT) -> str:
    """The id of the experiment `name`. Its artifacts get an explicit place, which outlives the copy of a queued run."""
    found = client.get_experiment_by_name(name)
    if found is None:
        try:
            place = None if is_server(client.tracking_uri) else (artifacts.root() / "mlartifacts").as_uri()
            tags = {"mlflow.experimentKind": "custom_model_development"}  # runs with curves, not prompts
            return str(client.create_experiment(name, artifact_location=place, tags=tags))
        except MlflowException as error:
            found = error.error_code == "RESOURCE_ALREADY_EXISTS" and client.get_experiment_by_name(name)
            if not found:  # otherwise another process created it first
                raise
    return str(found.experiment_id)


def lock(
    name: str, on_wait: Callable[[str], None] = lambda holder: None, wait: float = math.inf
) -> AbstractContextManager[None]:
    """`locked` with a lock file in the main repository."""
    return locked(artifacts.root() / ".locks" / f"{name}.lock", on_wait, wait)


@contextmanager
def readable() -> Iterator[None]:
    """Raise UserError for any error of a store that cannot be read, including malformed responses."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"the store at {shown_uri()} cannot be read: {first_line(error)}") from None


@contextmanager
def writable(what: str) -> Iterator[None]:
    """Raise UserError if `what` does not reach the store, as `readable` does."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"{what} did not reach {shown_uri()}: {first_line(error)}") from None


def first_line(error: Exception) -> str:
    """The message of an error, short and without passwords. They are removed first, because a cut could split one."""
    return redacted(f"{type(error).__name__}: {error}".strip()).partition("\n")[0][:300]


def model_ids(run: Run) -> list[str]:
    """The ids of the models that a run logged."""
    return [output.model_id for output in run.outputs.model_outputs] if run.outputs is not None else []


def find_run(client: MlflowClient, experiment: str, key: str) -> Run | None:
    """The newest run with this `run_key`."""
    runs = client.search_runs([experiment], f"tags.run_key = '{key}'", max_results=1)
    return runs[0] if runs else None


def every_run(
    client: MlflowClient, experiments: Sequence[str], where: str = "", order_by: list[str] | None = None
) -> Iterator[Run]:
    """All runs of `experiments` (ids) that match MLflow's filter `where`, by default newest first."""
    token: str | None = None
    while token != "":
        page = client.search_runs(list(experiments), where, max_results=PAGE, order_by=order_by, page_token=token)
        yield from page
        token = page.token or ""


def end_status(kind: type[BaseException] | None) -> str:
    """The status of a run whose block ended with an exception of this `kind`. Ctrl-C and SIGTERM are no Exception."""
    return "FINISHED" if kind is None else "FAILED" if issubclass(kind, Exception) else "KILLED"


def close_dead_runs(client: MlflowClient, experiment: str) -> None:
    """Set the runs of this machine that a dead process left open to KILLED."""
    for run in client.search_runs([experiment], "attributes.status = 'RUNNING'"):
        if _left_open(run):
            # Read the run again. Its process may have ended the run and itself since the search, but not after that.
            run = client.get_run(run.info.run_id)
            if run.info.status == "RUNNING" and _left_open(run):
                client.set_terminated(run.info.run_id, "KILLED")


def _left_open(run: Run) -> bool:
    """Whether a dead process of this machine opened the run."""
    host, pid, started = json.loads(run.data.tags.get("process", '["", 0, 0]'))
    return host == socket.gethostname() and not _alive(pid, started)


def this_process() -> str:
    """Host, process id and start time. An id alone may be reused."""
    me = psutil.Process()
    return json.dumps([socket.gethostname(), me.pid, _start(me)])


def _start(process: psutil.Process) -> float:
    """Seconds from the start of the machine to that of `process`. Changes of the clock do not affect it."""
    return float(process.create_time() - psutil.boot_time())


def _alive(pid: int, started: float) -> bool:
    try:
        process = psutil.Process(pid)
        return process.status() != psutil.STATUS_ZOMBIE and abs(_start(process) - started) < 1.0
    except psutil.NoSuchProcess:
        return False
