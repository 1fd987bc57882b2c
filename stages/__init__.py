"""One thin module a DVC stage: read params, call src, write files, mirror to MLflow.

Every stage is started as `python -m stages.NAME` from the root of the workspace, by DVC.
"""

import ctypes
import gc
import os
import shlex
import signal
import sys
import time

from src.processes import cores, die_with_parent, import_quietly

if sys.argv[0] == "-m":  # what Python says while it looks for `-m stages.NAME`, and not when a test imports a stage
    # The stage is about to import its libraries, for seconds. They make half a million objects that stay: searching
    # them for garbage again and again takes a quarter of that time.
    gc.disable()
    die_with_parent(signal.SIGTERM)  # else a killed `dvc` leaves a trainer behind
import_quietly()

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import TextIOWrapper
from types import FrameType
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from src import artifacts, git
from src.errors import UserError, redact_tracebacks, sentence
from src.params import Params, load_params

if TYPE_CHECKING:
    import torch

STOPS = {signal.SIGTERM: "SIGTERM", signal.SIGINT: "Ctrl-C"}
CLEAN_UP = 15.0  # seconds; a tracker that does not answer takes 5


class Stopped(BaseException):
    """SIGTERM or Ctrl-C, so that `with` and `finally` blocks run. Not an Exception: nothing may swallow it."""


# Printed after an error of a stage that makes data: DVC has deleted its outputs before it started.
OLD_DATA = f"\n  Get back the data that was here before with: {git.undo(artifacts.PARAMS)} && dvc checkout"


def run_stage(main: Callable[[Params], None], after_error: str = "") -> None:
    """Call `main` with the validated parameters; what a person can mend is a sentence, a stop a non-zero exit.

    The exit must not be 0 on a stop: DVC would commit a half-written result as a success.
    """
    gc.freeze()  # the libraries are loaded: their objects are never searched
    gc.enable()
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)  # else a redirected run shows its epochs when it is over
    keep_memory()
    redact_tracebacks()
    for stop in STOPS:
        if signal.getsignal(stop) != signal.SIG_IGN:  # a shell's background jobs inherit an ignored Ctrl-C
            signal.signal(stop, _stop)
    try:
        try:
            reject_shallow_clone()
            main(load_params())
        except Exception as error:
            if told := sentence(error):
                sys.exit(f"error: {told}{'' if artifacts.in_temporary_copy() else after_error}")
            raise
    except Stopped as by:  # also while an error is told
        sys.exit(f"stopped by {by}; the same command goes on from the last whole epoch")
    finally:
        for stop in STOPS:
            if signal.getsignal(stop) == _stop:  # nothing is left to clean up, and Python prints what is raised now
                signal.signal(stop, signal.SIG_DFL)
        gc.freeze()  # the process ends: searching all of it once more takes a second with torch and mlflow loaded


def reject_shallow_clone() -> None:
    """Raise UserError in a temporary copy of a shallow clone, where DVC loses the experiment and reports success.

    The copy's git lacks the parents of the oldest commit, so DVC fails to fetch the result from it and ignores the
    error. Every stage calls this, because DVC skips `check` if it has the same parameters in its cache.
    """
    root = artifacts.root()
    if artifacts.in_temporary_copy() and git.shallow(root):
        raise UserError(
            f"{root} is a shallow clone, and this experiment runs in a temporary copy of it (--queue or --temp): DVC "
            "would lose the result.\n"
            f"  Get the missing commits with: git -C {shlex.quote(str(root))} fetch --unshallow\n"
            "  Then run the experiment again. In a shallow clone `dvc exp run` only works without --queue and --temp"
        )


def keep_memory() -> None:
    """Keep the memory of activations from step to step; to be called before PyTorch makes its first tensor.

    As a rule each large tensor is memory new from the system and given back after use: at every step it is handed out
    page by page and cleared again, which takes a fifth of the training time on a CPU. So glibc keeps what is freed
    (tensors up to 32 MiB, the most that it allows), and PyTorch asks for pages of 2 MiB instead of 4 KiB
    (c10/core/impl/alloc_cpu.cpp). Results stay the same. On systems without the one or the other nothing happens.
    """
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
    if sys.platform == "linux" and hasattr(libc := ctypes.CDLL(None), "mallopt"):
        m_trim_threshold, m_mmap_threshold = -1, -3
        libc.mallopt(m_mmap_threshold, 32 << 20)
        libc.mallopt(m_trim_threshold, 256 << 20)  # free memory at the end of the heap that is kept


@contextmanager
def compute_turn(device: "torch.device") -> Iterator[None]:
    """On the CPU, wait until enough cores are free of other stages of this repository, and hold them for the block.

    Two computations that share the cores wait for each other at every step: measured 20 times slower than one after
    the other. With OMP_NUM_THREADS=1, as many queued experiments compute at once as there are cores.
    """
    if device.type != "cpu":
        yield
        return
    from torch import get_num_threads

    folder = artifacts.root() / ".locks"
    folder.mkdir(exist_ok=True)
    slots = [FileLock(folder / f"cpu-{slot}.lock") for slot in range(max(1, cores() // get_num_threads()))]
    slot = _first_free(slots)
    try:
        yield
    finally:
        slot.release()


def _first_free(slots: list[FileLock]) -> FileLock:
    """Acquire one of `slots`; a process that dies gives its slot back."""
    told = False
    while True:
        for slot in slots:
            try:
                slot.acquire(timeout=0)
                return slot
            except Timeout:
                continue
        if not told:
            print("waiting for another stage that computes on this CPU", flush=True)
            told = True
        time.sleep(0.2)


_deaf_until = 0.0  # on the monotonic clock


def _stop(signum: int, frame: FrameType | None) -> None:
    """Raise Stopped. A second stop would end the clean-up that the first one began, and is ignored.

    After CLEAN_UP it is heard again: Python drops what is raised within a `__del__`, and a first stop may be lost so.
    """
    global _deaf_until
    if time.monotonic() >= _deaf_until:
        _deaf_until = time.monotonic() + CLEAN_UP
        raise Stopped(STOPS[signal.Signals(signum)])
