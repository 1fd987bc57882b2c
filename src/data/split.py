"""Stratified, seeded splits and samples."""

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


def drawn(labels: npt.NDArray[np.int64], share: float, seed: int) -> Indices:
    """Indices, sorted, of a sample: of every class that is there, round(share * images), at least one.

    Samples with the same seed are nested: a smaller share is a part of a larger one.
    """
    rng = np.random.default_rng(seed)
    parts = [np.empty(0, np.int64)]
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        parts.append(rng.permutation(members)[: max(1, round(share * len(members)))])
    return np.sort(np.concatenate(parts))
