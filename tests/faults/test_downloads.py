"""Downloads that are killed, cut off, endless or not what was asked for, from a real server by the real stage."""

import base64
import contextlib
import hashlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from src.data.sources import download as module
from tests.conftest import copy_repository
from tests.pipeline.workspace import Workspace, failure
from tests.unit.data_helpers import picture, write_tar

HALF = 5 * module.CHUNK


class Server(ThreadingHTTPServer):
    """Serves `content`, of which the first answer ends, or stands still, after HALF bytes."""

    daemon_threads = True
    content = b""
    first = "whole"  # or 'cut', 'hangs', 'endless'

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.ranges: list[str | None] = []
        self.logins: list[str | None] = []
        self.over = threading.Event()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/images.tar"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        asked = self.headers.get("Range")
        self.server.logins.append(self.headers.get("Authorization"))
        how = "whole" if self.server.ranges else self.server.first
        self.server.ranges.append(asked)
        content = self.server.content
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked else 0
        self.send_response(206 if asked else 200)
        if asked:
            assert self.headers["If-Range"] == '"v1"'
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.send_header("ETag", '"v1"')
        if how != "endless":
            self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        self.wfile.write(content[start:] if how == "whole" else content[:HALF])
        if how == "hangs":
            self.server.over.wait(60)
        while how == "endless" and not self.server.over.is_set():
            self.wfile.write(bytes(module.CHUNK))

    def log_message(self, *args: object) -> None:
        pass

    def handle(self) -> None:
        with contextlib.suppress(ConnectionError):  # the client has gone
            super().handle()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    images = {f"{label}/{number}.png": picture(number, 200) for label in "ab" for number in range(4)}
    with Server() as running:
        running.content = write_tar(tmp_path / "images.tar", images).read_bytes()
        assert len(running.content) > 2 * HALF
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.over.set()
        running.shutdown()
        thread.join()


@pytest.fixture
def workspace(tmp_path: Path, server: Server) -> Workspace:
    made = Workspace(copy_repository(tmp_path / "workspace"))
    digest = hashlib.sha256(server.content).hexdigest()
    made.set_params({"data.source": "folder", "data.url": server.address, "data.sha256": digest})
    return made


def stage(workspace: Workspace) -> subprocess.CompletedProcess[str]:
    return workspace.run("python", "-m", "stages.download")


def assert_got(workspace: Workspace, server: Server, *ranges: str | None) -> None:
    """The stage, run once more, gets the whole file, and asked for `ranges` in all."""
    done = stage(workspace)
    assert done.returncode == 0, failure(done)
    assert (workspace.root / "data/raw/images.tar").read_bytes() == server.content
    assert server.ranges == [*ranges]
    assert list((workspace.root / ".downloads").iterdir()) == []


def test_a_killed_download_goes_on_where_it_stopped(workspace: Workspace, server: Server) -> None:
    server.first = "hangs"
    running = subprocess.Popen([sys.executable, "-m", "stages.download"], cwd=workspace.root)
    try:
        deadline = time.monotonic() + 60
        while sum(part.stat().st_size for part in workspace.root.glob(".downloads/*.part")) < HALF:
            assert running.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.02)
    finally:
        os.kill(running.pid, signal.SIGKILL)
        running.wait()
    assert list((workspace.root / "data/raw").iterdir()) == []
    assert_got(workspace, server, None, f"bytes={HALF}-")


def test_a_connection_that_breaks_is_taken_up_again_at_once(workspace: Workspace, server: Server) -> None:
    server.first = "cut"
    assert_got(workspace, server, None, f"bytes={HALF}-")


def test_a_full_disk_keeps_what_has_come(workspace: Workspace, server: Server) -> None:
    kib = 3 * module.CHUNK // 1024
    done = workspace.run("bash", "-c", f"ulimit -f {kib} && exec python -m stages.download")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr, failure(done)
    assert "error: the disk is full" in done.stderr
    assert list((workspace.root / "data/raw").iterdir()) == []
    assert_got(workspace, server, None, f"bytes={kib * 1024}-")


def test_a_password_in_the_address_reaches_the_server_and_no_output(workspace: Workspace, server: Server) -> None:
    address = server.address.replace("//", "//user:Zq7x%2F%40@")
    workspace.set_params({"data.url": address})
    done = stage(workspace)
    assert done.returncode == 0, failure(done)
    login = base64.b64encode(b"user:Zq7x/@").decode()
    assert server.logins == [f"Basic {login}"]
    assert f"images from {server.address.replace('//', '//***@')}" in done.stdout
    workspace.set_params({"data.sha256": "0" * 64})
    refused = stage(workspace)
    assert refused.returncode == 1
    workspace.set_params({"data.url": "http://user:Zq7x%2F%40@127.0.0.1:9/images.tar"})
    unreached = stage(workspace)
    assert "http://***@127.0.0.1:9/images.tar: no connection" in unreached.stderr
    for ended in (done, refused, unreached):
        assert "Zq7x" not in ended.stdout + ended.stderr


def test_a_wrong_file_is_refused_and_set_aside(workspace: Workspace, server: Server) -> None:
    right = server.content
    server.content = b"<html>log in</html>"
    done = stage(workspace)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr, failure(done)
    assert "not the right file, because its sha256 is" in done.stderr
    (refused,) = (workspace.root / ".downloads").glob("*.refused")
    assert str(refused) in done.stderr
    assert refused.read_bytes() == b"<html>log in</html>"
    assert list((workspace.root / "data/raw").iterdir()) == []
    refused.unlink()
    server.content = right
    assert_got(workspace, server, None, None)


def test_a_body_without_an_end_is_bounded(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    monkeypatch.setattr(module, "MAX_BYTES", 10 << 20)
    server.first = "endless"
    with pytest.raises(module.DownloadError, match="exceeds the limit"):
        module.download([server.address], tmp_path / "got.tar", {})
    assert server.ranges == [None]
    assert not list((tmp_path / ".downloads").glob("*.part"))
