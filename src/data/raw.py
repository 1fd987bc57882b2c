"""What every source gives before it is split: images and labels in memory."""

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from src.data.prepared import Split


@dataclass(frozen=True, eq=False)
class RawData:
    """Images for training (validation included) and, where the source has its own, for testing.

    `test` None: a test split is still to be cut off. `masks` (N, S, S) of the test images, True on the object.
    `unreadable`: (file, reason); `ignored`: files that lie in no class folder.
    """

    train: Split
    test: Split | None
    classes: list[str]
    masks: npt.NDArray[np.bool_] | None = None
    unreadable: list[tuple[str, str]] = field(default_factory=list)
    ignored: list[str] = field(default_factory=list)
