"""The paths that stages read and write, atomic writes, and hashes."""

import csv
import glob
import hashlib
import json
import os
import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from src.errors import UserError

# Relative to the workspace. For a queued experiment that is a temporary copy of the repository.
PARAMS = Path("params.yaml")
RECIPES = Path("recipes")
CHECKED = Path("data/checked")
RAW = Path("data/raw")
PREPARED = Path("data/prepared")
LR = Path("models/lr.json")
WEIGHTS = Path("models/model.safetensors")
MODEL = Path("models/model.json")
REPORT = Path("reports/run.html")
CARD = Path("reports/model_card.md")
FIGURES = Path("figures")
METRICS = Path("metrics")


def root() -> Path:
    """The main repository, also in queued and `--temp` experiments. DVC sets DVC_ROOT for every stage."""
    return Path(os.environ.get("DVC_ROOT") or Path.cwd()).resolve()


def in_temporary_copy() -> bool:
    """Whether this is the temporary copy of the repository in which DVC runs a queued or `--temp` experiment."""
    return Path.cwd().resolve() != root()


def checkpoints() -> Path:
    """The folder of the checkpoints: in the main repository, or where a sweep says.

    A sweep gives each trial its own folder, which all machines share, so that any of them can resume the trial.
    """
    return Path(os.environ.get("NORMLENS_CHECKPOINTS") or root() / ".checkpoints")


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path` that becomes `path` if the block ends without an error.

    So no reader sees a partial file, not even after a crash of the machine. The next process that writes `path` deletes
    the temporary files of killed ones.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_leftovers(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}{path.suffix}")
    try:
        yield temporary
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        temporary.replace(path)
    except OSError as error:
        error.filename = error.filename or str(path)  # a failed write, for example on a full disk, names no file
        raise
    finally:
        temporary.unlink(missing_ok=True)


def _remove_leftovers(path: Path) -> None:
    """Delete the temporary files of `path` whose process is dead, and SQLite's files beside them."""
    prefix = f".{path.name}."
    for file in path.parent.glob(f"{glob.escape(prefix)}*"):
        pid = file.name.removeprefix(prefix).partition(".")[0]
        if pid.isdigit() and not psutil.pid_exists(int(pid)):
            file.unlink(missing_ok=True)


def write_bytes(path: Path, content: bytes) -> None:
    """Write `content` atomically."""
    with atomic(path) as temporary:
        temporary.write_bytes(content)


def write_text(path: Path, content: str) -> None:
    """Write `content` atomically as UTF-8."""
    write_bytes(path, content.encode())


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write `content` atomically as indented JSON. NaN and infinities are rejected, because they are not JSON."""
    write_text(path, json.dumps(content, indent=2, allow_nan=False) + "\n")


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object. Raises UserError if the file is damaged."""
    try:
        content = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is damaged ({error}). {cure(path)}") from None
    if not isinstance(content, dict):
        raise UserError(f"{path} is damaged (it is not a JSON object). {cure(path)}")
    return content


def write_csv(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write rows (same keys, at least one row) atomically, with a header."""
    with atomic(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def read_csv(path: Path) -> list[dict[str, str]]:
    """Read rows as strings by column name. Raises UserError if the file is visibly damaged."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            table = list(csv.reader(file, strict=True))
            if not table:
                raise ValueError("it is empty")
            header, *rows = table
            return [dict(zip(header, row, strict=True)) for row in rows]
    except (ValueError, csv.Error) as error:
        raise UserError(f"{path} is damaged ({error}). {cure(path)}") from None


def cure(path: Path, stage: str = "") -> str:
    """The fix for a damaged result of `stage` (or of any), which also works if DVC's cache is damaged.

    DVC trusts a file with unchanged time and size, and files in its cache that are not writable. Without the first two
    commands it may restore the damaged file.
    """
    return f"Make it again with: rm -r {shlex.quote(str(path))}; chmod -R u+w .dvc/cache; dvc repro {stage}".rstrip()


def sha256_file(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_json(content: object) -> str:
    """SHA-256 of a value's canonical JSON (sorted keys), in hexadecimal."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
