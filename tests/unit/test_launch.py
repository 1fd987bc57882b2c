"""Which failure of several processes is told, and what several devices and nodes need."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.distributed.elastic.multiprocessing.errors import ProcessFailure

from src import launch as launching
from src.errors import UserError
from src.launch import NODE, RENDEZVOUS, RankFailed, reason, report, this_node
from src.model import device as devices
from src.model.device import count_devices
from src.training.loop import train
from src.training.ranks import ALONE, Ranks
from stages import check
from tests.faults.small import enter, small
from tests.unit.training_helpers import make_params, make_prepared

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
SIGKILL, SIGTERM, SIGSEGV = -9, -15, -11


@pytest.fixture
def failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Makes what the agent has of a process that ended with a code, after `report` of an error or without a word."""

    def make(code: int, error: Exception | None = None) -> ProcessFailure:
        file = tmp_path / f"{len(list(tmp_path.iterdir()))}.json"
        if error is not None:
            monkeypatch.setenv("TORCHELASTIC_ERROR_FILE", str(file))
            try:
                raise error
            except type(error):
                report(error)
        return ProcessFailure(local_rank=0, pid=4321, exitcode=code, error_file=str(file))

    return make


LOST = RuntimeError("[pair.cc:561] gloo: Connection closed by peer [127.0.0.1]:35968")


def test_a_killed_process_is_the_reason_and_not_those_who_lost_it(failed: Any) -> None:
    error = reason({0: failed(1, LOST), 1: failed(SIGKILL), 2: failed(SIGTERM), 3: failed(1)})
    assert isinstance(error, UserError)
    assert str(error) == (
        "rank 1 of the training (process 4321) was ended by SIGKILL, often because memory is short. Training stopped. "
        "The same command resumes from the last completed epoch"
    )
    assert "was ended by SIGSEGV" in str(reason({0: failed(SIGTERM), 1: failed(SIGSEGV)}))
    assert "rank 1 of the training (process 4321) was ended by SIGTERM" in str(
        reason({0: failed(1, LOST), 1: failed(SIGTERM)})
    )
    assert "ended without a message" in str(reason({0: failed(1)}))


def test_a_mistake_is_told_in_its_own_words(failed: Any) -> None:
    error = reason({0: failed(SIGTERM), 1: failed(1, UserError("lower the rate: lr\n  like this")), 2: failed(1, LOST)})
    assert isinstance(error, UserError)
    assert str(error) == "lower the rate: lr\n  like this"
    memory = reason({0: failed(1, LOST), 1: failed(1, MemoryError("CUDA out of memory"))})
    assert isinstance(memory, UserError)
    assert "memory: CUDA out of memory\n" in str(memory)
    nccl = reason({0: failed(1, LOST), 1: failed(1, RuntimeError("NCCL error: out of memory"))})
    assert "memory: NCCL error" in str(nccl)


def test_an_error_of_the_program_keeps_its_traceback(failed: Any) -> None:
    error = reason({0: failed(1, LOST), 1: failed(1, ZeroDivisionError("by hand"))})
    assert isinstance(error, RankFailed)
    assert "rank 1 failed:\nTraceback" in str(error)
    assert "ZeroDivisionError: by hand" in str(error)


def test_lost_connections_alone_are_the_fault_of_another_node(failed: Any) -> None:
    error = reason({0: failed(1, LOST), 1: failed(1, RuntimeError("NCCL communicator was aborted"))})
    assert isinstance(error, UserError)
    assert "on another node has ended" in str(error)


