"""Folders and archives as people have them, and what must come out of each: the next odd one is one more row of CASES.

Every image folder of a case holds four different pictures unless it says otherwise. With the shares of `parameters`
(test 0.2, validation 0.25), `CLASS/*` gives 2 training, 1 validation and 1 test images per class, and `train/CLASS/*`
gives 3 training and 1 validation images.
"""

import struct
import zipfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from tests.unit.data_helpers import picture, write_folder, write_tar, write_zip

Files = dict[str, bytes]
Writer = Callable[[Path, Mapping[str, bytes]], Path]


@cache
def _picture(number: int) -> bytes:
    return picture(number)


def images(*folders: str, count: int = 4) -> Files:
    """`count` pictures in each folder ('' is the top), all different."""
    names = [f"{folder}/{number}.png".lstrip("/") for folder in folders for number in range(count)]
    return {name: _picture(number) for number, name in enumerate(names)}


class _ZipName(zipfile.ZipInfo):
    """A member whose name is written as these bytes, without the mark of UTF-8."""

    def __init__(self, raw: bytes) -> None:
        super().__init__(raw.decode("cp437"))
        self.raw = raw

    def _encodeFilenameFlags(self) -> tuple[bytes, int]:  # of zipfile
        return self.raw, self.flag_bits


def zip_as(encoding: str, separator: str = "/", unicode_path: bool = False) -> Writer:
    """Writes zips as programs do that know only `encoding`, perhaps with the field that repeats a name in UTF-8."""

    def write(path: Path, files: Mapping[str, bytes]) -> Path:
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in files.items():
                member = _ZipName(name.replace("/", separator).encode(encoding))
                if unicode_path:
                    text = struct.pack("<BL", 1, zlib.crc32(member.raw)) + name.encode()
                    member.extra = struct.pack("<HH", 0x9999, 2) + b"??" + struct.pack("<HH", 0x7075, len(text)) + text
                archive.writestr(member, content)
        return path

    return write


def deflate64_zip(path: Path, files: Mapping[str, bytes]) -> Path:
    """A zip whose members say that they are compressed with Deflate64, as Windows Explorer writes those above 2 GB."""
    content = bytearray(write_zip(path, files).read_bytes())
    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            struct.pack_into("<H", content, member.header_offset + 8, 9)
        start = archive.start_dir
    while content[start : start + 4] == b"PK\x01\x02":
        struct.pack_into("<H", content, start + 10, 9)
        start += 46 + sum(struct.unpack_from("<HHH", content, start + 28))
    path.write_bytes(content)
    return path


CONTAINERS: dict[str, Writer] = {"folder": write_folder, "zip": write_zip, "tar": write_tar}


@dataclass(frozen=True)
class Case:
    """A tree of files, and what `prepare` must make of it.

    `counts`: training, validation and test images by class. `left_out`: key words of the reason by file. `notes`: key
    words of each note. `error`: a regular expression for the UserError, if there must be one. `containers`: the ones
    to try, or a writer of a special zip. `data`: parameters.
    """

    name: str
    files: Files
    layout: str = ""
    counts: dict[str, tuple[int, int, int]] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    error: str = ""
    containers: Mapping[str, Writer] = field(default_factory=lambda: CONTAINERS)
    data: dict[str, Any] = field(default_factory=dict)


def of(counts: tuple[int, int, int], *classes: str) -> dict[str, tuple[int, int, int]]:
    return dict.fromkeys(classes, counts)


CUT = (2, 1, 1)  # of CLASS/*
OWN_TEST = (3, 1, 4)  # of train/CLASS/* and test/CLASS/*
OWN_SPLITS = (4, 4, 4)  # with val/CLASS/*
SPLITS = "train/CLASS/*, test/CLASS/*"
JUNK = {
    "cat/.DS_Store": b"x", "cat/._0.png": b"x", "cat/Thumbs.db": b"x", "cat/THUMBS.DB": b"x", "cat/ehthumbs.db": b"x",
    "cat/Desktop.ini": b"x", "cat/Icon\r": b"x", "cat/@eaDir/0.png/SYNOPHOTO_THUMB_S.png": _picture(90),
    "@eaDir/cat/0.png": _picture(91), "__MACOSX/cat/._0.png": b"x", ".ipynb_checkpoints/0-checkpoint.png": _picture(92),
    "$RECYCLE.BIN/dog/0.png": _picture(93), "#recycle/0.png": _picture(94),
}  # fmt: skip
ZIP = {"zip": write_zip}

