"""The report is one page that needs nothing else, that anyone can read anywhere, and shows names as they are."""

import base64
import io
import re
from dataclasses import replace
from html import unescape
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from src import results
from src.config.overrides import command_line
from src.explain.summary import MEASURES
from src.figures import gradcam as figures
from src.figures.style import Described, save
from src.pages.content import Run
from src.pages.pictures import DRAWN, pictures
from src.pages.run import grouped, render
from src.params import load_params
from src.wording import duration, listed, number, percent, points, shown
from tests.conftest import PARAMS_YAML
from tests.map_measures import measures_of_maps, untested


def a_png(pixels: np.ndarray, dpi: float = 150, alt: str = "a figure") -> bytes:
    """A PNG file of uint8 pixels (H, W, 3)."""
    out, about = io.BytesIO(), PngInfo()
    about.add_text("Description", alt)
    Image.fromarray(pixels).save(out, "PNG", dpi=(dpi, dpi), pnginfo=about)
    return out.getvalue()


WHITE = np.full((75, 1500, 3), 255, np.uint8)
PNG = a_png(WHITE)
OF_MEASURES = {"gradcam/by_layer", "gradcam/removal", "gradcam/randomisation"}
ODD_NAMES = [
    "<b onload=alert(1)>&amp;.png", "=HYPERLINK(1).png", """a 'b' "c".png""", "a,b;c.png", "a|b.png",
    "two  spaces .png", "猫/é/e\u0301 🐈 קטן.png", "{{ 7 * 7 }} %s {0}.png", "</td></table>.png", "x" * 300,
]  # fmt: skip
EVIL = "<b onload=alert(1)>&cat</b>"


def but(part: results.Part, **changes: Any) -> Any:
    """A result with other values, which are checked."""
    return type(part).model_validate(part.model_dump(exclude_unset=True) | changes)


def with_params(run: Run, **changes: Any) -> Run:
    """The run with other parameters, by dotted key with `__` for the dot. Nothing checks them."""
    params = run.params
    for key, value in changes.items():
        group, _, name = key.rpartition("__")
        change = {group: getattr(params, group).model_copy(update={name: value})} if group else {name: value}
        params = params.model_copy(update=change)
    return replace(run, params=params)


def a_run() -> Run:
    epoch = {"train_loss": 1.5, "train_accuracy": 0.4, "val_loss": 1.4, "val_accuracy": 0.5, "lr": 0.1}
    names = ["prepare/class_counts", "prepare/augmented", "lr_range/lr_range", "report/curves", "report/learning_rate"]
    names += ["evaluate/confusion_matrix", "evaluate/reliability", "gradcam/predicted-layer2.-2"]
    names += [f"gradcam/{name}" for name in ("misclassified", "predicted", "true", "layers")]
    names += sorted(OF_MEASURES)
    run = Run(
        data=results.DataSet.model_validate({
              "source": "shapes", "share": 1.0, "digest": "d" * 64, "classes": 10, "size": 32, "train": 5400,
              "val": 600, "test": 2000, "unreadable": 0, "layout": "", "left_out": [], "notes": [],
              "counts": [{"class": EVIL, "train": 5401, "val": 602, "test": 2003}],
              "duplicates": {"train_test": 0, "train_val": 0, "val_test": 0, "two_labels": 0, "examples": []}}),
        model=results.Model.model_validate({
               "norm": "layer", "width": 64, "strides": [1, 2, 2, 2], "parameters": 11173962, "epoch": 2, "lr": 0.012,
               "classes": [EVIL, *(f"class {i}" for i in range(9))], "size": 32, "mean": [0.5, 0.4, 0.3],
               "std": [0.25, 0.25, 0.25],
               "device": "cpu", "precision": "fp32", "hardware": "A processor (2 cores)", "model_key": "k" * 16,
               "weights_sha256": "w" * 64}),
        lr_range=results.RangeTest(suggestions={"valley": 0.0123, "minimum": 0.1}, suggestion="valley", lr=0.012,
                                   last_lr=1.5, iterations=80, seconds=1),
        train=results.Training.model_validate({
               "train_loss": 1.2, "train_accuracy": 0.6, "val_loss": 1.1, "val_accuracy": 0.65, "epochs": 2,
               "best_epoch": 2, "seconds": 75.2, "images_per_second": 1234.5, "parameters": 11173962, "lr": 0.012}),
        test=results.Evaluation.model_validate({
              "accuracy": 0.9214, "accuracy_low": 0.9088, "accuracy_high": 0.9324, "top5": 0.99, "loss": 0.25,
              "ece": 0.031, "images": 2000, "wrong": 157, "balanced_accuracy": 0.8712, "macro_f1": 0.8634,
              "images_per_second": 9.0}),
        maps=measures_of_maps(),
        history=[
            results.Epoch.model_validate(epoch | {"epoch": i, "images_per_second": 1234.5, "seconds": 37.6})
            for i in (1, 2)
        ],
        per_class=[results.ClassScores(name=EVIL, precision=0.9, recall=None, f1=None, images=0)],
        misclassified=[results.Prediction(index=7, true=EVIL, predicted="dog", confidence=0.987654)],
        model_summary="Layer <ResNet>",
        figures={name: a_png(WHITE, alt=f"figure {name}") for name in names},
        params=load_params(PARAMS_YAML),
        changed={"norm": "batch"},
        recipe_changes={},
        data_name="generated shapes",
        name="brisk-owl",
        command="dvc exp run -S norm=layer",
        commit="c" * 40,
        versions="python 3.11.7, torch 2.14.1",
        date="2026-01-02 03:04 UTC",
    )  # fmt: skip
    return with_params(run, model__weight_standardization=True)


