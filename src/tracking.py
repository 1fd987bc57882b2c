"""The MLflow mirror of a run, and what commands read of the store; no other module of the pipeline imports mlflow.

A tracking server that is down, slow, hangs or answers nonsense delays a stage by ten seconds, never stops it, and loses
nothing: after the first call that fails, a stage says so once and stops talking; a later stage or `commands.sync`
completes the run. Nothing is doubled then: a call can be repeated, or is made only where the run lacks its result.
"""

import json
import math
import os
import socket
import sqlite3
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Any, NamedTuple, Self, cast

# Above the import, because mlflow reads them there: no call home; bounded waits (its default retries for 244 s a call).
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "5")
os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "CRITICAL")  # its errors are raised too, and told in a sentence
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
# Deprecations among its own libraries, and advice on options that are left out on purpose: nothing a person can mend.
warnings.filterwarnings("ignore", module=r"mlflow|sqlalchemy|alembic")

import psutil
from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, LoggedModelOutput, Metric, Param, Run, RunTag
from mlflow.exceptions import MlflowException
from mlflow.models import Model, ModelSignature
from mlflow.types import ColSpec, DataType, Schema
from sqlalchemy import Engine, event

from src import artifacts, record
from src.errors import UserError
from src.locks import locked
from src.params import Params

EXPERIMENT = "normlens"
COMPARISONS = "comparisons"  # the experiment that holds what commands.compare found
BATCH = 100  # parameters that the server takes in one call; it takes 1,000 metrics
LONGEST = 6000  # characters of a parameter's value
SERVING = ("mlflow", "numpy", "pandas", "psutil", "safetensors", "torch")  # what the logged model needs
PATIENCE = 5.0  # seconds that a stage waits for slow calls in all; with the time-out of the last one it makes ten
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
        with _lock("mlflow"):
            if not (store.exists() and store.stat().st_size):  # an empty file would be migrated where it is
                with artifacts.atomic(store) as temporary, _unsynced():
                    experiment_id(MlflowClient(f"sqlite:///{temporary}"))
    client = MlflowClient(uri)
    if uri.startswith("http"):  # a file makes nobody wait but for other processes of this machine
        client = cast(MlflowClient, _Patient(client, patience))
    return client, experiment_id(client)


class _Patient:
    """A client whose slow calls take `patience` seconds in all, and one call more."""

    def __init__(self, client: MlflowClient, patience: float) -> None:
        self._client = client
        self._left = patience

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._client, name)
        if not callable(value):
            return value

        def call(*args: Any, **named: Any) -> Any:
            if self._left <= 0:
                raise TimeoutError("the server is too slow to be waited for")
            start = time.monotonic()
            try:
                return value(*args, **named)
            finally:
                taken = time.monotonic() - start
                if taken > SLOW and name not in UPLOADS:
                    self._left -= taken

        return call


@contextmanager
def _unsynced() -> Iterator[None]:
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


def _lock(name: str) -> AbstractContextManager[None]:
    return locked(artifacts.root() / ".locks" / f"{name}.lock")