LAYOUTS = [
    Case("classes", images("cat", "dog"), "CLASS/*", of(CUT, "cat", "dog")),
    Case("wrapped", images("pets/cat", "pets/dog"), "pets/CLASS/*", of(CUT, "cat", "dog")),
    Case("wrapped three times", images("a/b/c/cat", "a/b/c/dog"), "a/b/c/CLASS/*", of(CUT, "cat", "dog")),
    Case("images below classes", images("cat/images", "dog/images"), "CLASS/*", of(CUT, "cat", "dog")),
    Case(
        "other subfolders",
        images("animals/cat", "animals/dog", "cars/bus", "cars/van"),
        "CLASS/*",
        of((4, 2, 2), "animals", "cars"),
        notes=("animals/cat/ belongs to the class animals",),
    ),
    Case(
        "beside the classes",
        images("pets/cat", "pets/dog") | images("pets", count=1) | {"notes/list.txt": b"cat"},
        "pets/CLASS/*",
        of(CUT, "cat", "dog"),
        left_out={"pets/0.png": "no class folder", "notes/list.txt": "no class folder"},
    ),
    Case(
        "beside the class folders at the top",
        images("cat", "dog") | images("", count=1) | {"README.md": b"pets"},
        "CLASS/*",
        of(CUT, "cat", "dog"),
        left_out={"0.png": "no class folder", "README.md": "no class folder"},
    ),
    Case(
        "a folder without images among the classes",
        images("cat", "dog") | {"notes/list.txt": b"cat"},
        error=r"1 of 9 files (.|\n)*notes/list\.txt",
    ),
    Case("system files", images("cat", "dog") | JUNK, "CLASS/*", of(CUT, "cat", "dog")),
    Case("one class", images("cat"), error="one class .cat."),
    Case("no class", images(""), error="no images in class folders|no image in a class folder"),
]

