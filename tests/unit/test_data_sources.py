"""Fetching: verified, resumable, atomic; archives that mean harm are refused."""

import hashlib
import io
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import requests

from src import artifacts
from src.data.sources import FETCHERS, archive, check_source, cifar10
from src.data.sources import download as module
from src.data.sources.download import DownloadError, download
from src.errors import UserError
from tests.unit.data_helpers import parameters, tree, write_folder, write_tar, write_zip

CONTENT = bytes(range(256)) * 5000  # 1.28 MB
DIGESTS = {"sha256": hashlib.sha256(CONTENT).hexdigest()}


class Server(ThreadingHTTPServer):
    """Serves CONTENT; the first `breaks` answers end half-way; `tag` None: no validator."""

    breaks = 0
    content = CONTENT
    tag: str | None = '"v1"'

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.ranges: list[str | None] = []

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/file.bin"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        asked = self.headers.get("Range")
        self.server.ranges.append(asked)
        if self.path != "/file.bin":
            self.send_error(404)
            return
        start = 0
        if asked and self.headers.get("If-Range") == self.server.tag:
            start = int(asked.removeprefix("bytes=").rstrip("-"))
            self.send_response(206)
            total = len(self.server.content)
            self.send_header("Content-Range", f"bytes {start}-{total - 1}/{total}")
        else:
            self.send_response(200)
        body = self.server.content[start:]
        self.send_header("Content-Length", str(len(body)))
        if self.server.tag:
            self.send_header("ETag", self.server.tag)
        self.end_headers()
        if self.server.breaks:
            self.server.breaks -= 1
            body = body[: len(body) // 2]
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A main repository of our own, so that nothing is left in the real one."""
    (tmp_path / "root").mkdir()
    monkeypatch.setenv("DVC_ROOT", str(tmp_path / "root"))
    monkeypatch.chdir(tmp_path / "root")
    return tmp_path / "root"


def leftovers(root: Path) -> set[str]:
    return {path.suffix for path in (root / ".downloads").iterdir()} - {".lock"}


def test_download(server: Server, workspace: Path) -> None:
    assert download([server.address], workspace / "got.bin", DIGESTS) == server.address
    assert (workspace / "got.bin").read_bytes() == CONTENT
    assert leftovers(workspace) == set()


def test_broken_transfer_is_taken_up_again(server: Server, workspace: Path) -> None:
    server.breaks = 2
    download([server.address], workspace / "got.bin", DIGESTS)
    assert (workspace / "got.bin").read_bytes() == CONTENT
    first = len(CONTENT) // 2 // module.CHUNK * module.CHUNK  # whole chunks of the half that came
    second = first + (len(CONTENT) - first) // 2 // module.CHUNK * module.CHUNK
    assert server.ranges == [None, f"bytes={first}-", f"bytes={second}-"]


def test_interrupted_download_goes_on_in_the_next_call(
    server: Server, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.breaks = 1
    with monkeypatch.context() as context:
        context.setattr(module, "RESUMES", 0)
        with pytest.raises(DownloadError):
            download([server.address], workspace / "got.bin", DIGESTS)
    assert not (workspace / "got.bin").exists()
    assert leftovers(workspace) == {".part", ".version"}
    download([server.address], workspace / "got.bin", DIGESTS)
    assert server.ranges == [None, f"bytes={len(CONTENT) // 2 // module.CHUNK * module.CHUNK}-"]
    assert (workspace / "got.bin").read_bytes() == CONTENT


def test_changed_file_starts_anew(server: Server, workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server.breaks = 1
    monkeypatch.setattr(module, "RESUMES", 0)
    with pytest.raises(DownloadError):
        download([server.address], workspace / "got.bin", {})
    server.tag, server.content = '"v2"', b"new" * 1000
    download([server.address], workspace / "got.bin", {})
    assert (workspace / "got.bin").read_bytes() == b"new" * 1000


def test_without_a_validator_nothing_is_resumed(server: Server, workspace: Path) -> None:
    server.breaks, server.tag = 1, None
    download([server.address], workspace / "got.bin", DIGESTS)
    assert server.ranges == [None, None]
    assert (workspace / "got.bin").read_bytes() == CONTENT


def test_wrong_digest_is_set_aside_and_the_mirror_tried(server: Server, workspace: Path) -> None:
    server.content = b"<html>log in</html>"
    missing = server.address.replace("file", "other")
    with pytest.raises(DownloadError) as caught:
        download([missing, server.address], workspace / "got.bin", DIGESTS)
    first, second = str(caught.value).splitlines()
    assert "404" in first
    assert DIGESTS["sha256"] in second
    assert not (workspace / "got.bin").exists()
    (refused,) = (workspace / ".downloads").glob("*.refused")
    assert str(refused) in second
    assert refused.read_bytes() == b"<html>log in</html>"


def test_no_network_names_the_two_ways_on(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*args: object, **options: object) -> None:
        raise requests.ConnectionError("Failed to resolve 'www.cs.toronto.edu'")

    monkeypatch.setattr(requests, "get", unreachable)
    with pytest.raises(UserError) as caught:
        FETCHERS["cifar10"](parameters(mirrors=["https://mirror.example/c.tar.gz"]), workspace)
    message = str(caught.value)
    assert "-S data.path=/path/to/cifar-10-python.tar.gz" in message
    assert "python -m recipes quick" in message
    assert "mirror.example" in message
    assert len(message.splitlines()) == 6


def test_addresses_are_not_tried_for_ever(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[str] = []

    def silent(address: str, **options: object) -> None:
        tried.append(address)
        raise requests.ConnectTimeout

    monkeypatch.setattr(requests, "get", silent)
    monkeypatch.setattr(module, "PATIENCE", -1.0)  # as if the first one had used it up
    with pytest.raises(DownloadError, match="not tried"):
        download(["http://a.example/x", "http://b.example/x"], workspace / "x", {})
    assert tried == ["http://a.example/x"]


@pytest.mark.parametrize("inside", [False, True], ids=["file", "in a folder"])
def test_local_cifar_archive_is_verified(workspace: Path, monkeypatch: pytest.MonkeyPatch, inside: bool) -> None:
    local = workspace / "mine" / cifar10.ARCHIVE
    local.parent.mkdir()
    local.write_bytes(CONTENT)
    data = parameters(path=str(local.parent if inside else local))
    with pytest.raises(UserError, match="is not the official"):
        FETCHERS["cifar10"](data, workspace / "raw")
    assert local.read_bytes() == CONTENT  # a person's file stays where it is
    monkeypatch.setattr(cifar10, "DIGESTS", DIGESTS)
    FETCHERS["cifar10"](data, workspace / "raw")
    assert (workspace / "raw" / cifar10.ARCHIVE).read_bytes() == CONTENT


def test_folder_from_an_address(server: Server, workspace: Path) -> None:
    server.content = write_zip(workspace / "a.zip", tree("a/1.png")).read_bytes()
    line = FETCHERS["folder"](parameters(source="folder", url=server.address), workspace / "raw")
    assert [path.name for path in (workspace / "raw").iterdir()] == ["images.zip"]
    assert artifacts.sha256_file(workspace / "raw" / "images.zip") in line
    with pytest.raises(UserError, match="not the right file"):
        FETCHERS["folder"](parameters(source="folder", url=server.address, sha256="0" * 64), workspace / "raw2")


def test_folder_is_packed_the_same_every_time(workspace: Path) -> None:
    files = tree("b/2.png", "a/1.png", "a/sub/3.png")
    one = write_folder(workspace / "one", files | {".hidden/x.png": b"", "a/.DS_Store": b"", "README.md": b"me"})
    two = write_folder(workspace / "two", dict(reversed(files.items())))
    for folder in (one, two):
        line = FETCHERS["folder"](parameters(source="folder", path=str(folder)), workspace / f"raw-{folder.name}")
        assert line.startswith("3 files")
    tars = [workspace / f"raw-{name}" / "images.tar" for name in ("one", "two")]
    assert tars[0].read_bytes() == tars[1].read_bytes()
    assert dict(archive.members(tars[0])) == files


def test_local_archive_and_its_digest(workspace: Path) -> None:
    path = write_tar(workspace / "pets.tgz", tree("a/1.png"), "w:gz")
    digest = artifacts.sha256_file(path)
    FETCHERS["folder"](parameters(source="folder", path=str(path), sha256=digest), workspace / "raw")
    assert (workspace / "raw" / "images.tar.gz").read_bytes() == path.read_bytes()
    with pytest.raises(UserError, match=digest):
        FETCHERS["folder"](parameters(source="folder", path=str(path), sha256="0" * 64), workspace / "raw")


def test_folder_without_images(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_folder(workspace / "own", {"README.md": b"put them here"})
    data = parameters(source="folder", path="own")
    with pytest.raises(UserError, match=r"own/CLASS/\*\.jpg") as caught:
        FETCHERS["folder"](data, workspace / "raw")
    assert "temporary copy" not in str(caught.value)
    copy = write_folder(workspace / "copy", {"own/README.md": b""})
    monkeypatch.chdir(copy)
    with pytest.raises(UserError, match=r"temporary copy (.|\n)*dvc add own"):
        FETCHERS["folder"](data, copy / "raw")
    with pytest.raises(UserError, match=r"does not exist(.|\n)*absolute path"):
        FETCHERS["folder"](parameters(source="folder", path="gone"), copy / "raw")


def test_a_path_that_cifar10_cannot_use_is_rejected(workspace: Path) -> None:
    write_folder(workspace / "pets", tree("cat/1.png"))
    write_folder(workspace / "own", {"README.md": b""})
    for check in (check_source, lambda data: FETCHERS["cifar10"](data, workspace / "raw")):
        with pytest.raises(UserError, match=r"pets (.|\n)*-S data\.source=folder"):
            check(parameters(path="pets"))
    check_source(parameters(path="own"))  # it is downloaded
    check_source(parameters(source="shapes", path="pets"))  # not used: a project may have committed its own path
    write_folder(workspace / "pets", {cifar10.ARCHIVE: b""})
    check_source(parameters(path="pets"))


def test_a_home_that_dvc_does_not_expand_is_written_out(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ann")
    with pytest.raises(UserError, match=r"~/pets does not exist.*-S data\.path=/home/ann/pets"):
        check_source(parameters(source="folder", path="~/pets"))


@pytest.mark.parametrize("page", [b"<!DOCTYPE html><html>", b"\n<!-- x -->\n<HTML lang='en'>", b"\xef\xbb\xbf<html>"])
def test_a_web_page_is_no_archive(server: Server, workspace: Path, page: bytes) -> None:
    server.content = page
    for digest in ("", "0" * 64):
        data = parameters(source="folder", url=server.address, sha256=digest)
        with pytest.raises(UserError, match=f"{server.address}.* web page"):
            FETCHERS["folder"](data, workspace / "raw")
    (workspace / "pets.zip").write_bytes(page)
    with pytest.raises(UserError, match=r"pets\.zip is a web page"):
        FETCHERS["folder"](parameters(source="folder", path="pets.zip"), workspace / "raw")


@pytest.mark.parametrize("name", ["dog", "train/dog"])
def test_a_link_to_a_folder_is_rejected(workspace: Path, name: str) -> None:
    """DVC does not follow it."""
    write_folder(workspace / "elsewhere", tree("1.png"))
    folder = write_folder(workspace / "own", tree("cat/1.png", "train/cat/1.png"))
    (folder / name).symlink_to(workspace / "elsewhere")
    for get in (check_source, lambda data: FETCHERS["folder"](data, workspace / "raw")):
        with pytest.raises(UserError, match=rf"own/{name} is a link to a folder (.|\n)*cp -rL own"):
            get(parameters(source="folder", path="own"))


def test_links_that_dvc_follows_are_read(workspace: Path) -> None:
    files = tree("cat/1.png", "dog/1.png")
    folder = write_folder(workspace / "elsewhere", files)
    (folder / "dog/1.png").rename(workspace / "dog.png")
    (folder / "dog/1.png").symlink_to(workspace / "dog.png")
    (folder / "dog/.hidden").symlink_to(workspace)
    (workspace / "own").symlink_to(folder)
    data = parameters(source="folder", path="own")
    check_source(data)
    FETCHERS["folder"](data, workspace / "raw")
    assert dict(archive.members(workspace / "raw/images.tar")) == files


def test_broken_link_in_a_folder_is_named(workspace: Path) -> None:
    folder = write_folder(workspace / "own", tree("a/1.png"))
    (folder / "a" / "2.png").symlink_to("nowhere")
    with pytest.raises(UserError, match=r"a/2\.png is a broken link"):
        FETCHERS["folder"](parameters(source="folder", path="own"), workspace / "raw")


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
def test_tar_members(workspace: Path, mode: str) -> None:
    files = tree("top/a/1.png", "top/b/2.png")
    hidden = {"top/._a": b"x", "__MACOSX/a/1.png": b"x"}
    path = write_tar(workspace / "x", {"./": b"", "top/": b""} | files | hidden, mode)
    assert archive.suffix(path) == {"w": ".tar"}.get(mode, mode.replace("w:", ".tar."))
    assert dict(archive.members(path)) == {"top/": b""} | files


def test_zip_members(workspace: Path) -> None:
    files = tree("a/1.png", "b/2.png")
    hidden = {"__MACOSX/a/1.png": b"x", "c/Thumbs.db": b"x"}
    assert dict(archive.members(write_zip(workspace / "x.zip", files | hidden))) == files | {"c/": b""}


@pytest.mark.parametrize(
    "name", ["/etc/passwd", "../up.png", "a/../../up.png", "C:/x.png", "../.hidden", "/etc/.hidden", "C:\\x.png"]
)
def test_names_that_lead_out_are_refused(workspace: Path, name: str) -> None:
    for path in (write_tar(workspace / "x.tar", {name: b""}), write_zip(workspace / "x.zip", {name: b""})):
        with pytest.raises(UserError, match="unsafe name"):
            list(archive.members(path))


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE])
def test_links_and_devices_are_refused(workspace: Path, kind: bytes) -> None:
    with tarfile.open(workspace / "x.tar", "w") as tar:
        member = tarfile.TarInfo("a/1.png")
        member.type, member.linkname = kind, "/etc/passwd"
        tar.addfile(member)
    with pytest.raises(UserError, match="a link, a device or a sparse file"):
        list(archive.members(workspace / "x.tar"))


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:xz"])
@pytest.mark.parametrize("share", [0.2, 0.5, 0.7])
def test_cut_archive_is_never_taken_for_whole(workspace: Path, mode: str, share: float) -> None:
    path = write_tar(workspace / "x", tree(*(f"a/{number}.png" for number in range(20))), mode)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(UserError, match="truncated"):
        list(archive.members(path))


def test_tar_cut_between_members_is_noticed(workspace: Path) -> None:
    path = write_tar(workspace / "x.tar", tree("a/1.png", "a/2.png"))
    with tarfile.open(path) as tar:
        second = tar.getmembers()[1].offset
    path.write_bytes(path.read_bytes()[:second])
    with pytest.raises(UserError, match="truncated"):
        list(archive.members(path))


def test_bounds(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = {"a/1.png": bytes(100), "a/2.png": bytes(100)}
    for path in (write_zip(workspace / "x.zip", files), write_tar(workspace / "x.tar.gz", files, "w:gz")):
        for bound, value, said in (
            ("MAX_MEMBERS", 1, "more than 1 files"),
            ("MAX_TOTAL_BYTES", 150, "more than .* GiB"),
            ("MAX_MEMBER_BYTES", 99, r"a/1\.png has 100 bytes"),
        ):
            with monkeypatch.context() as context:
                context.setattr(archive, bound, value)
                with pytest.raises(UserError, match=said):
                    list(archive.members(path))


def test_same_name_twice_and_no_archive(workspace: Path) -> None:
    with tarfile.open(workspace / "x.tar", "w") as tar:
        for _ in range(2):
            tar.addfile(tarfile.TarInfo("a/1.png"), io.BytesIO())
    with pytest.raises(UserError, match="twice"):
        list(archive.members(workspace / "x.tar"))
    (workspace / "x.rar").write_bytes(b"Rar!")
    with pytest.raises(UserError, match=r"\.zip, \.tar"):
        archive.suffix(workspace / "x.rar")


def test_encrypted_zip(workspace: Path) -> None:
    path = write_zip(workspace / "x.zip", {"a/1.png": b"x"})
    content = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as opened:
        central = opened.start_dir
    content[6] |= 1
    content[central + 8] |= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match="password"):
        list(archive.members(path))
