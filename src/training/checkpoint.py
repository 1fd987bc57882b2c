"""Checkpoints to resume from, and the lock that keeps two processes from training the same model at once."""

import hashlib
import io
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from filelock import Timeout

from src import artifacts
from src.locks import locked

KEPT = 2  # checkpoints a model: the last, and the one before in case the last is damaged
KEPT_MODELS = 3

Say = Callable[[str], None]


def save_checkpoint(folder: Path, epoch: int, state: dict[str, Any]) -> None:
    """Write `epoch-NNNN.pt` with its hash beside it, both atomically; then drop all but the last two."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    content = buffer.getvalue()
    path = folder / f"epoch-{epoch:04d}.pt"
    # The hash first: a checkpoint that is there can then always be verified, wherever the process was killed.
    artifacts.write_text(_hash_path(path), hashlib.sha256(content).hexdigest() + "\n")
    artifacts.write_bytes(path, content)
    for old in sorted(folder.glob("epoch-*.pt"))[:-KEPT]:
        old.unlink()
        _hash_path(old).unlink(missing_ok=True)


def has_checkpoint(folder: Path) -> bool:
    """Whether a training of this model has ended an epoch before."""
    return any(folder.glob("epoch-*.pt"))


def load_latest(folder: Path, say: Say) -> dict[str, Any] | None:
    """The newest checkpoint whose hash is right, its tensors on the CPU; None where there is none.

    A damaged one is left out, and said so: training goes on from the one before.
    """
    for path in sorted(folder.glob("epoch-*.pt"), reverse=True):
        content = path.read_bytes()
        hash_path = _hash_path(path)
        expected = hash_path.read_text(encoding="utf-8").strip() if hash_path.exists() else "missing"
        if hashlib.sha256(content).hexdigest() != expected:
            say(f"checkpoint {path} is damaged (its hash is not the recorded one); trying the one before")
            continue
        state: dict[str, Any] = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
        return state
    return None


@contextmanager
def model_lock(folder: Path, key: str, say: Say) -> Iterator[None]:
    """Hold the lock of the model `key`; wait for it, and say for whom, while another process holds it."""

    def waiting(holder: str) -> None:
        say(f"{holder} is training the same model ({key}): waiting for it, then using its result")

    with locked(_lock_path(folder, key), waiting):
        yield


def prune(checkpoints: Path, locks: Path, keep: int = KEPT_MODELS) -> None:
    """Delete the checkpoints of all but the `keep` newest models; never of a model that is being trained."""
    folders = sorted((f for f in checkpoints.iterdir() if f.is_dir()), key=lambda f: f.stat().st_mtime, reverse=True)
    for folder in folders[keep:]:
        try:
            with locked(_lock_path(locks, folder.name), wait=False):
                shutil.rmtree(folder)
        except Timeout:
            continue


def _hash_path(path: Path) -> Path:
    return path.with_suffix(".sha256")


def _lock_path(folder: Path, key: str) -> Path:
    return folder / f"model-{key}.lock"
