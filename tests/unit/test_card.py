"""The model card: whole, honest about what is not known, and safe whatever the classes are called."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from src import record, results
from src.pages.card import recall_interval, render, without_figures
from src.pages.content import Run
from tests.unit.test_markdown import HOSTILE, PARSER, Shown, seen
from tests.unit.test_report import EVIL, ODD_NAMES, a_run, but, of_folder, with_params

SECTIONS = ["Intended use", "Limits", "How to use it", "Results", "Data", "Training", "Licence, versions and hardware"]


def read(run: Run) -> str:
    """The text of the card as a page shows it."""
    return seen(Shown(render(run)).text)


def limits(run: Run) -> str:
    return render(run).partition("## Limits")[2].partition("## ")[0]


def test_the_card_tells_the_story() -> None:
    card = render(a_run())
    assert re.findall("^## (.*)$", card, re.MULTILINE) == SECTIONS
    text = read(a_run())
    for wanted in (
        "ResNet-18 with layer norm on generated shapes", "Test accuracy 92.14 % (95 % interval 90.88 % to 93.24 %)",
        "157 of 2,000 test images", "into 10 classes", "one training with one seed (0)", "drawn by a program",
        "5,400 training, 600 validation and 2,000 test images", "(0.5, 0.4, 0.3)", "from the range test (valley)",
        "standardised weights", "dvc exp run -S norm=layer", "c" * 40, "A processor (2 cores), fp32", "torch 2.14.1",
        "w" * 64, "MIT licence", "models:/normlens@champion", "(N, 32, 32, 3)", "accuracy 65.00 %, loss 1.1",
        "(mean recall of the classes) 87.12 %", "(mean F1 of the classes) 86.34 %",
    ):  # fmt: skip
        assert wanted in text, wanted


def test_every_figure_exists_where_the_card_lies() -> None:
    run = a_run()
    linked = re.findall(r"!\[.+\]\((.+)\)", render(run))
    assert len(linked) == 5
    assert {name.removeprefix("../figures/").removesuffix(".png") for name in linked} <= run.figures.keys()
    bare = render(replace(run, figures={}))
    assert "](" not in bare


def test_no_line_of_the_card_is_left_ragged() -> None:
    """Templates like to swallow the end of a line, or to leave holes."""
    weighted = with_params(a_run(), train__class_weights="balanced")
    assert "class weights balanced" in render(weighted)
    share, none = with_params(a_run(), data__share=0.5), replace(a_run(), misclassified=[])
    for run in (a_run(), weighted, share, none, of_folder(a_run(), "a.png")):
        card = render(run)
        assert not re.search(r"\n{4}|[ \t]\n|\{[{%]", card)
        assert all(re.match(r"\n*#", part) for part in re.split(r"\n(?=#+ )", card))
        assert re.findall(r"[^\n]\n#+ |\n#[^\n]*\n[^\n]", card) == []
        html = PARSER.render(card)
        assert html.count("<table>") == (4 if run.misclassified else 3)
        assert html.count("<li>") >= 9


@pytest.mark.parametrize("name", [name for name in (*HOSTILE, *ODD_NAMES) if "\n" not in name])
def test_names_are_shown_and_not_obeyed(name: str) -> None:
    """Also those of a data set, a note and a parameter, which nobody has checked."""
    run = a_run()
    plain = Shown(render(named(run, "plain")))
    page = Shown(render(named(run, name)))
    assert page.tags == plain.tags
    assert sum(seen(cell) == seen(name) for cell in page.cells) == 4  # a class, and file and classes of a mistake
    assert page.text.count(name) >= 10


def named(run: Run, name: str) -> Run:
    """The run where all that a stranger can name has this name."""
    run = of_folder(run, name)
    return replace(
        with_params(run, reference__name=name, reference__note=f"There {name}", augment=[{"name": name}]),
        data_name=f"image folder {name}",
        model=but(run.model, classes=[name, "other"], hardware=name),
        per_class=[but(row, name=name) for row in run.per_class],
        misclassified=[but(row, true=name, predicted=name) for row in run.misclassified],
        name=f"run {name}",
        command=f"dvc exp run -S data.path='{name}'",
    )


def test_a_run_without_mistakes_or_validation_images() -> None:
    run = a_run()
    bare = replace(
        run,
        data=but(run.data, val=0),
        train=but(run.train, val_loss=None, val_accuracy=None),
        history=[but(row, val_loss=None, val_accuracy=None) for row in run.history],
        misclassified=[],
        maps=but(run.maps, wrong=0, shown=0),
        commit="",
    )
    card = render(bare)
    assert "No test image is misclassified." in card
    assert "gradcam/" not in card
    assert "There are no validation images." in card
    assert "no validation images" in limits(bare)
    assert "part of the training images" not in card
    assert "in a checkout of the same code" in card
    assert "no validation images" not in limits(run)


def test_limits_say_what_the_data_say() -> None:
    run = a_run()
    assert "Some classes have no test images" in limits(run)  # the only row of the table has none
    few = replace(run, per_class=[results.ClassScores(name="a", precision=1, recall=0.5, f1=0.6, images=8)])
    assert "has 8 test images" in limits(few)
    assert "too optimistic" not in limits(run)
    assert "too optimistic" in limits(with_params(run, train__keep="best"))
    assert "share of" not in limits(run)
    assert "a share of 0.2 of the images" in limits(with_params(run, data__share=0.2))
    assert "not recorded here" not in limits(run)
    folder = of_folder(run, "odd")
    assert "compressed, and under which licence" in limits(folder)
    assert "drawn by a program" not in render(folder)
    assert "seed (7)" in limits(with_params(run, seed=7))


def test_what_is_known_of_a_folder_is_a_line_each() -> None:
    run = of_folder(a_run(), "odd")
    assert "- Files left out: 1,203 in no class folder, 2 in odd/, beside the split folders.\n" in limits(run)
    found = "1 test image among the training images, 1,004 images with a copy under another label"
    assert re.search(f"^- .*{found}.*accuracy may be too high.$", limits(run), re.MULTILINE)
    assert "Notes on the data: the test split has no image of odd; the test set is small.\n" in render(run)
    assert "read as odd/train/CLASS/*, odd/test/CLASS/*." in read(run)
    many = [{"reason": f"reason {i}", "files": 10 * i, "examples": []} for i in (5, 4, 3, 2, 1)]
    assert "30 reason 3, 30 for other reasons." in limits(replace(run, data=but(run.data, left_out=many)))
    for said in ("left out", "Copies", "Notes", "read as", "| file |"):
        assert said not in render(a_run())


def test_the_interval_of_a_class_is_of_its_own_images() -> None:
    # Wilson, by hand: z = 1.96, n = 10, k = 8: centre 0.7166, half width 0.2266
    scores = results.ClassScores(name="a", precision=None, recall=0.8, f1=None, images=10)
    assert recall_interval(scores) == "49.0 % to 94.3 %"
    assert recall_interval(but(scores, recall=0.333333, images=3)).startswith("6.1 %")
    assert recall_interval(but(scores, recall=None, images=0)) == "–"


def test_many_classes_are_named_in_the_table() -> None:
    run = a_run()
    classes = [f"class {i}" for i in range(30)]
    text = read(replace(run, model=but(run.model, classes=classes)))
    assert 'class 19 and 10 more, listed under "Per class"' in text


def test_the_card_beside_its_figures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = a_run()
    monkeypatch.chdir(tmp_path)
    card = render(run)
    record.artifacts.write_text(record.artifacts.CARD, card)
    for name, png in run.figures.items():
        record.artifacts.write_bytes(record.artifacts.FIGURES / f"{name}.png", png)
    files = record.card()
    text = files.pop("model_card.md").decode()
    assert re.findall(r"\]\(([^)]+)\)", text) == list(files)
    assert all(name.startswith("figures/") for name in files)
    assert files["figures/gradcam/predicted.png"] == run.figures["gradcam/predicted"]
    assert text == card.replace("](../", "](")


def test_a_description_holds_whole_sections() -> None:
    card = render(a_run())
    whole = without_figures(card, 100_000)
    assert "![" not in whole
    assert [f"## {name}" in whole for name in SECTIONS] == [True] * len(SECTIONS)
    assert Shown(whole).tags.count("table") == 4
    cut = without_figures(card, 3000)
    assert len(cut) <= 3000
    assert cut.endswith("`model_card.md` among the artifacts of the model.\n")
    kept = re.findall("^## (.*)$", cut, re.MULTILINE)
    assert 0 < len(kept) < len(SECTIONS)
    assert kept == SECTIONS[: len(kept)]
    assert len(without_figures("# " + "x" * 9000, 5000)) == 5000


def test_evil_in_the_fixture_is_not_in_the_card() -> None:
    assert EVIL not in render(a_run())