SPLIT_FOLDERS = [
    Case(
        "train and test", images("train/cat", "train/dog", "test/cat", "test/dog"), SPLITS, of(OWN_TEST, "cat", "dog")
    ),
    *(
        Case(
            f"{train} and {test}",
            images(*(f"{split}/{label}" for split in (train, test) for label in ("cat", "dog"))),
            f"{train}/CLASS/*, {test}/CLASS/*",
            of(OWN_TEST, "cat", "dog"),
        )
        for train, test in (
            ("training_set", "test_set"),
            ("Training", "Testing"),
            ("TRAIN", "TEST"),
            ("Train Images", "Test Images"),
            ("trainingSet", "testingSet"),
            ("train2017", "test2017"),
            ("dataset-train", "dataset-test"),
        )
    ),
    Case(
        "splits within splits",
        images("seg_train/seg_train/cat", "seg_train/seg_train/dog", "seg_test/seg_test/cat", "seg_test/seg_test/dog")
        | images("seg_pred/seg_pred", count=1),
        "seg_train/seg_train/CLASS/*, seg_test/seg_test/CLASS/*",
        of(OWN_TEST, "cat", "dog"),
        left_out={"seg_pred/seg_pred/0.png": "seg_pred/ beside the split folders"},
    ),
    Case(
        "wrapped splits",
        images("data/train/cat", "data/train/dog", "data/test/cat", "data/test/dog"),
        "data/train/CLASS/*, data/test/CLASS/*",
        of(OWN_TEST, "cat", "dog"),
    ),
    Case(
        "a folder around the classes of each split",
        images("train/images/cat", "train/images/dog", "test/images/cat", "test/images/dog"),
        "train/images/CLASS/*, test/images/CLASS/*",
        of(OWN_TEST, "cat", "dog"),
    ),
    Case(
        "train and val",
        images("imagenette/train/cat", "imagenette/train/dog", "imagenette/val/cat", "imagenette/val/dog"),
        "imagenette/train/CLASS/*, imagenette/val/CLASS/*",
        of(OWN_TEST, "cat", "dog"),
        notes=("imagenette/val/ is the test set",),
    ),
    *(
        Case(
            f"train, {val} and test",
            images(*(f"{split}/{label}" for split in ("train", val, "test") for label in ("cat", "dog"))),
            f"train/CLASS/*, {val}/CLASS/*, test/CLASS/*",
            of(OWN_SPLITS, "cat", "dog"),
            notes=("data.val_share is not applied",),
        )
        for val in ("val", "valid", "Validation", "validation_set", "dev")
    ),
    Case(
        "flat test",
        images("train/cat", "train/dog", "test"),
        "train/CLASS/*",
        of(CUT, "cat", "dog"),
        left_out={f"test/{number}.png": "test/ without a class folder" for number in range(4)},
        notes=("test/ are not used", "cut from train/"),
    ),
    Case(
        "flat test beside val",
        images("train/cat", "train/dog", "val/cat", "val/dog") | images("test", count=1),
        "train/CLASS/*, val/CLASS/*",
        of((3, 4, 1), "cat", "dog"),
        left_out={"test/0.png": "test/ without a class folder"},
        notes=("test/ are not used", "cut from train/", "data.val_share is not applied"),
    ),
    Case(
        "flat val",
        images("train/cat", "train/dog", "test/cat", "test/dog") | images("val", count=1),
        SPLITS,
        of(OWN_TEST, "cat", "dog"),
        left_out={"val/0.png": "val/ without a class folder"},
        notes=("val/ are not used",),
    ),
    Case("flat train", images("train", "test/cat", "test/dog"), error="train/ have no labels"),
    Case("flat splits", images("train", "test"), error="train/ have no labels"),
    Case(
        "only train",
        images("train/cat", "train/dog"),
        "train/CLASS/*",
        of(CUT, "cat", "dog"),
        notes=("train/ is the only split",),
    ),
    Case("train beside another folder", images("train/cat", "train/dog", "more/cat"), error="more/.* no test/ or val/"),
    Case("test beside another folder", images("trainval/cat", "test/cat", "test/dog"), error="trainval/.* no train/"),
    Case(
        "a split under two names",
        images("train/cat", "train/dog", "training/cat", "test/cat"),
        error="train/, training/ .* train split",
    ),
    Case(
        "a class that train lacks",
        images("train/cat", "train/dog", "test/cat", "test/dgo"),
        error=r"train/ lacks: dgo \(did you mean dog\?\)",
    ),
    Case(
        "a class that test lacks",
        images("train/cat", "train/dog", "test/cat"),
        SPLITS,
        {"cat": OWN_TEST, "dog": (3, 1, 0)},
    ),
    Case(
        "a test class with a subfolder",
        images("train/cat", "train/dog", "test/cat/indoors"),
        SPLITS,
        {"cat": OWN_TEST, "dog": (3, 1, 0)},
    ),
    Case(
        "splits within classes",
        images("cat/train", "cat/test", "dog/train", "dog/test"),
        "CLASS/train/*, CLASS/test/*",
        of(OWN_TEST, "cat", "dog"),
    ),
    Case(
        "splits within classes, one without test",
        images("pets/cat/train", "pets/cat/test", "pets/dog/train"),
        "pets/CLASS/train/*, pets/CLASS/test/*",
        {"cat": OWN_TEST, "dog": (3, 1, 0)},
    ),
    Case(
        "train and val within classes",
        images("cat/Train", "cat/Valid", "dog/Train", "dog/Valid"),
        "CLASS/train/*, CLASS/val/*",
        of(OWN_TEST, "cat", "dog"),
        notes=("CLASS/val/ is the test set",),
    ),
    Case("two readings", images("old/cat", "old/dog", "new/cat", "new/dog"), error="new, old or .* cat, dog"),
    Case(
        "two readings, deeper",
        images("old/old/cat", "old/old/dog", "new/new/cat", "new/new/dog", "new/new/emu"),
        error="new, old or .* cat, dog",
    ),
]

