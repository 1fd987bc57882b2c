"""Archives, read member by member and never extracted; and folders packed into one, the same bytes every time."""

import bz2
import gzip
import lzma
import os
import re
import shlex
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
UTF8_FLAG = 0x800  # of a zip member: its name is UTF-8

# First bytes -> suffix. A tar that is not compressed has its mark at byte 257.
MAGIC = {b"PK": ".zip", b"\x1f\x8b": ".tar.gz", b"BZh": ".tar.bz2", b"\xfd7zXZ\x00": ".tar.xz"}

# Control characters, line breaks, what turns the direction of writing, and bytes that are no text.
UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")

# Files and folders that operating systems, NAS boxes and file managers leave behind; in any case of letters. Names that
# begin with a dot are left out too.
SYSTEM_NAMES = frozenset((
    "__macosx", "icon\r", "thumbs.db", "ehthumbs.db", "ehthumbs_vista.db", "desktop.ini", "$recycle.bin",
    "system volume information", "lost+found", "@eadir", "#recycle", "#snapshot", "@recycle", "@tmp",
    "network trash folder", "temporary items", "picasa.ini",
))  # fmt: skip
WEB_PAGE = re.compile(
    rb"\s*(<\?xml[^>]*>\s*)?(<!--.*?-->\s*)?<(!doctype\s+html|html|head|body)\b", re.IGNORECASE | re.DOTALL
)
METHODS = {9: "Deflate64", 10: "DCL Implode", 93: "Zstandard", 95: "XZ", 96: "JPEG", 97: "WavPack", 98: "PPMd"}

# What the readers of the standard library raise on damaged bytes.
_DAMAGE = (
    tarfile.TarError, zipfile.BadZipFile, lzma.LZMAError, zlib.error, struct.error, EOFError, OSError, ValueError,
    OverflowError, NotImplementedError, RecursionError,
)  # fmt: skip


def suffix(path: Path, shown: str = "") -> str:
    """Return '.zip', '.tar', '.tar.gz', '.tar.bz2' or '.tar.xz' by the first bytes of `path`.

    Raises UserError for anything else; its message calls the file `shown`, or by its path.
    """
    with path.open("rb") as file:
        head = file.read(4096)
    for magic, name in MAGIC.items():
        if head.startswith(magic):
            return name
    if head[257:262] == b"ustar":
        return ".tar"
    if WEB_PAGE.match(head):
        raise UserError(
            f"{shown or path} is a web page, not an archive. Open it in a browser and copy the address of the file "
            "behind its download button, or download the archive yourself and set data.path to it"
        )
    raise UserError(
        f"{shown or path} is not an archive that can be read; make it a .zip, .tar, .tar.gz, .tar.bz2 or .tar.xz"
    )


def members(path: Path, shown: str = "", encoding: str = "") -> Iterator[tuple[str, bytes]]:
    """Yield name and content of every file in an archive, in its order, without hidden and system files.

    Names are relative and use '/'. Folders come as 'a/b/' with no content if the archive names them, or if a left-out
    file lies in them. `encoding` decodes the names in a zip that are not UTF-8; '' means CP437, as the zip
    specification says. Error messages call the archive `shown`, or by its path. Raises UserError if the archive is
    damaged, holds a name that leads out of it or cannot be printed, the same name twice, a link or a device, or more
    than the bounds above.
    """
    seen: set[str] = set()
    kind = suffix(path, shown)
    shown = shown or str(path)
    for name, content in _unzip(path, shown, encoding) if kind == ".zip" else _untar(path, kind, shown):
        if name in seen and not name.endswith("/"):
            raise UserError(f"{shown} holds {name} twice; pack it again with one of them")
        seen.add(name)
        yield name, content


def assumed_encoding(path: Path) -> str:
    """'cp437' if a zip holds names that are neither marked as UTF-8 nor valid UTF-8, else ''."""
    if suffix(path) != ".zip":
        return ""
    try:
        with zipfile.ZipFile(path) as archive:
            return "cp437" if any(_name_bytes(member) is not None for member in archive.infolist()) else ""
    except _DAMAGE:
        return ""  # `members` says so


