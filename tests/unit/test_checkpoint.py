"""Checkpoints survive damage; a model has one trainer at a time; random states come back."""

import os
import random
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path

import numpy as np
import torch
from filelock import FileLock

from src.training.checkpoint import load_latest, model_lock, prune, save_checkpoint
from src.training.randomness import capture, preserved, restore, seed_everything
from tests.conftest import REPOSITORY


def save(folder: Path, epochs: int) -> None:
    for epoch in range(1, epochs + 1):
        save_checkpoint(folder, epoch, {"epoch": epoch, "weights": torch.full((4,), float(epoch))})


def test_the_last_two_are_kept_and_the_newest_is_loaded(tmp_path: Path) -> None:
    assert load_latest(tmp_path / "none", print) is None
    save(tmp_path, 4)
    names = ["epoch-000003.pt", "epoch-000003.sha256", "epoch-000004.pt", "epoch-000004.sha256"]
    assert sorted(f.name for f in tmp_path.iterdir()) == names
    state = load_latest(tmp_path, print)
    assert state is not None
    assert state["epoch"] == 4
    assert state["weights"].tolist() == [4, 4, 4, 4]


def test_a_damaged_checkpoint_is_left_out_and_named(tmp_path: Path) -> None:
    save(tmp_path, 2)
    newest = tmp_path / "epoch-000002.pt"
    content = bytearray(newest.read_bytes())
    content[len(content) // 2] ^= 1
    newest.write_bytes(content)
    said: list[str] = []
    state = load_latest(tmp_path, said.append)
    assert state is not None
    assert state["epoch"] == 1
    assert len(said) == 1
    assert "epoch-000002.pt is damaged" in said[0]


def test_a_checkpoint_without_its_hash_is_not_trusted(tmp_path: Path) -> None:
    save(tmp_path, 1)
    (tmp_path / "epoch-000001.sha256").unlink()
    assert load_latest(tmp_path, lambda _: None) is None


def test_only_the_newest_models_stay_and_those_in_training(tmp_path: Path) -> None:
    checkpoints, locks = tmp_path / "checkpoints", tmp_path / "locks"
    locks.mkdir()
    for age, key in enumerate(["a", "b", "c", "d", "e"]):
        save(checkpoints / key, 1)
        os.utime(checkpoints / key, (1000 - age, 1000 - age))
    with FileLock(locks / "model-e.lock"):
        prune(checkpoints, locks, keep=3)
    assert sorted(f.name for f in checkpoints.iterdir()) == ["a", "b", "c", "e"]


def test_one_process_prunes_at_a_time(tmp_path: Path) -> None:
    """Two would list folders that the other one deletes."""
    checkpoints, locks = tmp_path / "checkpoints", tmp_path / "locks"
    locks.mkdir()
    save(checkpoints / "a", 1)
    with ThreadPoolExecutor() as pool:
        with FileLock(locks / "prune.lock"):
            pruning = pool.submit(prune, checkpoints, locks, keep=0)
            assert not wait([pruning], timeout=0.5).done
            assert (checkpoints / "a").exists()
        pruning.result(timeout=20)
    assert not list(checkpoints.iterdir())


HOLD = """
import sys, time
from pathlib import Path
from src.training.checkpoint import model_lock
with model_lock(Path(sys.argv[1]), "k", print):
    print("held", flush=True)
    sys.stdin.readline()
"""


def test_a_second_trainer_waits_and_says_for_whom(tmp_path: Path) -> None:
    first = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)],
        cwd=REPOSITORY, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert first.stdin is not None
    assert first.stdout is not None
    with first:
        assert first.stdout.readline() == "held\n"
        said: list[str] = []

        def say(text: str) -> None:
            said.append(text)
            assert first.poll() is None
            assert first.stdin is not None
            first.stdin.write("\n")
            first.stdin.flush()

        with model_lock(tmp_path, "k", say):
            deadline = time.monotonic() + 20
            while first.poll() is None and time.monotonic() < deadline:
                time.sleep(0.01)
            assert first.returncode == 0
    assert len(said) == 1
    assert f"process {first.pid} on " in said[0]
    assert not list(tmp_path.iterdir())


def draw() -> list[float]:
    return [random.random(), float(np.random.rand()), float(torch.rand(1))]  # noqa: NPY002


def test_random_states_come_back_through_a_checkpoint(tmp_path: Path) -> None:
    seed_everything(5)
    first = draw()
    save_checkpoint(tmp_path, 1, {"random": capture()})
    expected = draw()
    seed_everything(5)
    assert draw() == first
    seed_everything(6)
    assert draw() != first
    state = load_latest(tmp_path, print)
    assert state is not None
    restore(state["random"])
    assert draw() == expected


def test_a_block_may_leave_random_states_alone() -> None:
    seed_everything(7)
    expected = draw()
    seed_everything(7)
    with preserved():
        draw()
    assert draw() == expected
