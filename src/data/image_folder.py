"""Reads an archive of image files in any usual layout of splits and classes (src/data/layout.py)."""

from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from src.data.images import WHITE, Decoded, decode_with_peak
from src.data.layout import CURE, SplitName, listed, recognise
from src.data.prepared import Split
from src.data.raw import RawData
from src.data.sources import archive
from src.data.sources.folder import source_name
from src.data.workers import leave_stops_to_the_parent, try_semaphores
from src.errors import UserError
from src.params import Data, nearest
from src.processes import cores

ROUND_FILES = 4096  # files to decode at once, at most
ROUND_BYTES = 256 << 20  # their bytes, so that memory stays bounded for any archive
MAX_WORKERS = 8
SEMAPHORES = 5  # in the two queues of a ProcessPoolExecutor

Pixels = npt.NDArray[np.uint8]  # (S, S, 3)

SMALLER_DEPTHS = (8, 10, 12, 14)  # bits often stored in 16 bits without a note in the file
RESCALE = (
    'python -c "import sys, pathlib, numpy, PIL.Image as I; '
    "[I.fromarray((numpy.array(i).astype(int) * {full} // {white}).astype('uint16')).save(f) "
    "for f in pathlib.Path(sys.argv[1]).rglob('*') if f.suffix.lower()[:4] in ('.png', '.pgm', '.tif', '.jp2') "
    "for i in [I.open(f)] if i.mode[0] == 'I' and i.getextrema()[1] <= {white}]\" FOLDER"
)


def read(path: Path, data: Data) -> RawData:
    """Decode an archive into (S, S, 3) images, in the order of their names.

    Raises UserError if the layout is ambiguous, if there are fewer than two classes, or if a class is empty. Also
    raises it if val/ or test/ has a class that train/ lacks, or if too many files are unreadable.
    """
    shown = source_name(data)
    folders: set[str] = set()
    files = _files(archive.members(path, shown, data.zip_encoding), folders)
    pixels: dict[str, Pixels] = {}
    peaks: dict[str, int] = {}  # largest samples of 16-bit grey images, by name
    failed: dict[str, str] = {}  # reasons by name
    for name, result in _decode_all(files, shown, data.size):
        if isinstance(result, UserError):
            failed[name] = str(result)
        else:
            pixels[name] = result.pixels
            if result.peak is not None:
                peaks[name] = result.peak
    try:
        images = pixels.keys() | filter(archive.looks_like_image, failed)
        layout = recognise(pixels.keys() | failed.keys(), images, folders)
    except UserError as error:
        raise UserError(f"{shown}: {error}") from None
    unreadable = {name: failed[name] for name in layout.places if name in failed}
    _refuse_many(shown, unreadable, len(layout.places), data.max_unreadable)

    found: dict[SplitName, dict[str, list[str]]] = {"train": {}}  # split, class, names of its readable images
    for name, (split, label) in layout.places.items():
        of_class = found.setdefault(split, {}).setdefault(label, [])
        if name not in unreadable:
            of_class.append(name)
    classes = sorted(found["train"])
    _check_classes(shown, found, layout.description)
    splits = {split: _stack(names, classes, pixels) for split, names in found.items()}
    notes = list(layout.notes)
    if not data.zip_encoding and (assumed := archive.assumed_encoding(path)):
        notes.append(
            f"the archive does not state the encoding of its file names, so they were read as {assumed}. If class "
            "names are wrong, set the encoding, for example: -S data.zip_encoding=gbk"
        )
    notes += _note_smaller_depth([peaks[name] for name in layout.places if name in peaks])
    return RawData(
        splits["train"],
        splits.get("test"),
        classes,
        val=splits.get("val"),
        layout=layout.description,
        notes=notes,
        unreadable=unreadable,
        left_out=layout.left_out,
    )


def _files(members: Iterable[tuple[str, bytes]], folders: set[str]) -> Iterator[tuple[str, bytes]]:
    """Yield the files among `members`. Add the names of folders to `folders`."""
    for name, content in members:
        if name.endswith("/"):
            folders.add(name)
        else:
            yield name, content