def pack(folder: Path, target: Path) -> int:
    """Pack the files below the subfolders of `folder` into an uncompressed tar; return their number.

    Sorted by name, without owners or times: the same content gives the same bytes. Hidden and system files are left
    out, folders without any file are kept. Links to files are followed. Raises UserError at a link to a folder, which
    DVC does not follow: it would not notice when the files behind it change.
    """
    names = sorted(_entries(folder))
    with tarfile.open(target, "w", format=tarfile.GNU_FORMAT) as tar:
        for name in tqdm(names, desc=f"packing {folder}", unit=" files", leave=False, delay=1):
            _safe(str(folder), name, "rename it")
            member = tarfile.TarInfo(name)
            if name.endswith("/"):
                member.type = tarfile.DIRTYPE
                tar.addfile(member)
                continue
            if not (folder / name).is_file():
                raise UserError(f"{folder / name} is a broken link or no regular file; remove it")
            with (folder / name).open("rb") as file:
                member.size = os.fstat(file.fileno()).st_size
                tar.addfile(member, file)
    return sum(not name.endswith("/") for name in names)


def _entries(folder: Path) -> Iterator[str]:
    """Files in subfolders of `folder`, and as 'a/b/' the subfolders that hold none."""
    for current, subfolders, files in os.walk(folder):
        subfolders[:] = [name for name in subfolders if not is_hidden(name)]
        for name in subfolders:
            if (link := Path(current, name)).is_symlink():
                raise UserError(
                    f"{link} is a link to a folder ({link.readlink()}). DVC does not follow such links, so it would "
                    "not notice when the images behind it change.\n"
                    f"  Copy the images: cp -rL {shlex.quote(str(folder))} COPY, then set data.path to COPY. "
                    "Links to files, and a data.path that is a link itself, may stay"
                )
        relative = Path(current).relative_to(folder)
        if relative.parts:  # a file that lies in no subfolder has no class
            kept = [name for name in files if not is_hidden(name)]
            yield from ((relative / name).as_posix() for name in kept)
            if not kept and not subfolders:
                yield f"{relative.as_posix()}/"


def is_hidden(name: str) -> bool:
    """Whether a member is hidden or left behind by a system: .DS_Store, ._copy, __MACOSX/..., @eaDir/..., Thumbs.db."""
    parts = name.split("/")
    return any((part.startswith(".") and part not in (".", "..")) or part.casefold() in SYSTEM_NAMES for part in parts)


def _untar(path: Path, kind: str, shown: str) -> Iterator[tuple[str, bytes]]:
    opened: dict[str, Any] = {".tar": open, ".tar.gz": gzip.open, ".tar.bz2": bz2.open, ".tar.xz": lzma.open}
    try:
        with opened[kind](path, "rb") as file:
            stream = _Forward(shown, file)
            tar: Any = tarfile.TarFile(fileobj=stream)  # type: ignore[arg-type]  # it needs no more than `stream` has
            count = 0
            while (member := tar.next()) is not None:
                tar.members.clear()  # else each header stays in memory
                count += 1
                _not_too_much(shown, count, stream.tell())
                if is_hidden(member.name):
                    yield from _folder_of_hidden(shown, member.name)
                    continue
                name = _safe(shown, member.name)
                if member.isdir():
                    if name:  # './' itself
                        yield f"{name}/", b""
                    continue
                if not member.isreg() or member.issparse():
                    raise UserError(
                        f"{shown}: {name} is a link, a device or a sparse file; only regular files are read. "
                        "Pack it again with: tar --dereference --hard-dereference -cf images.tar FOLDER"
                    )
                _bounded(shown, name, member.size)
                yield name, stream.content(member.size)
            # `tarfile` takes a cut or garbled header for the end of the archive; the true end is a block of zeros.
            if stream.last != bytes(tarfile.BLOCKSIZE):
                raise EOFError("its last block is missing")
    except _DAMAGE as error:
        raise UserError(f"{shown} is damaged or cut off ({error}); get it or pack it again") from None


