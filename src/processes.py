"""What a process may use, how long it may live, and what it is told by its environment."""

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
    """Ask Linux to send `stop` to this process when the one that started it is gone; elsewhere nothing happens."""
    if sys.platform == "linux":
        pr_set_pdeathsig = 1
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, stop)


def import_quietly() -> None:
    """Let Ctrl-C end this process without a traceback for as long as it has nothing to clean up.

    To be called by a package while Python looks for a module of it that was named as in `python -m PACKAGE.MODULE`, and
    not when something else imports it: the module goes on to import its libraries, for seconds.
    """
    if sys.argv[0] == "-m" and signal.getsignal(signal.SIGINT) == signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)


@contextmanager
def stops_wait() -> Iterator[None]:
    """SIGTERM and Ctrl-C that come within the block are heard at its end.

    For short work that an exception may not leave in the middle. Nothing changes in another thread than the main one,
    where Python raises no stop, and for a signal that raises nothing: it is ignored, or ends the process.
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
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def experiment_environment() -> dict[str, str]:
    """This environment, with this Python first in PATH and a git identity if the machine has none.

    DVC commits experiments with git and fails without an identity. With PYTHONSAFEPATH, Python would not find the
    modules of the current folder. The variables only affect the processes that get this environment.
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