def _decode_all(files: Iterable[tuple[str, bytes]], shown: str, size: int) -> Iterator[tuple[str, Decoded | UserError]]:
    workers = min(cores(), MAX_WORKERS)
    bar = tqdm(desc=f"decoding {shown}", unit=" images", leave=False, delay=1)
    try_semaphores(SEMAPHORES)
    with bar, ProcessPoolExecutor(workers, initializer=leave_stops_to_the_parent) as pool:
        for names, contents in _rounds(files):
            chunk = max(1, min(256, len(names) // (4 * workers)))
            results = pool.map(partial(_try, size=size), contents, chunksize=chunk)
            for name in names:
                try:
                    result = next(results)
                except BrokenProcessPool:
                    raise UserError(
                        f"a process that decodes the images of {shown} was killed near {name}. Either memory ran out, "
                        "or this file crashes the decoder. Run the same command again. If it fails again, remove the "
                        "file"
                    ) from None
                bar.update()
                yield name, result


def _rounds(members: Iterable[tuple[str, bytes]]) -> Iterator[tuple[list[str], list[bytes]]]:
    names: list[str] = []
    contents: list[bytes] = []
    total = 0
    for name, content in members:
        names.append(name)
        contents.append(content)
        total += len(content)
        if len(names) == ROUND_FILES or total > ROUND_BYTES:
            yield names, contents
            names, contents, total = [], [], 0
    if names:
        yield names, contents


def _try(content: bytes, size: int) -> Decoded | UserError:
    try:
        return decode_with_peak(content, size)
    except UserError as error:
        return error


def _refuse_many(shown: str, unreadable: dict[str, str], files: int, allowed: float) -> None:
    if len(unreadable) > allowed * files:
        lines = "\n".join(f"  {name}: {reason}" for name, reason in list(unreadable.items())[:10])
        more = f"\n  and {len(unreadable) - 10} more" if len(unreadable) > 10 else ""
        share = np.ceil(1000 * len(unreadable) / files) / 1000
        allow = f", or allow this share: -S data.max_unreadable={share:g} (now {allowed:g})" if share < 1 else ""
        raise UserError(
            f"{len(unreadable)} of {files} files of {shown} cannot be read as images:\n{lines}{more}\n"
            f"Repair or remove these files{allow}"
        )


def _note_smaller_depth(peaks: list[int]) -> list[str]:
    """A note if 16-bit grey images with these largest values probably hold values of fewer bits."""
    largest = max(peaks, default=0)
    bits = next((bits for bits in SMALLER_DEPTHS if 0 < largest < 1 << bits), None)
    if bits is None:
        return []
    white = (1 << bits) - 1
    return [
        f"the 16-bit grey images ({len(peaks):,}) contain no value above {largest}. Their values fit in {bits} bits "
        f"(0 to {white}) but were read as 16 bits (0 to {WHITE}), so the images look dark. If {white} means white, "
        f"rescale a copy of the images: {RESCALE.format(full=WHITE, white=white)}"
    ]


def _check_classes(shown: str, found: dict[SplitName, dict[str, list[str]]], layout: str) -> None:
    train = found["train"]
    if len(train) < 2:
        what = f"only one class ({next(iter(train))}) as {layout}" if train else "no image in a class folder"
        raise UserError(f"{shown} has {what}, but at least two classes are needed. {CURE}")
    for split, of_class in found.items():
        if unknown := [label for label in of_class if label not in train]:
            hint = nearest(unknown[0], list(train)) if len(unknown) == 1 else ""
            raise UserError(
                f"{shown}: the {split} split has classes that train/ lacks: {listed(unknown)}{hint}. "
                "Add their training images, or remove or rename their folders"
            )
        if empty := [label for label, names in of_class.items() if not names]:
            raise UserError(
                f"{shown}: no image can be read in {listed(f'class {label}' for label in empty)}. "
                "Repair the images or remove the folder"
            )


def _stack(names: dict[str, list[str]], classes: list[str], pixels: dict[str, Pixels]) -> Split:
    """Stack the images of a split, class by class."""
    ordered = [name for label in classes for name in names.get(label, [])]
    labels = np.repeat(np.arange(len(classes), dtype=np.int64), [len(names.get(label, [])) for label in classes])
    return Split(np.stack([pixels[name] for name in ordered]), labels, np.array(ordered, dtype=object))
