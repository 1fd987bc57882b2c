"""What every worker process of the data code starts with, and the shared memory that it needs."""

import os
import signal
from multiprocessing import get_context
from pathlib import Path

from src.processes import die_with_parent

SHARED = Path("/dev/shm")  # where Linux keeps shared memory and semaphores; Docker gives it 64 MB


def leave_stops_to_the_parent() -> None:
    """Drop the stage's signal handlers, which a forked worker inherits: its loader or pool ends it, without a word.

    Where the stage was killed and ends nothing any more, Linux does: a worker would wait for work for ever, and keep
    the stage's locks, which it has inherited too.
    """
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    die_with_parent(signal.SIGKILL)


def try_semaphores(count: int) -> None:
    """Raise OSError if /dev/shm has no room for `count` semaphores, as many as workers are about to need.

    Without this trial PyTorch raises the same error half-way, and prints a traceback of its own while it cleans up.
    `sentence` explains the error.
    """
    held = [get_context().Semaphore() for _ in range(count)]  # at once, so that each needs room beside the others
    del held


def shared_room() -> float:
    """Free bytes of shared memory; infinite on systems without /dev/shm, which keep it elsewhere."""
    try:
        system = os.statvfs(SHARED)
    except OSError:
        return float("inf")
    return system.f_bavail * system.f_frsize
