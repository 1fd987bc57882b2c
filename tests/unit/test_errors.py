"""What a person is told, and what stays a traceback for a bug report."""

import errno
import os
import subprocess
import sys

import pytest
import torch

from src.errors import UserError, sentence
from tests.conftest import REPOSITORY


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (UserError("norm is wrong"), "norm is wrong"),
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "models/x"), "the disk is full"),
        (OSError(errno.EFBIG, os.strerror(errno.EFBIG)), "run the same command again"),
        (FileNotFoundError(errno.ENOENT, "No such file or directory", "a.csv"), "a.csv: No such file or directory"),
        (
            FileNotFoundError(errno.ENOENT, "No such file", "a\x1b[2J\u202e\udcff é"),
            r"a\x1b[2J\u202e\udcff é: No such file",
        ),
        (UserError("no \x07 bell,\nbut lines"), "no \\x07 bell,\nbut lines"),
        (MemoryError(), "memory: MemoryError"),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.\nMore"), "20.00 GiB.\n"),
        (RuntimeError("DataLoader worker (pid(s) 7) exited unexpectedly"), "train.workers=0"),
        (RuntimeError("NCCL error\nError while creating shared memory segment /dev/shm/nccl-x (size 9)"), "--shm-size"),
    ],
)
def test_what_a_person_can_mend_is_a_sentence(error: Exception, said: str) -> None:
    assert said in str(sentence(error))


@pytest.mark.parametrize(
    "error",
    [
        ValueError("x"),
        RuntimeError("shape mismatch"),
        RuntimeError("out of resource: shared memory, Required: 147456"),  # of a GPU's kernel
        OSError("2 requested, 1 written"),
    ],
)
def test_an_error_of_the_program_keeps_its_traceback(error: Exception) -> None:
    assert sentence(error) is None


def test_memory_that_the_cpu_does_not_have_is_told() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(1 << 55)
    assert "train.batch_size" in str(sentence(caught.value))


@pytest.mark.parametrize("run", ["run_command", "run_stage"])
def test_a_traceback_is_whole_and_shows_no_password(run: str) -> None:
    code = f"""from src.runtime.run import {run} as run
def main(*_):
    try:
        raise OSError("no answer from http://user:Zq7x@host/x")
    except OSError as error:
        raise ValueError("http://user:Zq7x@host/y") from error
run(main)"""
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "Zq7x" not in done.stderr
    assert done.stderr.startswith("Traceback")
    assert done.stderr.endswith("ValueError: http://***@host/y\n")
    assert "OSError: no answer from http://***@host/x" in done.stderr
