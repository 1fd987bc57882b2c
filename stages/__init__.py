"""One thin module per DVC stage. Each reads parameters, calls src, writes files and mirrors them to MLflow.

DVC starts every stage as `python -m stages.NAME` from the root of the workspace.
"""

import ctypes
import gc
import os
import shlex
import signal
import sys
import time

from src.processes import cores, die_with_parent, import_quietly

if sys.argv[0] == "-m":  # while Python looks for `-m stages.NAME`, but not when a test imports a stage
    # The stage now imports its libraries, which takes seconds and creates half a million lasting objects. Searching
    # them for garbage again and again takes a quarter of that time.
    gc.disable()
    die_with_parent(signal.SIGTERM)  # else training continues after `dvc` is killed
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
CLEAN_UP = 15.0  # seconds; an MLflow server that does not answer takes 5


class Stopped(BaseException):
    """SIGTERM or Ctrl-C, so that `with` and `finally` blocks run. Not an Exception, so that no code catches it."""


# Printed after an error of a stage that makes data, because DVC has deleted its outputs before the start.
OLD_DATA = f"\n  Restore the previous data with: {git.undo(artifacts.PARAMS)} && dvc checkout"


def run_stage(main: Callable[[Params], None], after_error: str = "") -> None:
    """Call `main` with the validated parameters. Print user errors as one message, and exit non-zero on a stop.

    With exit code 0 after a stop, DVC would commit a partial result as a success.
    """
    gc.freeze()  # the libraries are loaded: never search their objects again
    gc.enable()
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)  # else a redirected run only shows its epochs at the end
    keep_memory()
    redact_tracebacks()
    for stop in STOPS:
        if signal.getsignal(stop) != signal.SIG_IGN:  # background jobs of a shell inherit an ignored Ctrl-C
            signal.signal(stop, _stop)
    try:
        try:
            reject_shallow_clone()
            main(load_params())
        except Exception as error:
            if told := sentence(error):
                sys.exit(f"error: {told}{'' if artifacts.in_temporary_copy() else after_error}")
            raise
    except Stopped as by:  # also while an error is reported
        sys.exit(f"stopped by {by}. The same command resumes from the last completed epoch")
    finally:
        for stop in STOPS:
            if signal.getsignal(stop) == _stop:  # the clean-up is done, and Python would print a traceback from now on
                signal.signal(stop, signal.SIG_DFL)
        gc.freeze()  # the process ends: a last search would take a second with torch and mlflow loaded


def reject_shallow_clone() -> None:
    """Raise UserError in a temporary copy of a shallow clone, where DVC loses the experiment and reports success.

    The git repository of the copy lacks the parents of the oldest commit, so DVC fails to fetch the result and ignores
    the error. Every stage calls this, because DVC skips `check` if its cache has the same parameters.
    """
    root = artifacts.root()
    if artifacts.in_temporary_copy() and git.shallow(root):
        raise UserError(
            f"{root} is a shallow clone, and this experiment runs in a temporary copy of it (--queue or --temp). DVC "
            "would lose the result.\n"
            f"  Get the missing commits with: git -C {shlex.quote(str(root))} fetch --unshallow\n"
            "  Then run the experiment again. In a shallow clone `dvc exp run` only works without --queue and --temp"
        )


def keep_memory() -> None:
    """Keep the memory of activations from step to step. Call it before PyTorch makes its first tensor.

    By default each large tensor gets new memory from the system and returns it after use. The system then provides and
    clears this memory page by page in every step, which takes a fifth of the training time on a CPU. Here glibc keeps
    freed memory (of tensors up to 32 MiB, its limit), and PyTorch requests pages of 2 MiB instead of 4 KiB
    (c10/core/impl/alloc_cpu.cpp). Results do not change. Systems without these features ignore the settings.
    """
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
    if sys.platform == "linux" and hasattr(libc := ctypes.CDLL(None), "mallopt"):
        m_trim_threshold, m_mmap_threshold = -1, -3
        libc.mallopt(m_mmap_threshold, 32 << 20)
        libc.mallopt(m_trim_threshold, 256 << 20)  # free memory to keep at the end of the heap


@contextmanager
def compute_turn(device: "torch.device") -> Iterator[None]:
    """On the CPU, wait until other stages of this repository leave enough cores free, and hold them for the block.

    Two computations on the same cores wait for each other at every step. This was measured to be 20 times slower than
    one after the other. With OMP_NUM_THREADS=1, as many queued experiments compute at once as there are cores.
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
    """Acquire one of `slots`. A process that dies releases its slot."""
    told = False
    while True:
        for slot in slots:
            try:
                slot.acquire(timeout=0)
                return slot
            except Timeout:
                continue
        if not told:
            print("waiting for another stage that uses this CPU", flush=True)
            told = True
        time.sleep(0.2)


_deaf_until = 0.0  # on the monotonic clock


def _stop(signum: int, frame: FrameType | None) -> None:
    """Raise Stopped. Ignore further stops during the clean-up, which they would interrupt.

    After CLEAN_UP seconds, stops count again. Python ignores exceptions in a `__del__`, so a first stop may be lost.
    """
    global _deaf_until
    if time.monotonic() >= _deaf_until:
        _deaf_until = time.monotonic() + CLEAN_UP
        raise Stopped(STOPS[signal.Signals(signum)])
