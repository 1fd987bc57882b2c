"""Stratified, seeded splits and samples."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from src.errors import UserError

Indices = npt.NDArray[np.int64]


def stratified(
    labels: npt.NDArray[np.int64],
    share: float,
    seed: int,
    classes: Sequence[str],
    first: npt.NDArray[np.int64] | None = None,
) -> tuple[Indices, Indices]:
    """Indices kept and indices cut off, each sorted: of every class, round(share * images), at least one.

    `first` (N,): for each image the index of its first copy (`first_copies`). Copies stay on one side, so that a class
    may get a few images more or fewer. Raises UserError if a class has fewer than two different images.
    """
    rng = np.random.default_rng(seed)
    taken = np.zeros(len(labels), bool)
    copied = np.zeros(0, np.int64) if first is None else _of_copies(first)
    side: dict[int, bool] = {}  # of a group of copies, by its first image: whether it is cut off
    for label, name in enumerate(classes):
        members = np.flatnonzero(labels == label)
        different = len(members) if first is None else len(np.unique(first[members]))
        if different < 2:
            copies = "" if different == len(members) else f", which are copies of {different} picture"
            raise UserError(
                f"class {name} has {len(members)} images left to split{copies}; it needs at least 2 different ones"
            )
        count = min(max(1, round(share * len(members))), len(members) - 1)
        drawn = rng.permutation(members)
        if first is None or not np.isin(members, copied, assume_unique=True).any():
            taken[drawn[:count]] = True
            continue
        groups = list(dict.fromkeys(first[drawn].tolist()))
        free = [group for group in groups if group not in side]
        cut = sum(int((first[members] == group).sum()) for group in groups if side.get(group))
        for position, group in enumerate(free):
            # At least one group is cut off and one is kept.
            last_kept = position == len(free) - 1 and all(side.get(other, True) for other in groups)
            side[group] = cut < count and not last_kept
            cut += int((first[members] == group).sum()) if side[group] else 0
        taken[members] = [side[group] for group in first[members].tolist()]
        if taken[members].all() or not taken[members].any():
            raise UserError(
                f"class {name} cannot be split: its images are copies of those of other classes. Remove the copies"
            )
    return np.flatnonzero(~taken), np.flatnonzero(taken)


def _of_copies(first: npt.NDArray[np.int64]) -> Indices:
    """The images that have a copy."""
    return np.flatnonzero(np.bincount(first, minlength=len(first))[first] > 1)


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
