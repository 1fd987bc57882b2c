"""Read archives member by member without extracting them, and pack folders into archives reproducibly."""

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
from itertools import takewhile
from pathlib import Path
from typing import IO, Any

from tqdm import tqdm

from src.errors import UserError

MAX_MEMBER_BYTES = 256 << 20
MAX_HEADER_BYTES = 1 << 20  # limit for long names and other headers before a member of a tar
MAX_NAME_BYTES = 4096  # limit of Linux for a path
MAX_TOTAL_BYTES = 64 << 30  # uncompressed
MAX_MEMBERS = 5_000_000

# First bytes -> suffix. An uncompressed tar has its mark at byte 257.
MAGIC = {b"PK": ".zip", b"\x1f\x8b": ".tar.gz", b"BZh": ".tar.bz2", b"\xfd7zXZ\x00": ".tar.xz"}

# Control characters, line breaks, changes of the writing direction, and bytes that are not text.
UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")

# Files and folders that operating systems, network drives and file managers leave behind, in lower case. Names that
# begin with a dot are ignored too.
SYSTEM_NAMES = frozenset((
    "__macosx", "icon\r", "network trash folder", "temporary items",  # macOS
    "thumbs.db", "ehthumbs.db", "ehthumbs_vista.db", "desktop.ini", "$recycle.bin", "system volume information",
    "@eadir", "@tmp", "#recycle", "#snapshot", "@recycle", "@recently-snapshot",  # Synology, QNAP
    "lost+found", "picasa.ini",
))  # fmt: skip
IMAGE_SUFFIXES = frozenset((
    "jpg", "jpeg", "jpe", "jfif", "png", "webp", "gif", "bmp", "tif", "tiff", "ppm", "pgm", "pbm", "pnm",
    "tga", "ico", "jp2", "j2k", "avif", "heic",
))  # fmt: skip

WEB_PAGE = re.compile(
    rb"(\xef\xbb\xbf)?\s*(<\?xml[^>]*>\s*)?(<!--.*?-->\s*)*<(!doctype\s+html|html|head|body)\b",
    re.IGNORECASE | re.DOTALL,
)
UTF8_FLAG = 0x800  # flag of a zip member: its name is UTF-8
UNICODE_PATH = 0x7075  # extra field in which WinRAR and Info-ZIP repeat a name in UTF-8
READABLE = (0, 8, 12, 14)  # compression methods of a zip: none, Deflate, bzip2 and LZMA
METHODS = {9: "Deflate64", 93: "Zstandard", 95: "XZ", 98: "PPMd"}  # some unsupported methods

# Exceptions of the standard library's readers for damaged bytes.
_DAMAGE = (
    tarfile.TarError, zipfile.BadZipFile, lzma.LZMAError, zlib.error, struct.error, EOFError, OSError, ValueError,
    OverflowError, NotImplementedError, RecursionError,
)  # fmt: skip


def suffix(path: Path, shown: str = "") -> str:
    """Return '.zip', '.tar', '.tar.gz', '.tar.bz2' or '.tar.xz' by the first bytes of `path`.

    Raises UserError for anything else. The message names the file by `shown`, or by its path.
    """
    head = _head(path)
    for magic, name in MAGIC.items():
        if head.startswith(magic):
            return name
    if head[257:262] == b"ustar":
        return ".tar"
    if is_web_page(path):
        raise UserError(
            f"{shown or path} is a web page, not an archive. Open it in a browser and copy the address behind its "
            "download button into data.url, or download the archive yourself and set data.path to it"
        )
    raise UserError(f"{shown or path} is not a supported archive. Make it a .zip, .tar, .tar.gz, .tar.bz2 or .tar.xz")


def is_web_page(path: Path) -> bool:
    """Whether a file begins like HTML. A server may send a page instead of a file, for example to ask for a login."""
    return WEB_PAGE.match(_head(path)) is not None


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(4096)


def members(path: Path, shown: str = "", encoding: str = "") -> Iterator[tuple[str, bytes]]:
    """Yield name and content of every file in an archive, in its order, except hidden and system files.

    Names are relative and use '/'. A folder is yielded as 'a/b/' without content if the archive lists it or if it
    contains an ignored file. `encoding` is the encoding of names that a zip does not mark as UTF-8. '' means UTF-8 if
    all of them are valid, else CP437, as the zip specification says. Messages name the archive by `shown`, or by its
    path.

    Raises UserError if the archive is damaged, exceeds the limits above, or contains links, devices or duplicate names.
    Also raises it for names that lead out of the archive or cannot be printed.
    """
    seen: set[str] = set()
    kind = suffix(path, shown)
    shown = shown or str(path)
    for name, content in _unzip(path, shown, encoding) if kind == ".zip" else _untar(path, kind, shown):
        if name in seen and not name.endswith("/"):
            raise UserError(f"{shown} contains {name} twice. Pack it again with only one of them")
        seen.add(name)
        yield name, content


def assumed_encoding(path: Path) -> str:
    """The encoding that `members` assumes for names in a zip that are not UTF-8. '' if there are none."""
    if suffix(path) != ".zip":
        return ""
    with zipfile.ZipFile(path) as archive:
        encoding = _encoding_of_names(archive)
    return "" if encoding == "utf-8" else encoding


