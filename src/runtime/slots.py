"""Slots of the CPU, so that stages of one repository do not compute on the same cores at once."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from src import artifacts
from src.processes import cores

if TYPE_CHECKING:
    import torch


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