class Mirror:
    """The MLflow run of one resolved `params.yaml`, open while a `with` block lasts.

    `again` says that the model is trained from its first epoch: where the run has such a training already, a new run
    is made, because values that were logged stay. Every method does nothing once a call has failed, or slow calls to a
    server have taken `patience` seconds in all, so callers need no `if`.
    """

    def __init__(self, params: Params, model_key: str, again: bool = False, patience: float = PATIENCE) -> None:
        self.params = params
        self.model_key = model_key
        self.again = again
        self.run_id = ""
        self.failure = ""  # why a call did not reach the store
        self._patience = patience
        self._metrics: set[str] = set()  # those that the run had when it was opened
        self._known: dict[str, set[int]] = {}  # the steps of each metric that the run has
        self._client: MlflowClient

    def __enter__(self) -> Self:
        self._attempt(self._open)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            status = "FINISHED"
        elif issubclass(kind, Exception):
            status = "FAILED"
            self._attempt(lambda: self._client.set_tag(self.run_id, "failure", f"{kind.__name__}: {error}"[:LONGEST]))
        else:  # Ctrl-C or SIGTERM
            status = "KILLED"
        self._attempt(lambda: self._client.set_terminated(self.run_id, status))

    @property
    def complete(self) -> bool:
        """Whether every call so far reached the store."""
        return not self.failure

    def epoch(self, row: dict[str, Any]) -> None:
        """Send one row of the history while training goes on."""
        self._attempt(lambda: self._send(record.history([row])))

    def upload(self, *stages: str) -> None:
        """Send what `stages` wrote, and what the run lacks of the stages before them. Nothing is doubled."""
        self._attempt(lambda: self._upload(stages))

    def _attempt(self, action: Callable[[], object]) -> None:
        if self.failure:
            return
        try:
            action()
        except Exception as error:  # whatever MLflow makes of an answer that is none: a mirror stops no training
            self.failure = first_line(error)
            print(
                f"warning: the MLflow run at {tracking_uri()} could not be updated: {self.failure}\n"
                "  The stage goes on without it and nothing is lost: the next stage completes the run, "
                "or `python -m commands.sync`",
                flush=True,
            )

    def _open(self) -> None:
        self._client, experiment = open_store(self._patience)
        close_dead_runs(self._client, experiment)
        key = record.run_key(self.params, self.model_key)
        with _lock(f"run-{key}"):
            run = find_run(self._client, experiment, key)
            if run is None or (self.again and "train/loss" in run.data.metrics):
                tags = {"run_key": key, "process": _this_process(), **record.tags(self.params, self.model_key)}
                run = self._client.create_run(experiment, tags=tags, run_name=record.run_name(self.params))
        self.run_id, self._metrics = run.info.run_id, set(run.data.metrics)
        self._client.set_tag(self.run_id, "process", _this_process())  # first: the one before may be dead
        self._client.update_run(self.run_id, status="RUNNING")
        if "failure" in run.data.tags:
            self._client.delete_tag(self.run_id, "failure")
        for tag, value in record.sweep_tags().items():
            if run.data.tags.get(tag) != value:
                self._client.set_tag(self.run_id, tag, value)
        self._log_inputs(run)

    def _log_inputs(self, run: Run) -> None:
        """Parameters and data set, where the run lacks them: its first process may have ended before it sent them."""
        flat = record.flat_params(self.params)
        values = [Param(k, v[:LONGEST]) for k, v in flat.items() if k not in run.data.params]
        for start in range(0, len(values), BATCH):
            self._client.log_batch(self.run_id, params=values[start : start + BATCH])
        if run.inputs is not None and run.inputs.dataset_inputs:
            return
        data = artifacts.read_json(artifacts.METRICS / "data.json")
        data_set = Dataset(
            name=record.SOURCES[data["source"]],
            digest=data["digest"][:32],  # the server takes at most 36 characters
            source_type="local",
            source=json.dumps({"source": data["source"], "path": self.params.data.path}),
            profile=json.dumps({k: data[k] for k in ("train", "val", "test", "classes", "size")}),
        )
        self._client.log_inputs(self.run_id, [DatasetInput(data_set)])

    def _upload(self, stages: tuple[str, ...]) -> None:
        run = self._client.get_run(self.run_id)
        has = run.data.tags.get("stages", "").split(",")
        before = record.STAGES[: record.STAGES.index(stages[-1])]
        for stage in (s for s in record.STAGES if s in stages or (s in before and s not in has)):
            self._send(record.points(stage))
            for path in record.files(stage):
                folder = path.parent.as_posix()
                self._client.log_artifact(self.run_id, str(path), None if folder == "." else folder)
            if stage == "train":
                self._log_model(run)
            if stage == "report":
                self._log_card(run.info.experiment_id)
        done = tuple(s for s in record.STAGES if s in stages or s in before or s in has)
        # Files of later stages, which the run may have from before, are of no account: DVC may have deleted them.
        text = record.description(self.params, (*before, stages[-1]))
        tags = {"stages": ",".join(done), "mlflow.note.content": text}
        if "train" in (*before, *stages):
            tags |= record.machine_tags()
        self._client.log_batch(self.run_id, tags=[RunTag(k, v) for k, v in tags.items()])

    def _send(self, points: list[record.Point]) -> None:
        """Log the points that the run lacks: a repeated step would be drawn as a second point."""
        now = int(time.time() * 1000)
        fresh: list[Metric] = []
        for point in points:
            if point.name not in self._known:
                had = point.name in self._metrics
                values = self._client.get_metric_history(self.run_id, point.name) if had else []
                self._known[point.name] = {m.step for m in values}
            if point.step not in self._known[point.name]:
                self._known[point.name].add(point.step)
                fresh.append(Metric(point.name, point.value, now, point.step))
        for start in range(0, len(fresh), 1000):  # the server takes 1,000 in one call
            self._client.log_batch(self.run_id, metrics=fresh[start : start + 1000])

    def _log_model(self, run: Run) -> None:
        """Log the weights once, as a pyfunc model from code: no pickle.

        Call by call, because `pyfunc.log_model` goes on to talk to a server that has failed. The run hears of its model
        last; one that was left half sent is sent again.
        """
        from mlflow import pyfunc  # slow to import, and only `train` logs a model

        client, run_id, place = self._client, self.run_id, run.info.experiment_id
        known = _model_ids(run)
        if known and client.list_logged_model_artifacts(known[0]):
            return
        found = client.search_logged_models([place], f"source_run_id = '{run_id}'", max_results=1)
        logged = found[0] if found else client.create_logged_model(place, "model", run_id, params=run.data.params)
        model = artifacts.read_json(artifacts.MODEL)
        columns = {"class": DataType.string, "probability": DataType.double}
        columns |= dict.fromkeys((f"p({name})" for name in model["classes"]), DataType.double)
        with TemporaryDirectory() as folder:
            pyfunc.save_model(
                Path(folder) / "model",
                mlflow_model=Model(
                    logged.artifact_location, run_id, model_uuid=logged.model_id, model_id=logged.model_id
                ),
                python_model="src/served_model.py",
                code_paths=["src"],
                artifacts={"weights": str(artifacts.WEIGHTS), "description": str(artifacts.MODEL)},
                # Of the answer alone: src/served_model.py checks the input itself, which a schema would cast.
                signature=ModelSignature(outputs=Schema([ColSpec(kind, name) for name, kind in columns.items()])),
                pip_requirements=[f"{name}=={version(name)}" for name in SERVING],
            )
            client.log_model_artifacts(logged.model_id, str(Path(folder) / "model"))
        client.finalize_logged_model(logged.model_id, "READY")
        if not known:
            client.log_outputs(run_id, [LoggedModelOutput(logged.model_id, step=0)])

    def _log_card(self, place: str) -> None:
        """Put the model card, with its figures, beside the logged model: it goes where the model goes."""
        found = self._client.search_logged_models([place], f"source_run_id = '{self.run_id}'", max_results=1)
        with TemporaryDirectory() as folder:
            for name, content in record.card().items():
                artifacts.write_bytes(Path(folder) / name, content)
            for logged in found:  # one, if nobody has deleted it
                self._client.log_model_artifacts(logged.model_id, folder)


