"""Recognise the splits and classes in the folders of an archive or a folder."""

import re
import unicodedata
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal, NamedTuple

from src.errors import UserError

SplitName = Literal["train", "val", "test"]

# A folder is a split if its letters are one of these words with optional fillers: seg_train, Training-Set, test2017.
FILLERS = "(?:set|data|images?|imgs?|pictures?|photos?|samples?|split|seg|folder|cropped)*"
WORDS: dict[SplitName, str] = {
    "train": "train(?:ing)?",
    "val": "val(?:id(?:ation)?)?|dev",
    "test": "test(?:ing)?",
}
PATTERNS = {split: re.compile(f"{FILLERS}(?:{word}){FILLERS}") for split, word in WORDS.items()}

CURE = "Use train/CLASS/* and test/CLASS/* (val/CLASS/* is optional), or only CLASS/* to have a test set cut from it"
LISTED = 5  # names in a message, at most

Path = tuple[str, ...]  # folder names from the top, in NFC


class Place(NamedTuple):
    """The split and class that a file belongs to."""

    split: SplitName
    label: str


@dataclass(frozen=True)
class Layout:
    """The result of `recognise`.

    `description` is the recognised pattern, such as 'train/CLASS/*, test/CLASS/*'. `places` has the split and class of
    each file, in the order of the names. All files are in 'train' if the source has no splits. `left_out` has the
    reason for each unused file. `notes` has sentences about choices that the user may not expect.
    """

    description: str
    places: dict[str, Place]
    left_out: dict[str, str]
    notes: list[str]


class _Rule(NamedTuple):
    """A layout before its application. `place` returns the place of a folder's files, or the reason for having none."""

    description: str
    place: Callable[[Path], Place | str]
    notes: list[str]


class _Tree:
    """The folders with images, at any depth, and the folders without files."""

    def __init__(self, folders: Iterable[Path], with_images: set[Path], listed: Iterable[Path]) -> None:
        self._with_images = with_images
        self._below = _by_parent(with_images)
        filled = _by_parent(folders)
        self._empty = {parent: names - filled.get(parent, set()) for parent, names in _by_parent(listed).items()}

    def below(self, folder: Path) -> set[str]:
        """The subfolders with images, at any depth."""
        return self._below.get(folder, set())

    def empty(self, folder: Path) -> set[str]:
        """The subfolders without files, at any depth."""
        return self._empty.get(folder, set())

    def has_images(self, folder: Path) -> bool:
        """Whether images lie directly in `folder`."""
        return folder in self._with_images

    def descend(self, folder: Path, classes: Iterable[str] = ()) -> Path:
        """Go down from `folder` while all its images lie in a single subfolder that has subfolders too.

        Stop above a subfolder with a name in `classes`, and above an empty subfolder, because it may be a class.
        """
        while (
            len(below := self.below(folder)) == 1
            and below.isdisjoint(classes)
            and not self.empty(folder)
            and self.below(deeper := (*folder, *below))
        ):
            folder = deeper
        return folder


def split_name(folder: str) -> SplitName | None:
    """The split that a folder name stands for, in any usual spelling. None if it is not the name of a split."""
    letters = re.sub(r"[\W\d_]", "", folder.lower())
    return next((split for split, pattern in PATTERNS.items() if pattern.fullmatch(letters)), None)


def recognise(names: Iterable[str], images: Iterable[str], folders: Iterable[str] = ()) -> Layout:
    """Find splits and classes among files named like 'a/b/c.jpg'.

    `images` are the names of images, readable or not. Their folders decide the layout. `folders` are the folders that
    the source lists, such as 'a/b/', so that empty ones are noticed. Raises UserError if the folders are ambiguous or
    if a class folder is empty.
    """
    folder_of = {name: name.rpartition("/")[0] for name in sorted(names)}
    paths = {folder: _path(folder) for folder in set(folder_of.values())}
    tree = _Tree(paths.values(), {paths[folder_of[name]] for name in images}, map(_path, folders))
    rule = _find_rule(tree)
    found = {folder: rule.place(path) for folder, path in paths.items()}
    places: dict[str, Place] = {}
    left_out: dict[str, str] = {}
    for name, folder in folder_of.items():
        if isinstance(place := found[folder], Place):
            places[name] = place
        else:
            left_out[name] = place
    return Layout(rule.description, places, left_out, rule.notes)