def of_folder(run: Run, name: str, copies: int = 2) -> Run:
    """The run on a folder where all that the user can name is called `name`, with files left out and duplicates."""
    data = {
        "source": "folder",
        "layout": f"{name}/train/CLASS/*, {name}/test/CLASS/*",
        "notes": [f"the test split has no image of {name}", "the test set is small"],
        "left_out": [
            {"reason": "in no class folder", "files": 1203, "examples": [f"{name}/README.md", "x", "y"]},
            {"reason": f"in {name}/, beside the split folders", "files": 2, "examples": [name]},
        ],
        "duplicates": {
            "train_test": 1,
            "train_val": 0,
            "val_test": 0,
            "two_labels": 1004,
            "examples": [
                [
                    {"split": split, "label": name, "file": f"{i}/{name}"}
                    for split in ("train", "test")
                    for i in range(copies)
                ]
            ],
        },
    }
    mistakes = [but(row, file=name) for row in run.misclassified]
    return replace(run, data=but(run.data, **data), misclassified=mistakes)


class Page(HTMLParser):
    """Tags, addresses and text of a page; a tag that is not closed in its turn is an error."""

    VOID = ("meta", "img", "br", "link", "hr")

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.addresses: list[str] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href", "action", "data")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data

    def all(self, *tags: str) -> list[dict[str, str]]:
        """The attributes of each element with one of these names."""
        return [attributes for tag, attributes in self.elements if tag in tags]


def test_the_page_says_how_the_network_is_not_the_plain_one() -> None:
    assert "<b>layer norm</b>, standardised weights, 11,173,962 parameters" in render(a_run())


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
        "92.14 %", "90.88 % to 93.24 %", "157 of 2,000 test images", "ResNet-18 with layer norm on generated shapes",
        "1 min 15 s", "11,173,962", "dvc exp run -S norm=layer", "c" * 40, "A processor (2 cores)", "torch 2.14.1",
        "valley 0.0123, minimum 0.1", "committed: batch", "RandomCrop height=size width=size", "brisk-owl", "98.8 %",
        "Balanced accuracy 87.12 %, macro F1 86.34 %", "Pad padding=size/8",
    ):  # fmt: skip
        assert wanted in text, wanted


def test_class_weights_are_named_if_there_are_any() -> None:
    run = a_run()
    weighted = with_params(run, train__class_weights="balanced")
    assert "class weights" not in Page(render(run)).text
    text = " ".join(Page(render(weighted)).text.split())
    assert "label smoothing 0.1, class weights balanced, batch size" in text
    assert "label smoothing 0.1 and class weights." in text


def test_markup_in_names_is_shown_and_not_obeyed() -> None:
    html = render(a_run())
    assert EVIL not in html
    assert Page(html).text.count(EVIL) == 2  # per class, and in the list of mistakes
    assert "Layer <ResNet>" in Page(html).text


@pytest.mark.parametrize("name", ODD_NAMES)
def test_names_of_files_are_shown_as_they_are(name: str) -> None:
    plain, page = Page(render(of_folder(a_run(), "plain.png"))), Page(render(of_folder(a_run(), name)))
    assert page.open == []
    assert page.elements == plain.elements  # markup in a name makes no element and ends no attribute
    assert page.text == plain.text.replace("plain.png", name)
    # One mistake, two in the layout, one note, three of what was left out, four copies with their classes.
    assert plain.text.count("plain.png") == 1 + 2 + 1 + 3 + 4 * 2