CLASS_NAMES = [
    Case("a class called train", images("train", "car", "bus"), "CLASS/*", of(CUT, "train", "car", "bus")),
    Case(
        "a class called train, with subfolders",
        images("train/steam", "train/diesel", "car/new", "bus/new"),
        error="If train/ is a class, rename it",
    ),
    Case(
        "one name in two spellings",
        images("train/caf\u00e9", "train/cafe\u0301", "train/bar", "test/cafe\u0301", "test/bar"),
        SPLITS,
        {"caf\u00e9": (6, 2, 4), "bar": OWN_TEST},
    ),
    Case("an empty class folder", images("cat", "dog") | {"emu/": b""}, error="no image in emu/"),
    Case("an empty class folder beside one class", images("cat/a", "cat/b") | {"dog/": b""}, error="no image in dog/"),
    Case(
        "an empty class folder of one split",
        images("train/cat", "train/dog", "test/cat") | {"test/dog/": b""},
        error="no image in test/dog/",
    ),
    Case("empty folders in a class folder", images("cat", "dog") | {"emu/a/": b"", "emu/b/": b""}, error="in emu/"),
    Case("an empty subfolder", images("cat", "dog") | {"cat/more/": b""}, "CLASS/*", of(CUT, "cat", "dog")),
    Case("an empty split folder", images("train/cat", "train/dog") | {"test/": b""}, error="test/ is empty"),
    Case(
        "an empty split folder of a class",
        images("cat/train", "cat/test", "dog/train") | {"dog/test/": b""},
        error="no image in dog/test/",
    ),
    Case("only system files", images("cat", "dog") | {"emu/Thumbs.db": b"x"}, error="no image in emu/"),
    Case("only thumbnails", images("cat", "dog") | {"emu/@eaDir/0.png/S.png": _picture(90)}, error="no image in emu/"),
]

ZIP_NAMES = [
    Case(
        "UTF-8 without its mark",
        images("caf\u00e9", "猫"),
        "CLASS/*",
        of(CUT, "caf\u00e9", "猫"),
        containers={"zip": zip_as("utf-8")},
    ),
    Case(
        "GBK",
        images("猫", "狗"),
        "CLASS/*",
        of(CUT, "猫", "狗"),
        containers={"zip": zip_as("gbk")},
        data={"zip_encoding": "gbk"},
    ),
    Case(
        "GBK that is valid UTF-8",
        images("猫", "bird"),
        "CLASS/*",
        of(CUT, "猫", "bird"),
        containers={"zip": zip_as("gbk")},
        data={"zip_encoding": "gbk"},
    ),
    Case(
        "GBK, unsaid",  # 猫 alone would be valid UTF-8
        images("猫", "狗"),
        "CLASS/*",
        of(CUT, *(name.encode("gbk").decode("cp437") for name in ("猫", "狗"))),
        notes=("data.zip_encoding",),
        containers={"zip": zip_as("gbk")},
    ),
    Case(
        "the wrong encoding",
        images("猫", "狗"),
        error="not ascii.*data.zip_encoding",
        containers={"zip": zip_as("gbk")},
        data={"zip_encoding": "ascii"},
    ),
    Case(
        "GBK with names in UTF-8 beside",
        images("猫", "狗"),
        "CLASS/*",
        of(CUT, "猫", "狗"),
        containers={"zip": zip_as("gbk", unicode_path=True)},
    ),
    Case(
        "marked UTF-8 in spite of data.zip_encoding",
        images("猫", "狗"),
        "CLASS/*",
        of(CUT, "猫", "狗"),
        containers=ZIP,
        data={"zip_encoding": "gbk"},
    ),
    Case(
        "backslashes",
        images("train/cat", "train/dog", "test/cat", "test/dog"),
        SPLITS,
        of(OWN_TEST, "cat", "dog"),
        containers={"zip": zip_as("ascii", "\\")},
    ),
    Case(
        "an empty class folder with a backslash",
        images("cat", "dog") | {"emu/": b""},
        error="no image in emu/",
        containers={"zip": zip_as("ascii", "\\")},
    ),
    Case(
        "backslashes that lead out",
        images("../cat", "dog"),
        error="unsafe name",
        containers={"zip": zip_as("ascii", "\\")},
    ),
    Case("Deflate64", images("cat", "dog"), error="Deflate64.*7-Zip", containers={"zip": deflate64_zip}),
]

CASES = [*LAYOUTS, *SPLIT_FOLDERS, *CLASS_NAMES, *ZIP_NAMES]
