"""Files: never half there."""

import errno
import hashlib
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from src import artifacts
from src.data import prepared
from src.errors import UserError, sentence


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    artifacts.write_text(path, "old")
    with pytest.raises(TypeError), artifacts.atomic(path) as temporary:
        temporary.write_bytes([b"ne", "w"])  # type: ignore[arg-type]
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@contextmanager
def full_disk(bytes_left: int) -> Iterator[None]:
    """No file may grow beyond `bytes_left`; Python has SIGXFSZ ignored, so a write fails as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (bytes_left, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_leaves_the_old_file_and_is_told_with_its_name(tmp_path: Path) -> None:
    path = tmp_path / "images.npy"
    pixels = np.zeros((4, 8, 8, 3), np.uint8)
    prepared._write_array(path, pixels[:0])
    before = path.read_bytes()
    with full_disk(500), pytest.raises(OSError, match="File too large") as caught:
        prepared._write_array(path, pixels)
    assert caught.value.errno == errno.EFBIG
    assert f" at {path} " in str(sentence(caught.value))
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_arrays_are_written_as_numpy_would(tmp_path: Path) -> None:
    for array in (np.arange(6).reshape(2, 3).T, np.zeros((0, 4, 4, 3), np.uint8), np.ones((2, 2), bool)):
        prepared._write_array(tmp_path / "ours.npy", array)
        np.save(tmp_path / "theirs.npy", np.ascontiguousarray(array))
        assert (tmp_path / "ours.npy").read_bytes() == (tmp_path / "theirs.npy").read_bytes()


def test_no_room_for_temporary_files_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", None)
    with full_disk(0), pytest.raises(FileNotFoundError) as caught:
        tempfile.gettempdir()
    assert "the disk is full" in str(sentence(caught.value))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        *(("a.json", content) for content in (b"", b'{"a": 1', b"[1]", b"\xff\xfe", b"[" * 100_000)),
        *(("a.csv", content) for content in (b"", b"a,b\n1\n", b'a,b\n1,"2\n', b"a\n\xff\n")),
    ],
)
def test_a_damaged_result_is_named_with_its_cure(tmp_path: Path, name: str, content: bytes) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(UserError, match=rf"{name} is damaged \(.+\)\. .*: rm -r {path}; .*; dvc repro$"):
        artifacts.read_json(path) if path.suffix == ".json" else artifacts.read_csv(path)


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


def test_root_is_the_main_repository_inside_a_queued_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    assert artifacts.root() == tmp_path.resolve()
    monkeypatch.setenv("DVC_ROOT", "/elsewhere")
    assert artifacts.root() == Path("/elsewhere")
