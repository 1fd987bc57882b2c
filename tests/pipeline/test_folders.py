"""Your own images by the real commands: what DVC watches, and what is rejected before anything is downloaded."""

from itertools import combinations
from pathlib import Path

import pytest

from tests.data.layouts import images
from tests.pipeline.workspace import IDENTITY, Workspace, failure, stages_run
from tests.unit.data_helpers import picture, write_folder

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return Workspace.create(tmp_path_factory.mktemp("folders") / "workspace")


def run(workspace: Workspace, target: str, *settings: str) -> str:
    arguments = [part for setting in settings for part in ("-S", setting)]
    return workspace.ok("dvc", "exp", "run", *arguments, target, **IDENTITY)


def rejected(workspace: Workspace, target: str, *settings: str) -> str:
    arguments = [part for setting in settings for part in ("-S", setting)]
    done = workspace.run("dvc", "exp", "run", *arguments, target, **IDENTITY)
    assert done.returncode != 0, failure(done)
    assert "Traceback" not in done.stdout + done.stderr, failure(done)
    workspace.undo()
    return done.stdout + done.stderr


def test_a_change_behind_a_link_is_noticed(workspace: Workspace, tmp_path: Path) -> None:
    """Of a linked data.path, and of a linked file. DVC follows both, but no link to a folder, which is rejected."""
    behind = write_folder(tmp_path / "behind", images("cat", "dog"))
    (behind / "dog/0.png").rename(tmp_path / "dog.png")
    (behind / "dog/0.png").symlink_to(tmp_path / "dog.png")
    link = tmp_path / "link"
    link.symlink_to(behind)
    settings = ("data.source=folder", f"data.path={link}")
    assert "layout: CLASS/*" in run(workspace, "prepare", *settings)
    assert stages_run(run(workspace, "prepare", *settings)) == []
    digests = [workspace.digests(["data/raw"])]
    for file in (tmp_path / "dog.png", behind / "cat/0.png"):  # behind the linked file, and the linked folder
        file.write_bytes(picture(100))
        assert "download" in stages_run(run(workspace, "download", *settings))
        digests.append(workspace.digests(["data/raw"]))
    assert all(one != other for one, other in combinations(digests, 2))

    (behind / "emu").symlink_to(write_folder(tmp_path / "emu", images("")))
    said = rejected(workspace, "prepare", *settings, "data.split_seed=1")
    assert f"{link}/emu is a link to a folder" in said
    assert stages_run(said) == ["check"]


def test_values_that_are_not_used_are_rejected(workspace: Workspace, tmp_path: Path) -> None:
    pets = write_folder(tmp_path / "pets", images("cat", "dog"))
    said = rejected(workspace, "download", "data.source=cifar10", f"data.path={pets}")
    assert "-S data.source=folder" in said
    assert stages_run(said) == ["check"]
    said = rejected(workspace, "download", "data.source=folder", "data.path='~/pets'")
    assert f"data.path={workspace.root.parent}/home/pets" in said
    assert "200 + 100 images" in run(workspace, "download", f"data.path={pets}")  # generated images do not use it
    workspace.undo()


def test_check_runs_if_only_the_size_of_images_changes(workspace: Workspace) -> None:
    """DVC's run cache ignores parameters that are called `size`, and would take `check` from there."""
    for size in (24, 32):
        assert "check" in stages_run(run(workspace, "check", "data.source=shapes", f"data.size={size}"))
    assert "data.size is 8" in rejected(workspace, "check", "data.source=shapes", "data.size=8")
