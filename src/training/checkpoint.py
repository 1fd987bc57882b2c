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
from src.errors import sentence
from src.locks import locked

KEPT_MODELS = 3

Say = Callable[[str], None]


def save_checkpoint(folder: Path, epoch: int, state: dict[str, Any]) -> None:
    """Write `epoch-NNNNNN.pt` with its hash beside it, both atomically; then drop all but it and the one before.

    What is there of later epochs is damaged: training would have gone on from it.
    """
    buffer = io.BytesIO()
    torch.save(state, buffer)
    content = buffer.getvalue()
    path = folder / f"epoch-{epoch:06d}.pt"
    # The hash first: a checkpoint that is there can then always be verified, wherever the process was killed.
    artifacts.write_bytes(_hash_path(path), _hash(content))
    artifacts.write_bytes(path, content)
    kept = [path, *sorted(file for file in folder.glob("epoch-*.pt") if file < path)[-1:]]
    for file in folder.glob("epoch-*"):
        if file.with_suffix(".pt") not in kept:
            file.unlink()


def has_checkpoint(folder: Path) -> bool:
    """Whether a training of this model can go on after an epoch, and does not start from the first one."""
    return load_latest(folder, lambda _: None) is not None


def load_latest(folder: Path, say: Say) -> dict[str, Any] | None:
    """The newest checkpoint whose hash is right, its tensors on the CPU; None where there is none.

    A damaged one is left out, and said so: training goes on from the one before.
    """
    paths = sorted(folder.glob("epoch-*.pt"), reverse=True)
    for path in paths:
        content = path.read_bytes()
        if not _hash_path(path).exists() or _hash_path(path).read_bytes() != _hash(content):
            say(f"checkpoint {path} is damaged (its hash is not the recorded one); trying the one before")
            continue
        try:
            state: dict[str, Any] = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
        except Exception as error:  # whatever PyTorch says of bytes that it did not write, and of code among them
            if sentence(error):  # memory is short
                raise
            say(f"checkpoint {path} is no checkpoint of this program; trying the one before")
            continue
        return state
    if paths:
        say(f"no checkpoint in {folder} can be used: training starts from its first epoch")
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
    with locked(locks / "prune.lock"):  # else another process may delete a folder between its listing and its date
        folders = sorted(
            (f for f in checkpoints.iterdir() if f.is_dir()), key=lambda f: f.stat().st_mtime, reverse=True
        )
        for folder in folders[keep:]:
            try:
                with locked(_lock_path(locks, folder.name), wait=0):
                    shutil.rmtree(folder)
            except Timeout:
                continue


def _hash(content: bytes) -> bytes:
    return hashlib.sha256(content).hexdigest().encode() + b"\n"


def _hash_path(path: Path) -> Path:
    return path.with_suffix(".sha256")


def _lock_path(folder: Path, key: str) -> Path:
    return folder / f"model-{key}.lock"
