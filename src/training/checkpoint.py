"""Checkpoints to resume from, and the lock that stops two processes from training the same model at once."""

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
    """Write `epoch-NNNNNN.pt` and its hash atomically, then delete all but this checkpoint and the previous one.

    Checkpoints of later epochs are deleted too. They are damaged, or training would have resumed from them.
    """
    buffer = io.BytesIO()
    torch.save(state, buffer)
    content = buffer.getvalue()
    path = folder / f"epoch-{epoch:06d}.pt"
    # The hash first: any checkpoint that exists can then be verified, even if the process is killed in between.
    artifacts.write_bytes(_hash_path(path), _hash(content))
    artifacts.write_bytes(path, content)
    kept = [path, *sorted(file for file in folder.glob("epoch-*.pt") if file < path)[-1:]]
    for file in folder.glob("epoch-*"):
        if file.with_suffix(".pt") not in kept:
            file.unlink()


def has_checkpoint(folder: Path) -> bool:
    """Whether a training of this model can resume instead of starting at the first epoch."""
    return load_latest(folder, lambda _: None) is not None


def load_latest(folder: Path, say: Say) -> dict[str, Any] | None:
    """Load the newest checkpoint with a correct hash, its tensors on the CPU. None if there is none.

    A damaged checkpoint is reported through `say`, and the previous one is used.
    """
    paths = sorted(folder.glob("epoch-*.pt"), reverse=True)
    for path in paths:
        content = path.read_bytes()
        if not _hash_path(path).exists() or _hash_path(path).read_bytes() != _hash(content):
            say(f"checkpoint {path} is damaged: its hash differs from the recorded one. Trying the previous checkpoint")
            continue
        try:
            state: dict[str, Any] = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
        except Exception as error:  # PyTorch raises many types for foreign bytes and for code in them
            if sentence(error):  # not the file's fault, such as too little memory
                raise
            say(f"checkpoint {path} is not a checkpoint of NormLens. Trying the previous checkpoint")
            continue
        return state
    if paths:
        say(f"no checkpoint in {folder} is usable. Training starts from the first epoch")
    return None


@contextmanager
def model_lock(folder: Path, key: str, say: Say) -> Iterator[None]:
    """Hold the lock of the model `key`. If another process holds it, report that process and wait."""

    def waiting(holder: str) -> None:
        say(f"{holder} is training the same model ({key}). Waiting for its result")

    with locked(_lock_path(folder, key), waiting):
        yield


def prune(checkpoints: Path, locks: Path, keep: int = KEPT_MODELS) -> None:
    """Delete the checkpoints of all but the `keep` newest models, except models in training."""
    with locked(locks / "prune.lock"):  # else another process may delete a listed folder before its date is read
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