def test_files_are_a_column_where_they_have_names() -> None:
    assert "File" not in headings(render(a_run()))
    assert headings(render(of_folder(a_run(), "a.png"))).count("File") == 2  # of mistakes, and of duplicates


def test_classes_have_their_images_in_each_split() -> None:
    assert [EVIL, "90.00 %", "–", "–", "", "5,401", "602", "2,003"] in rows(render(a_run()))


def test_what_was_left_out_is_grouped_and_counted() -> None:
    html = render(of_folder(a_run(), "odd"))
    text = " ".join(Page(html).text.split())
    assert "read as odd/train/CLASS/*, odd/test/CLASS/*. 1,205 files left out. 1 test image among" in text
    assert ["in no class folder", "1,203", "odd/README.md x y"] in rows(html)
    assert "the test set is small." in text
    assert "left out" not in render(a_run())


def test_duplicates_are_counted_with_examples() -> None:
    text = " ".join(Page(render(of_folder(a_run(), "a.png"))).text.split())
    said = "1 test image among the training images, 1,004 images with a copy under another label"
    assert text.count(said) == 1
    assert "the test accuracy may be too high" in text
    assert "more copies" not in text
    assert "14 more copies" in Page(render(of_folder(a_run(), "a.png", copies=10))).text
    assert "Duplicates" not in render(a_run())
    run = of_folder(a_run(), "a.png")
    apart = replace(run, data=but(run.data, duplicates=but(run.data.duplicates, train_test=0)))
    assert "too high" not in render(apart)


def rows(html: str) -> list[list[str]]:
    """The texts of the cells of all table rows."""
    return [
        [" ".join(unescape(re.sub("<[^>]*>", " ", cell)).split()) for cell in re.findall("<t[hd][ >].*?</t[hd]>", row)]
        for row in re.findall("<tr.*?</tr>", html, re.DOTALL)
    ]


def headings(html: str) -> list[str]:
    return re.findall(r'<th scope="col"[^>]*>([^<]*)', html)


def test_a_run_without_validation_or_mistakes() -> None:
    run = a_run()
    bare = replace(
        run,
        train=but(run.train, val_loss=None, val_accuracy=None),
        history=[but(row, val_loss=None, val_accuracy=None) for row in run.history],
        misclassified=[],
        changed={},
        commit="",
    )
    text = " ".join(Page(render(bare)).text.split())
    assert "There are no validation images" in text
    assert "No test image is misclassified" in text
    assert "There is no commit to compare with" in text


def test_the_recorded_result_stands_beside_ours() -> None:
    run = a_run()
    assert "difference:" not in render(run)
    run = with_params(run, recipe="seed-001", reference__name="001.txt", reference__accuracy=0.95)
    run = with_params(run, reference__note=f"{EVIL} original images")
    changes = {"norm": ("batch", "layer"), "augment": ([], run.params.augment)}
    html = render(replace(run, recipe_changes=changes))
    page = Page(html)
    text = " ".join(page.text.split())
    assert page.open == []
    for wanted in (
        "Recorded by 001.txt: 95.00 % · this run: 92.14 % (90.88 % to 93.24 %) · difference: −2.86 points",
        f"About this reference: {EVIL} original images",
        "This run: 5,400 training images of generated shapes, 2 epochs.",
        "Changed from recipes/seed-001.yaml: norm batch → layer, augment.",
        "seed-001, changed: norm batch → layer, augment",
    ):  # fmt: skip
        assert wanted in text, wanted
    assert text.index("Recorded by") < text.index("Summary Data")  # under the headline


@pytest.mark.parametrize(
    ("changes", "words"),
    [({}, "standard, unchanged"), (None, "standard (there is no readable recipe file")],
)
def test_a_recipe_is_named_with_what_is_known_of_it(
    changes: dict[str, tuple[object, object]] | None, words: str
) -> None:
    assert words in " ".join(Page(render(replace(a_run(), recipe_changes=changes))).text.split())


def test_a_target_without_a_name_and_a_name_without_an_accuracy() -> None:
    target = with_params(a_run(), reference__accuracy=0.93)
    assert "Target: 93.00 % · this run: 92.14 %" in " ".join(Page(render(target)).text.split())
    text = " ".join(Page(render(with_params(a_run(), reference__name="x"))).text.split())
    assert "Recorded by x: no accuracy · this run: 92.14 %" in text
    assert "difference" not in text


