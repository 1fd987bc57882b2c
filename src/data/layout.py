"""Recognise how the files of a folder or an archive form splits and classes."""

import re
import unicodedata
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import combinations
from typing import Literal, NamedTuple

from src.errors import UserError

SplitName = Literal["train", "val", "test", ""]  # '': the source has no splits of its own

# A folder is a split if the words of its name are one of these and perhaps some of FILLERS: seg_train, Training-Set.
SPLIT_WORDS: dict[str, SplitName] = {
    "train": "train", "training": "train", "trainset": "train", "traindata": "train",
    "val": "val", "valid": "val", "validation": "val", "valset": "val", "dev": "val",
    "test": "test", "testing": "test", "testset": "test", "testdata": "test",
}  # fmt: skip
FILLERS = frozenset(
    [
        "set",
        "data",
        "dataset",
        "images",
        "image",
        "imgs",
        "img",
        "pictures",
        "photos",
        "samples",
        "split",
        "seg",
        "folder",
        "cropped",
    ]
)
IMAGE_SUFFIXES = frozenset(
    [
        "jpg",
        "jpeg",
        "jpe",
        "jfif",
        "png",
        "webp",
        "gif",
        "bmp",
        "tif",
        "tiff",
        "ppm",
        "pgm",
        "pbm",
        "pnm",
        "tga",
        "ico",
        "jp2",
        "j2k",
        "avif",
        "heic",
    ]
)
CURES = "Use train/CLASS/* and test/CLASS/* (val/CLASS/* may be added), or CLASS/* to have a test set cut"

Path = tuple[str, ...]  # folders and name, in NFC


class Place(NamedTuple):
    """The split and class that a file belongs to."""

    split: SplitName
    label: str


@dataclass(frozen=True)
class Layout:
    """What `recognise` found.

    `description`: the recognised pattern, such as 'train/CLASS/*, test/CLASS/*'. `places`: split and class of each
    file, in the order of the names. `left_out`: why each other file is not used. `notes`: sentences about choices
    that the user may not expect.
    """

    description: str
    places: dict[str, Place]
    left_out: dict[str, str]
    notes: list[str]


class _Tree:
    """The folders that hold images, at any depth."""

    def __init__(self, files: dict[str, Path], images: set[str]) -> None:
        self.files = files
        self._direct: set[Path] = set()
        self._tops: dict[Path, set[str]] = {}
        for name in images:
            path = files[name]
            if path[:-1] in self._direct:
                continue
            self._direct.add(path[:-1])
            for depth in range(len(path) - 1):
                self._tops.setdefault(path[:depth], set()).add(path[depth])

    def tops(self, base: Path) -> set[str]:
        """The folders directly below `base` that hold images, at any depth."""
        return self._tops.get(base, set())

    def has_images(self, base: Path) -> bool:
        """Whether images lie directly in `base`."""
        return base in self._direct


def looks_like_image(name: str) -> bool:
    """Whether the name of a file has the suffix of an image format."""
    return name.rpartition(".")[2].lower() in IMAGE_SUFFIXES


