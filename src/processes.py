"""Cores, signals and environment of our processes."""

import ctypes
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType


def die_with_parent(stop: signal.Signals) -> None:
    """Ask Linux to send `stop` to this process when its parent ends. Does nothing on other systems."""
    if sys.platform == "linux":
        pr_set_pdeathsig = 1
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, stop)


def import_quietly() -> None:
    """Let Ctrl-C end this process without a traceback while it only imports libraries, which takes seconds.

    A package calls this while Python looks for the module of `python -m PACKAGE.MODULE`. It has no effect if anything
    else imports the package.
    """
    if sys.argv[0] == "-m" and signal.getsignal(signal.SIGINT) == signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)


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
def stops_wait() -> Iterator[None]:
    """Delay SIGTERM and Ctrl-C until the end of the block.

    For short work that an exception must not interrupt. It has no effect outside the main thread, where Python raises
    no exception for a signal, and for a signal that is ignored or ends the process directly.
    """
    came: list[int] = []

    def note(signum: int, frame: FrameType | None) -> None:
        came.append(signum)

    raising = {}
    if threading.current_thread() is threading.main_thread():
        for stop in (signal.SIGTERM, signal.SIGINT):
            if callable(signal.getsignal(stop)):
                raising[stop] = signal.signal(stop, note)
    try:
        yield
    finally:
        for stop, handler in raising.items():
            signal.signal(stop, handler)
        if came:
            signal.raise_signal(came[0])


def cores() -> int:
    """The number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def experiment_environment() -> dict[str, str]:
    """This environment with this Python first in PATH, and with a git identity if the machine has none.

    DVC commits experiments with git, which fails without an identity. PYTHONSAFEPATH is removed, because with it Python
    does not find modules in the current folder. The variables only affect processes that get this environment.
    """
    environment = dict(os.environ)
    environment.pop("PYTHONSAFEPATH", None)
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment.get('PATH', '')}"
    identity = subprocess.run(["git", "config", "user.email"], capture_output=True, check=False)
    if identity.returncode != 0:
        for role in ("AUTHOR", "COMMITTER"):
            environment.setdefault(f"GIT_{role}_NAME", "NormLens")
            environment.setdefault(f"GIT_{role}_EMAIL", "normlens@localhost")
    return environment