def test_a_node_must_know_its_number_and_where_to_meet(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (NODE, RENDEZVOUS):
        monkeypatch.delenv(name, raising=False)
    assert this_node(1) == 0
    for number in ("", "2", "-1", "x", "٣"):
        monkeypatch.setenv(NODE, number)
        with pytest.raises(UserError, match=f"Set {NODE} to 0 on the node that runs DVC"):
            this_node(2)
    monkeypatch.setenv(NODE, "1")
    for place in ("", "host", "host:", "a b:1"):
        monkeypatch.setenv(RENDEZVOUS, place)
        with pytest.raises(UserError, match=f"Set {RENDEZVOUS} to HOST:PORT"):
            this_node(2)
    monkeypatch.setenv(RENDEZVOUS, "host:29400")
    assert this_node(2) == 1


def test_the_processes_share_the_cores(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(launching, "cores", lambda: 8)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert [launching._settings(tmp_path, count, 1)["OMP_NUM_THREADS"] for count in (2, 3, 16)] == ["4", "2", "1"]
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    assert launching._settings(tmp_path, 2, 1)["OMP_NUM_THREADS"] == "5"
    before = dict(os.environ)
    with launching._environment({"OMP_NUM_THREADS": "7", "A_NEW_ONE": "1"}):
        assert os.environ["OMP_NUM_THREADS"] == "7"
    assert dict(os.environ) == before


@given(st.integers(0, 1000), st.integers(1, 50))
def test_the_parts_follow_each_other_and_differ_by_one_at_most(length: int, count: int) -> None:
    parts = [list(range(length))[Ranks(rank, count).part(length)] for rank in range(count)]
    assert [index for part in parts for index in part] == list(range(length))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1
    assert list(range(length))[ALONE.part(length)] == list(range(length))


def test_without_others_nothing_is_sent() -> None:
    numbers = torch.tensor([1.0, 2.0])
    model = torch.nn.BatchNorm2d(2)
    assert ALONE.total(numbers) is numbers
    assert ALONE.from_first(numbers) is numbers
    assert ALONE.together(model) is model
    ALONE.buffers_from_first(model)
    assert not torch.distributed.is_initialized()


def test_devices_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "cores", lambda: 4)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    assert [count_devices(wanted, CPU) for wanted in ("auto", 1, 4)] == [1, 1, 4]  # type: ignore[arg-type]
    assert [count_devices(wanted, CUDA) for wanted in ("auto", 2)] == [3, 2]  # type: ignore[arg-type]
    assert count_devices("auto", torch.device("cuda:2")) == 1
    for wanted, device, told in (
        (5, CPU, r"train\.devices is 5, .* 4 cores"),
        (4, CUDA, "3 CUDA devices"),
        (2, torch.device("cuda:0"), "device is cuda:0"),
    ):
        with pytest.raises(UserError, match=told):
            count_devices(wanted, device)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"train.devices": 5}, r"train\.devices cannot be used: .* is 5, .* 4 cores"),
        ({"train.nodes": 2}, r"train\.nodes cannot be used: this training has 2 nodes"),
        ({"train.devices": 4, "train.batch_size": 3}, r"train\.batch_size cannot be used: 4 devices share each batch"),
        (
            {"train.devices": 4, "train.batch_size": 7, "train.sync_batch_norm": False, "model.strides": [2, 2, 2, 2]},
            r"model\.strides cannot be used: .* train\.batch_size is 1",
        ),
    ],
)
def test_check_refuses_what_the_devices_cannot_share(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], told: str
) -> None:
    enter(tmp_path, monkeypatch)
    monkeypatch.setattr(devices, "cores", lambda: 4)
    monkeypatch.delenv(NODE, raising=False)
    with pytest.raises(UserError, match=told):
        check.main(small(**changes))
    check.main(small(**{"train.devices": 4}))


def test_fewer_images_than_devices_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"3 training images .* 4 devices.*train\.devices"):
        train(make_prepared(train=3), make_params(), 0.1, CPU, "fp32", tmp_path, print, print, Ranks(0, 4))


def test_an_error_file_is_what_the_agent_reads(failed: Any) -> None:
    failure = failed(1, ValueError("x"))
    assert json.loads(Path(failure.error_file).read_text())["message"]["message"] == "ValueError: x"
