"""The MLflow UI answers the person at this machine, and nobody else: the real server, in a hostile environment."""

import asyncio
import contextlib
import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import requests

from commands import ui
from src.errors import UserError
from src.tracking import MlflowClient
from tests.conftest import REPOSITORY

# What would open `mlflow server`, or uvicorn, where a person's environment has it.
HOSTILE = {
    "MLFLOW_HOST": "0.0.0.0",
    "MLFLOW_SERVER_ALLOWED_HOSTS": "*",
    "MLFLOW_SERVER_CORS_ALLOWED_ORIGINS": "*",
    "MLFLOW_SERVER_DISABLE_SECURITY_MIDDLEWARE": "true",
    "MLFLOW_SERVER_X_FRAME_OPTIONS": "NONE",
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "true",
    "MLFLOW_ENABLE_REMOTE_ASSISTANT": "true",
    "MLFLOW_ENABLE_AI_GATEWAY": "true",
    "MLFLOW_GUNICORN_OPTS": "--bind 0.0.0.0:0",
    "MLFLOW_UVICORN_OPTS": "--host 0.0.0.0",
    "UVICORN_HOST": "0.0.0.0",
    "FORWARDED_ALLOW_IPS": "*",
}
FOREIGN_HOSTS = ("evil.example", "192.168.0.5", "10.0.0.1:{port}", "0.0.0.0:{port}", "127.0.0.1.evil.example:{port}",
                 "localhost.evil.example", "evil.example@localhost", "localhost:{port}, evil.example")  # fmt: skip
FOREIGN_ORIGINS = ("http://evil.example", "null", "http://localhost:1234", "http://127.0.0.1", "http://127.0.0.1.evil",
                   "https://127.0.0.1:{port}", "http://127.0.0.1:{port}.evil.example")  # fmt: skip
PATHS = ("/", "/health", "/version", "/graphql", "/v1/traces", "/gateway/any/mlflow/invocations", "/get-artifact",
         "/static-files/favicon.ico", "/api/2.0/mlflow/experiments/search", "/ajax-api/2.0/mlflow/experiments/search",
         "/ajax-api/3.0/mlflow/server-info", "/ajax-api/3.0/jobs/search", "/not-there")  # fmt: skip
METHODS = ("GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE")


class Server:
    """`make ui` on a free port, over a store of its own."""

    def __init__(self, root: Path) -> None:
        environment = {k: v for k, v in os.environ.items() if not k.startswith(("MLFLOW_", "DVC_"))}
        log = root / "log"
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                ["make", "-o", "install", "ui", "PORT=0"], cwd=REPOSITORY, start_new_session=True,
                env=environment | HOSTILE | {"DVC_ROOT": str(root)}, stdout=output, stderr=subprocess.STDOUT,
            )  # fmt: skip
        deadline = time.monotonic() + 120
        while not (found := re.search(r"http://127\.0\.0\.1:(\d+)/#/experiments/\d+/runs", log.read_text())):
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise AssertionError(log.read_text())
            time.sleep(0.1)
        self.port = int(found[1])

    def ask(self, path: str = "/", method: str = "GET", host: str = "127.0.0.1", **headers: str) -> requests.Response:
        """An answer to a request as a browser may send it; `{port}` in a header is the server's."""
        own = f"127.0.0.1:{self.port}"
        given = {key: value.format(port=self.port) for key, value in {"Host": host, **headers}.items()}
        body = {"json": {"max_results": 5}} if method in ("POST", "PUT", "PATCH") else {}
        return requests.request(method, f"http://{own}{path}", headers=given, timeout=60, **body)  # type: ignore[arg-type]

    def processes(self) -> list[psutil.Process]:
        me = psutil.Process(self.process.pid)
        return [me, *me.children(recursive=True)]

    def stop(self) -> None:
        """Ctrl-C, which reaches all processes of a terminal; what has not ended after a minute is killed."""
        for number in (signal.SIGINT, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError, subprocess.TimeoutExpired):
                os.killpg(self.process.pid, number)
                self.process.wait(60)
                return


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    running = Server(tmp_path_factory.mktemp("ui"))
    yield running
    running.stop()
    assert running.process.returncode != -signal.SIGKILL


