"""The progress bar of training and validation."""

import sys
from collections.abc import Iterable
from typing import TypeVar

from tqdm import tqdm

T = TypeVar("T")


def progress(iterable: Iterable[T], description: str, total: int, shown: bool = True) -> "tqdm[T]":
    """Show a progress bar over batches on stderr, updated twice per second on a terminal and every 10 s in a log.

    The bar disappears at the end. It does not appear within the first second, or if `shown` is False.
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
