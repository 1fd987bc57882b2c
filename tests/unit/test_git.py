"""Commands for git that messages and documents give: each works in the state in which a person reads it."""

import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from src import artifacts, git
from src.announce import announce
from src.config.changes import list_uncommitted, uncommitted
from src.errors import UserError
from src.params import load_params, wrong_value
from src.runtime.run import OLD_DATA, reject_shallow_clone
from src.yaml_files import read_yaml
from tests.conftest import PARAMS_YAML, REPOSITORY

DOCUMENTS = [REPOSITORY / name for name in ("README.md", "params.yaml", "own/README.md")]
DOCUMENTS += sorted((REPOSITORY / "docs").rglob("*.md"))
COMMAND = re.compile(r"git (?:checkout|restore|reset) [^`\n&,)]*params\.yaml")


def run(*command: str) -> str:
    """What git prints, which must succeed."""
    identity = ["-c", "user.name=t", "-c", "user.email=t@localhost"]
    return subprocess.run(["git", *identity, *command], capture_output=True, text=True, check=True).stdout


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder: a repository with a committed params.yaml."""
    root = tmp_path / "repository"
    root.mkdir()
    monkeypatch.chdir(root)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    shutil.copy(PARAMS_YAML, artifacts.PARAMS)
    run("init", "-q")
    run("add", "-A")
    run("commit", "-qm", "start")
    return root


def leave(state: str, content: str = "norm: layer\n") -> None:
    """Make params.yaml differ from the last commit."""
    if state == "removed from git":
        run("rm", "-q", "--force", "params.yaml")
    elif state == "missing":
        artifacts.PARAMS.unlink()
    else:
        artifacts.PARAMS.write_text(content)
    if state == "staged":  # as a killed `dvc exp run` leaves it
        run("add", "params.yaml")


def told() -> set[str]:
    """The commands that documents and messages give to undo changes of params.yaml, in the current folder."""
    texts = [file.read_text(encoding="utf-8") for file in DOCUMENTS]
    texts += [OLD_DATA, str(wrong_value("norm", "is wrong"))]
    for content in (None, "norm: [", "- 1", "norm: bacth\nnrom: 1\n"):
        artifacts.PARAMS.unlink(missing_ok=True)
        if content is not None:
            artifacts.PARAMS.write_text(content)
        with pytest.raises(UserError) as error:
            load_params()
        assert COMMAND.search(str(error.value)), error.value
        texts.append(str(error.value))
    return {command for text in texts for command in COMMAND.findall(text)}


@pytest.mark.parametrize("state", ["changed", "staged", "missing", "removed from git"])
def test_every_command_that_is_given_undoes_the_changes(repository: Path, state: str) -> None:
    commands = told()
    assert commands
    for command in commands:
        run("reset", "-q", "--hard")
        leave(state)
        subprocess.run(command, shell=True, check=True, capture_output=True)
        assert artifacts.PARAMS.read_bytes() == PARAMS_YAML.read_bytes(), command
        assert run("status", "--short") == "", command


def test_a_path_is_quoted_for_the_shell(repository: Path) -> None:
    path = Path("it's mine.yaml")
    path.write_text("a: 1\n")
    run("add", "-A")
    run("commit", "-qm", "mine")
    path.unlink()
    with pytest.raises(UserError) as error:
        read_yaml(path)
    subprocess.run(str(error.value).partition(": ")[2], shell=True, check=True, capture_output=True)
    assert read_yaml(path) == {"a": 1}


@pytest.mark.parametrize("state", ["changed", "staged"])
def test_what_differs_from_the_last_commit_is_listed(repository: Path, state: str) -> None:
    assert list_uncommitted() == []
    text = artifacts.PARAMS.read_text()
    text = text.replace("norm: batch", "norm: layer", 1).replace("weight_decay: 0.0005", "weight_decay: 5e-04", 1)
    leave(state, text)
    assert uncommitted() == {"norm": ("layer", "batch")}  # 5e-04 is the same number, as DVC writes it
    printed = "\n".join(list_uncommitted())
    assert "norm 'batch' -> 'layer'" in printed
    assert git.undo(artifacts.PARAMS) in printed


def test_what_will_run_is_said_and_that_the_committed_file_takes_hours_on_a_cpu(repository: Path) -> None:
    artifacts.PARAMS.write_text(artifacts.PARAMS.read_text().replace("device: auto", "device: cpu", 1))
    printed = announce(load_params())
    for word in ("CIFAR-10", "32 x 32", "width 64", "batch norm", "20", "cpu", "hours", "recipes laptop"):
        assert word in printed
    artifacts.PARAMS.write_text(artifacts.PARAMS.read_text().replace("epochs: 20", "epochs: 2", 1))
    printed = announce(load_params())
    assert "20" not in printed
    assert "hours" not in printed


def test_keys_that_came_or_went_differ_too(repository: Path) -> None:
    text = artifacts.PARAMS.read_text().replace("seed: 0 ", "mine: 1 ", 1)
    artifacts.PARAMS.write_text(text)
    assert uncommitted() == {"seed": (None, 0), "mine": (1, None)}


def test_without_a_commit_nothing_differs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copy(PARAMS_YAML, artifacts.PARAMS)
    assert uncommitted() == {}


def test_only_a_temporary_copy_of_a_shallow_clone_is_rejected(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("commit", "-qm", "second", "--allow-empty")
    clone = tmp_path / "it's a clone"
    run("clone", "-q", "--depth", "1", f"file://{repository}", str(clone))
    copy = clone / ".dvc/tmp/exps/tmp1"
    copy.mkdir(parents=True)
    for folder in (clone, repository):  # experiments of the workspace itself, and of a whole repository
        monkeypatch.chdir(folder)
        reject_shallow_clone()
    monkeypatch.chdir(copy)
    monkeypatch.setenv("DVC_ROOT", str(repository))
    reject_shallow_clone()
    monkeypatch.setenv("DVC_ROOT", str(clone))
    with pytest.raises(UserError) as error:
        reject_shallow_clone()
    command = re.search(r"git -C .* --unshallow$", str(error.value), re.MULTILINE)
    assert command is not None, error.value
    subprocess.run(shlex.split(command[0]), check=True, capture_output=True)
    reject_shallow_clone()