@pytest.mark.slow
class TestServer:
    def test_it_listens_on_127_0_0_1_alone_and_starts_no_other_process(self, server: Server) -> None:
        assert server.ask().ok  # it has started whatever it starts
        python = [process for process in server.processes() if "python" in process.name()]
        assert len(python) == 1
        assert python[0].cmdline()[1:3] == ["-m", "commands.ui"]
        listening = [c for c in python[0].net_connections("all") if c.status == psutil.CONN_LISTEN]
        assert [tuple(c.laddr) for c in listening] == [("127.0.0.1", server.port)]

    @pytest.mark.parametrize("host", FOREIGN_HOSTS)
    def test_no_foreign_host_is_answered(self, server: Server, host: str) -> None:
        answers = {path: server.ask(path, host=host).status_code for path in PATHS}
        assert answers == dict.fromkeys(PATHS, 403)
        assert {server.ask("/", method, host).status_code for method in METHODS} == {403}

    @pytest.mark.parametrize("origin", FOREIGN_ORIGINS)
    def test_no_foreign_origin_is_answered(self, server: Server, origin: str) -> None:
        host = "127.0.0.1:{port}"
        for method in METHODS:
            answers = {path: server.ask(path, method, host, Origin=origin) for path in PATHS}
            assert {path: answer.status_code for path, answer in answers.items()} == dict.fromkeys(PATHS, 403), method
            assert not any("Access-Control-Allow-Origin" in answer.headers for answer in answers.values())

    @pytest.mark.parametrize("host", ["127.0.0.1:{port}", "localhost:{port}", "localhost:8080"])
    def test_its_own_pages_work(self, server: Server, host: str) -> None:
        """8080: as through `ssh -L 8080:localhost:5000`."""
        page = server.ask("/", host=host)
        assert "<title>MLflow</title>" in page.text
        assert (page.headers["X-Frame-Options"], page.headers["X-Content-Type-Options"]) == ("SAMEORIGIN", "nosniff")
        search = "/ajax-api/2.0/mlflow/experiments/search"
        for headers in ({}, {"Origin": f"http://{host}"}):
            found = server.ask(search, "POST", host, **headers)
            assert "normlens" in [experiment["name"] for experiment in found.json()["experiments"]]

    def test_a_program_can_read_and_write_through_it(self, server: Server, tmp_path: Path) -> None:
        client = MlflowClient(f"http://127.0.0.1:{server.port}")
        experiment = client.create_experiment("from a program")
        run = client.create_run(experiment).info.run_id
        (tmp_path / "file.txt").write_text("content", encoding="utf-8")
        client.log_artifact(run, str(tmp_path / "file.txt"))
        assert [file.path for file in client.list_artifacts(run)] == ["file.txt"]

    def test_what_runs_programs_or_calls_others_is_off(self, server: Server) -> None:
        for method, path in (("GET", "config"), ("GET", "providers"), ("PUT", "config"), ("POST", "message")):
            assert server.ask(f"/ajax-api/3.0/mlflow/assistant/{path}", method).status_code == 404
        assert "disabled" in server.ask("/gateway/any/mlflow/invocations", "POST").text
        assert server.ask("/ajax-api/3.0/mlflow/ui-telemetry").json()["disable_ui_telemetry"] is True
        assert "huey" not in " ".join(word for process in server.processes() for word in process.cmdline())


def status(headers: list[tuple[bytes, bytes]], kind: str = "http") -> int:
    """The status with which a guarded application answers."""
    sent: list[dict[str, Any]] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": f"{kind}.start", "status": 200})

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(ui.guarded(app)({"type": kind, "method": "GET", "headers": headers}, None, send))  # type: ignore[arg-type]
    return int(sent[0].get("status", 0))


@pytest.mark.parametrize(
    ("headers", "answer"),
    [
        ([(b"host", b"127.0.0.1:5000")], 200),
        ([(b"host", b"localhost:5000"), (b"origin", b"http://localhost:5000")], 200),
        ([(b"host", b"localhost"), (b"origin", b"http://localhost")], 200),
        ([], 403),
        ([(b"host", b"")], 403),
        ([(b"host", b"127.0.0.1:5000\n")], 403),
        ([(b"host", b"127.0.0.1:5000"), (b"host", b"evil.example")], 403),
        ([(b"host", b"127.0.0.1:5000"), (b"origin", b"")], 403),
        ([(b"host", b"127.0.0.1:5000"), (b"origin", b"http://localhost:5000")], 403),
        ([(b"host", b"localhost:5000"), (b"origin", b"http://localhost:5000"), (b"origin", b"http://evil")], 403),
        ([(b"host", b"localhost:5000"), (b"sec-fetch-site", b"same-origin"), (b"sec-fetch-mode", b"cors")], 200),
        ([(b"host", b"localhost:5000"), (b"sec-fetch-site", b"none"), (b"sec-fetch-mode", b"navigate")], 200),
        ([(b"host", b"localhost:5000"), (b"sec-fetch-site", b"cross-site"), (b"sec-fetch-mode", b"navigate")], 200),
        ([(b"host", b"localhost:5000"), (b"sec-fetch-site", b"cross-site"), (b"sec-fetch-mode", b"no-cors")], 403),
        ([(b"host", b"localhost:5000"), (b"sec-fetch-site", b"same-site"), (b"sec-fetch-mode", b"no-cors")], 403),
    ],
)
@pytest.mark.parametrize("kind", ["http", "websocket"])
def test_one_host_of_this_machine_and_no_origin_but_it(
    headers: list[tuple[bytes, bytes]], answer: int, kind: str
) -> None:
    assert status(headers, kind) == answer


def test_a_port_that_cannot_be_had_is_a_sentence() -> None:
    with ui.listen(0) as taken:
        for port in (taken.getsockname()[1], -1, 70000):
            with pytest.raises(UserError, match=rf"port {port} cannot be used \(.+\)\. .*: make ui PORT="):
                ui.listen(port)
    with socket.create_server(("127.0.0.1", 0)) as other, pytest.raises(UserError):
        ui.listen(other.getsockname()[1])
