"""The disk is full: each stage ends with a sentence, and whatever was whole before is whole after.

RLIMIT_FSIZE stands for the disk: a write beyond it fails as one on a full disk does, with another number of the error.
"""

import csv
import json
import re
import subprocess
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from PIL import Image

from tests.pipeline.workspace import RESULTS, Workspace, failure, stages_run
from tests.unit.data_helpers import picture

SAID = "error: the disk is full"

# (module, KiB that a file may have): the first file that it writes does not fit, or one of its largest.
CASES = [
    ("stages.check", 0),
    ("stages.download", 0),
    ("stages.prepare", 100),
    ("stages.lr_range", 50),
    ("stages.train", 600),
    ("stages.evaluate", 40),
    ("stages.gradcam", 200),
    ("stages.report", 1500),
    ("commands.predict", 4),
]


def limited(workspace: Workspace, kib: int, *command: str) -> subprocess.CompletedProcess[str]:
    """Run `command` where no file may grow beyond `kib`."""
    return workspace.run("bash", "-c", f'ulimit -f {kib} && exec "$@"', "bash", *command)


@pytest.mark.slow
@pytest.mark.parametrize(("module", "kib"), CASES)
def test_a_full_disk_is_told_and_harms_no_file(copy: Workspace, module: str, kib: int) -> None:
    (copy.root / "a.png").write_bytes(picture(0))
    results = (*RESULTS, ".checkpoints")
    before = copy.digests(results)
    done = limited(copy, kib, "python", "-m", module, *(["a.png"] if module == "commands.predict" else []))
    assert done.returncode == 1, failure(done)
    assert "Traceback" not in done.stderr, failure(done)
    assert SAID in done.stderr
    assert "run the same command again" in done.stderr
    after = copy.digests(results)
    if module != "stages.download":  # it begins by emptying data/raw, as DVC does before any stage
        assert before.keys() <= after.keys()
    for name in (name for name, digest in after.items() if before.get(name) != digest):
        assert_whole(copy.root / name)
    assert not temporaries(copy.root)


@pytest.mark.slow
def test_the_pipeline_goes_on_when_there_is_room_again(copy: Workspace) -> None:
    """It ends in the middle of writing a checkpoint, the largest file of a training."""
    copy.set_params({"seed": 1})
    largest = max(file.stat().st_size for file in copy.root.glob(".checkpoints/*/*.pt"))
    done = limited(copy, largest // 1024, "dvc", "repro")
    assert done.returncode != 0
    assert "Traceback" not in done.stderr, failure(done)
    assert re.search(rf"{SAID}.* at .*/epoch-0*1\.pt", done.stderr), failure(done)
    assert not temporaries(copy.root)
    (run,) = copy.runs()
    assert run.info.status == "FAILED"
    output = copy.ok("dvc", "repro")
    assert stages_run(output) == ["train", "evaluate", "gradcam", "report"]
    (run,) = copy.runs()
    assert run.info.status == "FINISHED"
    assert run.data.tags["stages"].endswith("report")


def temporaries(root: Path) -> list[Path]:
    """What unfinished writes would leave beside the file: `.NAME.PID` with an ending."""
    folders = [root, *(root / name for name in (*RESULTS, ".checkpoints"))]
    found = [file for folder in folders for file in folder.glob("**/.*" if folder != root else ".*")]
    return [file for file in found if re.search(r"\.\d+(\.\w+)?$", file.name)]


def assert_whole(path: Path) -> None:
    """A file that a stage wrote before the disk was full can be read to its end."""
    match path.suffix:
        case ".json":
            json.loads(path.read_bytes())
        case ".csv":
            with path.open(newline="", encoding="utf-8") as file:
                assert len({len(row) for row in csv.reader(file)}) == 1
        case ".png":
            with Image.open(path) as image:
                image.load()
        case ".npy":
            np.load(path)
        case ".safetensors":
            safetensors.numpy.load_file(path)
        case suffix:
            assert suffix in ("", ".sha256", ".txt"), f"how to know that {path} is whole?"
            assert path.read_bytes().endswith(b"\n")
