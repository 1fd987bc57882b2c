"""The report is one page that needs nothing else and shows names as they are."""

import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from src.params import load_params
from src.report.report import (
    Run,
    css_width,
    data_uri,
    duration,
    grouped,
    listed,
    number,
    percent,
    points,
    render,
    shown,
)
from src.yaml_files import flatten
from stages.report import command

PNG = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\x05\xdc\0\0\0\x01"  # 1500 pixels wide
EVIL = "<b onload=alert(1)>&cat</b>"


def a_run() -> Run:
    epoch = {"train_loss": "1.5", "train_accuracy": "0.4", "val_loss": "1.4", "val_accuracy": "0.5", "lr": "0.1"}
    names = ("prepare/class_counts", "prepare/augmented", "lr_range/lr_range", "report/curves", "report/learning_rate")
    more = ("evaluate/confusion_matrix", "evaluate/reliability")
    cams = ("misclassified", "predicted", "predicted-layer2.-2", "true", "layers")
    return Run(
        data={"source": "shapes", "digest": "d" * 64, "classes": 10, "size": 32, "train": 5400, "val": 600,
              "test": 2000, "unreadable": 0},
        model={"norm": "layer", "width": 64, "strides": [1, 2, 2, 2], "parameters": 11173962, "epoch": 2, "lr": 0.012,
               "device": "cpu", "precision": "fp32", "hardware": "A processor (2 cores)", "model_key": "k" * 16,
               "weights_sha256": "w" * 64},
        lr_range={"suggestions": {"valley": 0.0123, "minimum": 0.1}, "suggestion": "valley", "lr": 0.012},
        train={"train_loss": 1.2, "train_accuracy": 0.6, "val_loss": 1.1, "val_accuracy": 0.65, "epochs": 2,
               "best_epoch": 2, "seconds": 75.2, "images_per_second": 1234.5, "parameters": 11173962, "lr": 0.012},
        test={"accuracy": 0.9214, "accuracy_low": 0.9088, "accuracy_high": 0.9324, "top5": 0.99, "loss": 0.25,
              "ece": 0.031, "images": 2000, "wrong": 157},
        gradcam={"method": "GradCAM", "layer": "layer4",
                 "grids": {"layer2[-2]": "predicted-layer2.-2", "layer4": "predicted"},
                 "wrong": 157, "shown": 1, "images_per_second": 50.0},
        history=[epoch | {"epoch": str(i), "images_per_second": "1234.5", "seconds": "37.6"} for i in (1, 2)],
        per_class=[{"class": EVIL, "precision": "0.9", "recall": "", "f1": "", "images": "0"}],
        misclassified=[{"index": "7", "true": EVIL, "predicted": "dog", "confidence": "0.987654"}],
        model_summary="Layer <ResNet>",
        figures=dict.fromkeys((*names, *more, *(f"gradcam/{name}" for name in cams)), PNG),
        params=flatten(load_params().model_dump()),
        changed={"norm": "batch"},
        network_options=", standardised weights",
        reference="",
        recipe_changes={},
        data_name="generated shapes",
        name="brisk-owl",
        command="dvc exp run -S norm=layer",
        commit="c" * 40,
        versions="python 3.11.7, torch 2.14.1",
        date="2026-01-02 03:04 UTC",
    )  # fmt: skip


class Page(HTMLParser):
    """Tags, addresses and text of a page; a tag that is not closed in its turn is an error."""

    VOID = ("meta", "img", "br", "link", "hr")

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.addresses: list[str] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href", "action", "data")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_page_says_how_the_network_is_not_the_plain_one() -> None:
    assert "<b>layer</b>, standardised weights, 11,173,962 parameters" in render(a_run())


def test_the_page_is_well_formed_and_loads_nothing() -> None:
    html = render(a_run())
    page = Page(html)
    assert page.open == []
    assert page.tags.isdisjoint({"script", "link", "iframe", "object"})
    assert len([a for a in page.addresses if a.startswith("data:image/png;base64,")]) == len(a_run().figures)
    assert all(a.startswith(("data:image/png;base64,", "#")) for a in page.addresses)
    assert not re.search(r"https?://|url\(|@import", html)


def test_the_page_tells_the_story() -> None:
    text = " ".join(Page(render(a_run())).text.split())
    for wanted in (
        "92.14 %", "90.88 % to 93.24 %", "157 of 2,000 test images wrong", "ResNet-18, norm layer, on generated shapes",
        "1 min 15 s", "11,173,962", "dvc exp run -S norm=layer", "c" * 40, "A processor (2 cores)", "torch 2.14.1",
        "valley 0.0123, minimum 0.1", "committed: batch", "RandomCrop height=size width=size", "brisk-owl", "98.8 %",
    ):  # fmt: skip
        assert wanted in text, wanted


def test_markup_in_names_is_shown_and_not_obeyed() -> None:
    html = render(a_run())
    assert EVIL not in html
    assert Page(html).text.count(EVIL) == 2  # per class, and in the list of mistakes
    assert "Layer <ResNet>" in Page(html).text