def pack(folder: Path, target: Path) -> int:
    """Pack the files below the subfolders of `folder` into an uncompressed tar and return their number.

    Files are sorted by name and have no owners or times, so the same content gives the same bytes. Hidden and system
    files are left out. Empty folders and images directly in `folder` are packed too, so that `prepare` can report them.
    Links to files are followed. Raises UserError for a link to a folder, which DVC does not follow.
    """
    names = sorted(_entries(folder))
    with tarfile.open(target, "w", format=tarfile.GNU_FORMAT) as tar:
        for name in tqdm(names, desc=f"packing {folder}", unit=" files", leave=False, delay=1):
            _safe(str(folder), name, "Rename it")
            member = tarfile.TarInfo(name)
            if name.endswith("/"):
                member.type = tarfile.DIRTYPE
                tar.addfile(member)
                continue
            if not (folder / name).is_file():
                raise UserError(f"{folder / name} is a broken link or not a regular file. Remove it")
            with (folder / name).open("rb") as file:
                member.size = os.fstat(file.fileno()).st_size
                tar.addfile(member, file)
    return sum("/" in name and not name.endswith("/") for name in names)


def visible_folders(folder: Path) -> Iterator[tuple[Path, list[str], list[str]]]:
    """Yield `folder` and all folders below, with the names of their subfolders and files that are not hidden.

    Raises UserError for a link to a folder, which DVC does not follow.
    """
    for name, subfolders, files in os.walk(folder):
        current = Path(name)
        subfolders[:] = [name for name in subfolders if not is_hidden(name)]
        if link := next((current / name for name in subfolders if (current / name).is_symlink()), None):
            raise UserError(
                f"{link} is a link to a folder ({link.readlink()}). DVC does not follow it, so DVC would not notice "
                "changes of the images behind it.\n"
                f"  Copy the images with: cp -rL {shlex.quote(str(folder))} COPY, then set data.path to COPY.\n"
                "  Links to files are allowed, and data.path itself may be a link"
            )
        yield current, subfolders, [name for name in files if not is_hidden(name)]


def _entries(folder: Path) -> Iterator[str]:
    """The files in subfolders of `folder`, images in `folder` itself, and empty subfolders as 'a/b/'."""
    for current, subfolders, files in visible_folders(folder):
        if current == folder:
            yield from filter(looks_like_image, files)
            continue
        relative = current.relative_to(folder).as_posix()
        yield from (f"{relative}/{name}" for name in files)
        if not files and not subfolders:
            yield f"{relative}/"


def is_hidden(name: str) -> bool:
    """Whether a member is a hidden or system file: .DS_Store, ._copy, __MACOSX/..., @eaDir/..., Thumbs.db."""
    return any(map(_is_hidden_part, name.split("/")))


def _is_hidden_part(part: str) -> bool:
    return (part.startswith(".") and part not in (".", "..")) or part.lower() in SYSTEM_NAMES


def looks_like_image(name: str) -> bool:
    """Whether a file name has the suffix of an image format."""
    return name.rpartition(".")[2].lower() in IMAGE_SUFFIXES


def _untar(path: Path, kind: str, shown: str) -> Iterator[tuple[str, bytes]]:
    opened: dict[str, Any] = {".tar": open, ".tar.gz": gzip.open, ".tar.bz2": bz2.open, ".tar.xz": lzma.open}
    try:
        with opened[kind](path, "rb") as file:
            stream = _Forward(shown, file)
            tar: Any = tarfile.TarFile(fileobj=stream)  # type: ignore[arg-type]  # `stream` has what it needs
            count = 0
            while (member := tar.next()) is not None:
                tar.members.clear()  # else all headers stay in memory
                count += 1
                _not_too_much(shown, count, stream.tell())
                if is_hidden(member.name):
                    yield from _visible_folder(shown, member.name)
                    continue
                name = _safe(shown, member.name)
                if member.isdir():
                    if name:  # '' means './'
                        yield f"{name}/", b""
                    continue
                if not member.isreg() or member.issparse():
                    raise UserError(
                        f"{shown}: {name} is a link, a device or a sparse file, which are not supported. "
                        "Pack it again with: tar --dereference --hard-dereference -cf images.tar FOLDER"
                    )
                _bounded(shown, name, member.size)
                yield name, stream.content(member.size)
            # `tarfile` mistakes a truncated or garbled header for the end, but the true end is a block of zeros.
            if stream.last != bytes(tarfile.BLOCKSIZE):
                raise EOFError("its last block is missing")
    except _DAMAGE as error:
        raise UserError(f"{shown} is damaged or truncated ({error}). Download it or pack it again") from None


