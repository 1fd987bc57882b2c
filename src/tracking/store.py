"""The MLflow store: where it is, how it is opened, and what every part of this package asks of it."""

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
COMPARISONS = "comparisons"  # the experiment that holds what commands.compare found
BATCH = 100  # parameters that the server takes in one call; it takes 1,000 metrics
PAGE = 100  # runs asked for at once: a thousand are 130,000 rows, which take a server longer than a call may take
LONGEST = 6000  # characters of a parameter's value
SLOW = 1.0  # seconds; a call that takes longer is slow
UPLOADS = ("log_artifact", "log_model_artifacts")  # of large files over a slow line: they take what they take
COLLISIONS = 5  # times that a call is repeated which collides with another process's
# How SQLite, PostgreSQL, MySQL and SQL Server say that another process has inserted the row first, or that two
# transactions wait for each other; and what MLflow says once its own attempts are over. Servers pass the text on.
COLLISION = re.compile(
    r"IntegrityError|UniqueViolation|unique constraint|duplicate (key|entry)|deadlock|Giving up after \d+ attempts"
    r"|Failed to set tags",
    re.IGNORECASE,
)


def shown_uri() -> str:
    """`tracking_uri` as it may be shown: without user and password."""
    return redacted(tracking_uri())


def open_store(patience: float = math.inf) -> tuple[MlflowClient, str]:
    """A client of the store and the id of the experiment, both created if they are missing.

    Once slow calls to a server have taken `patience` seconds in all, the client raises TimeoutError instead. UserError
    if MLflow can never use the address of the store.
    """
    uri = tracking_uri()
    if not is_server(uri):
        from mlflow.store.db import utils  # takes half a second, which clients of a server do without

        utils.MAX_RETRY_COUNT = 1  # MLflow tries to open a database ten times, within 100 s
    store = sqlite_file(uri)
    if store and not _is_made(store):
        _make(store)
    client = connect(uri, patience)
    return client, experiment_id(client)


def _make(store: Path) -> None:
    """Make the SQLite file of a store.

    Processes that migrate one fresh file at once corrupt it for good: one at a time, renamed into place.
    """
    is_ours = store == artifacts.root() / "mlflow.db"  # other repositories may share another one
    with lock("mlflow") if is_ours else locked(store.with_name(f"{store.name}.lock")):
        if not _is_made(store):
            with artifacts.atomic(store) as temporary, unsynced():
                experiment_id(MlflowClient(sqlite_uri(temporary)))


def _is_made(store: Path) -> bool:
    """Whether the file of a store is there and not empty: MLflow would migrate an empty one where it is."""
    return store.exists() and store.stat().st_size > 0


def connect(uri: str, patience: float = math.inf) -> MlflowClient:
    """A client of the store at `uri`, which repeats calls that collide with another process's."""
    call = _Patience(patience) if is_server(uri) else _whole
    return cast(MlflowClient, _Client(MlflowClient(uri), call))


class _Client:
    """An `MlflowClient` whose calls are made by `call(method, *arguments)`, again if they collide.

    MLflow often looks for a row and inserts it if it is missing: a data set, a tag, an alias. If another process
    inserts it in between, the database rolls the call back, and the next attempt finds the row. A lock would not help
    at a server that several machines share.
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
        try:
            place = None if is_server(client.tracking_uri) else (artifacts.root() / "mlartifacts").as_uri()
            tags = {"mlflow.experimentKind": "custom_model_development"}  # runs with curves, not prompts
            return str(client.create_experiment(name, artifact_location=place, tags=tags))
        except MlflowException as error:
            found = error.error_code == "RESOURCE_ALREADY_EXISTS" and client.get_experiment_by_name(name)
            if not found:  # else somebody else was faster
                raise
    return str(found.experiment_id)


def lock(
    name: str, on_wait: Callable[[str], None] = lambda holder: None, wait: float = math.inf
) -> AbstractContextManager[None]:
    """`locked`, by a file of the main repository."""
    return locked(artifacts.root() / ".locks" / f"{name}.lock", on_wait, wait)


@contextmanager
def readable() -> Iterator[None]:
    """A store that cannot be read within is a UserError, whatever MLflow makes of an answer that is none."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"the store at {shown_uri()} cannot be read: {first_line(error)}") from None


@contextmanager
def writable(what: str) -> Iterator[None]:
    """As `readable`: UserError where `what` does not reach the store."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"{what} did not reach {shown_uri()}: {first_line(error)}") from None


def first_line(error: Exception) -> str:
    """What an error says, short and without passwords, which are looked for before a cut may fall within one."""
    return redacted(f"{type(error).__name__}: {error}".strip()).partition("\n")[0][:300]


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