def test_the_accuracy_with_mirror_images_is_a_line_and_not_the_headline() -> None:
    run = a_run()
    assert "mirror image" not in render(run)
    flipped = {"flip_accuracy": 0.9355, "flip_accuracy_low": 0.92, "flip_accuracy_high": 0.945}
    page = Page(render(replace(run, test=but(run.test, **flipped))))
    text = " ".join(page.text.split())
    assert "mirror image: 93.55 % (92.00 % to 94.50 %)" in text
    assert text.count("93.55") == 1
    assert page.open == []


def test_every_layer_has_its_grid() -> None:
    text = " ".join(Page(render(a_run())).text.split())
    assert "Evidence for the predicted class at each of layer2[-2], layer4." in text
    assert text.count("The same images at") == 1  # the last layer's grid is the main one
    assert "The same images at layer2[-2]" in text


def test_the_page_is_marked_up_for_who_does_not_see_it() -> None:
    page = Page(render(a_run()))
    (html,) = page.all("html")
    assert html["lang"] == "en"
    assert len(page.all("title")) == len(page.all("h1")) == len(page.all("main")) == 1
    levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))  # none is left out
    assert {th["scope"] for th in page.all("th")} == {"col", "row"}
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert {link["href"] for link in page.all("a")} == {f"#{name}" for name in ids}
    scrolling = [box for box in page.all("div") if "scroll" in box.get("class", "").split()]
    assert len(scrolling) == len(a_run().figures) + 5  # and the tables of epochs, classes, mistakes, layers and maps
    assert all(box["tabindex"] == "0" and box["role"] and box["aria-label"] for box in scrolling)  # by keyboard too


def test_images_have_the_texts_of_their_files() -> None:
    alts = [image["alt"] for image in Page(render(a_run())).all("img")]
    assert sorted(alts) == sorted(f"figure {name}" for name in a_run().figures)


def test_what_maps_are_worth_is_said_where_it_was_measured() -> None:
    run = a_run()
    page = Page(render(run))
    for said in (
        "Can the maps be trusted?",
        "better than random maps by ROAD (0.60 against 0.10)",
        "4 of 2,000 test images",
        "0.53 to 0.67",
    ):
        assert said in page.text.replace("\xa0", " "), said
    assert "Pointing game" not in page.text  # there are no masks
    none = but(run.maps, **dict.fromkeys(MEASURES), verdict=[])
    without = replace(run, maps=none, figures={k: v for k, v in run.figures.items() if k not in OF_MEASURES})
    page = Page(render(without))
    assert "Can the maps be trusted?" not in page.text
    assert not any("#maps" in link.get("href", "") for link in page.all("a"))


def test_a_method_that_was_not_tested_with_random_layers_has_a_dash() -> None:
    run = replace(a_run(), maps=untested())
    page = Page(render(run))
    assert "Correlation with a random network ↓" in page.text
    assert "not corrected for the number of comparisons" in page.text
    figures = {name: path for name, path in run.figures.items() if name != "gradcam/randomisation"}
    none = replace(run, maps=but(run.maps, randomisation=None), figures=figures)
    assert "Correlation with a random network" not in Page(render(none)).text


