"""What every source gives before it is split: images and labels in memory."""

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from src.data.prepared import Split


@dataclass(frozen=True, eq=False)
class RawData:
    """Images for training, and for validation and testing if the source has splits of its own.

    `test` None: a test split is still to be cut off; `val` None: a validation split is. `masks` (N, S, S) of the test
    images, True on the object. `layout` is the recognised pattern of folders ('' for other sources), `notes` are
    sentences about what was assumed. `unreadable` and `left_out`: why each file that is not used is not.
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
