"""What leaves the machine, what gets into a run, and what commands touch: the real pipeline, watched from inside.

An audit hook in every Python process notes what it says to other machines, and stops it; and what it starts. It does
not see what other programs say (git is the only one here), nor libraries in C that open sockets of their own.
"""

import ast
import secrets
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from src.artifacts import sha256_file
from tests.pipeline.workspace import Workspace

HOOK = """
import os, sys

def note(event, given):
    if event in ("socket.getaddrinfo", "socket.gethostbyname"):
        said = given[0]
    elif event in ("socket.connect", "socket.sendto", "socket.sendmsg"):
        said = given[1][0] if isinstance(given[1], tuple) else None  # (address, port); the path of a Unix socket
    elif event == "subprocess.Popen":
        said = given[1]
    else:
        return
    if event != "subprocess.Popen" and said in (None, "localhost", "127.0.0.1", "::1"):
        return
    with open(os.environ["AUDIT_LOG"], "a", encoding="utf-8") as log:
        log.write(f"{event} {said!r}\\n")
    if event != "subprocess.Popen":
        raise OSError("nothing leaves this machine")

sys.addaudithook(note)
"""
SECRET = secrets.token_hex(8)
HOSTILE = dict.fromkeys(("AWS_SECRET_ACCESS_KEY", "MLFLOW_TRACKING_PASSWORD", "GITHUB_TOKEN"), SECRET)
# With these a library sends nothing by itself, or not to its address: a test that nothing is sent could not fail.
QUIET = ("CI", "GITHUB_ACTIONS", "CIRCLECI", "GITLAB_CI", "JENKINS_URL", "TRAVIS", "TF_BUILD", "BITBUCKET_BUILD_NUMBER",
         "CODEBUILD_BUILD_ARN", "BUILDKITE", "TEAMCITY_VERSION", "CLOUD_RUN_EXECUTION", "DO_NOT_TRACK",
         "NO_ALBUMENTATIONS_UPDATE", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy",
         "all_proxy")  # fmt: skip

pytestmark = pytest.mark.slow


