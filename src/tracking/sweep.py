"""The MLflow run of a sweep. MLflow shows the runs of its trials below it."""

from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from src.tracking.store import close_dead_runs, end_status, every_run, lock, open_store, this_process, writable


class Sweep:
    """The MLflow run of a sweep, open while a `with` block lasts. The runs of its trials are shown below it.

    Raises UserError if a call to the store fails, at the start and at the end of the sweep.
    """

    def __init__(self, key: str, name: str, file: Path) -> None:
        self.run_id = ""
        self._key, self._name, self._file = key, name, file

    def __enter__(self) -> Self:
        with writable("the sweep"):
            self._client, self._experiment = open_store()
            close_dead_runs(self._client, self._experiment)
            with lock("sweeps"):
                found = self._client.search_runs([self._experiment], f"tags.sweep_key = '{self._key}'", max_results=1)
                tags = {"sweep_key": self._key, "process": this_process()}
                run = found[0] if found else self._client.create_run(self._experiment, tags=tags, run_name=self._name)
            self.run_id = run.info.run_id
            self._client.set_tag(self.run_id, "process", this_process())
            self._client.update_run(self.run_id, status="RUNNING")
            self._client.log_artifact(self.run_id, str(self._file))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with writable("the end of the sweep"):
            self._client.set_terminated(self.run_id, end_status(kind))

    def tell(self, note: str, tags: Mapping[str, str], stopped: Mapping[str, int]) -> None:
        """Set the description (`note`, Markdown) and `tags` of the sweep, and the status of trials `stopped` early.

        `stopped` maps the names of their experiments to the last completed epochs. Their runs become KILLED.
        """
        with writable("the state of the sweep"):
            for tag, value in {"mlflow.note.content": note, **tags}.items():
                self._client.set_tag(self.run_id, tag, value)
            trials = f"tags.`mlflow.parentRunId` = '{self.run_id}'"
            for run in every_run(self._client, [self._experiment], trials) if stopped else ():
                epoch = stopped.get(run.data.tags.get("experiment", ""))
                if epoch is not None and run.data.tags.get("stopped_epoch") != str(epoch):
                    self._client.set_tag(run.info.run_id, "stopped_epoch", str(epoch))
                    self._client.set_terminated(run.info.run_id, "KILLED")
