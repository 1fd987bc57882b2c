"""A real MLflow server, and a proxy before it that breaks from a request on."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self
from urllib.error import URLError
from urllib.request import urlopen


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@dataclass
class Server:
    """`mlflow server` over the SQLite file and the artifacts in `folder`; always on the same port."""

    folder: Path
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> Self:
        """Start the processes and wait until they answer."""
        command = [
            sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(self.port), "--workers", "1",
            "--backend-store-uri", f"sqlite:///{self.folder / 'mlflow.db'}",
            "--artifacts-destination", str(self.folder / "artifacts"),
        ]  # fmt: skip
        environment = os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}  # eight processes that nothing needs
        with (self.folder / "server.log").open("ab") as log:
            self.process = subprocess.Popen(
                command, env=environment, stdout=log, stderr=log, start_new_session=True
            )  # of a process group of its own: `signal` reaches all of them
        deadline = time.monotonic() + 120
        while not self._answers():
            assert self.process.poll() is None, (self.folder / "server.log").read_text()
            assert time.monotonic() < deadline, (self.folder / "server.log").read_text()
            time.sleep(0.1)
        return self

    def _answers(self) -> bool:
        try:
            with urlopen(f"{self.uri}/health", timeout=5) as answer:
                return bool(answer.status == 200)
        except (URLError, OSError):
            return False

    def hang(self) -> None:
        """The kernel goes on accepting connections, and nobody answers."""
        self._signal(signal.SIGSTOP)

    def go_on(self) -> None:
        self._signal(signal.SIGCONT)

    def kill(self) -> None:
        """End all of its processes; the files stay, and `start` serves them again."""
        if self.process is not None:
            self._signal(signal.SIGKILL)
            self.process.wait()
            self.process = None

    def _signal(self, number: int) -> None:
        assert self.process is not None
        os.killpg(self.process.pid, number)


class Proxy(ThreadingHTTPServer):
    """Passes requests on to `server`, but for those that are to fail.

    fault lost: passed on and done, and then no answer. answer: `answer`, a status and a body. stop: the server's
    processes are stopped, and go on, with this request too, when the client has hung up.
    """

    daemon_threads = True

    def __init__(self, server: Server) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.server = server
        self.answer = (500, b"{}")
        self.delay = 0.0  # seconds before each answer
        self._lock = threading.Lock()
        self.heal()

    def __enter__(self) -> Self:
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self.shutdown()
        self.server_close()

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def heal(self) -> None:
        self.break_from(sys.maxsize, "")

    def break_from(self, first: int, fault: str) -> None:
        """Count requests anew; number `first` of 0, 1, ... and all after it fail."""
        self._first, self._fault, self._word = first, fault, b""
        self.seen = self.faulty = 0

    def stop_once(self, word: bytes) -> None:
        """Stop the server at the first request whose body has `word`."""
        self.heal()
        self._word = word

    def next_fault(self, body: bytes) -> str:
        """How to treat a request; '' for well."""
        with self._lock:
            self.seen += 1
            stop = bool(self._word) and self._word in body
            if stop:
                self._word = b""
            fault = "stop" if stop else self._fault if self.seen > self._first else ""
            self.faulty += bool(fault)
            return fault

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: clients that hang up are what this is for."""


class _Handler(BaseHTTPRequestHandler):
    server: Proxy

    def _handle(self) -> None:
        if self.headers.get("Transfer-Encoding") == "chunked":  # so is an empty file sent: one chunk of no bytes
            assert self.rfile.readline() + self.rfile.readline() == b"0\r\n\r\n"
            del self.headers["Transfer-Encoding"]
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        fault = self.server.next_fault(body)
        if fault == "answer":
            self._answer(*self.server.answer)
            return
        if fault == "stop":
            self.server.server.hang()
            self.connection.recv(1)  # nothing comes: the client hangs up
            self.server.server.go_on()
        connection = HTTPConnection("127.0.0.1", self.server.server.port, timeout=60)
        connection.request(self.command, self.path, body, dict(self.headers))
        response = connection.getresponse()
        content = response.read()
        connection.close()
        if not fault:
            self._answer(response.status, content, response.getheader("Content-Type", ""))

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _handle

    def _answer(self, status: int, content: bytes, kind: str = "application/json") -> None:
        time.sleep(self.server.delay)
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *arguments: object) -> None:
        """Not to the terminal."""