class Sweep:
    """The MLflow run of a sweep, open while a `with` block lasts; its trials' runs are shown below it.

    UserError where the store does not take it: a sweep that begins is told what to mend, as one that has ended.
    """

    def __init__(self, key: str, name: str, file: Path) -> None:
        self.run_id = ""
        self._key, self._name, self._file = key, name, file

    def __enter__(self) -> Self:
        with _writable("the sweep"):
            self._client, self._experiment = open_store()
            close_dead_runs(self._client, self._experiment)
            with _lock("sweeps"):
                found = self._client.search_runs([self._experiment], f"tags.sweep_key = '{self._key}'", max_results=1)
                tags = {"sweep_key": self._key, "process": _this_process()}
                run = found[0] if found else self._client.create_run(self._experiment, tags=tags, run_name=self._name)
            self.run_id = run.info.run_id
            self._client.set_tag(self.run_id, "process", _this_process())
            self._client.update_run(self.run_id, status="RUNNING")
            self._client.log_artifact(self.run_id, str(self._file))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        status = "FINISHED" if kind is None else "FAILED" if issubclass(kind, Exception) else "KILLED"
        with _writable("the end of the sweep"):
            self._client.set_terminated(self.run_id, status)

    def tell(self, note: str, tags: Mapping[str, str], stopped: Mapping[str, int]) -> None:
        """Say in Markdown and tags what has come of it, and of the trials that were `stopped` early after which epoch.

        The run of such a trial is KILLED; `stopped` maps the names of the experiments to their last whole epochs.
        """
        with _writable("the state of the sweep"):
            for tag, value in {"mlflow.note.content": note, **tags}.items():
                self._client.set_tag(self.run_id, tag, value)
            for run in self._trials() if stopped else ():
                epoch = stopped.get(run.data.tags.get("experiment", ""))
                if epoch is not None and run.data.tags.get("stopped_epoch") != str(epoch):
                    self._client.set_tag(run.info.run_id, "stopped_epoch", str(epoch))
                    self._client.set_terminated(run.info.run_id, "KILLED")

    def _trials(self) -> Iterator[Run]:
        where, token = f"tags.`mlflow.parentRunId` = '{self.run_id}'", None
        while token != "":
            page = self._client.search_runs([self._experiment], where, max_results=1000, page_token=token)
            yield from page
            token = page.token or ""