def test_a_run_without_validation_or_mistakes() -> None:
    run = a_run()
    bare = replace(
        run,
        train={k: v for k, v in run.train.items() if not k.startswith("val_")},
        history=[{**row, "val_loss": "", "val_accuracy": ""} for row in run.history],
        misclassified=[],
        changed={},
        commit="",
    )
    text = " ".join(Page(render(bare)).text.split())
    assert "no validation images" in text
    assert "No test image is misclassified" in text
    assert "There is no commit to compare them with" in text


def test_the_recorded_result_stands_beside_ours() -> None:
    run = a_run()
    assert "difference:" not in render(run)
    seed = {"recipe": "seed-001", "reference.accuracy": 0.95, "reference.note": f"{EVIL} original images"}
    changes = {"norm": ("batch", "layer"), "augment": ([], run.params["augment"])}
    html = render(replace(run, reference="recorded by 001.txt", params=dict(run.params) | seed, recipe_changes=changes))
    page = Page(html)
    text = " ".join(page.text.split())
    assert page.open == []
    for wanted in (
        "Recorded by 001.txt: 95.00 % · here: 92.14 % (90.88 % to 93.24 %) · difference: −2.86 points",
        f"There: {EVIL} original images", "Here: 5,400 training images of generated shapes, 2 epochs.",
        "Not as in recipes/seed-001.yaml: norm layer (there batch), augment.",
        "seed-001, but for norm layer (there batch), augment",
    ):  # fmt: skip
        assert wanted in text, wanted
    assert text.index("Recorded by") < text.index("Summary Data")  # under the headline


@pytest.mark.parametrize(
    ("changes", "words"),
    [({}, "standard, as recipes/standard.yaml has it"), (None, "standard, of which there is no file here")],
)
def test_a_recipe_is_named_with_what_is_known_of_it(
    changes: dict[str, tuple[object, object]] | None, words: str
) -> None:
    assert words in " ".join(Page(render(replace(a_run(), recipe_changes=changes))).text.split())


def test_a_target_without_a_name_and_a_name_without_an_accuracy() -> None:
    run = a_run()
    target = replace(run, reference="target", params=dict(run.params) | {"reference.accuracy": 0.93})
    assert "Target: 93.00 % · here: 92.14 %" in " ".join(Page(render(target)).text.split())
    text = " ".join(Page(render(replace(run, reference="recorded by x"))).text.split())
    assert "Recorded by x: no accuracy · here: 92.14 %" in text
    assert "difference" not in text


def test_the_accuracy_with_mirror_images_is_a_line_and_not_the_headline() -> None:
    run = a_run()
    assert "mirror image" not in render(run)
    flipped = {"flip_accuracy": 0.9355, "flip_accuracy_low": 0.92, "flip_accuracy_high": 0.945}
    page = Page(render(replace(run, test=dict(run.test) | flipped)))
    text = " ".join(page.text.split())
    assert "mirror image averaged: 93.55 % (92.00 % to 94.50 %)" in text
    assert text.count("93.55") == 1
    assert page.open == []


def test_every_layer_has_its_grid() -> None:
    text = " ".join(Page(render(a_run())).text.split())
    assert "Evidence for the predicted class at each of layer2[-2], layer4." in text
    assert text.count("All of them at") == 1  # the last layer's grid is the main one
    assert "All of them at layer2[-2]" in text


def test_formats() -> None:
    assert [percent(0.92141), percent("0.5", 0), percent("")] == ["92.14 %", "50 %", "–"]
    assert [number(1e-5), number("0.012345"), number("")] == ["1e-05", "0.01235", "–"]
    assert [duration(s) for s in (0.04, 59.9, 75.2, 7325)] == ["0.0 s", "59.9 s", "1 min 15 s", "2 h 2 min"]
    assert listed({"valley": 0.01234, "minimum": 1.0}) == "valley 0.0123, minimum 1"
    assert [shown(v) for v in (True, "", ["a", 1, False], 1e-5)] == ["true", "–", "[a, 1, false]", "1e-05"]
    assert [points(-0.0115), points(0.2)] == ["−1.15 points", "+20.00 points"]
    assert css_width(PNG) == 960  # 10 inches
    assert data_uri(b"abc") == "data:image/png;base64,YWJj"


def test_groups() -> None:
    groups = grouped({"norm": "batch", "augment": [], "train.epochs": 3, "data.shapes.seed": 0, "seed": 1})
    assert groups == {
        "general": {"norm": "batch", "seed": 1},
        "augment": {"augment": []},
        "train": {"train.epochs": 3},
        "data": {"data.shapes.seed": 0},
    }


@pytest.mark.parametrize(
    ("changed", "line"),
    [
        ({}, "dvc repro"),
        ({"norm": "layer", "train.weight_decay": 1e-5}, "dvc exp run -S norm=layer -S train.weight_decay=1e-05"),
        ({"model.strides": [1, 1, 2, 2]}, "dvc exp run -S 'model.strides=[1,1,2,2]'"),
    ],
)
def test_the_command_names_what_is_not_committed(changed: dict[str, object], line: str) -> None:
    assert command(changed) == line
