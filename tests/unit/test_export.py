"""The ONNX file says what PyTorch says, for every network that can be trained, or there is none."""

import ast
import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from commands import export as command
from src import artifacts, export
from src.data import prepared
from src.data.prepared import Prepared, Split
from src.errors import UserError
from src.export import Difference, difference
from src.model.norms import NORMS
from src.model.resnet import build
from src.model.saved import Description, load_model, save_model
from tests.conftest import REPOSITORY

ABOUT = Description(
    norm="batch", width=4, strides=[1, 2, 2, 2], weight_standardization=False, classes=["a", "<é>", "c"], size=16,
    mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.25), model_key="k" * 20, seed=0, lr=0.1, epochs=1, epoch=1, device="cpu",
    precision="fp32", hardware="", source="shapes", data_digest="d" * 64, weights_sha256="w" * 64,
)  # fmt: skip
IMAGES = np.random.default_rng(0).integers(0, 256, (9, 16, 16, 3), dtype=np.uint8)


def network(norm: str = "batch", strides: tuple[int, ...] = (1, 2, 2, 2), standardised: bool = False) -> nn.Module:
    """Random weights, and with them running statistics that are not those of a new network."""
    torch.manual_seed(0)
    model = build(norm, 4, strides, 3, weight_standardization=standardised)
    with torch.no_grad():
        for _ in range(3):
            model(torch.randn(16, 3, 16, 16))
    return model.eval()


