"""Checkpoints: killed at every line of a write, damaged in every way, forged; and what the person is told of it."""

import os
import subprocess
import sys
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from src.training import checkpoint
from src.training.checkpoint import has_checkpoint, load_latest, save_checkpoint
from tests.conftest import REPOSITORY
from tests.pipeline.workspace import TINY, Workspace


def save(folder: Path, *epochs: int) -> None:
    for epoch in epochs:
        save_checkpoint(folder, epoch, {"epoch": epoch, "weights": torch.full((4,), float(epoch))})


def load(folder: Path) -> tuple[int | None, list[str]]:
    """The epoch that training goes on after, and what the person is told."""
    said: list[str] = []
    state = load_latest(folder, said.append)
    if state is None:
        return None, said
    assert state["weights"].tolist() == [state["epoch"]] * 4
    return state["epoch"], said


def names(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir())


# Saves epochs 1 and 2 into a folder FOLDER/N for each N, then epoch 3 in a process that ends itself by SIGKILL before
# the N-th line that it executes of the code that writes; until N is beyond the last line.
KILLED_AT_EVERY_LINE = """
import itertools, os, signal, sys
from pathlib import Path
import torch
from src.training.checkpoint import save_checkpoint
WRITING = ("src/artifacts.py", "src/training/checkpoint.py")
def save(folder, epoch):
    save_checkpoint(folder, epoch, {"epoch": epoch, "weights": torch.full((4,), float(epoch))})
def count(frame, event, _):
    if not frame.f_code.co_filename.endswith(WRITING):
        return None
    if event == "line" and next(lines) == n:
        os.kill(os.getpid(), signal.SIGKILL)
    return count
os.fsync = lambda _: None  # what a killed process has written is there; it is for crashes of the machine
for n in itertools.count():
    folder = Path(sys.argv[1]) / str(n)
    save(folder, 1)
    save(folder, 2)
    if (child := os.fork()) == 0:
        lines = itertools.count()
        sys.settrace(count)
        save(folder, 3)
        os._exit(0)
    if os.waitpid(child, 0)[1] == 0:
        break
"""


@pytest.mark.slow
def test_killed_at_every_line_of_a_write(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-c", KILLED_AT_EVERY_LINE, tmp_path], cwd=REPOSITORY, check=True)
    folders = sorted(tmp_path.iterdir(), key=lambda folder: int(folder.name))
    assert len(folders) > 30
    found = []
    for folder in folders:
        epoch, said = load(folder)
        assert epoch in (2, 3)
        assert said == []
        found.append(epoch)
        save(folder, epoch + 1)
        expected = [f"epoch-{e:06d}.{kind}" for e in (epoch, epoch + 1) for kind in ("pt", "sha256")]
        assert names(folder) == expected
    assert found == sorted(found)
    assert {2, 3} == set(found)


@given(data=st.data())
def test_whatever_happens_to_the_newest_the_one_before_is_used(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("damaged")
    save(folder, 1, 2)
    file = folder / data.draw(st.sampled_from(["epoch-000002.pt", "epoch-000002.sha256"]))
    content = file.read_bytes()
    place = data.draw(st.integers(0, len(content) - 1))
    match data.draw(st.sampled_from(["flip", "truncate", "lengthen", "replace"])):
        case "flip":
            flipped = content[place] ^ 1 << data.draw(st.integers(0, 7))
            file.write_bytes(content[:place] + bytes([flipped]) + content[place + 1 :])
        case "truncate":
            file.write_bytes(content[:place])
        case "lengthen":
            file.write_bytes(content + b"\0")
        case "replace":
            file.write_bytes(bytes(len(content)))
    epoch, said = load(folder)
    assert epoch == 1
    assert len(said) == 1
    assert f"{folder / 'epoch-000002.pt'} is damaged" in said[0]
    assert has_checkpoint(folder)


def test_with_both_damaged_training_starts_anew_and_keeps_what_it_then_writes(tmp_path: Path) -> None:
    save(tmp_path, 4, 5)
    for file in tmp_path.glob("*.pt"):
        file.write_bytes(b"")
    epoch, said = load(tmp_path)
    assert epoch is None
    assert "epoch-000005.pt is damaged" in said[0]
    assert "epoch-000004.pt is damaged" in said[1]
    assert len(said) == 3
    assert f"no checkpoint in {tmp_path}" in said[2]
    assert not has_checkpoint(tmp_path)
    save(tmp_path, 1)
    assert load(tmp_path) == (1, [])
    assert names(tmp_path) == ["epoch-000001.pt", "epoch-000001.sha256"]


class Code:
    """A pickle that makes a folder when it is read."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.folder),)


def torch_bytes(content: object) -> bytes:
    buffer = BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


@pytest.mark.parametrize("content", ["code", "empty", "text", "truncated"])
def test_a_forged_checkpoint_with_a_right_hash_runs_nothing(tmp_path: Path, content: str) -> None:
    folder, trap = tmp_path / "checkpoints", tmp_path / "trap"
    save(folder, 1)
    forged = {
        "code": torch_bytes({"epoch": 2, "weights": Code(trap)}),
        "empty": b"",
        "text": b"epoch: 2",
        "truncated": torch_bytes({"epoch": 2})[:-100],
    }[content]
    (folder / "epoch-000002.pt").write_bytes(forged)
    (folder / "epoch-000002.sha256").write_text(sha256(forged).hexdigest() + "\n")
    epoch, said = load(folder)
    assert epoch == 1
    assert len(said) == 1
    assert f"{folder / 'epoch-000002.pt'} is not a checkpoint" in said[0]
    assert not trap.exists()
    torch.load(BytesIO(torch_bytes(Code(trap))), weights_only=False)
    assert trap.exists()  # it is a trap


def test_short_memory_is_not_taken_for_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Training would start anew and delete what is whole."""
    save(tmp_path, 1)

    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory: 1 GB")

    monkeypatch.setattr(checkpoint.torch, "load", fail)
    with pytest.raises(RuntimeError, match="allocate"):
        load(tmp_path)


@pytest.mark.slow
def test_a_stage_goes_on_from_what_is_whole_and_says_so(copy: Workspace) -> None:
    """A training that starts anew in a run that has its epochs already gets a run of its own."""
    (folder,) = (copy.root / ".checkpoints").iterdir()
    weights = copy.root / "models/model.safetensors"
    expected = weights.read_bytes()
    last = f"epoch-{TINY['train.epochs']:06d}.pt"

    def train() -> str:
        weights.unlink()
        output = copy.ok("python", "-m", "stages.train")
        assert weights.read_bytes() == expected
        return output

    assert "resuming after epoch 2 of 2" in train()

    (folder / last).write_bytes(b"")
    output = train()
    assert f"{last} is damaged" in output
    assert "resuming after epoch 1 of 2" in output
    assert len(copy.runs()) == 1

    for file in folder.glob("*.pt"):
        file.write_bytes(b"")
    output = train()
    assert "Training starts from the first epoch" in output
    assert "resuming" not in output
    runs = copy.runs()
    assert len(runs) == 2
    for run in runs:
        assert run.info.status == "FINISHED"
        points = copy.store().get_metric_history(run.info.run_id, "train/loss")
        assert [point.step for point in points] == [1, 2]
