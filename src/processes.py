"""What a process may use, and how long it may live."""

import ctypes
import os
import signal
import sys


def die_with_parent(stop: signal.Signals) -> None:
    """Ask Linux to send `stop` to this process when the one that started it is gone; elsewhere nothing happens."""
    if sys.platform == "linux":
        pr_set_pdeathsig = 1
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, stop)


def cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
