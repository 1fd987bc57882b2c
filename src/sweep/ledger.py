"""Records of a sweep's trials: one JSON file per trial, in a folder that all machines share. It outlives all processes.

So the same command can be run again at any time, and another machine resumes a trial if its machine is lost.
"""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from src import artifacts
from src.wording import percent

Record = dict[str, Any]
# Final values of status, which is "running" before. The next command repeats failed trials, but not stopped ones.
FINISHED, STOPPED, FAILED = "finished", "stopped", "failed"


@dataclass(frozen=True)
class Ledger:
    """The records of a sweep. `folder` belongs to this sweep in the shared storage."""

    folder: Path

    def record(self, name: str) -> Record:
        """The record of a trial: status, point, epoch, accuracy, node, error. {} if there is none."""
        file = self._file(name)
        return artifacts.read_json(file) if file.exists() else {}

    def write(self, name: str, **fields: Any) -> Record:
        """Change `fields` in the record of a trial."""
        record = self.record(name) | fields
        artifacts.write_json(self._file(name), record)
        return record

    def records(self) -> dict[str, Record]:
        """All records by the name of the trial."""
        return {file.stem: artifacts.read_json(file) for file in sorted((self.folder / "trials").glob("[!.]*.json"))}

    def checkpoints(self, name: str) -> Path:
        """The folder for the checkpoints of the one model that a trial trains."""
        return self.folder / "checkpoints" / name

    def last_epoch(self, name: str) -> Mapping[str, float | None]:
        """The row of the last completed epoch of a trial. {} if there is none."""
        rows = [artifacts.read_json(file) for file in self.checkpoints(name).glob("*/last.json")]
        return max(rows, key=lambda row: int(row["epoch"]), default={})

    def forget_checkpoints(self, name: str) -> None:
        """Delete the checkpoints of a trial."""
        shutil.rmtree(self.checkpoints(name), ignore_errors=True)

    def log(self, name: str) -> Path:
        """The file for the output of all attempts of a trial."""
        return self.folder / "logs" / f"{name}.log"

    def lock(self, name: str) -> Path:
        """The lock file that the process running the trial holds."""
        return self.folder / "locks" / f"{name}.lock"

    def _file(self, name: str) -> Path:
        return self.folder / "trials" / f"{name}.json"


def words(record: Record) -> str:
    """The parameters of a trial and its result in words."""
    said = " ".join(f"{key}={value}" for key, value in record["point"].items())
    match record["status"]:
        case "finished":
            validation = f"validation {percent(record['accuracy'])}, " if record["accuracy"] is not None else ""
            return f"{said}: {validation}test {percent(record['test_accuracy'])}"
        case "stopped":
            return f"{said}: after epoch {record['epoch']}, validation {percent(record['accuracy'])}"
        case "failed":
            return f"{said}: {record['error']}"
    return said
