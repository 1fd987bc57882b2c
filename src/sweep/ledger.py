"""What is known of a sweep's trials: a JSON file each, in a folder that all machines share; it outlives every process.

So the same command can be typed again at any time, and a trial that a machine lost is gone on with by another one.
"""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from src import artifacts

Record = dict[str, Any]
# "running" until it is one of these; what failed is tried again by the next command, and what was stopped is not.
FINISHED, STOPPED, FAILED = "finished", "stopped", "failed"


@dataclass(frozen=True)
class Ledger:
    """`folder` is the sweep's own within the shared storage."""

    folder: Path

    def record(self, name: str) -> Record:
        """What is known of a trial: status, point, epoch, accuracy, node, error; {} where nothing is."""
        file = self._file(name)
        return artifacts.read_json(file) if file.exists() else {}

    def write(self, name: str, **fields: Any) -> Record:
        """Change `fields` of a trial's record."""
        record = self.record(name) | fields
        artifacts.write_json(self._file(name), record)
        return record

    def records(self) -> dict[str, Record]:
        """All records by the names of the trials."""
        return {file.stem: artifacts.read_json(file) for file in sorted((self.folder / "trials").glob("[!.]*.json"))}

    def checkpoints(self, name: str) -> Path:
        """The folder of a trial's checkpoints, of the one model that it trains."""
        return self.folder / "checkpoints" / name

    def last_epoch(self, name: str) -> Mapping[str, float | None]:
        """The row of the last whole epoch of a trial that trains or has trained; {} where there is none."""
        rows = [artifacts.read_json(file) for file in self.checkpoints(name).glob("*/last.json")]
        return max(rows, key=lambda row: int(row["epoch"]), default={})

    def forget_checkpoints(self, name: str) -> None:
        """They are of no more use."""
        shutil.rmtree(self.checkpoints(name), ignore_errors=True)

    def log(self, name: str) -> Path:
        """What a trial printed, in all its attempts."""
        return self.folder / "logs" / f"{name}.log"

    def lock(self, name: str) -> Path:
        """The lock file that whoever runs the trial holds."""
        return self.folder / "locks" / f"{name}.lock"

    def _file(self, name: str) -> Path:
        return self.folder / "trials" / f"{name}.json"


def words(record: Record) -> str:
    """The parameters of a trial and what has come of it."""
    said = " ".join(f"{key}={value}" for key, value in record["point"].items())
    match record["status"]:
        case "finished":
            validation = f"validation {record['accuracy']:.2%}, " if record["accuracy"] is not None else ""
            return f"{said}: {validation}test {record['test_accuracy']:.2%}"
        case "stopped":
            return f"{said}: after epoch {record['epoch']}, validation {record['accuracy']:.2%}"
        case "failed":
            return f"{said}: {record['error']}"
    return said
