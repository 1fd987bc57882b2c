"""Files: never half there."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from src import artifacts


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    artifacts.write_text(path, "old")
    with pytest.raises(TypeError), artifacts.atomic(path) as temporary:
        temporary.write_bytes([b"ne", "w"])  # type: ignore[arg-type]
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_what_a_killed_writer_left_goes_with_the_next_write(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    left = [tmp_path / f".store.db.{dead.pid}.db", tmp_path / f".store.db.{dead.pid}.db-journal"]
    others = [tmp_path / f".store.db.{os.getppid()}.db", tmp_path / ".store.db.notes", tmp_path / ".other.db.1.db"]
    for file in left + others:
        file.touch()
    artifacts.write_text(path, "new")
    assert sorted(tmp_path.iterdir()) == sorted([path, *others])


def test_json_refuses_what_json_cannot_say(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        artifacts.write_json(tmp_path / "a.json", {"loss": float("nan")})
    assert list(tmp_path.iterdir()) == []


def test_csv_round_trip(tmp_path: Path) -> None:
    rows = [{"class": 'a,"b"\nc', "n": 1}, {"class": "ü", "n": 2}]
    artifacts.write_csv(tmp_path / "a.csv", rows)
    assert artifacts.read_csv(tmp_path / "a.csv") == [{k: str(v) for k, v in row.items()} for row in rows]


def test_hashes(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    assert artifacts.sha256_file(tmp_path / "a") == hashlib.sha256(b"abc").hexdigest()
    assert artifacts.sha256_json({"b": 1, "a": 2}) == artifacts.sha256_json({"a": 2, "b": 1})
    (tmp_path / "m.py").write_text("x = 1\n")
    before = artifacts.sha256_sources([tmp_path])
    (tmp_path / "m.py").write_text("x = 2\n")
    assert artifacts.sha256_sources([tmp_path]) != before


def test_root_is_the_main_repository_inside_a_queued_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    assert artifacts.root() == tmp_path.resolve()
    monkeypatch.setenv("DVC_ROOT", "/elsewhere")
    assert artifacts.root() == Path("/elsewhere")
