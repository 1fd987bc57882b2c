"""Reads an archive of image files: train/CLASS/* and test/CLASS/*, or CLASS/* alone, perhaps in one wrapping folder."""

from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from src.data.images import decode
from src.data.prepared import Split
from src.data.raw import RawData
from src.data.sources import archive
from src.data.workers import leave_stops_to_the_parent, try_semaphores
from src.errors import UserError
from src.params import Data
from src.processes import cores

ROUND_FILES = 4096  # files that are decoded at once ...
ROUND_BYTES = 256 << 20  # ... and their bytes, so that memory stays bounded whatever the archive holds
MAX_WORKERS = 8
SEMAPHORES = 5  # of a ProcessPoolExecutor, in its two queues

Pixels = npt.NDArray[np.uint8]  # (S, S, 3)
Place = tuple[str, str]  # ('train', 'test' or '', class)


def read(path: Path, data: Data) -> RawData:
    """Decode an archive into (S, S, 3) images, in the order of their names.

    UserError: fewer than two classes, a class that only one of train/ and test/ has, or one without a readable image.
    """
    decoded = dict(_decode_all(path, data.size))
    places, ignored = layout(list(decoded))
    unreadable = [(name, str(decoded[name])) for name in places if isinstance(decoded[name], UserError)]
    _refuse_many(path, unreadable, len(places), data.max_unreadable)

    found: dict[str, dict[str, list[Pixels]]] = {}
    for name, (split, label) in places.items():
        images = found.setdefault(split, {}).setdefault(label, [])
        if isinstance(pixels := decoded[name], np.ndarray):
            images.append(pixels)
    classes = sorted(set().union(*found.values()))
    _check_classes(path, found, classes)
    splits = {split: _stack(images, classes) for split, images in found.items()}
    return RawData(
        splits["train"] if "train" in splits else splits[""], splits.get("test"), classes, None, unreadable, ignored
    )


def layout(names: Iterable[str]) -> tuple[dict[str, Place], list[str]]:
    """Which split and class each file belongs to, sorted by name, and the files that lie in no class folder."""
    parts = {name: name.split("/") for name in sorted(names)}
    start = 0
    while True:
        tops = {p[start] for p in parts.values() if len(p) > start + 1}
        splits = {top for top in tops if top.casefold() in ("train", "test")}
        below = {p[start + 1] for p in parts.values() if len(p) > start + 2}
        if len(tops) == 1 and below and start < 2:  # one wrapping folder, perhaps with a lone train/ in it
            start += 1
            continue
        break
    held = {top for top in tops if top.casefold() in ("val", "valid", "validation")}
    if splits and len(splits) < 2:
        raise UserError(
            f"The images lie in {', '.join(sorted(tops))}: there is one of train/ and test/ without the other. "
            + (f"Rename {min(held)}/ to test/" if held else "Use both, or CLASS/* alone")
        )
    depth = start + 1 if splits else start
    places: dict[str, Place] = {}
    ignored = []
    for name, p in parts.items():
        if len(p) > depth + 1 and (not splits or p[start] in splits):
            places[name] = (p[start].casefold() if splits else "", p[depth])
        else:
            ignored.append(name)
    return places, ignored


def _decode_all(path: Path, size: int) -> Iterator[tuple[str, Pixels | UserError]]:
    workers = min(cores(), MAX_WORKERS)
    bar = tqdm(desc=f"decoding {path.name}", unit=" images", leave=False, delay=1)
    try_semaphores(SEMAPHORES)
    with bar, ProcessPoolExecutor(workers, initializer=leave_stops_to_the_parent) as pool:
        for names, contents in _rounds(archive.members(path)):
            chunk = max(1, min(256, len(names) // (4 * workers)))
            results = pool.map(partial(_try, size=size), contents, chunksize=chunk)
            for name in names:
                try:
                    result = next(results)
                except BrokenProcessPool:
                    raise UserError(
                        f"a process that decodes the images of {path} was killed, near {name}: memory was short, or "
                        "that file crashes its decoder. Run the same command again; if that ends so too, remove it"
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


def _try(content: bytes, size: int) -> Pixels | UserError:
    try:
        return decode(content, size)
    except UserError as error:
        return error


def _refuse_many(path: Path, unreadable: list[tuple[str, str]], files: int, allowed: float) -> None:
    if len(unreadable) > allowed * files:
        shown = "\n".join(f"  {name}: {reason}" for name, reason in unreadable[:10])
        more = f"\n  and {len(unreadable) - 10} more" if len(unreadable) > 10 else ""
        raise UserError(
            f"{len(unreadable)} of {files} files of {path} cannot be read as images:\n{shown}{more}\n"
            f"Mend or remove them in the source, or allow a share of them: "
            f"-S data.max_unreadable={np.ceil(1000 * len(unreadable) / files) / 1000:g} (now {allowed:g})"
        )


def _check_classes(path: Path, found: dict[str, dict[str, list[Pixels]]], classes: list[str]) -> None:
    if len(classes) < 2:
        what = f"one class ({classes[0]})" if classes else "no image in a class folder"
        raise UserError(f"{path} holds {what}; at least two are needed, as train/CLASS/* and test/CLASS/* or CLASS/*")
    for split, images in found.items():
        if missing := [label for label in classes if label not in images]:
            raise UserError(
                f"{path}: {split}/ has no {', '.join(missing)}; train/ and test/ must have the same classes"
            )
        if empty := [label for label in classes if not images[label]]:
            raise UserError(f"{path}: class {', '.join(empty)} has no readable image")


def _stack(images: dict[str, list[Pixels]], classes: list[str]) -> Split:
    labels = np.repeat(np.arange(len(classes), dtype=np.int64), [len(images[label]) for label in classes])
    return Split(np.stack([pixels for label in classes for pixels in images[label]]), labels)