def listed(names: Iterable[str]) -> str:
    """The first names in sorted order and the number of the others, for a message."""
    some = sorted(names)
    return ", ".join(some[:LISTED]) + (f" and {len(some) - LISTED:,} more" if len(some) > LISTED else "")


def _find_rule(tree: _Tree) -> _Rule:
    base = tree.descend(())  # inside a folder around everything, or inside a lone train/
    if named := _split_folders(tree, base):
        return _splits_of_classes(tree, base, named)
    if _is_classes_of_splits(tree, base):
        return _classes_of_splits(tree, base)
    _refuse_two_readings(tree, base)
    _refuse_empty(tree, [base])
    notes = _notes_on_subfolders(tree, base)
    if base and split_name(base[-1]):
        notes.append(f"{_shown(base)} is the only split, so the test set is cut from it (data.test_share)")
    return _Rule(
        _pattern(base),
        lambda path: Place("train", path[len(base)]) if _is_below(path, base) else "in no class folder",
        notes,
    )


def _split_folders(tree: _Tree, base: Path) -> dict[SplitName, str]:
    """The split folders directly below `base`, training first. {} if the folders there are classes."""
    tops = tree.below(base)
    named = {top: split for top in sorted(tops | tree.empty(base)) if (split := split_name(top))}
    if tops.isdisjoint(named):
        return {}  # beside classes, an empty folder is a class
    found = set(named.values())
    if len(found) == 1 and not any(tree.below((*base, top)) for top in tops):
        return {}  # classes, one of which is called train
    for split in found:
        same = [_shown((*base, top)) for top, other in named.items() if other == split]
        if len(same) > 1:
            raise UserError(
                f"{listed(same)} all have names of the {split} split. Keep one of them, or move their images into one"
            )
    if "train" not in found or len(found) == 1:
        lone = listed(_shown((*base, top)) for top in named)
        others = [_shown((*base, top)) for top in tops - named.keys()]
        raise UserError(
            f"{lone} has the name of a split{f' and is beside {listed(others)}' if others else ''}, but there is no "
            f"{'test/ or val/' if 'train' in found else 'train/'}. {CURE}. If {lone} is a class, rename it"
        )
    folder_of = {split: top for top, split in named.items()}
    return {split: folder_of[split] for split in WORDS if split in folder_of}


def _splits_of_classes(tree: _Tree, base: Path, named: dict[SplitName, str]) -> _Rule:
    """train/CLASS/*, test/CLASS/* and optionally val/CLASS/*, with any folders around the classes of each split."""
    for top in named.values():
        if top in tree.empty(base):
            raise UserError(f"{_shown((*base, top))} is empty. Put class folders into it, or remove it")
    train = tree.descend((*base, named["train"]))  # train/images/CLASS/*, seg_train/seg_train/CLASS/*
    if not tree.below(train):
        raise UserError(f"the images in {_shown(train)} have no labels, because they are not in class folders. {CURE}")
    roots = {split: tree.descend((*base, top), tree.below(train)) for split, top in named.items()} | {"train": train}
    flat = {split: root for split, root in roots.items() if not tree.below(root)}
    used: dict[SplitName, Path] = {split: root for split, root in roots.items() if split not in flat}
    notes = [
        f"the images in {_shown(root)} are not used. They have no labels, because they are not in class folders"
        for root in flat.values()
    ]
    if val_is_test := "val" in used and "test" not in named:
        used["test"] = used.pop("val")
    notes += _notes_on_splits({split: _shown(root) for split, root in used.items()}, val_is_test)
    notes += _notes_on_subfolders(tree, train)
    _refuse_empty(tree, used.values())

    def place(path: Path) -> Place | str:
        for split, root in used.items():
            if _is_below(path, root):
                return Place(split, path[len(root)])
        for root in flat.values():
            if path[: len(root)] == root:
                return f"in {_shown(root)} without a class folder"
        if _is_below(path, base) and path[len(base)] not in named.values():
            return f"in {_shown(path[: len(base) + 1])} beside the split folders"
        return "in no class folder"

    return _Rule(", ".join(_pattern(root) for root in used.values()), place, notes)


