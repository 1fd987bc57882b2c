"""Start-up of the worker processes of the data code, and the shared memory that they need."""

import os
import signal
from multiprocessing import get_context
from pathlib import Path

from src.processes import die_with_parent

SHARED = Path("/dev/shm")  # shared memory and semaphores of Linux; 64 MB in Docker by default


def leave_stops_to_the_parent() -> None:
    """Remove the signal handlers that a forked worker inherits from the stage. The loader or pool ends the worker.

    If the stage was killed, Linux kills the worker too. Otherwise it would wait for work for ever and hold the locks
    that it inherits from the stage.
    """
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    die_with_parent(signal.SIGKILL)


def try_semaphores(count: int) -> None:
    """Raise OSError if /dev/shm has no room for `count` semaphores, the number that the workers will need.

    Without this trial, PyTorch raises the same error later and also prints a traceback during its clean-up. `sentence`
    explains the error to the user.
    """
    held = [get_context().Semaphore() for _ in range(count)]  # all at once, so that each needs its own room
    del held


def shared_room() -> float:
    """Free bytes of shared memory. Infinite on systems without /dev/shm, which keep it elsewhere."""
    try:
        system = os.statvfs(SHARED)
    except OSError:
        return float("inf")
    return system.f_bavail * system.f_frsize
