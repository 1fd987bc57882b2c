"""The stages that look at test images: what they write, and how often they ask the model."""

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from src import artifacts, record, results
from src.data.prepared import Prepared, Split, load, save
from src.errors import UserError
from src.explain.cams import cams_as_set
from src.explain.summary import MEASURES
from src.figures.gradcam import file_name
from src.model.resnet import build
from src.model.saved import Description
from src.params import Params, parse_params
from src.yaml_files import read_yaml
from stages import evaluate, gradcam
from tests.conftest import PARAMS_YAML
from tests.unit.test_report import ODD_NAMES

CLASSES = ["cat", "dog", "frog"]
LAYERS = ["layer2[-2]", "layer3[0].shortcut[0]", "layer2[-2]", "layer4[-1]"]  # one of them twice
COUNT = 12  # test images
NO_MEASURES = {"images": 0, "methods": ["GradCAM"]}
DESCRIPTION = Description(
    norm="batch", width=4, strides=[1, 2, 2, 2], weight_standardization=False, classes=CLASSES, size=16,
    mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25), model_key="k", seed=0, lr=0.1, epochs=1, epoch=1, device="cpu",
    precision="fp32", hardware="", source="shapes", data_digest="d",
)  # fmt: skip


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> nn.Module:
    """A small model with random weights, in a workspace with a prepared data set of noise."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    shutil.copy(PARAMS_YAML, artifacts.PARAMS)
    save_data()
    torch.manual_seed(0)
    return build("batch", 4, [1, 2, 2, 2], len(CLASSES)).eval()


def save_data(files: Sequence[str] | None = None) -> None:
    """Prepare images of noise; `files` are the paths of the test images."""
    rng = np.random.default_rng(0)
    splits = [
        Split(rng.integers(0, 256, (count, 16, 16, 3), np.uint8), np.arange(count, dtype=np.int64) % len(CLASSES))
        for count in (6, 3, COUNT)
    ]
    if files is not None:
        splits[2] = replace(splits[2], files=np.array(files, dtype=object))
    half = (0.5, 0.5, 0.5)
    save(Prepared(*splits, CLASSES, half, half, "shapes", "d" * 64, None), artifacts.PREPARED)


def params(**changes: object) -> Params:
    """The committed parameters on the CPU with changes of the groups `evaluate` and `gradcam`."""
    content = read_yaml(artifacts.PARAMS) | {"device": "cpu"}
    for key, value in changes.items():
        group, _, name = key.partition("__")
        content[group] = content[group] | {name: value}
    return parse_params(content)


@pytest.mark.parametrize("flip", [True, False])
def test_the_model_sees_each_image_once_and_its_mirror_image_once(model: nn.Module, flip: bool) -> None:
    seen: list[torch.Tensor] = []
    model.register_forward_pre_hook(lambda _, inputs: seen.extend(inputs[0].clone()))
    evaluate.write_results(params(evaluate__flip=flip, evaluate__batch_size=5), model, DESCRIPTION)
    result = artifacts.read_json(artifacts.METRICS / "evaluate.json")
    images = torch.stack(seen[:-1] if len(seen) % COUNT else seen)  # the layer table runs the model once more
    assert len(images) == (2 * COUNT if flip else COUNT)
    assert ("flip_accuracy" in result) == flip
    if flip:
        ours, mirrored = images[:COUNT], images[COUNT:]
        assert torch.equal(mirrored, ours.flip(3))  # horizontal: the last axis of (N, C, H, W)
        with torch.inference_mode():
            votes = model(ours).softmax(1) + model(mirrored).softmax(1)
        share = (votes.argmax(1) == torch.arange(COUNT) % len(CLASSES)).float().mean()
        assert result["flip_accuracy"] == pytest.approx(float(share))
        assert result["flip_accuracy_low"] < result["flip_accuracy"] < result["flip_accuracy_high"]


def test_means_over_classes_are_those_of_the_table_of_classes(model: nn.Module) -> None:
    evaluate.write_results(params(), model, DESCRIPTION)
    result = artifacts.read_json(artifacts.METRICS / "evaluate.json")
    rows = artifacts.read_csv(artifacts.METRICS / "per_class.csv")
    known = {name: [float(row[name]) for row in rows if row[name] != ""] for name in ("recall", "f1")}
    assert result["balanced_accuracy"] == pytest.approx(np.mean(known["recall"]), abs=1e-6)
    assert result["macro_f1"] == pytest.approx(np.mean(known["f1"]), abs=1e-6)
    logged = {point.name: point.value for point in record.points("evaluate")}
    assert logged["test/balanced_accuracy"] == result["balanced_accuracy"]
    assert logged["test/macro_f1"] == result["macro_f1"]


def test_what_is_not_of_mirror_images_does_not_change_with_them(model: nn.Module) -> None:
    found, files = [], []
    for flip in (True, False):
        evaluate.write_results(params(evaluate__flip=flip), model, DESCRIPTION)
        result = artifacts.read_json(artifacts.METRICS / "evaluate.json")
        found.append({k: v for k, v in result.items() if not k.startswith("flip_") and k != "images_per_second"})
        files.append((artifacts.METRICS / "predictions.csv").read_bytes())
    assert found[0] == found[1]
    assert files[0] == files[1]


def test_predictions_and_mistakes_name_the_file(model: nn.Module) -> None:
    files = [f"test/cat/{i}/{name}" if i % 2 else name for i, name in enumerate([*ODD_NAMES, "a.png", "b.png"])]
    save_data(files)
    evaluate.write_results(params(), model, DESCRIPTION)
    predictions = artifacts.read_csv(artifacts.METRICS / "predictions.csv")
    assert list(predictions[0]) == ["index", "file", "true", "predicted", "confidence"]
    assert [row["file"] for row in predictions] == files
    assert [row["true"] for row in predictions] == [CLASSES[i % 3] for i in range(COUNT)]
    gradcam.explain(params(gradcam__measure=NO_MEASURES), model, DESCRIPTION)
    mistakes = artifacts.read_csv(artifacts.METRICS / "misclassified.csv")
    assert len(mistakes) > 1
    assert mistakes == [predictions[int(row["index"])] for row in mistakes]


def test_images_without_files_have_an_empty_cell(model: nn.Module) -> None:
    evaluate.write_results(params(), model, DESCRIPTION)
    rows = artifacts.read_csv(artifacts.METRICS / "predictions.csv")
    assert [row["file"] for row in rows] == [""] * COUNT
    results.Prediction.write_all([], results.MISCLASSIFIED)
    assert results.MISCLASSIFIED.read_text() == ",".join(rows[0]) + "\n"  # the same heading without a mistake
    assert results.Prediction.read_all(results.MISCLASSIFIED) == []


def test_files_of_other_images_are_damage(model: nn.Module) -> None:
    save_data(["a.png"] * (COUNT - 1))
    with pytest.raises(UserError, match=r"damaged .*11 file names for 12"):
        evaluate.write_results(params(), model, DESCRIPTION)


def test_every_layer_has_a_grid_and_its_maps_are_made_once(model: nn.Module, monkeypatch: pytest.MonkeyPatch) -> None:
    evaluate.write_results(params(), model, DESCRIPTION)
    calls: list[object] = []

    def counted(*arguments: Any) -> np.ndarray:
        calls.append(arguments[2])
        return cams_as_set(*arguments)

    monkeypatch.setattr("src.explain.mistakes.cams_as_set", counted)
    gradcam.explain(params(gradcam__layers=LAYERS, gradcam__count=5, gradcam__measure=NO_MEASURES), model, DESCRIPTION)
    assert calls == [*dict.fromkeys(LAYERS), LAYERS[-1]]  # the last: for the true class
    written = {path.name for path in (artifacts.FIGURES / "gradcam").iterdir()}
    grids = {"predicted-layer2.-2.png", "predicted-layer3.0.shortcut.0.png", "predicted.png"}
    assert written == grids | {"misclassified.png", "true.png", "layers.png"}
    content = artifacts.read_json(artifacts.METRICS / "gradcam.json")
    assert content["sample"] == {"images": 0, "of": COUNT, "seed": 0}
    assert [content[name] for name in MEASURES] == [None] * len(MEASURES)
    assert content["verdict"] == []
    assert record.points("gradcam") == []
    assert content["grids"] == {
        "layer2[-2]": "predicted-layer2.-2",
        "layer3[0].shortcut[0]": "predicted-layer3.0.shortcut.0",
        "layer4[-1]": "predicted",
    }
    sizes = set()
    for name in grids:
        with Image.open(artifacts.FIGURES / "gradcam" / name) as image:
            sizes.add(image.width)
    assert len(sizes) == 1  # the same grid


def test_more_mistakes_than_a_figure_has_room_for(model: nn.Module, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("src.figures.gradcam.LARGEST", 2)
    monkeypatch.setattr("src.figures.gradcam.MATRIX_ROWS", 2)
    evaluate.write_results(params(), model, DESCRIPTION)
    changes = {"gradcam__count": 5, "gradcam__layers": ["layer4"], "gradcam__measure": NO_MEASURES}
    gradcam.explain(params(**changes), model, DESCRIPTION)
    assert len(artifacts.read_csv(artifacts.METRICS / "misclassified.csv")) == 5
    assert artifacts.read_json(artifacts.METRICS / "gradcam.json")["shown"] == 5


@pytest.mark.parametrize("masked", [True, False])
def test_maps_are_measured_on_a_sample_of_all_test_images(model: nn.Module, masked: bool) -> None:
    masks = np.zeros((COUNT, 16, 16), np.bool_)
    masks[:, 4:8, 4:12] = True
    save(replace(load(), test_masks=masks if masked else None), artifacts.PREPARED)
    evaluate.write_results(params(), model, DESCRIPTION)
    changes = {"gradcam__measure": {"images": 6, "methods": ["EigenCAM"]}, "gradcam__layers": ["layer2", "layer4"]}
    contents, figures = [], []
    for _ in range(2):
        gradcam.explain(params(**changes), model, DESCRIPTION)
        contents.append(artifacts.read_json(artifacts.METRICS / "gradcam.json"))
        del contents[-1]["images_per_second"], contents[-1]["measure_seconds"]
        names = ("by_layer", "removal", "randomisation")
        figures.append([(artifacts.FIGURES / f"gradcam/{name}.png").read_bytes() for name in names])
    assert contents[0] == contents[1]
    assert figures[0] == figures[1]
    content = contents[0]
    assert content["sample"] == {"images": 6, "of": COUNT, "seed": 0}
    assert len(content["verdict"]) == (6 if masked else 5)
    for name in MEASURES:
        if name in ("pointing_game", "energy") and not masked:
            assert content[name] is None
            continue
        assert list(content[name]["methods"]) == ["GradCAM", "EigenCAM"]  # the method of the figures is among them
        for entries in content[name]["methods"].values():
            assert list(entries) == ["layer2", "layer4"]
            assert all(
                entry["low"] is None or entry["low"] <= entry["mean"] <= entry["high"] for entry in entries.values()
            )
    if masked:
        by_chance = {
            name: content[name]["baselines"]["random"]["layer4"]["mean"] for name in ("energy", "pointing_game")
        }
        # layer4 has 2 x 2 values here: enlarged, the highest is the corner of 4 x 4 pixels, which the masks leave out
        assert by_chance == {"energy": 32 / 256, "pointing_game": 0}
    found = record.points("gradcam")
    assert {point.name for point in found} == {f"gradcam/{name}" for name in MEASURES if content[name]}
    curve = [point.value for point in found if point.name == "gradcam/randomisation"]
    assert curve == content["randomisation"]["methods"]["GradCAM"]["layer4"]["curves"]["rank_correlation"]
    (road,) = (point.value for point in found if point.name == "gradcam/road")
    assert road == content["road"]["methods"]["GradCAM"]["layer4"]["mean"]


@pytest.mark.parametrize(
    ("layer", "name"),
    [("layer4", "layer4"), ("layer2[-2]", "layer2.-2"), ("layer1[0].conv1", "layer1.0.conv1")],
)
def test_file_names(layer: str, name: str) -> None:
    assert file_name(layer) == name
