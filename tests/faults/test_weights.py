"""Damaged results: found, told, and healed by the words that the message says."""

import hashlib
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from src.errors import UserError
from src.model.saved import load_model
from tests.pipeline.workspace import Workspace, failure, stages_run
from tests.unit.data_helpers import picture

WEIGHTS, MODEL = "models/model.safetensors", "models/model.json"


def truncated(content: bytes) -> bytes:
    return content[: len(content) // 2]


def empty(content: bytes) -> bytes:
    return b""


def flipped(content: bytes) -> bytes:
    """One bit, in the last digit of model.json or in the last weights."""
    place = max(i for i in range(len(content) - 2) if content[i : i + 1].isdigit())
    return content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]


def damage(path: Path, how: Callable[[bytes], bytes]) -> None:
    mode = path.stat().st_mode
    path.chmod(0o644)
    path.write_bytes(how(path.read_bytes()))
    path.chmod(mode)


@pytest.mark.slow
def test_dvc_repro_heals_damaged_weights(copy: Workspace) -> None:
    whole = copy.digests(["models"])
    for name, how in ((WEIGHTS, truncated), (WEIGHTS, empty), (WEIGHTS, flipped), (MODEL, empty), (MODEL, flipped)):
        damage(copy.root / name, how)
        with pytest.raises(UserError, match=rf"{name} is (damaged|missing)"):
            load_model(copy.root / WEIGHTS, copy.root / MODEL)
        output = copy.ok("dvc", "repro", "train")
        assert "Stage 'train' is cached - skipping run, checking out outputs" in output, name
        assert copy.digests(["models"]) == whole


@pytest.mark.slow
def test_weights_damaged_in_dvcs_cache_too_come_back_by_the_words_of_the_message(copy: Workspace) -> None:
    weights = copy.root / WEIGHTS
    whole = weights.read_bytes()
    md5 = hashlib.md5(whole).hexdigest()
    for file in (weights, copy.root / ".dvc/cache/files/md5" / md5[:2] / md5[2:]):
        damage(file, flipped)
    copy.ok("dvc", "repro", "train")
    assert weights.read_bytes() != whole  # DVC looks at no file of its cache that is write-protected

    (copy.root / "a.png").write_bytes(picture(0))
    for module, *arguments in (("stages.evaluate",), ("commands.predict", "a.png")):
        refused = copy.run("python", "-m", module, *arguments)
        assert refused.returncode == 1, failure(refused)
        assert "Traceback" not in refused.stderr
        assert f"error: {WEIGHTS} is damaged or belongs to another run" in refused.stderr
    cure = re.search(r"Make it again with: (.+)", refused.stderr)
    assert cure
    output = copy.ok("bash", "-c", cure[1])
    assert "resuming after epoch 2 of 2" in output  # of the checkpoint: nothing is trained again
    assert weights.read_bytes() == whole
    load_model(weights, copy.root / MODEL)


@pytest.mark.slow
def test_a_damaged_result_is_told_by_a_stage_and_healed_by_dvc(copy: Workspace) -> None:
    result = copy.root / "metrics/evaluate.json"
    whole = result.read_bytes()
    damage(result, truncated)
    refused = copy.run("python", "-m", "stages.report")
    assert refused.returncode == 1, failure(refused)
    assert "Traceback" not in refused.stderr, failure(refused)
    assert "error: metrics/evaluate.json is damaged" in refused.stderr
    assert stages_run(copy.ok("dvc", "repro")) == []  # DVC's cache has it
    assert result.read_bytes() == whole