class _Forward:
    """The uncompressed bytes of a tar for `tarfile`, read only forward and within the limits.

    By itself, `tarfile` reads a name of any declared length at once, uncompresses any number of bytes to skip a member,
    and loops for ever if a size is negative.
    """

    def __init__(self, shown: str, file: IO[bytes]) -> None:
        self._shown = shown
        self._file = file
        self.last = b""  # the last header read

    def read(self, size: int) -> bytes:
        """Read a header."""
        if not 0 <= size <= MAX_HEADER_BYTES:
            raise ValueError(f"a header of {size:,} bytes")
        self.last = self._file.read(size)
        return self.last

    def content(self, size: int) -> bytes:
        """Read the content that belongs to the last header."""
        if size < 0:  # `read` would take -1 for everything
            raise ValueError("a size is negative")
        content = self._file.read(size)
        if len(content) < size:
            raise EOFError("its last file is incomplete")
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
            encoding = encoding or _encoding_of_names(archive)
            for count, member in enumerate(archive.infolist(), start=1):
                listed = _member_name(member, shown, encoding)
                if is_hidden(listed):
                    yield from _visible_folder(shown, listed)
                    continue
                name = _safe(shown, listed)
                if listed.endswith("/"):
                    yield f"{name}/", b""
                    continue
                if member.flag_bits & 1:
                    raise UserError(f"{shown}: {name} is encrypted. Pack it without a password")
                if (kind := member.compress_type) not in READABLE:
                    method = METHODS.get(kind, f"method {kind}")
                    raise UserError(
                        f"{shown}: {name} is compressed with {method}, which is not supported. Unpack the archive "
                        "with 7-Zip or your file manager, and set data.path to the folder"
                    )
                _bounded(shown, name, member.file_size)
                with archive.open(member) as file:
                    content = file.read(MAX_MEMBER_BYTES + 1)  # the declared size may be wrong
                _bounded(shown, name, len(content))
                total += len(content)
                _not_too_much(shown, count, total)
                yield name, content
    except _DAMAGE as error:
        raise UserError(f"{shown} is damaged or truncated ({error}). Download it or pack it again") from None


def _encoding_of_names(archive: zipfile.ZipFile) -> str:
    """UTF-8 if all names without a stated encoding are valid UTF-8, else CP437, as the zip specification says.

    All names get the same encoding, because a short name in another one is often valid UTF-8 by chance (GBK for cat is
    UTF-8 for è).
    """
    stored = map(_stored_name, archive.infolist())
    unstated = [name for name in stored if isinstance(name, bytes)]
    try:
        for name in unstated:
            name.decode()
    except UnicodeDecodeError:
        return "cp437"
    return "utf-8"


def _stored_name(member: zipfile.ZipInfo) -> str | bytes:
    """The name, or its bytes if neither a flag nor the field UNICODE_PATH states its encoding."""
    if member.flag_bits & UTF8_FLAG:
        return member.orig_filename
    raw = member.orig_filename.encode("cp437")  # as `zipfile` decoded it
    extra = member.extra
    while len(extra) >= 4:
        kind, size = struct.unpack("<HH", extra[:4])
        field, extra = extra[4 : 4 + size], extra[4 + size :]
        if kind == UNICODE_PATH and field[:5] == struct.pack("<BL", 1, zlib.crc32(raw)):  # else the name has changed
            return field[5:].decode()
    return raw


def _member_name(member: zipfile.ZipInfo, shown: str, encoding: str) -> str:
    """The name with '/' between folders. Some Windows programs write backslashes."""
    name = _stored_name(member)
    if isinstance(name, bytes):
        try:
            name = name.decode(encoding)
        except UnicodeError:
            raise UserError(
                f"{shown} contains a file name that is not {encoding}: {name[:200]!r}. Set the right encoding, for "
                "example: -S data.zip_encoding=gbk"
            ) from None
    return name.replace("\\", "/")


def _visible_folder(shown: str, name: str) -> Iterator[tuple[str, bytes]]:
    """The innermost visible folder of a hidden member, as 'a/b/'. It may contain nothing else."""
    if folder := _safe(shown, "/".join(takewhile(lambda part: not _is_hidden_part(part), name.split("/"))) or "."):
        yield f"{folder}/", b""


def _safe(where: str, name: str, cure: str = "Pack the archive again from inside the folder") -> str:
    """The name without './'. Raises UserError if it could lead out of the folder or cannot be printed."""
    leads_out = name.startswith("/") or ".." in name.split("/") or "\\" in name or re.match("[A-Za-z]:", name)
    if not name or leads_out or UNPRINTABLE.search(name) or len(os.fsencode(name)) > MAX_NAME_BYTES:
        raise UserError(f"{where} contains a file with an unsafe name: {name[:200]!r}. {cure}")
    return "/".join(part for part in name.split("/") if part not in ("", "."))


def _bounded(shown: str, name: str, size: int) -> None:
    if size > MAX_MEMBER_BYTES:
        raise UserError(f"{shown}: {name} has {size:,} bytes, but the limit is {MAX_MEMBER_BYTES:,}. Remove the file")


def _not_too_much(shown: str, members: int, total: int) -> None:
    if members > MAX_MEMBERS or total > MAX_TOTAL_BYTES:
        raise UserError(
            f"{shown} has more than {MAX_MEMBERS:,} files or {MAX_TOTAL_BYTES >> 30} GiB of content. Use fewer images"
        )
