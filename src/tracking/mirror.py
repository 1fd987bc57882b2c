"""The MLflow run of one resolved `params.yaml`, which stages keep up to date.

A tracking server that is down, slow, hangs or sends malformed responses delays a stage by ten seconds and never stops
it. After the first failed call a stage prints one warning and makes no further calls. A later stage or `commands.sync`
completes the run. Nothing is logged twice: a call is either repeatable, or only made if the run lacks its result.
"""

import json
import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Self

from filelock import Timeout
from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, LoggedModelOutput, Metric, Param, Run, RunTag
from mlflow.models import Model, ModelSignature
from mlflow.types import ColSpec, DataType, Schema

from src import artifacts, record, results
from src.addresses import redacted
from src.params import Params
from src.tracking.store import (
    BATCH,
    LONGEST,
    close_dead_runs,
    end_status,
    find_run,
    first_line,
    lock,
    model_ids,
    open_store,
    shown_uri,
    this_process,
)
from src.tracking_uri import tracking_uri
from src.wording import SOURCES

SERVING = ("mlflow", "numpy", "pandas", "psutil", "safetensors", "torch")  # requirements of the logged model
PATIENCE = 5.0  # seconds that a stage waits for slow calls in total; ten with the time-out of the last call
TURN = 20.0  # seconds that a stage waits for another process that sends to the same run


