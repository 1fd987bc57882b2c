"""Archives, read member by member and never extracted; and folders packed into one, the same bytes every time."""

import bz2
import gzip
import lzma
import os
import re
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from tqdm import tqdm

from src.errors import UserError

MAX_MEMBER_BYTES = 256 << 20
MAX_HEADER_BYTES = 1 << 20  # long names and notes of the packing program, before a member of a tar
MAX_NAME_BYTES = 4096  # what Linux allows for a path
MAX_TOTAL_BYTES = 64 << 30  # unfolded
MAX_MEMBERS = 5_000_000

# First bytes -> suffix. A tar that is not compressed has its mark at byte 257.
MAGIC = {b"PK": ".zip", b"\x1f\x8b": ".tar.gz", b"BZh": ".tar.bz2", b"\xfd7zXZ\x00": ".tar.xz"}

# Control characters, line breaks, what turns the direction of writing, and bytes that are no text.
UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")

# What the readers of the standard library raise on damaged bytes.
_DAMAGE = (
    tarfile.TarError, zipfile.BadZipFile, lzma.LZMAError, zlib.error, struct.error, EOFError, OSError, ValueError,
    OverflowError, NotImplementedError, RecursionError,
)  # fmt: skip


def suffix(path: Path) -> str:
    """'.zip', '.tar', '.tar.gz', '.tar.bz2' or '.tar.xz' by the first bytes of `path`; UserError for anything else."""
    with path.open("rb") as file:
        head = file.read(512)
    for magic, name in MAGIC.items():
        if head.startswith(magic):
            return name
    if head[257:262] == b"ustar":
        return ".tar"
    raise UserError(f"{path} is not an archive that can be read; make it a .zip, .tar, .tar.gz, .tar.bz2 or .tar.xz")


def members(path: Path) -> Iterator[tuple[str, bytes]]:
    """Name ('a/b/c.jpg') and content of every regular file in an archive, in its order; hidden ones are passed over.

    UserError when the archive is damaged, holds a name that leads out of it or cannot be printed, the same name twice,
    a link or a device, or more than the bounds above.
    """
    seen: set[str] = set()
    kind = suffix(path)
    for name, content in _unzip(path) if kind == ".zip" else _untar(path, kind):
        if name in seen:
            raise UserError(f"{path} holds {name} twice; pack it anew")
        seen.add(name)
        yield name, content


def pack(folder: Path, target: Path) -> int:
    """Pack the files below the subfolders of `folder` into an uncompressed tar; return their number.

    Sorted by name, without owners or times: the same content gives the same bytes. Hidden files are left out; links
    are followed.
    """
    names = sorted(_files(folder))
    with tarfile.open(target, "w", format=tarfile.GNU_FORMAT) as tar:
        for name in tqdm(names, desc=f"packing {folder}", unit=" files", leave=False, delay=1):
            _safe(folder, name, "rename it")
            if not (folder / name).is_file():
                raise UserError(f"{folder / name} is a broken link or no regular file; remove it")
            member = tarfile.TarInfo(name)
            with (folder / name).open("rb") as file:
                member.size = os.fstat(file.fileno()).st_size
                tar.addfile(member, file)
    return len(names)


def _files(folder: Path) -> Iterator[str]:
    visited = set()
    for current, subfolders, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(current)
        if real in visited:
            raise UserError(f"{current} leads to a folder that was already read ({real}); remove that link")
        visited.add(real)
        subfolders[:] = [name for name in subfolders if not is_hidden(name)]
        relative = Path(current).relative_to(folder)
        if relative.parts:  # a file that lies in no subfolder has no class
            yield from ((relative / name).as_posix() for name in files if not is_hidden(name))


def is_hidden(name: str) -> bool:
    """Whether a member is none of the person's images: .DS_Store, ._copy, __MACOSX/..., Thumbs.db."""
    parts = name.split("/")
    return any(part.startswith(".") or part == "__MACOSX" for part in parts) or parts[-1] in (
        "Thumbs.db",
        "desktop.ini",
    )


