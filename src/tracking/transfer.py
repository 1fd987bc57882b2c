"""Copy the runs of the store to another MLflow server. Every step is repeatable and sends nothing twice.

A copy has the tag COPIED_FROM with the id of its original from the start. The tag COPYING is a digest of the original
when copying began, and COPIED is the same digest when the copy is complete. So a second call knows what is missing if
the first was killed, and sends originals again that have changed since.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from mlflow import MlflowClient
from mlflow.artifacts import download_artifacts
from mlflow.entities import DatasetInput, FileInfo, LoggedModel, LoggedModelOutput, Metric, Param, Run, RunTag
from mlflow.exceptions import MlflowException
from mlflow.models import Model

from src import artifacts
from src.addresses import hidden, redacted, server_problem
from src.errors import UserError
from src.tracking.store import (
    BATCH,
    close_dead_runs,
    connect,
    every_run,
    experiment_id,
    first_line,
    lock,
    open_store,
    shown_uri,
)

COPIED_FROM, COPYING, COPIED = "copied_from", "copying", "copied"
REFERENCES = ("mlflow.parentRunId", "runs")  # tags with ids of runs; comparisons have the second
POINTS = 1000  # metrics per call that the server accepts

Say = Callable[[str], None]


@dataclass
class Copied:
    """The result of a call, as numbers of runs."""

    copied: int = 0
    completed: int = 0  # were incomplete on the server, or have changed here since
    there: int = 0  # were complete, and nothing was sent
    open: list[str] = field(default_factory=list)  # labels of active runs, which are left out


def copy_runs(to: str, say: Say) -> Copied:
    """Copy every ended run of the store to the server at `to`, an address that begins with http.

    A copy has the parameters, metrics with steps and times, tags, data sets, files, models, status, start and end of
    its original. Links to other runs point to their copies. `say` is called for each run that is sent. Raises UserError
    if the address is not that of another server, or if a call fails. The next call then continues.
    """
    if problem := server_problem(to):
        raise UserError(f"--to {hidden(to)} is not the address of an MLflow server: {problem}")
    try:
        source, experiment = open_store()
        close_dead_runs(source, experiment)
        with lock("transfer", lambda holder: say(f"waiting for {holder}, which copies runs")):
            return Transfer(source, connect(to)).all(say)
    except UserError:
        raise
    except Exception as error:  # of any kind, for malformed responses
        raise UserError(
            f"not all runs of {shown_uri()} reached {redacted(to)}: {first_line(error)}\n"
            "  Copied runs are complete. Fix the cause, then run the same command again for the others"
        ) from None


class Transfer:
    """Copy runs from one store to another."""

    def __init__(self, source: MlflowClient, target: MlflowClient) -> None:
        self._source = source
        self._target = target
        self._experiments: dict[str, str] = {}  # id here -> id there
        self._copies: dict[str, str] = {}  # id of a run here -> id there

    def all(self, say: Say) -> Copied:
        """Copy every experiment's runs, oldest first."""
        done = Copied()
        for experiment in self._source.search_experiments():
            for run in every_run(self._source, [experiment.experiment_id], order_by=["attributes.start_time ASC"]):
                label = f"{experiment.name}/{run.info.run_name} ({run.info.run_id[:8]})"
                if run.info.status in ("RUNNING", "SCHEDULED"):
                    done.open.append(label)
                    continue
                copy = self._copy_of(run)
                if self._is_there(run, copy):
                    done.there += 1
                    continue
                is_new = COPYING not in copy.data.tags
                say(f"{'copying' if is_new else 'completing'} {label}")
                self._fill(run, copy)
                done.copied += is_new
                done.completed += not is_new
        return done

    def _copy_of(self, run: Run) -> Run:
        """The copy of the run, created if it is missing. A run that the same files made on the server counts, too."""
        place = self._place(run.info.experiment_id)
        original = run.info.run_id
        found = list(self._target.search_runs([place], f"tags.{COPIED_FROM} = '{original}'", max_results=1))
        if not found and (key := run.data.tags.get("run_key")):
            found = [r for r in self._target.search_runs([place], f"tags.run_key = '{key}'") if _same_files(run, r)]
        if not found and not self._copies and self._has(self._target, original):
            there = redacted(self._target.tracking_uri)
            raise UserError(f"{there} and {shown_uri()} are the same store, so there is nothing to copy")
        copy = found[0] if found else self._create(run, place)
        self._copies[original] = copy.info.run_id
        return copy

    def _create(self, run: Run, place: str) -> Run:
        tags = {COPIED_FROM: run.info.run_id, "mlflow.user": run.info.user_id}
        return self._target.create_run(place, run.info.start_time, tags, run.info.run_name)

    def _is_there(self, run: Run, copy: Run) -> bool:
        return copy.data.tags.get(COPIED) == _digest(run) or _same_files(run, copy)

    def _fill(self, run: Run, copy: Run) -> None:
        """Send what the copy lacks, or all files again if the original has changed since."""
        is_interrupted = copy.data.tags.get(COPYING) == _digest(run)
        here, there = run.info.run_id, copy.info.run_id
        self._target.set_tag(there, COPYING, _digest(run))
        self._params(run, copy)
        self._metrics(run, copy)
        self._data_sets(run, copy)
        sizes = self._sizes(there) if is_interrupted else {}
        with TemporaryDirectory() as folder:
            for file in _files(lambda path: self._source.list_artifacts(here, path)):
                if file.path in sizes and sizes[file.path] == file.file_size:
                    continue
                local = self._source.download_artifacts(here, file.path, folder)
                self._target.log_artifact(there, local, file.path.rpartition("/")[0] or None)
                Path(local).unlink()
        for output in run.outputs.model_outputs if run.outputs is not None else []:
            self._model(output, run, copy)
        self._tags(run, copy)
        self._target.set_terminated(there, run.info.status, run.info.end_time)
        self._target.set_tag(there, COPIED, _digest(run))  # last

    def _params(self, run: Run, copy: Run) -> None:
        params = [Param(key, value) for key, value in run.data.params.items() if key not in copy.data.params]
        for start in range(0, len(params), BATCH):
            self._target.log_batch(copy.info.run_id, params=params[start : start + BATCH])

    def _metrics(self, run: Run, copy: Run) -> None:
        points: list[Metric] = []
        for name in run.data.metrics:
            has = self._target.get_metric_history(copy.info.run_id, name) if name in copy.data.metrics else []
            known = {_point(metric) for metric in has}
            history = self._source.get_metric_history(run.info.run_id, name)
            points += [Metric(name, m.value, m.timestamp, m.step) for m in history if _point(m) not in known]
        for start in range(0, len(points), POINTS):
            self._target.log_batch(copy.info.run_id, metrics=points[start : start + POINTS])

    def _data_sets(self, run: Run, copy: Run) -> None:
        has, ours = ([] if r.inputs is None else r.inputs.dataset_inputs for r in (copy, run))
        known = {(used.dataset.name, used.dataset.digest) for used in has}
        new = [DatasetInput(used.dataset, used.tags) for used in ours]
        new = [used for used in new if (used.dataset.name, used.dataset.digest) not in known]
        if new:
            self._target.log_inputs(copy.info.run_id, new)

    def _model(self, output: LoggedModelOutput, run: Run, copy: Run) -> None:
        """Copy a complete model, and update its description to the new place."""
        model = self._source.get_logged_model(output.model_id)
        if model.status != "READY":
            return
        made = self._copy_of_model(model, copy)
        if made.status != "READY":
            with TemporaryDirectory() as folder:
                uri = self._source.tracking_uri
                local = Path(
                    download_artifacts(artifact_uri=model.artifact_location, dst_path=folder, tracking_uri=uri)
                )
                described = Model.load(str(local))
                described.run_id, described.artifact_path = copy.info.run_id, made.artifact_location
                described.model_id = described.model_uuid = made.model_id
                described.save(str(local / "MLmodel"))
                self._target.log_model_artifacts(made.model_id, str(local))
            self._target.finalize_logged_model(made.model_id, "READY")
        known = [] if copy.outputs is None else [there.model_id for there in copy.outputs.model_outputs]
        if made.model_id not in known:
            self._target.log_outputs(copy.info.run_id, [LoggedModelOutput(made.model_id, output.step)])

    def _copy_of_model(self, model: LoggedModel, copy: Run) -> LoggedModel:
        place, run_id = copy.info.experiment_id, copy.info.run_id
        for made in self._target.search_logged_models([place], f"source_run_id = '{run_id}'"):
            if made.tags.get(COPIED_FROM) == model.model_id:
                return made
        tags = model.tags | {COPIED_FROM: model.model_id}
        return self._target.create_logged_model(place, model.name, run_id, tags, model.params, model.model_type)

    def _tags(self, run: Run, copy: Run) -> None:
        """Copy the tags of the original, and delete those that it no longer has."""
        own = (COPIED_FROM, COPYING, COPIED)
        tags = {key: value for key, value in run.data.tags.items() if key not in own}
        for key in set(REFERENCES) & set(tags):
            tags[key] = re.sub(r"\b[0-9a-f]{32}\b", lambda found: self._id_there(found[0]), tags[key])
        for key in set(copy.data.tags) - set(tags) - set(own):
            self._target.delete_tag(copy.info.run_id, key)
        pairs = [RunTag(key, value) for key, value in tags.items()]
        for start in range(0, len(pairs), BATCH):
            self._target.log_batch(copy.info.run_id, tags=pairs[start : start + BATCH])

    def _id_there(self, run_id: str) -> str:
        """The id of the run's copy, which is created if it is missing and filled later. A lost run keeps its id."""
        if run_id not in self._copies:
            if not self._has(self._source, run_id):
                return run_id
            self._copy_of(self._source.get_run(run_id))
        return self._copies[run_id]

    def _place(self, experiment: str) -> str:
        """The id of the experiment with the same name."""
        if experiment not in self._experiments:
            name = self._source.get_experiment(experiment).name
            self._experiments[experiment] = experiment_id(self._target, name)
        return self._experiments[experiment]

    def _sizes(self, run_id: str) -> dict[str, int | None]:
        return {file.path: file.file_size for file in _files(lambda path: self._target.list_artifacts(run_id, path))}

    @staticmethod
    def _has(client: MlflowClient, run_id: str) -> bool:
        try:
            client.get_run(run_id)
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            return False
        return True


def _same_files(run: Run, other: Run) -> bool:
    """Whether the files of one training made both runs, and neither is a copy. Their epochs have the same seconds."""
    if COPIED_FROM in other.data.tags or "train/seconds" not in run.data.metrics:
        return False
    ours, theirs = ((r.data.metrics, r.data.tags.get("stages"), r.info.status) for r in (run, other))
    return ours == theirs


def _digest(run: Run) -> str:
    data = run.data
    content = [data.metrics, data.params, data.tags, run.info.run_name, run.info.status, run.info.end_time]
    return artifacts.sha256_json(content)[:32]


def _point(metric: Metric) -> tuple[int, int, str]:
    return metric.step, metric.timestamp, repr(metric.value)  # as text, because nan != nan


def _files(listed: Callable[[str | None], list[FileInfo]]) -> Iterator[FileInfo]:
    """All files, folder by folder."""
    waiting: list[str | None] = [None]
    while waiting:
        for entry in listed(waiting.pop()):
            if entry.is_dir:
                waiting.append(entry.path)
            else:
                yield entry