def split_name(folder: str) -> SplitName:
    """The split that the name of a folder stands for, in any usual spelling; '' if none."""
    words = re.findall(r"[a-z]+", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", folder).lower())
    found = {SPLIT_WORDS[word] for word in words if word in SPLIT_WORDS}
    others = [word for word in words if word not in SPLIT_WORDS and word not in FILLERS]
    return found.pop() if len(found) == 1 and not others else ""


def recognise(names: Iterable[str], images: set[str], empty_folders: Iterable[str] = ()) -> Layout:
    """Find splits and classes among files named like 'a/b/c.jpg'.

    `images`: the names that are images or should be. `empty_folders`: folders without any file. Raises UserError, with
    the way on, if the folders can mean several things or if a class folder is empty.
    """
    files = {name: tuple(unicodedata.normalize("NFC", name).split("/")) for name in sorted(names)}
    tree = _Tree(files, images)
    base: Path = ()
    while len(tops := tree.tops(base)) == 1 and tree.tops(inner := (*base, *tops)):
        base = inner  # a folder around everything, or a lone train/
    empty = [tuple(unicodedata.normalize("NFC", name).strip("/").split("/")) for name in empty_folders]
    named = _named_splits(tree, base, empty)
    if named:
        return _with_splits(tree, base, named, empty)
    if _split_within_class(tree, base, tops):
        return _class_first(tree, base, tops)
    _refuse_two_readings(tree, base, tops)
    _refuse_empty(base, empty, lambda path: len(path) == len(base) + 1)
    notes = []
    deeper = sorted((top, below) for top in tops for below in tree.tops((*base, top)))
    if len({below for _, below in deeper}) > 1:
        top, below = deeper[0]
        notes.append(f"images in subfolders belong to the class of the top folder: {top}/{below}/ to {top}")
    return _layout(
        f"{_shown((*base, 'CLASS', '*'))}",
        tree,
        lambda path: Place("", path[len(base)]) if len(path) > len(base) + 1 and path[: len(base)] == base else None,
        lambda path: "in no class folder",
        notes,
    )


def _named_splits(tree: _Tree, base: Path, empty: list[Path]) -> dict[SplitName, str]:
    """The split folders directly below `base`, by split; {} if the folders there are classes."""
    tops = tree.tops(base)
    below = {path[len(base)] for path in empty if len(path) > len(base) and path[: len(base)] == base}
    found: dict[SplitName, list[str]] = {}
    for top in sorted(tops | below):
        if split := split_name(top):
            found.setdefault(split, []).append(top)
    others = sorted(top for top in tops if not split_name(top))
    if not found or (len(found) == 1 and not tops & {top for names in found.values() for top in names}):
        return {}  # an empty folder with the name of a split, beside classes, is an empty class
    if len(found) == 1 and all(not tree.tops((*base, top)) for top in tops):
        return {}  # classes, one of which is called train
    for split, names in found.items():
        if len(names) > 1:
            raise UserError(
                f"{' and '.join(_shown((*base, name)) + '/' for name in names)} are both named for the {split} split. "
                "Keep one of them, or join them"
            )
    if "train" not in found or len(found) == 1:
        lone = ", ".join(_shown((*base, name)) + "/" for names in found.values() for name in names)
        beside = f" beside {', '.join(_shown((*base, other)) + '/' for other in others[:5])}" if others else ""
        lacks = "a test/ or val/" if "train" in found else "a train/"
        raise UserError(f"{lone} lies there{beside}, without {lacks}. {CURES}")
    order: tuple[SplitName, ...] = ("train", "val", "test")
    return {split: found[split][0] for split in order if split in found}


def _with_splits(tree: _Tree, base: Path, named: dict[SplitName, str], empty: list[Path]) -> Layout:
    for top in named.values():
        if (*base, top) in empty:
            raise UserError(
                f"{_shown((*base, top))}/ is empty. Fill it with class folders as the others have them, or remove it"
            )
    roots = {split: (*base, top) for split, top in named.items()}
    for split, root in roots.items():  # train/images/CLASS/*, seg_train/seg_train/CLASS/*
        elsewhere = {
            top for other, o in roots.items() if other != split and len(tops := tree.tops(o)) > 1 for top in tops
        }
        while (
            len(tops := tree.tops(root)) == 1 and not tops & elsewhere and not tree.has_images(root)
            and tree.tops(inner := (*root, *tops))
        ):  # fmt: skip
            root = inner
        roots[split] = root
    flat = [split for split, root in roots.items() if not tree.tops(root)]
    if "train" in flat:
        raise UserError(
            f"{_shown(roots['train'])}/ holds its images in no class folders, so they have no labels. {CURES}"
        )
    notes = [
        f"{_shown(roots[split])}/ holds its images in no class folders, so they have no labels and are not used"
        for split in flat
    ]
    used: dict[SplitName, Path] = {split: root for split, root in roots.items() if split not in flat}
    if "test" not in used:
        if "val" in used and "test" not in roots:
            used = {"train": used["train"], "test": used["val"]}
            notes.append(
                f"there is no test/, so {_shown(used['test'])}/ is the test set, and validation images are cut from "
                f"{_shown(used['train'])}/"
            )
        else:
            notes.append(f"the test set is cut from {_shown(used['train'])}/ (data.test_share)")
    _refuse_empty(base, empty, lambda path: path[:-1] in used.values())

    def place(path: Path) -> Place | None:
        for split, root in used.items():
            if len(path) > len(root) + 1 and path[: len(root)] == root:
                return Place("" if split == "train" and len(used) == 1 else split, path[len(root)])
        return None

    def reason(path: Path) -> str:
        for split in flat:
            if path[: len(roots[split])] == roots[split]:
                return f"in {_shown(roots[split])}/ without a class folder"
        top = path[len(base)] if len(path) > len(base) + 1 and path[: len(base)] == base else ""
        return f"in {_shown((*base, top))}/, beside the split folders" if top and top not in named.values() else (
            "in no class folder"
        )  # fmt: skip

    description = ", ".join(f"{_shown((*root, 'CLASS', '*'))}" for root in used.values())
    return _layout(description, tree, place, reason, notes)


def _split_within_class(tree: _Tree, base: Path, tops: set[str]) -> bool:
    """Whether every class folder holds a train/ and a test/ or val/, and nothing else."""
    subfolders = [tree.tops((*base, top)) for top in tops]
    kinds = [{split_name(folder) for folder in folders} for folders in subfolders]
    return (
        len(tops) > 1
        and all(len(found) == len(folders) for found, folders in zip(kinds, subfolders, strict=True))
        and all("train" in found and len(found) > 1 and "" not in found for found in kinds)
        and not any(tree.has_images((*base, top)) for top in tops)
    )


def _class_first(tree: _Tree, base: Path, tops: set[str]) -> Layout:
    depth = len(base)
    splits = {split_name(folder) for top in tops for folder in tree.tops((*base, top))}
    notes = []
    if "test" not in splits:
        notes.append("there is no test/, so val/ is the test set, and validation images are cut from train/")

    def place(path: Path) -> Place | None:
        if len(path) < depth + 3 or path[:depth] != base:
            return None
        split = split_name(path[depth + 1])
        return Place("test" if split == "val" and "test" not in splits else split, path[depth]) if split else None

    description = ", ".join(
        _shown((*base, "CLASS", split, "*")) for split in ("train", "val", "test") if split in splits
    )
    return _layout(description, tree, place, lambda _: "in no class folder", notes)


def _refuse_two_readings(tree: _Tree, base: Path, tops: set[str]) -> None:
    """UserError if all top folders hold the same two or more subfolders: either ones could be the classes."""
    if len(tops) < 2 or any(tree.has_images((*base, top)) for top in tops):
        return
    subfolders = [tree.tops((*base, top)) for top in sorted(tops)]
    same = set.intersection(*subfolders)
    if len(same) >= 2:
        raise UserError(
            f"the classes could be the folders {_listed(tops)} or their subfolders {_listed(same)}, which each of them "
            f"has. If the subfolders are the classes, move the images to CLASS/* or rename the folders to train/ and "
            "test/. If the folders are, move their images out of the subfolders"
        )


def _refuse_empty(base: Path, empty: list[Path], is_class: Callable[[Path], bool]) -> None:
    found = sorted(_shown(path) + "/" for path in empty if path[: len(base)] == base and is_class(path))
    if found:
        raise UserError(
            f"class folder{'s' if len(found) > 1 else ''} without any image: {', '.join(found[:10])}"
            f"{f' and {len(found) - 10} more' if len(found) > 10 else ''}. Add images, or remove the folder"
            f"{'s' if len(found) > 1 else ''}"
        )


def _layout(
    description: str,
    tree: _Tree,
    place: Callable[[Path], Place | None],
    reason: Callable[[Path], str],
    notes: list[str],
) -> Layout:
    places: dict[str, Place] = {}
    left_out: dict[str, str] = {}
    for name, path in tree.files.items():
        if found := place(path):
            places[name] = found
        else:
            left_out[name] = reason(path)
    return Layout(description, places, left_out, notes)


def similar_names(labels: Iterable[str]) -> list[tuple[str, str]]:
    """Pairs of class names that differ only in case or surrounding spaces."""
    return [(a, b) for a, b in combinations(sorted(labels), 2) if a.casefold().strip() == b.casefold().strip()]


def _shown(path: Path) -> str:
    return "/".join(path)


def _listed(names: Iterable[str]) -> str:
    some = sorted(names)
    return ", ".join(some[:5]) + (f" and {len(some) - 5} more" if len(some) > 5 else "")
