"""Processes that do not outlive the one that started them."""

import ctypes
import signal
import sys


def die_with_parent(stop: signal.Signals) -> None:
    """Ask Linux to send `stop` to this process when the one that started it is gone; elsewhere nothing happens."""
    if sys.platform == "linux":
        pr_set_pdeathsig = 1
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, stop)