class Reader:
    """What commands read of the store; UserError where it cannot be reached."""

    def __init__(self) -> None:
        with _readable():
            self._client, self._experiment = open_store()
            self._uri = tracking_uri()

    def runs(self, names: Sequence[str], where: str) -> list[Run]:
        """The runs of our experiment that MLflow's filter `where` leaves, newest first.

        Each of `names` is an id, the name of a run, of a DVC experiment or of an MLflow experiment; none: all runs.
        """
        found: list[Run] = []
        token: str | None = None
        with _readable():
            experiments = [e for e in map(self._client.get_experiment_by_name, names) if e is not None]
            places = {self._experiment: EXPERIMENT} | {e.experiment_id: e.name for e in experiments}
            while token != "":
                try:
                    page = self._client.search_runs(list(places), where, max_results=1000, page_token=token)
                except MlflowException as error:
                    if error.error_code != "INVALID_PARAMETER_VALUE":
                        raise
                    raise UserError(f"--where {where!r} selects no runs: {first_line(error)}") from None
                found, token = [*found, *page], page.token or ""
        if not names:
            return found
        known: dict[str, list[Run]] = {name: [] for name in names}
        for run in found:
            own = {run.info.run_id, run.info.run_name, run.data.tags.get("experiment", "")}
            for name in (own | {places[run.info.experiment_id]}) & set(names):
                known[name].append(run)
        if unknown := [name for name, runs in known.items() if not runs]:
            raise UserError(
                f"no run is called {', '.join(unknown)}"
                + (f", or --where {where!r} leaves it out" if where else "")
                + ". Give ids or names of runs, or names of experiments, as `make ui` shows them"
            )
        chosen = {run.info.run_id for runs in known.values() for run in runs}
        return [run for run in found if run.info.run_id in chosen]

    def curve(self, run_id: str, metric: str) -> list[float]:
        """The values of a metric by epoch."""
        with _readable():
            points = self._client.get_metric_history(run_id, metric)
        return [point.value for point in sorted(points, key=lambda point: point.step)]

    def download(self, run_id: str, path: str, folder: str) -> Path:
        """A file of a run, e.g. `metrics/predictions.csv`, put into a folder of its own in `folder`."""
        place = Path(folder) / run_id
        place.mkdir(exist_ok=True)
        try:
            return Path(self._client.download_artifacts(run_id, path, str(place)))
        except Exception as error:  # whatever the store's kind of place for files raises
            raise UserError(f"it has no {path} ({first_line(error)})") from None

    def download_model(self, run_id: str, name: str, folder: str) -> Path:
        """A file of the model that a run logged, `model.json` or `model.safetensors`, put as in `download`."""
        from mlflow.artifacts import download_artifacts

        place = Path(folder) / run_id
        place.mkdir(exist_ok=True)
        try:
            logged = _model_ids(self._client.get_run(run_id))
            if not logged:
                raise UserError(f"it has no {name} (it logged no model)")
            source = self._client.get_logged_model(logged[0]).artifact_location
            return Path(download_artifacts(f"{source}/artifacts/{name}", dst_path=str(place), tracking_uri=self._uri))
        except UserError:
            raise
        except Exception as error:  # as in `download`
            raise UserError(f"it has no {name} ({first_line(error)})") from None

    def logged_model(self, run: Run) -> str:
        """The id of the model that a run has logged whole; '' where there is none."""
        for model_id in _model_ids(run):
            try:
                with _readable():
                    files = self._client.list_logged_model_artifacts(model_id)
            except UserError:  # deleted, or lost: as if there were none
                continue
            if any(file.path == "MLmodel" for file in files):
                return str(model_id)
        return ""