class _Forward:
    """The unfolded bytes of a tar for `tarfile`: forward alone, and within the bounds.

    Left to itself, `tarfile` reads a name of any declared length at once, unfolds any number of bytes to pass over a
    member, and goes round in circles where a size is negative.
    """

    def __init__(self, shown: str, file: IO[bytes]) -> None:
        self._shown = shown
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
        _not_too_much(self._shown, 0, position)
        self._file.seek(position)


def _unzip(path: Path, shown: str, encoding: str) -> Iterator[tuple[str, bytes]]:
    total = 0
    try:
        with zipfile.ZipFile(path) as archive:
            for count, member in enumerate(archive.infolist(), start=1):
                listed = _member_name(member, shown, encoding)
                if is_hidden(listed.rstrip("/")):
                    yield from _folder_of_hidden(shown, listed)
                    continue
                name = _safe(shown, listed)
                if listed.endswith("/"):
                    yield f"{name}/", b""
                    continue
                if member.flag_bits & 1:
                    raise UserError(f"{shown}: {name} is encrypted; pack it without a password")
                _bounded(shown, name, member.file_size)
                try:
                    with archive.open(member) as file:
                        content = file.read(MAX_MEMBER_BYTES + 1)  # the size in the directory may lie
                except NotImplementedError:
                    method = METHODS.get(member.compress_type, f"method {member.compress_type}")
                    raise UserError(
                        f"{shown}: {name} is compressed with {method}, which Python cannot read. Unpack the archive "
                        "with 7-Zip or your file manager, and set data.path to the folder or pack it as a .tar.gz"
                    ) from None
                _bounded(shown, name, len(content))
                total += len(content)
                _not_too_much(shown, count, total)
                yield name, content
    except _DAMAGE as error:
        raise UserError(f"{shown} is damaged or cut off ({error}); get it or pack it again") from None


def _member_name(member: zipfile.ZipInfo, shown: str, encoding: str) -> str:
    """The name with '/' between folders. Some Windows programs write backslashes, and names without their encoding."""
    raw = _name_bytes(member)
    name = member.filename
    if raw is not None and encoding:
        try:
            name = raw.decode(encoding)
        except UnicodeDecodeError:
            raise UserError(f"{shown} holds names that are not {encoding} (data.zip_encoding): {raw!r}") from None
    elif raw is None and not member.flag_bits & UTF8_FLAG:
        name = name.encode("cp437").decode()
    return name.replace("\\", "/")


def _name_bytes(member: zipfile.ZipInfo) -> bytes | None:
    """The bytes of a name that is neither marked as UTF-8 nor valid UTF-8; None for all others."""
    if member.flag_bits & UTF8_FLAG:
        return None
    raw = member.filename.encode("cp437")  # as which `zipfile` decoded it
    try:
        raw.decode()
    except UnicodeDecodeError:
        return raw
    return None


def _folder_of_hidden(shown: str, name: str) -> Iterator[tuple[str, bytes]]:
    """The folder of a hidden member as 'a/b/', unless the folder is hidden too: it may hold nothing else."""
    folder = name.strip("/").rpartition("/")[0]
    if folder and not is_hidden(folder) and (safe := _safe(shown, folder)):
        yield f"{safe}/", b""


def _safe(where: str, name: str, cure: str = "pack it again from within its folder") -> str:
    """The name without './'; UserError if it could lead out of a folder or cannot be printed."""
    leads_out = name.startswith("/") or ".." in name.split("/") or "\\" in name or re.match("[A-Za-z]:", name)
    if not name or leads_out or UNPRINTABLE.search(name) or len(os.fsencode(name)) > MAX_NAME_BYTES:
        raise UserError(f"{where} holds a file with an unsafe name: {name[:200]!r}; {cure}")
    return "/".join(part for part in name.split("/") if part not in ("", "."))


def _bounded(shown: str, name: str, size: int) -> None:
    if size > MAX_MEMBER_BYTES:
        raise UserError(f"{shown}: {name} has {size:,} bytes; no more than {MAX_MEMBER_BYTES:,} are read from one file")


def _not_too_much(shown: str, members: int, total: int) -> None:
    if members > MAX_MEMBERS or total > MAX_TOTAL_BYTES:
        raise UserError(f"{shown} holds more than {MAX_MEMBERS:,} files or {MAX_TOTAL_BYTES >> 30} GiB of content")