def ours(model: nn.Module, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities and logits in PyTorch, the normalisation written out."""
    x = torch.tensor(images).permute(0, 3, 1, 2) / 255
    x = (x - torch.tensor(ABOUT.mean).view(3, 1, 1)) / torch.tensor(ABOUT.std).view(3, 1, 1)
    with torch.no_grad():
        logits = model(x)
    return logits.softmax(1).numpy(), logits.numpy()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("norm", "standardised", "strides"),
    [
        *((norm, False, (1, 2, 2, 2)) for norm in NORMS),
        ("batch", True, (2, 2, 2, 2)),  # one position is left
        ("group", True, (2, 1, 1, 2)),
    ],
)
def test_every_network_says_the_same_in_both(norm: str, standardised: bool, strides: tuple[int, ...]) -> None:
    model = network(norm, strides, standardised)
    content = export.to_onnx(model, ABOUT)
    for count in (1, 2, 9):
        apart = difference(ours(model, IMAGES[:count]), export.answers(content, IMAGES[:count]))
        assert apart.probabilities < 1e-5
        assert apart.logits < 1e-5 * max(1, apart.largest_logit)


@pytest.mark.slow
def test_what_the_file_says_of_itself() -> None:
    import onnx

    content = export.to_onnx(network(), ABOUT)
    proto = onnx.load_from_string(content)
    onnx.checker.check_model(proto, full_check=True)
    (images,) = proto.graph.input
    probabilities, logits = proto.graph.output
    assert (images.name, shape(images)) == ("images", ["batch", 16, 16, 3])
    assert images.type.tensor_type.elem_type == onnx.TensorProto.UINT8
    assert (probabilities.name, shape(probabilities)) == ("probabilities", ["batch", 3])
    assert (logits.name, shape(logits)) == ("logits", ["batch", 3])
    about = {entry.key: entry.value for entry in proto.metadata_props}
    assert json.loads(about["classes"]) == ABOUT.classes
    assert (json.loads(about["mean"]), json.loads(about["std"])) == (list(ABOUT.mean), list(ABOUT.std))
    assert (about["model_key"], about["weights_sha256"]) == (ABOUT.model_key, ABOUT.weights_sha256)
    assert str(Path(torch.__file__).parent).encode() not in content  # stack traces of the exporter
    assert str(REPOSITORY).encode() not in content
    assert export.to_onnx(network(), ABOUT) == content


def shape(value: Any) -> list[str | int]:
    return [axis.dim_param or axis.dim_value for axis in value.type.tensor_type.shape.dim]


@pytest.mark.slow
@pytest.mark.parametrize("opset", [export.OPSETS[0], export.OPSETS[-1]])
def test_the_first_and_the_last_opset(opset: int) -> None:
    import onnx

    model = network("layer")
    content = export.to_onnx(model, ABOUT, opset)
    assert onnx.load_from_string(content).opset_import[0].version == opset
    assert difference(ours(model, IMAGES), export.answers(content, IMAGES)).tolerable


def test_a_difference_is_tolerated_up_to_a_limit() -> None:
    logits = np.array([[2.0, -4.0]])
    apart = difference((np.array([[0.5, 0.5]]), logits), (np.array([[0.5, 0.75]]), logits + np.array([0.0, 1.0])))
    assert apart == (0.25, 1.0, 4.0)
    assert not apart.tolerable
    assert Difference(1e-4, 1e-4, 0.1).tolerable
    assert not Difference(1.1e-4, 0, 0.1).tolerable
    assert not Difference(0, 1.1e-4, 0.1).tolerable
    assert Difference(0, 0.09, 1000).tolerable  # in the seventh digit
    assert not Difference(0, 0.11, 1000).tolerable
    assert not Difference(float("nan"), 0, 1).tolerable
    assert not Difference(0, float("nan"), 1).tolerable


def test_telemetry_is_off_before_onnxruntime_is_imported() -> None:
    """It reads the variable when it is loaded, and only src/export.py, which sets it, may load it."""
    assert os.environ["ORT_DISABLE_TELEMETRY"] == "1"
    for room in ("src", "stages", "commands", "recipes", "benchmarks"):
        for file in (REPOSITORY / room).rglob("*.py"):
            nodes = list(ast.walk(ast.parse(file.read_text(encoding="utf-8"))))
            names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
            names |= {node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)}
            found = any(name.split(".")[0] == "onnxruntime" for name in names)
            assert found == (file.name == "export.py" and room == "src"), file


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a model; the export takes no time, and a run of it gives `faulty` answers, exact ones as a rule."""
    monkeypatch.chdir(tmp_path)
    save_model(network(), ABOUT)
    monkeypatch.setattr(command, "to_onnx", lambda *_: b"content")
    monkeypatch.setattr(command, "answers", lambda _, images: ours(network(), images))
    return tmp_path


def call(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> None:
    monkeypatch.setattr("sys.argv", ["export", *map(str, arguments)])
    command.main()


def test_what_agrees_is_written(
    workspace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    call(monkeypatch)
    assert command.OUT.read_bytes() == b"content"
    output = capsys.readouterr().out
    assert "uint8 (N, 16, 16, 3), RGB" in output
    assert "256 random images" in output
    call(monkeypatch, "--out", "deep/er.onnx")
    assert Path("deep/er.onnx").read_bytes() == b"content"


def test_what_does_not_agree_is_refused_and_deleted(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    artifacts.write_bytes(command.OUT, b"of yesterday")

    def off_by_little(_: bytes, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        probabilities, logits = ours(network(), images)
        probabilities[-1, -1] += 2e-4
        return probabilities, logits

    monkeypatch.setattr(command, "answers", off_by_little)
    with pytest.raises(UserError, match=r"models/model\.onnx was not written, .* 2\.0e-04 in a probability") as error:
        call(monkeypatch)
    assert "tolerance is 0.0001" in str(error.value)
    assert not command.OUT.exists()


def test_mistakes_are_told_before_anything_is_done(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    weights = artifacts.WEIGHTS.read_bytes()
    (workspace / "folder.onnx").mkdir()
    for arguments, words in (
        (["--opset", "17"], r"--opset is 17\. Allowed: 18 to 25"),
        (["--out", artifacts.WEIGHTS], r"ends in \.onnx"),
        (["--out", "folder.onnx"], r"ends in \.onnx"),
    ):
        with pytest.raises(UserError, match=words):
            call(monkeypatch, *arguments)
    assert artifacts.WEIGHTS.read_bytes() == weights
    artifacts.MODEL.unlink()
    with pytest.raises(UserError, match="make quickstart"):
        call(monkeypatch)


def test_the_test_images_are_taken_where_they_are_those_of_the_model(workspace: Path) -> None:
    labels = np.zeros(9, dtype=np.int64)
    split = Split(IMAGES, labels)
    digest = prepared.digest_of([split, split, split], None, ABOUT.classes)
    data = Prepared(split, split, split, ABOUT.classes, ABOUT.mean, ABOUT.std, "shapes", digest, None)
    prepared.save(data, artifacts.PREPARED)
    images, kind = command.images_for(replace(ABOUT, data_digest=digest))
    assert kind == "test"
    np.testing.assert_array_equal(images, IMAGES)
    images, kind = command.images_for(ABOUT)  # of another data set
    assert (kind, images.shape, images.dtype) == ("random", (256, 16, 16, 3), np.uint8)
    assert images.max() == 255
    model, about = load_model()
    assert command.compare(b"content", model, about, images).tolerable