@contextmanager
def _readable() -> Iterator[None]:
    """A store that cannot be read within is a UserError, whatever MLflow makes of an answer that is none."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"the store at {tracking_uri()} cannot be read: {first_line(error)}") from None


@contextmanager
def _writable(what: str) -> Iterator[None]:
    """As `_readable`: UserError where `what` does not reach the store."""
    try:
        yield
    except Exception as error:
        raise UserError(f"{what} did not reach {tracking_uri()}: {first_line(error)}") from None


def log_comparison(key: str, name: str, tags: Mapping[str, str], files: Sequence[Path]) -> str:
    """Put a comparison into the run of COMPARISONS whose tag `comparison_key` is `key`, made where it is missing.

    UserError where the store does not take it.
    """
    with _writable("the comparison"):
        client, _ = open_store()
        with _lock(COMPARISONS):
            experiment = experiment_id(client, COMPARISONS)
            found = client.search_runs([experiment], f"tags.comparison_key = '{key}'", max_results=1)
            run = found[0] if found else client.create_run(experiment, tags={"comparison_key": key}, run_name=name)
        for tag, value in tags.items():
            client.set_tag(run.info.run_id, tag, value[:LONGEST])
        for file in files:
            client.log_artifact(run.info.run_id, str(file))
        client.set_terminated(run.info.run_id)
    return str(run.info.run_id)


class Version(NamedTuple):
    """A version of a registered model, and which one had the alias before: 0 for none."""

    number: int
    before: int


def register_model(name: str, alias: str, run_id: str, model_id: str, description: str) -> Version:
    """Make the logged model of a run a version of the registered model `name`, and give that version the alias.

    A model that is a version already stays that version, with the new description. UserError where the store does not
    take it.
    """
    try:
        client, _ = open_store()
        with _lock("registry"):
            try:
                client.create_registered_model(name)
            except MlflowException as error:
                if error.error_code != "RESOURCE_ALREADY_EXISTS":
                    raise
            before = int(client.get_registered_model(name).aliases.get(alias, 0))
            known = [v for v in client.search_model_versions(f"run_id = '{run_id}'") if v.name == name]
            if known:
                number = min(int(version.version) for version in known)
            else:
                # Its place and not `models:/ID`, which MLflow would look up in the store of the environment.
                place = client.get_logged_model(model_id).artifact_location
                number = int(client.create_model_version(name, place, run_id, model_id=model_id).version)
            client.update_model_version(name, str(number), description)
            client.set_registered_model_alias(name, alias, str(number))
    except Exception as error:  # as in `_readable`
        raise UserError(
            f"the model was not registered as {name}@{alias} at {tracking_uri()}: {first_line(error)}"
        ) from None
    return Version(number, before)


def first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".strip().partition("\n")[0][:300]


def _model_ids(run: Run) -> list[str]:
    """Of the models that a run logged."""
    return [output.model_id for output in run.outputs.model_outputs] if run.outputs is not None else []


def find_run(client: MlflowClient, experiment: str, key: str) -> Run | None:
    """The run with this `run_key`, the newest where there are several."""
    runs = client.search_runs([experiment], f"tags.run_key = '{key}'", max_results=1)
    return runs[0] if runs else None


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


def _this_process() -> str:
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
