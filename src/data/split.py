"""Stratified, seeded splits."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from src.errors import UserError

Indices = npt.NDArray[np.int64]


def stratified(
    labels: npt.NDArray[np.int64], share: float, seed: int, classes: Sequence[str]
) -> tuple[Indices, Indices]:
    """Indices kept and indices cut off, each sorted: of every class, round(share * images), at least one.

    UserError names a class with too few images to leave one on either side.
    """
    rng = np.random.default_rng(seed)
    cut: list[Indices] = []
    for label, name in enumerate(classes):
        members = np.flatnonzero(labels == label)
        if len(members) < 2:
            raise UserError(f"class {name} has {len(members)} images left to split; it needs at least 2, add some")
        count = min(max(1, round(share * len(members))), len(members) - 1)
        cut.append(rng.permutation(members)[:count])
    taken = np.sort(np.concatenate(cut))
    return np.setdiff1d(np.arange(len(labels)), taken), taken
