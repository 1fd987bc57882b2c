"""Locks between processes. A lock ends with its process, and its file is deleted on release."""

import json
import math
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout


@contextmanager
def locked(path: Path, on_wait: Callable[[str], None] = lambda holder: None, wait: float = math.inf) -> Iterator[None]:
    """Hold the lock file `path` for the block.

    If another process holds it, calls `on_wait(holder)` once ('process 12 on host') and waits. Raises filelock's
    Timeout after `wait` seconds, or immediately for 0.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        if not wait:
            raise
        on_wait(_holder(path))
        lock.acquire(timeout=-1 if wait == math.inf else wait, poll_interval=0.2)
    try:
        path.write_text(json.dumps({"pid": os.getpid(), "host": socket.gethostname()}), encoding="utf-8")
        yield
    finally:
        # Deleted while it is held: FileLock ignores a lock on a deleted file, so waiting processes open the next file.
        path.unlink(missing_ok=True)
        lock.release()


def _holder(path: Path) -> str:
    """The holder of a lock. It may have released the lock, or not yet written its name."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return f"process {content['pid']} on {content['host']}"
    except (OSError, ValueError, TypeError, KeyError):  # for any content of the file
        return "another process"