def luminance(colour: str) -> float:
    """Relative luminance of `#rrggbb` (WCAG 2.2)."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    """Of two colours, 1 to 21 (WCAG 2.2)."""
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def test_texts_stand_out_in_the_light_and_in_the_dark() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#767676", "#ffffff") == pytest.approx(4.54, abs=0.005)  # the grey that is known to do just so
    (style,) = re.findall(r"<style>(.*)</style>", render(a_run()), re.DOTALL)
    schemes = [
        dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", block)) for block in re.findall(r":root {([^}]*)}", style)
    ]
    light, dark = schemes
    assert light.keys() == dark.keys()
    rules = re.sub(r":root {[^}]*}", "", style)
    assert not re.search(r"#[0-9a-f]{3,8}\b|rgb|hsl", rules)  # all colours have a name
    inks = set(re.findall(r"(?<![\w-])color: var\(--([\w-]+)\)", rules))
    on_panel = {"panel-ink", "panel-muted"}
    assert inks == {"ink", "muted", "link", "changed-ink"} | on_panel
    grounds = set(re.findall(r"background: var\(--([\w-]+)\)", rules))
    no_text = {"line", "bar", "scale", "scale-bar", "panel-ink"}  # bars, without letters
    assert grounds - no_text == {"paper", "soft", "changed", "kept", "panel"}
    for scheme in schemes:
        for ink in inks - on_panel:
            for ground in grounds - no_text - {"panel"}:
                assert contrast(scheme[ink], scheme[ground]) >= 4.5, (ink, ground)
        for ink in on_panel:
            assert contrast(scheme[ink], scheme["panel"]) >= 4.5, ink
        assert contrast(scheme["bar"], scheme["line"]) >= 3  # what is drawn (WCAG 2.2, 1.4.11)
    assert luminance(light["paper"]) > 0.9
    assert luminance(dark["paper"]) < 0.05


def decoded(uri: str) -> Image.Image:
    """The image in a data URI."""
    return Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2])))


def test_drawn_figures_stay_as_they_are() -> None:
    picture = pictures({"a": PNG})["a"]
    assert (picture.width, picture.height) == (960, 48)  # 10 inches by half an inch
    assert picture.uri == f"data:image/png;base64,{base64.b64encode(PNG).decode()}"
    assert pictures({}) == {}


def test_sheets_share_what_the_budget_leaves() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (400, 600, 3), np.uint8)
    whole = {"drawn": PNG, "sheet": a_png(noise), "other": a_png(noise[:300])}
    assert min(len(whole["sheet"]), len(whole["other"])) > DRAWN
    free = pictures(whole)
    assert decoded(free["sheet"].uri).size == (600, 400)
    assert decoded(free["sheet"].uri).format == "JPEG"
    mean = np.asarray(decoded(free["sheet"].uri)).mean()
    assert mean == pytest.approx(noise.mean(), abs=2)
    budget = 100_000
    small = pictures(whole, budget)
    held = [len(base64.b64decode(picture.uri.partition(",")[2])) for picture in small.values()]
    assert 0.5 * budget < sum(held) <= budget
    assert small["drawn"] == free["drawn"]
    width, height = decoded(small["sheet"].uri).size
    assert width < 600
    assert width / height == pytest.approx(1.5, abs=0.02)
    assert (small["sheet"].width, small["sheet"].height) == (384, 256)  # the place on the page stays


def test_many_drawn_figures_are_held_by_the_budget_too() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (100, 200, 3), np.uint8)
    many = {str(i): a_png(noise) for i in range(4)}
    assert len(many["0"]) < DRAWN
    assert sum(len(base64.b64decode(p.uri.partition(",")[2])) for p in pictures(many, 50_000).values()) <= 50_000


@pytest.mark.slow
def test_a_page_with_200_mistakes_stays_below_5_megabytes(tmp_path: Path) -> None:
    """Images of noise, which no format makes smaller, on all sheets of four layers."""
    rng = np.random.default_rng(0)
    grid = figures.image_grid(rng.integers(0, 256, (200, 32, 32, 3), np.uint8), ["a / b"] * 200, 5, "x")
    save(Described(grid, "a sheet"), tmp_path / "x.png")
    sheet = (tmp_path / "x.png").read_bytes()
    assert len(sheet) > 1_000_000
    run = a_run()
    layers = {f"layer{i}": f"predicted-layer{i}" for i in (1, 2, 3)} | {"layer4": "predicted"}
    cams = {f"gradcam/{name}": sheet for name in ("misclassified", "true", "layers", *layers.values())}
    mistakes = [
        results.Prediction(index=i, file="c" * 200, true="a" * 200, predicted="b" * 200, confidence=0.5)
        for i in range(200)
    ]
    names = [f"{i}" * 20 for i in range(200)]
    html = render(
        replace(
            run,
            figures=dict(run.figures) | cams,
            misclassified=mistakes,
            maps=but(run.maps, grids=layers),
            history=list(run.history) * 300,
            per_class=[but(run.per_class[0], name=name) for name in names],
            data=but(run.data, counts=[{"class": name, "train": 1, "val": 1, "test": 1} for name in names]),
        )
    )
    assert 3_000_000 < len(html.encode()) < 5_000_000


def test_formats() -> None:
    assert [percent(0.92141), percent(0.5, 0), percent(None)] == ["92.14 %", "50 %", "–"]
    assert [number(1e-5), number(0.012345)] == ["1e-05", "0.01235"]
    assert [duration(s) for s in (0.04, 59.9, 75.2, 7325)] == ["0.0 s", "59.9 s", "1 min 15 s", "2 h 2 min"]
    assert listed({"valley": 0.01234, "minimum": 1.0}) == "valley 0.0123, minimum 1"
    assert [shown(v) for v in (True, "", ["a", 1, False], 1e-5)] == ["true", "–", "[a, 1, false]", "1e-05"]
    assert listed({}) == "none"
    assert [points(-0.0115), points(0.2), points(-1e-6)] == ["−1.15 points", "+20.00 points", "+0.00 points"]


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
    assert command_line(changed) == line