def _untar(path: Path, kind: str) -> Iterator[tuple[str, bytes]]:
    opened: dict[str, Any] = {".tar": open, ".tar.gz": gzip.open, ".tar.bz2": bz2.open, ".tar.xz": lzma.open}
    try:
        with opened[kind](path, "rb") as file:
            stream = _Forward(path, file)
            tar: Any = tarfile.TarFile(fileobj=stream)  # type: ignore[arg-type]  # it needs no more than `stream` has
            count = 0
            while (member := tar.next()) is not None:
                tar.members.clear()  # else each header stays in memory
                count += 1
                _not_too_much(path, count, stream.tell())
                name = _safe(path, member.name)
                if member.isdir() or is_hidden(name):
                    continue
                if not member.isreg() or member.issparse():
                    raise UserError(
                        f"{path}: {name} is a link, a device or a sparse file; only regular files are read. "
                        "Pack it anew with: tar --dereference --hard-dereference -cf images.tar FOLDER"
                    )
                _bounded(path, name, member.size)
                yield name, stream.content(member.size)
            # `tarfile` takes a cut or garbled header for the end of the archive; the true end is a block of zeros.
            if stream.last != bytes(tarfile.BLOCKSIZE):
                raise EOFError("its last block is missing")
    except _DAMAGE as error:
        raise UserError(f"{path} is damaged or cut off ({error}); get it or pack it again") from None


class _Forward:
    """The unfolded bytes of a tar for `tarfile`: forward alone, and within the bounds.

    Left to itself, `tarfile` reads a name of any declared length at once, unfolds any number of bytes to pass over a
    member, and goes round in circles where a size is negative.
    """

    def __init__(self, path: Path, file: IO[bytes]) -> None:
        self._path = path
        self._file = file
        self.last = b""  # what was read last

    def read(self, size: int) -> bytes:
        """A header."""
        if not 0 <= size <= MAX_HEADER_BYTES:
            raise ValueError(f"a header of {size:,} bytes")
        self.last = self._file.read(size)
        return self.last

    def content(self, size: int) -> bytes:
        """What belongs to the header that was read last."""
        if size < 0:  # to `read`, -1 is all there is
            raise ValueError("a size is negative")
        content = self._file.read(size)
        if len(content) < size:
            raise EOFError("its last file is not whole")
        return content

    def tell(self) -> int:
        return self._file.tell()

    def seek(self, position: int) -> None:
        if position < self.tell():
            raise ValueError("a size is negative")
        _not_too_much(self._path, 0, position)
        self._file.seek(position)


def _unzip(path: Path) -> Iterator[tuple[str, bytes]]:
    total = 0
    try:
        with zipfile.ZipFile(path) as archive:
            for count, member in enumerate(archive.infolist(), start=1):
                name = _safe(path, member.filename)
                if member.is_dir() or is_hidden(name):
                    continue
                if member.flag_bits & 1:
                    raise UserError(f"{path}: {name} is encrypted; pack it without a password")
                _bounded(path, name, member.file_size)
                with archive.open(member) as file:
                    content = file.read(MAX_MEMBER_BYTES + 1)  # the size in the directory may lie
                _bounded(path, name, len(content))
                total += len(content)
                _not_too_much(path, count, total)
                yield name, content
    except _DAMAGE as error:
        raise UserError(f"{path} is damaged or cut off ({error}); get it or pack it again") from None


def _safe(where: Path, name: str, cure: str = "pack it anew from within its folder") -> str:
    """The name without './'; UserError when it could lead out of a folder, or is none that can be printed."""
    leads_out = name.startswith("/") or ".." in name.split("/") or "\\" in name or re.match("[A-Za-z]:", name)
    if not name or leads_out or UNPRINTABLE.search(name) or len(os.fsencode(name)) > MAX_NAME_BYTES:
        raise UserError(f"{where} holds a file with an unsafe name: {name[:200]!r}; {cure}")
    return "/".join(part for part in name.split("/") if part not in ("", "."))


def _bounded(path: Path, name: str, size: int) -> None:
    if size > MAX_MEMBER_BYTES:
        raise UserError(f"{path}: {name} has {size:,} bytes; no more than {MAX_MEMBER_BYTES:,} are read from one file")


def _not_too_much(path: Path, members: int, total: int) -> None:
    if members > MAX_MEMBERS or total > MAX_TOTAL_BYTES:
        raise UserError(f"{path} unfolds to more than {MAX_MEMBERS:,} files or {MAX_TOTAL_BYTES >> 30} GiB")
