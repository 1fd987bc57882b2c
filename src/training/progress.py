"""The progress bar of everything that takes a while."""

import sys
from collections.abc import Iterable
from typing import TypeVar

from tqdm import tqdm

T = TypeVar("T")


def progress(iterable: Iterable[T], description: str, total: int, shown: bool = True) -> "tqdm[T]":
    """A bar over batches on stderr: twice a second on a terminal, every ten seconds in a log, gone when it is done.

    Nothing is shown of what is done within a second, or where `shown` is False.
    """
    interval = 0.5 if sys.stderr.isatty() else 10.0
    return tqdm(
        iterable,
        desc=description,
        total=total,
        unit="batch",
        leave=False,
        mininterval=interval,
        dynamic_ncols=True,
        delay=1,
        disable=not shown,
    )
