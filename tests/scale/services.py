"""PostgreSQL, an S3 and an MLflow server on free ports, started by the code blocks of docs/scale/shared-server.md."""

import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Self
from urllib.error import HTTPError, URLError
from urllib.request import urlopen

from src.tracking import MlflowClient
from tests.conftest import REPOSITORY
from tests.faults.tracking_server import free_port

DOCUMENT = REPOSITORY / "docs/scale/shared-server.md"
PATIENCE = 900.0  # seconds until a service answers: the machine may be busy


def documented(name: str) -> str:
    """The shell code of the page below `<!-- tested: NAME -->`."""
    (lines,) = re.findall(
        rf"<!-- tested: {re.escape(name)} -->\n```sh\n(.*?)```", DOCUMENT.read_text(encoding="utf-8"), re.DOTALL
    )
    return str(lines)


def postgresql_path() -> str:
    """PATH with PostgreSQL's programs, which Debian keeps apart; '' where there are none."""
    places = [*os.environ["PATH"].split(os.pathsep), *map(str, Path("/usr/lib/postgresql").glob("*/bin"))]
    return os.pathsep.join(places) if shutil.which("initdb", path=os.pathsep.join(places)) else ""


class Services:
    """The three services, all their files in a folder of their own. `stop` ends them and deletes it."""

    def __init__(self) -> None:
        # Not in pytest's folder, which nobody else may enter: PostgreSQL refuses to run as root, and is another user.
        self.folder = Path(tempfile.mkdtemp(prefix="normlens-scale-"))
        self.ports = {name: free_port() for name in ("PGPORT", "S3_PORT", "MLFLOW_PORT")}
        self.secrets = {name: os.urandom(12).hex() for name in ("POSTGRES_PASSWORD", "S3_ACCESS_KEY", "S3_SECRET_KEY")}
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        (self.folder / "deploy").mkdir()
        lines = [f"{name}={value}\n" for name, value in self.secrets.items()]
        (self.folder / "deploy/.env").write_text("".join(lines), encoding="utf-8")
        if os.geteuid() == 0:
            for path in (self.folder, self.folder / "deploy", self.folder / "deploy/.env"):
                shutil.chown(path, "postgres")

    @property
    def uri(self) -> str:
        """Where the MLflow server answers."""
        return f"http://127.0.0.1:{self.ports['MLFLOW_PORT']}"

    @property
    def s3(self) -> dict[str, str]:
        """What a client of the S3 server has in its environment."""
        return {
            "AWS_ACCESS_KEY_ID": self.secrets["S3_ACCESS_KEY"],
            "AWS_SECRET_ACCESS_KEY": self.secrets["S3_SECRET_KEY"],
            "AWS_DEFAULT_REGION": "us-east-1",
            "S3_PORT": str(self.ports["S3_PORT"]),
        }

    def client(self) -> MlflowClient:
        return MlflowClient(self.uri)

    def start(self) -> Self:
        """Start all three."""
        self.start_s3()
        unprivileged = ["setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups"]
        self.run("database", *(unprivileged if os.geteuid() == 0 else []))
        return self.start_mlflow()

    def start_s3(self) -> Self:
        self._begin("s3", f"http://127.0.0.1:{self.ports['S3_PORT']}/")
        self.run("bucket")
        return self

    def start_mlflow(self) -> Self:
        return self._begin("mlflow", f"{self.uri}/health")

    def kill_mlflow(self) -> None:
        """As a crash of its machine would end it."""
        self._kill("mlflow")

    def stop(self) -> None:
        for name in list(self._processes):
            self._kill(name)
        data = self.folder / "shared/postgres"
        if (data / "postmaster.pid").exists():
            os.kill(int((data / "postmaster.pid").read_text().split()[0]), signal.SIGQUIT)  # it ends at once
            wait_until(lambda: not (data / "postmaster.pid").exists(), "PostgreSQL ends")
        shutil.rmtree(self.folder, ignore_errors=True)

    def run(self, name: str, *prefix: str) -> None:
        """Run documented lines to their end."""
        with (self.folder / f"{name}.log").open("ab") as log:
            command = [*prefix, "bash", "-euc", documented(name)]
            done = subprocess.run(
                command, cwd=self.folder, env=self._environment(), stdout=log, stderr=log, check=False
            )
        assert done.returncode == 0, self._log(name)

    def _begin(self, name: str, address: str) -> Self:
        with (self.folder / f"{name}.log").open("ab") as log:
            self._processes[name] = process = subprocess.Popen(
                ["bash", "-euc", documented(name)], cwd=self.folder, env=self._environment(),
                stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip

        def answers() -> bool:
            assert process.poll() is None, self._log(name)
            try:
                urlopen(address, timeout=5).close()
            except HTTPError:
                return True
            except (URLError, OSError):
                return False
            return True

        wait_until(answers, f"{name} answers")
        return self

    def _kill(self, name: str) -> None:
        process = self._processes.pop(name)
        with suppress(ProcessLookupError):  # it has ended by itself
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def _environment(self) -> dict[str, str]:
        foreign = ("AWS_", "MLFLOW_", "PG", "DVC_")
        inherited = {key: value for key, value in os.environ.items() if not key.startswith(foreign)}
        ports = {name: str(port) for name, port in self.ports.items()}
        return inherited | ports | {"PATH": postgresql_path(), "SHARED": str(self.folder / "shared")}

    def _log(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text(encoding="utf-8", errors="replace")[-4000:]


def wait_until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, f"not within {PATIENCE:g} s: {what}"
        time.sleep(0.2)
