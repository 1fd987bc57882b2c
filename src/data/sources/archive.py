"""Archives, read member by member and never extracted; and folders packed into one, the same bytes every time."""

import lzma
import os
import re
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

from tqdm import tqdm

from src.errors import UserError

MAX_MEMBER_BYTES = 256 << 20
MAX_TOTAL_BYTES = 64 << 30
MAX_MEMBERS = 5_000_000

# First bytes -> suffix. A tar that is not compressed has its mark at byte 257.
MAGIC = {b"PK": ".zip", b"\x1f\x8b": ".tar.gz", b"BZh": ".tar.bz2", b"\xfd7zXZ\x00": ".tar.xz"}

_DAMAGE = (tarfile.TarError, zipfile.BadZipFile, EOFError, OSError, lzma.LZMAError, zlib.error, NotImplementedError)


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

    UserError when the archive is damaged, holds a name that leads out of it, the same name twice, a link or a
    device, or more than the bounds above.
    """
    seen: set[str] = set()
    total = 0
    for name, content in _unzip(path) if suffix(path) == ".zip" else _untar(path):
        if name in seen:
            raise UserError(f"{path} holds {name} twice; pack it anew")
        seen.add(name)
        total += len(content)
        if len(seen) > MAX_MEMBERS or total > MAX_TOTAL_BYTES:
            raise UserError(f"{path} unfolds to more than {MAX_MEMBERS:,} files or {MAX_TOTAL_BYTES >> 30} GiB")
        yield name, content


def pack(folder: Path, target: Path) -> int:
    """Pack the files below the subfolders of `folder` into an uncompressed tar; return their number.

    Sorted by name, without owners or times: the same content gives the same bytes. Hidden files are left out; links
    are followed.
    """
    names = sorted(_files(folder))
    with tarfile.open(target, "w", format=tarfile.GNU_FORMAT) as tar:
        for name in tqdm(names, desc=f"packing {folder}", unit=" files", leave=False, delay=1):
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


def _untar(path: Path) -> Iterator[tuple[str, bytes]]:
    try:
        with tarfile.open(path, "r:*") as tar:
            for member in tar:
                name = _safe(path, member.name)
                if member.isdir() or is_hidden(name):
                    continue
                file = tar.extractfile(member) if member.isreg() else None
                if file is None:
                    raise UserError(
                        f"{path}: {name} is a link or a device; only regular files are read. "
                        "Pack it anew with: tar --dereference --hard-dereference -cf images.tar FOLDER"
                    )
                _bounded(path, name, member.size)
                yield name, file.read()
            # `tarfile` takes a cut or garbled header for the end of the archive; the true end is a block of zeros.
            assert tar.fileobj is not None
            tar.fileobj.seek(tar.offset)
            if tar.fileobj.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
                raise UserError(f"{path} is damaged or cut off; get it or pack it again")
    except _DAMAGE as error:
        raise UserError(f"{path} is damaged or cut off ({error}); get it or pack it again") from None


def _unzip(path: Path) -> Iterator[tuple[str, bytes]]:
    try:
        with zipfile.ZipFile(path) as archive:
            for member in archive.infolist():
                name = _safe(path, member.filename)
                if member.is_dir() or is_hidden(name):
                    continue
                if member.flag_bits & 1:
                    raise UserError(f"{path}: {name} is encrypted; pack it without a password")
                _bounded(path, name, member.file_size)
                with archive.open(member) as file:
                    content = file.read(MAX_MEMBER_BYTES + 1)  # the size in the directory may lie
                _bounded(path, name, len(content))
                yield name, content
    except _DAMAGE as error:
        raise UserError(f"{path} is damaged or cut off ({error}); get it or pack it again") from None


def _safe(path: Path, name: str) -> str:
    """The name without './'; UserError when it could lead out of a folder or cannot be printed."""
    printable = name.encode(errors="surrogateescape").decode(errors="replace")
    parts = name.split("/")
    if name.startswith("/") or ".." in parts or "\\" in name or re.match("[A-Za-z]:", name) or printable != name:
        raise UserError(f"{path} holds a file with an unsafe name: {printable!r}; pack it anew from within its folder")
    return "/".join(part for part in parts if part not in ("", "."))


def _bounded(path: Path, name: str, size: int) -> None:
    if size > MAX_MEMBER_BYTES:
        raise UserError(f"{path}: {name} has {size:,} bytes; no more than {MAX_MEMBER_BYTES:,} are read from one file")
