"""The data of any source before it is split: images and labels in memory."""

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from src.data.prepared import Split


@dataclass(frozen=True, eq=False)
class RawData:
    """Images for training, and for validation and testing if the source has its own splits.

    `test` and `val` are None if that split still has to be cut from `train`. `masks` (N, S, S) belong to the test
    images and are True on the object. `layout` is the recognised pattern of folders, '' for other sources. `notes` has
    sentences about assumptions. `unreadable` and `left_out` have the reason for each unused file.
    """

    train: Split
    test: Split | None
    classes: list[str]
    masks: npt.NDArray[np.bool_] | None = None
    val: Split | None = None
    layout: str = ""
    notes: list[str] = field(default_factory=list)
    unreadable: dict[str, str] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
