"""Stratified, seeded splits and samples."""

from collections import Counter
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from src.errors import UserError

Indices = npt.NDArray[np.int64]


def stratified(
    labels: npt.NDArray[np.int64], share: float, seed: int, classes: Sequence[str], first: Indices | None = None
) -> tuple[Indices, Indices]:
    """Split off round(share * images) images of every class, at least one. Return sorted indices: kept and split off.

    `first` (N,) has for each image the index of its first copy (`first_copies`), or is None if there are no copies.
    Copies stay on one side, also across labels, so the count of a class may differ slightly. Raises UserError if a
    class has fewer than two different images, or if all its images are copies of images on one side.
    """
    rng = np.random.default_rng(seed)
    first = np.arange(len(labels)) if first is None else first
    is_cut: dict[int, bool] = {}  # by index of the first copy
    for label, name in enumerate(classes):
        members = np.flatnonzero(labels == label)
        sizes = Counter(first[rng.permutation(members)].tolist())  # in the order of drawing
        if len(sizes) < 2:
            copies = f" ({len(members)} copies of it)" if len(members) > 1 else ""
            raise UserError(
                f"class {name} has only one image left to split{copies}, but needs two different ones. "
                "Add images of this class or remove it"
            )
        _divide(sizes, min(max(1, round(share * len(members))), len(members) - 1), is_cut)
        if len({is_cut[group] for group in sizes}) < 2:
            raise UserError(
                f"class {name} cannot be split, because all its images are copies of images of other classes. "
                "Remove copies, or try another data.split_seed"
            )
    taken = np.array([is_cut[group] for group in first.tolist()], bool)
    return np.flatnonzero(~taken), np.flatnonzero(taken)


def _divide(sizes: Counter[int], count: int, is_cut: dict[int, bool]) -> None:
    """Decide in `is_cut` which groups of copies to split off: the first ones that fit into `count`, at least one.

    `sizes` has the number of images in each group, in the order of drawing. Decisions of other classes stay.
    """
    cut = sum(size for group, size in sizes.items() if is_cut.get(group))
    undecided = [group for group in sizes if group not in is_cut]
    for group in undecided:
        is_cut[group] = cut + sizes[group] <= count
        cut += sizes[group] if is_cut[group] else 0
    if cut == 0 and undecided:
        is_cut[min(undecided, key=sizes.__getitem__)] = True


def drawn(labels: npt.NDArray[np.int64], share: float, seed: int) -> Indices:
    """Sorted indices of a sample with round(share * images) images of every existing class, at least one.

    Samples with the same seed are nested: a larger share contains every smaller one.
    """
    rng = np.random.default_rng(seed)
    parts = [np.empty(0, np.int64)]
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        parts.append(rng.permutation(members)[: max(1, round(share * len(members)))])
    return np.sort(np.concatenate(parts))
