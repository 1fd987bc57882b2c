"""One's own pictures: any image file in, classes and an overlay out, and a sentence for what is wrong."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from commands import predict
from src import artifacts
from src.errors import UserError
from src.model.resnet import build
from src.model.saved import Description, save_model
from src.runtime.run import run_command

CLASSES = ["cat", "dog", "<b>$x$</b>"]


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with parameters and a small model with random weights."""
    shutil.copy(artifacts.PARAMS, tmp_path)
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    save_model(
        build("batch", 4, [1, 2, 2, 2], 3),
        Description(
            norm="batch", width=4, strides=[1, 2, 2, 2], weight_standardization=False,
            classes=CLASSES, size=16, mean=(0.5, 0.5, 0.5),
            std=(0.25, 0.25, 0.25), model_key="k", seed=0, lr=0.1, epochs=1, epoch=1, device="cpu", precision="fp32",
            hardware="", source="shapes", data_digest="d",
        ),
    )  # fmt: skip
    return tmp_path


def picture(path: Path, mode: str = "RGB", size: tuple[int, int] = (40, 30)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(pixels).convert(mode).save(path)
    return path


def call(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> None:
    monkeypatch.setattr("sys.argv", ["predict", *map(str, arguments)])
    predict.main()


def test_prints_classes_and_writes_one_overlay_each(
    workspace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    one, other = picture(workspace / "a/pet.png", "RGBA"), picture(workspace / "b/pet.gif", "P", (9, 70))
    dashed = picture(workspace / "-x.jpg", "L")
    call(monkeypatch, "--top", 9, "--", one, other, dashed.name)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3 * (1 + len(CLASSES))  # nine of three classes are three
    shares = [float(line.split()[-2]) for line in lines[1:4]]
    assert shares == sorted(shares, reverse=True)
    assert sum(shares) == pytest.approx(100, abs=0.1)
    for name in ("pet.png", "pet-2.png", "-x.png"):
        with Image.open(workspace / "reports/predict" / name) as image:
            assert image.format == "PNG"


def test_equal_names_and_inputs_are_not_overwritten() -> None:
    paths = [Path("a/Cat.jpg"), Path("b/cat.png"), Path("out/dog.png"), Path("cat-2.gif")]
    targets = predict.targets_for([*paths, Path("out/dog.png")], Path("out"))
    assert [t.name for t in targets] == ["Cat.png", "cat-2.png", "dog-2.png", "cat-2-2.png", "dog-3.png"]


@pytest.mark.parametrize("kind", ["missing", "text", "folder"])
def test_what_is_not_an_image_is_named(workspace: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    path = workspace / "thing.png"
    if kind == "text":
        path.write_text("not an image")
    elif kind == "folder":
        path.mkdir()
    good = picture(workspace / "good.png")
    with pytest.raises(UserError, match=r"thing\.png"):
        call(monkeypatch, good, path)
    assert not list((workspace / "reports").rglob("*.png"))  # all are read before anything is written


def test_bad_options_and_a_missing_model(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    good = picture(workspace / "good.png")
    with pytest.raises(UserError, match="--top is 0"):
        call(monkeypatch, good, "--top", 0)
    with pytest.raises(UserError, match="--out"):
        call(monkeypatch, good, "--out", good)
    artifacts.MODEL.unlink()
    with pytest.raises(UserError, match="make quickstart"):
        call(monkeypatch, good)


def test_a_mistake_is_one_message_and_exit_code_1(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["predict", "none.png"])
    with pytest.raises(SystemExit, match=r"^error: none\.png cannot be read: No such file or directory$"):
        run_command(predict.main)