class Watched:
    """A workspace whose processes note what they do; `home` is the person's, where telemetry of DVC is switched on."""

    def __init__(self, place: Path) -> None:
        self.workspace = Workspace.create(place / "workspace")
        self.home = place / "home"
        (self.home / ".config" / "dvc").mkdir(parents=True)
        (self.home / ".config" / "dvc" / "config").write_text("[core]\n    analytics = true\n", encoding="utf-8")
        self.workspace.ok("git", "remote", "add", "origin", f"https://me:{SECRET}@git.invalid/normlens.git")
        hooks = place / "hooks"
        hooks.mkdir()
        (hooks / "sitecustomize.py").write_text(HOOK, encoding="utf-8")
        self.log = place / "audit.log"
        self.environment = HOSTILE | {"PYTHONPATH": str(hooks), "AUDIT_LOG": str(self.log)}

    def run(self, *command: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return self.workspace.run(*command, **self.environment, **environment)

    def ok(self, *command: str, **environment: str) -> str:
        return self.workspace.ok(*command, **self.environment, **environment)

    def noted(self, started: bool) -> list[tuple[str, object]]:
        """(event, what it was about): programs that were started, or what was said to other machines."""
        lines = self.log.read_text(encoding="utf-8").splitlines()
        events = [(event, ast.literal_eval(said)) for event, _, said in (line.partition(" ") for line in lines)]
        return [event for event in events if (event[0] == "subprocess.Popen") == started]

    def sent(self) -> list[tuple[str, object]]:
        """What was said to other machines, and the processes in which DVC says it later (they take no hook)."""
        return self.noted(started=False) + [e for e in self.noted(started=True) if "'daemon'" in str(e)]

    def files(self) -> dict[str, tuple[int, str]]:
        """Time and digest of every file, the home's too, but for the byte code that Python writes where it wants."""
        places = (self.workspace.root, self.home)
        files = [f for p in places for f in p.rglob("*") if f.is_file() and "__pycache__" not in f.parts]
        return {str(f.relative_to(self.home.parent)): (f.stat().st_mtime_ns, sha256_file(f)) for f in files}


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    """After `dvc repro` from nothing, `sync`, `summary` and a list of the recipes."""
    with pytest.MonkeyPatch.context() as patch:
        for name in QUIET:
            patch.delenv(name, raising=False)
        watched = Watched(tmp_path_factory.mktemp("privacy"))
        watched.ok("dvc", "repro")
        watched.ok("python", "-m", "commands.sync")
        yield watched


def test_nothing_is_sent(watched: Watched) -> None:
    started = str(watched.noted(started=True))
    assert "stages.report" in started, "the hook is not in DVC's process"
    assert "'rev-parse'" in started, "the hook is not in the stages' processes"
    assert watched.sent() == []


def test_the_hook_sees_what_is_sent(tmp_path: Path) -> None:
    """Where something is sent, the watch above finds it; DVC's goes to a port of this machine where nobody listens."""
    control = Watched(tmp_path)
    control.ok("dvc", "config", "--local", "core.analytics", "true", DVC_ANALYTICS_ENDPOINT="http://127.0.0.1:9/")
    assert control.run("python", "-c", "import socket; socket.create_connection(('192.0.2.1', 9))").returncode == 1
    assert control.run("python", "-c", "import requests; requests.get('https://telemetry.invalid')").returncode == 1
    *said, (_, command) = control.sent()
    assert said == [("socket.getaddrinfo", "192.0.2.1"), ("socket.getaddrinfo", "telemetry.invalid")]
    assert "analytics" in str(command)


def test_no_secret_gets_into_a_run_or_a_file(watched: Watched) -> None:
    """Neither of the environment nor of the address that git pushes to."""
    having = [
        f.relative_to(watched.workspace.root).as_posix()
        for f in watched.workspace.root.rglob("*")
        if f.is_file() and SECRET.encode() in f.read_bytes()
    ]
    assert having == [".git/config"]
    assert len(watched.workspace.runs()) == 1


def test_predict_touches_nothing_but_its_outputs(watched: Watched) -> None:
    picture = watched.workspace.root / "picture.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (50, 70, 3), dtype=np.uint8)).save(picture)
    before = watched.files()
    watched.ok("python", "-m", "commands.predict", "picture.png")
    after = watched.files()
    assert after.keys() - before.keys() == {"workspace/reports/predict/picture.png"}
    assert {name: after.get(name) for name in before} == before
    assert watched.sent() == []


def test_compare_touches_nothing_but_its_outputs(watched: Watched) -> None:
    watched.workspace.set_params({"seed": 1})
    watched.ok("dvc", "repro")  # two runs, whose maps are compared too
    before = watched.files()
    watched.ok("python", "-m", "commands.compare", "--by", "seed")
    after = watched.files()
    changed = {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}
    logged = {name for name in changed if name.startswith("workspace/mlartifacts/")}
    assert not logged & before.keys()
    figures = [f"/{name}.png" for name in ("curves", "classes", "differences", "agreement", "maps")]
    written = {f"workspace/reports/compare{end}" for end in (".html", ".json", *figures)}
    assert changed - logged == written | {"workspace/mlflow.db"}
    assert watched.sent() == []


def test_export_touches_nothing_but_its_file(watched: Watched) -> None:
    """Nor does ONNX Runtime, which as a rule calls home and keeps an id of the machine among the caches."""
    before = watched.files()
    watched.ok("python", "-m", "commands.export", XDG_CACHE_HOME=str(watched.home / ".cache"))
    after = watched.files()
    assert after.keys() - before.keys() == {"workspace/models/model.onnx"}
    assert {name: after.get(name) for name in before} == before
    assert watched.sent() == []


def test_register_touches_nothing_but_the_store(watched: Watched) -> None:
    before = watched.files()
    watched.ok("python", "-m", "commands.register")
    after = watched.files()
    changed = {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}
    assert changed == {"workspace/mlflow.db"}
    assert watched.sent() == []


def test_what_only_tells_touches_nothing(watched: Watched) -> None:
    """`summary` asks DVC, which keeps its own notes in .dvc/tmp."""
    before = watched.files()
    watched.ok("python", "-m", "commands.summary")
    watched.ok("python", "-m", "recipes")
    watched.ok("python", "-m", "commands.ui", "--help")
    after = watched.files()
    changed = {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}
    assert {name for name in changed if not name.startswith("workspace/.dvc/tmp/")} == set()
    assert watched.sent() == []
