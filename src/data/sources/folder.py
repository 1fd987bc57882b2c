"""The user's own images: a folder or an archive, local or at an address."""

import shlex
import shutil
from pathlib import Path

from src import artifacts
from src.addresses import redacted
from src.data.sources import archive
from src.data.sources.digests import mismatch
from src.data.sources.download import DownloadError, download
from src.errors import UserError
from src.params import Data, setting

NAME = "images"  # data/raw/images.tar, images.zip, ...


def fetch(data: Data, destination: Path) -> str:
    """Put one archive `images.*` into `destination`, verified against `data.sha256` if it is set."""
    digests = {"sha256": data.sha256} if data.sha256 else {}
    if data.url:
        return _from_address(data.url, digests, destination)
    path = Path(data.path)
    check_path(data)
    if path.is_file():
        if problem := mismatch(path, digests):
            raise UserError(f"data.path: {path} does not match data.sha256: {problem}. Correct one of the two")
        with artifacts.atomic(destination / f"{NAME}{archive.suffix(path)}") as temporary:
            shutil.copyfile(path, temporary)
        return f"images from {path}"
    if digests:
        raise UserError(f"data.sha256 is set, but data.path is a folder ({path}). Set data.sha256 to ''")
    with artifacts.atomic(destination / f"{NAME}.tar") as temporary:
        count = archive.pack(path, temporary)
        if not count:
            raise UserError(
                f"data.path: {path} contains no images in class folders. Put them there as {path}/CLASS/*.jpg, "
                f"or set data.path to the folder or archive that contains them{_where_it_may_be(path)}"
            )
    return f"{count} files from {path}"


def check_path(data: Data) -> None:
    """Raise UserError if `data.path` does not exist. DVC needs it for every source."""
    path = Path(data.path)
    if path.exists():
        return
    if path.parts[:1] == ("~",):
        absolute = Path.home().joinpath(*path.parts[1:])
        raise UserError(f"{path} does not exist. DVC does not expand ~. Use {setting('data.path', str(absolute))}")
    raise UserError(f"{path} does not exist{_where_it_may_be(path)}")


def check_links(data: Data) -> None:
    """Raise UserError if a folder below `data.path` is a link."""
    if not data.url and Path(data.path).is_dir():
        for _ in archive.visible_folders(Path(data.path)):
            pass


def source_name(data: Data) -> str:
    """The address or path that the user gave for the source."""
    return redacted(data.url) if data.url else data.path


def _from_address(address: str, digests: dict[str, str], destination: Path) -> str:
    whole = destination / f"{NAME}.download"  # its type is known after the download
    try:
        download([address], whole, digests)
    except DownloadError as error:
        raise UserError(f"data.url: the archive could not be downloaded:\n{error}") from None
    digest = artifacts.sha256_file(whole)
    whole.replace(destination / f"{NAME}{archive.suffix(whole, f'data.url: {redacted(address)}')}")
    return f"images from {redacted(address)}, data.sha256 {digest}"


def _where_it_may_be(path: Path) -> str:
    """A hint for the temporary copy of a queued experiment, which only contains what git or DVC tracks. Else ''."""
    if path.is_absolute() or not artifacts.in_temporary_copy():
        return ""
    absolute = setting("data.path", str(artifacts.root() / path))
    return (
        f".\nThis experiment runs in a temporary copy of {artifacts.root()}, which lacks files that git ignores. "
        f"Use an absolute path ({absolute}), or track the files with: dvc add {shlex.quote(str(path))}"
    )