class Mirror:
    """The MLflow run of one resolved `params.yaml`, open while a `with` block lasts.

    `again` says that the model is trained from its first epoch. If the run already has such a training, a new run is
    created, because logged values cannot be deleted. Methods do nothing after a call has failed, or after slow calls to
    a server have taken `patience` seconds in total, so callers need no `if`. With infinite patience they also wait
    without limit for another process that sends to the same run.

    Raises UserError if MLflow can never use the address of the store. A server that is down raises nothing.
    """

    def __init__(self, params: Params, model_key: str, again: bool = False, patience: float = PATIENCE) -> None:
        self.params = params
        self.model_key = model_key
        self.key = record.run_key(params, model_key)
        self.again = again
        self.run_id = ""
        self.failure = ""  # reason of the first failed call
        self._patience = patience
        self._metrics: set[str] = set()  # metrics that the run had when it was opened
        self._known: dict[str, set[int]] = {}  # metric -> its steps in the run
        self._client: MlflowClient

    def __enter__(self) -> Self:
        tracking_uri()
        self._attempt(self._open)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        status = end_status(kind)
        if kind is not None and status == "FAILED":
            failure = redacted(f"{kind.__name__}: {error}")[:LONGEST]
            self._attempt(lambda: self._client.set_tag(self.run_id, "failure", failure))
        self._attempt(lambda: self._client.set_terminated(self.run_id, status))

    @property
    def complete(self) -> bool:
        """Whether every call so far has succeeded."""
        return not self.failure

    def epoch(self, row: Mapping[str, object]) -> None:
        """Send one row of the history during training."""
        self._attempt(lambda: self._send(record.history([results.Epoch.model_validate(row)])))

    def upload(self, *stages: str) -> None:
        """Send what `stages` wrote, and what the run lacks of earlier stages. Nothing is logged twice."""

        def send() -> None:
            with self._turn():
                self._upload(stages)

        self._attempt(send)

    def _attempt(self, action: Callable[[], object]) -> None:
        if self.failure:
            return
        try:
            action()
        except Exception as error:  # of any kind, for malformed responses; MLflow must not stop a training
            self.failure = first_line(error)
            print(
                f"warning: the MLflow run at {shown_uri()} could not be updated: {self.failure}\n"
                "  The stage continues without it, and nothing is lost. Once the cause is gone, the next stage or "
                "`python -m commands.sync` completes the run",
                flush=True,
            )

    def _open(self) -> None:
        self._client, experiment = open_store(self._patience)
        close_dead_runs(self._client, experiment)
        with self._turn():
            run = find_run(self._client, experiment, self.key)
            if run is None or (self.again and "train/loss" in run.data.metrics):
                tags = {"run_key": self.key, "process": this_process(), **record.tags(self.params, self.model_key)}
                run = self._client.create_run(experiment, tags=tags, run_name=record.run_name(self.params))
            self.run_id, self._metrics = run.info.run_id, set(run.data.metrics)
            self._client.set_tag(self.run_id, "process", this_process())  # first, because the previous one may be dead
            self._client.update_run(self.run_id, status="RUNNING")
            if "failure" in run.data.tags:
                self._client.delete_tag(self.run_id, "failure")
            for tag, value in record.sweep_tags().items():
                if run.data.tags.get(tag) != value:
                    self._client.set_tag(self.run_id, tag, value)
            self._log_inputs(run)

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """Let only one process of this repository send to the run, so that none adds what another is about to add."""
        wait = math.inf if self._patience == math.inf else TURN
        holders: list[str] = []

        def waiting(holder: str) -> None:
            holders.append(holder)
            print(f"waiting for {holder}, which sends to the same MLflow run", flush=True)

        with ExitStack() as held:
            try:
                held.enter_context(lock(f"run-{self.key}", waiting, wait))
            except Timeout:
                raise TimeoutError(f"{holders[0]} has been sending to the same run for {wait:.0f} s") from None
            yield

    def _log_inputs(self, run: Run) -> None:
        """Log missing parameters and a missing data set. The first process of the run may have ended before that."""
        flat = record.flat_params(self.params)
        values = [Param(k, v[:LONGEST]) for k, v in flat.items() if k not in run.data.params]
        for start in range(0, len(values), BATCH):
            self._client.log_batch(self.run_id, params=values[start : start + BATCH])
        if run.inputs is not None and run.inputs.dataset_inputs:
            return
        data = results.DataSet.read()
        data_set = Dataset(
            name=SOURCES[data.source],
            digest=data.digest[:32],  # the server accepts at most 36 characters
            source_type="local",
            source=json.dumps({"source": data.source, "path": self.params.data.path}),
            profile=json.dumps({k: getattr(data, k) for k in ("train", "val", "test", "classes", "size")}),
        )
        self._client.log_inputs(self.run_id, [DatasetInput(data_set)])

    def _upload(self, stages: tuple[str, ...]) -> None:
        run = self._client.get_run(self.run_id)
        self._metrics |= set(run.data.metrics)  # another process may have sent more since the run was opened
        has = run.data.tags.get("stages", "").split(",")
        before = record.STAGES[: record.STAGES.index(stages[-1])]
        for stage in (s for s in record.STAGES if s in stages or (s in before and s not in has)):
            self._send(record.points(stage))
            for path in record.files(stage):
                self._send_file(path)
            if stage == "train":
                self._log_model(run)
            if stage == "report":
                self._log_card(run.info.experiment_id)
        done = tuple(s for s in record.STAGES if s in stages or s in before or s in has)
        # Ignore the files of later stages, which the run may have from before. DVC may have deleted them.
        text = record.description(self.params, (*before, stages[-1]))
        tags = {"stages": ",".join(done), "mlflow.note.content": text}
        if "train" in (*before, *stages):
            tags |= record.machine_tags()
        self._client.log_batch(self.run_id, tags=[RunTag(k, v) for k, v in tags.items()])

    def _send_file(self, path: Path) -> None:
        """Send a file of the workspace under the same path. Addresses in params.yaml may contain passwords."""
        folder = None if path.parent == Path() else path.parent.as_posix()
        if path != artifacts.PARAMS:
            self._client.log_artifact(self.run_id, str(path), folder)
            return
        with TemporaryDirectory() as place:
            copy = Path(place) / path.name
            copy.write_bytes(
                redacted(path.read_bytes().decode("utf-8", "surrogateescape")).encode("utf-8", "surrogateescape")
            )
            self._client.log_artifact(self.run_id, str(copy), folder)

    def _send(self, points: list[record.Point]) -> None:
        """Log the points that the run lacks. A repeated step would be drawn as a second point."""
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
        for start in range(0, len(fresh), 1000):  # the server accepts 1,000 per call
            self._client.log_batch(self.run_id, metrics=fresh[start : start + 1000])

    def _log_model(self, run: Run) -> None:
        """Log the weights once, as a pyfunc model from code, without pickle.

        Each call is made separately, because `pyfunc.log_model` keeps calling a server that has failed. The model is
        attached to the run last, and a partly sent model is sent again.
        """
        from mlflow import pyfunc  # slow to import, and only `train` logs a model

        client, run_id, place = self._client, self.run_id, run.info.experiment_id
        known = model_ids(run)
        if known and client.list_logged_model_artifacts(known[0]):
            return
        found = client.search_logged_models([place], f"source_run_id = '{run_id}'", max_results=1)
        logged = found[0] if found else client.create_logged_model(place, "model", run_id, params=run.data.params)
        columns = {"class": DataType.string, "probability": DataType.double}
        columns |= dict.fromkeys((f"p({name})" for name in results.Model.read().classes), DataType.double)
        with TemporaryDirectory() as folder:
            pyfunc.save_model(
                Path(folder) / "model",
                mlflow_model=Model(
                    logged.artifact_location, run_id, model_uuid=logged.model_id, model_id=logged.model_id
                ),
                python_model="src/served_model.py",
                code_paths=["src"],
                artifacts={"weights": str(artifacts.WEIGHTS), "description": str(artifacts.MODEL)},
                # Only of the output. src/served_model.py checks the input, because a schema would cast it.
                signature=ModelSignature(outputs=Schema([ColSpec(kind, name) for name, kind in columns.items()])),
                pip_requirements=[f"{name}=={version(name)}" for name in SERVING],
            )
            client.log_model_artifacts(logged.model_id, str(Path(folder) / "model"))
        client.finalize_logged_model(logged.model_id, "READY")
        if not known:
            client.log_outputs(run_id, [LoggedModelOutput(logged.model_id, step=0)])

    def _log_card(self, place: str) -> None:
        """Add the model card and its figures to the files of the logged model, so that they stay with the model."""
        found = self._client.search_logged_models([place], f"source_run_id = '{self.run_id}'", max_results=1)
        with TemporaryDirectory() as folder:
            for name, content in record.card().items():
                artifacts.write_bytes(Path(folder) / name, content)
            for logged in found:  # one, unless it was deleted
                self._client.log_model_artifacts(logged.model_id, folder)