def _is_classes_of_splits(tree: _Tree, base: Path) -> bool:
    """Whether the class folders only hold split folders: a train/, and a test/ or val/ in at least one of them."""
    tops = tree.below(base)
    splits = {split_name(folder) for top in tops for folder in tree.below((*base, top))}
    return (
        len(tops) > 1
        and "train" in splits
        and len(splits) > 1
        and None not in splits
        and not any(tree.has_images((*base, top)) for top in tops)
    )


def _classes_of_splits(tree: _Tree, base: Path) -> _Rule:
    """CLASS/train/* and CLASS/test/* or CLASS/val/*."""
    depth = len(base)
    classes = [(*base, top) for top in tree.below(base)]
    found = {split_name(folder) for top in classes for folder in tree.below(top)}
    use: dict[SplitName | None, SplitName] = {split: split for split in WORDS if split in found}
    if val_is_test := "test" not in found:
        use["val"] = "test"
    _refuse_empty(tree, [base, *(top for top in classes if any(map(split_name, tree.empty(top))))])

    def place(path: Path) -> Place | str:
        if not _is_below(path, base):
            return "in no class folder"
        split = split_name(path[depth + 1]) if len(path) > depth + 1 else None
        return Place(use[split], path[depth]) if split in use else "in no split folder"

    shown = {used_as: _shown((*base, "CLASS", str(split))) for split, used_as in use.items()}
    return _Rule(", ".join(f"{folder}*" for folder in shown.values()), place, _notes_on_splits(shown, val_is_test))


def _notes_on_splits(shown: dict[SplitName, str], val_is_test: bool) -> list[str]:
    """Sentences about the source of the test and validation images. None if there is a test/ and no val/.

    `shown` has the folder of each split.
    """
    notes = []
    if val_is_test:
        notes.append(
            f"there is no test/, so {shown['test']} is the test set, and the validation split is cut from "
            f"{shown['train']} (data.val_share)"
        )
    elif "test" not in shown:
        notes.append(f"the test set is cut from {shown['train']} (data.test_share)")
    if "val" in shown:
        notes.append(f"{shown['val']} is the validation split, so data.val_share is not applied")
    return notes


def _notes_on_subfolders(tree: _Tree, base: Path) -> list[str]:
    """A note if the class folders below `base` have different subfolders, which may be the intended classes."""
    deeper = sorted((top, below) for top in tree.below(base) for below in tree.below((*base, top)))
    if len({below for _, below in deeper}) < 2:
        return []
    top, below = deeper[0]
    return [f"subfolders of a class folder are not classes: {_shown((*base, top, below))} belongs to the class {top}"]


def _refuse_two_readings(tree: _Tree, base: Path) -> None:
    """Raise UserError if all top folders have the same subfolders, two or more: either could be the classes."""
    roots = {top: tree.descend((*base, top)) for top in tree.below(base)}
    if len(roots) < 2 or any(tree.has_images((*base, top)) or tree.has_images(root) for top, root in roots.items()):
        return
    same = set.intersection(*(tree.below(root) for root in roots.values()))
    if len(same) > 1:
        raise UserError(
            f"the classes could be the folders {listed(roots)} or their subfolders {listed(same)}, which are the same "
            "in each. If the subfolders are the classes, move their images to CLASS/*, or rename the folders around "
            "them to train/ and test/. Otherwise move the images out of the subfolders"
        )


def _refuse_empty(tree: _Tree, roots: Iterable[Path]) -> None:
    found = [_shown((*root, name)) for root in roots for name in tree.empty(root)]
    if found:
        raise UserError(
            f"there is no image in {listed(found)}. Put images into {'them' if len(found) > 1 else 'it'}, or remove "
            f"{'these folders' if len(found) > 1 else 'this folder'}"
        )


def _by_parent(folders: Iterable[Path]) -> dict[Path, set[str]]:
    """The subfolder names of each folder, for `folders` and all folders above them."""
    found: dict[Path, set[str]] = {}
    for path in folders:
        for depth, name in enumerate(path):
            found.setdefault(path[:depth], set()).add(name)
    return found


def _path(folder: str) -> Path:
    return tuple(unicodedata.normalize("NFC", folder).strip("/").split("/")) if folder else ()


def _is_below(path: Path, root: Path) -> bool:
    return len(path) > len(root) and path[: len(root)] == root


def _shown(folder: Path) -> str:
    return "/".join(folder) + "/"


def _pattern(root: Path) -> str:
    return _shown((*root, "CLASS")) + "*"
