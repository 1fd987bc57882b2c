"""Runs of a store in groups, and what is said of them."""

import json
import math
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from mlflow.entities import Metric, Param, RunTag

from commands import compare as command
from src import artifacts, tracking
from src.comparison.classes import class_recalls, recall
from src.comparison.groups import (
    Group,
    Predictions,
    StoredRun,
    agreement,
    differing,
    group,
    grouping_keys,
    notes_on,
    reached_targets,
    vote,
)
from src.comparison.pairs import GroupPair, compare_pairs
from src.comparison.read import class_means, read_predictions, read_runs
from src.comparison.result import Comparison, to_json
from src.comparison.tables import to_text
from src.comparison.words import plus_minus
from src.errors import UserError
from src.figures import compare as figures
from src.figures.style import save
from src.pages.comparison import to_html
from src.statistics import Difference, Interval, McNemar, mean_interval
from tests.map_measures import measures_of_maps
from tests.run_files import make_store

TRUE = ["cat"] * 4 + ["dog"] * 4


def stored(
    right: int, norm: str = "batch", seed: int = 0, data: str = "d", curve: Sequence[float] = (), **params: str
) -> StoredRun:
    """A run that answers the first `right` of TRUE right, and the others with the other class."""
    answers = [t if i < right else ("dog" if t == "cat" else "cat") for i, t in enumerate(TRUE)]
    predictions = read(TRUE, answers, [0.75] * len(TRUE))
    metrics = {"test/accuracy": right / len(TRUE), "test/loss": 1.0, "test/ece": 0.125} | class_means(predictions)
    curves = {"val/accuracy": curve, "val/loss": [1.0] * len(curve), "train/images_per_second": [10.0, 90.0, 100.0]}
    keys = {"norm": norm, "seed": str(seed), **params}
    return StoredRun(f"{norm}{seed}", f"{norm}-seed{seed}", keys, metrics, curves, data, predictions)


def read(true: Sequence[str], predicted: Sequence[str], confidence: Sequence[float]) -> Predictions:
    return Predictions(np.array(true), np.array(predicted), np.array(confidence))


def pairs_of(*runs: StoredRun) -> list[GroupPair]:
    return compare_pairs(group(runs, ["norm"]))


def comparison(*runs: StoredRun, notes: Sequence[str] = ()) -> Comparison:
    groups = group(runs, ["norm"])
    return Comparison(["norm"], groups, reached_targets(runs), notes)


def test_groups_are_by_what_differs_but_the_seed() -> None:
    runs = [stored(4, "batch", 0, lr="0.1"), stored(4, "layer", 1, lr="0.1"), stored(5, "batch", 1, lr="0.2")]
    assert differing(runs) == ["lr", "norm"]
    assert grouping_keys(runs) == ["lr", "norm"]
    assert grouping_keys(runs[:1]) == ["norm"]
    labels = [g.label for g in group(runs, ["lr", "norm"])]
    assert labels == ["lr=0.1, batch norm", "lr=0.1, layer norm", "lr=0.2, batch norm"]
    assert [g.seeds for g in group(runs, ["norm"])] == [[0, 1], [1]]
    assert [g.label for g in group([stored(4, "none"), stored(4, "layer2d")], ["norm"])] == ["layer2d norm", "no norm"]


def test_what_shapes_no_model_makes_no_groups() -> None:
    assert differing([stored(4, **{"gradcam.count": "3"}), stored(4, **{"gradcam.count": "4"})]) == []


def test_long_values_that_begin_alike_have_labels_of_their_own() -> None:
    runs = [stored(4, augment="x" * 60 + end) for end in "abc"]
    labels = [g.label for g in group(runs, ["augment"])]
    assert len(set(labels)) == 3


def test_an_unknown_parameter_has_a_nearest_name() -> None:
    with pytest.raises(UserError, match="did you mean norm"):
        grouping_keys([stored(4)], ["nrm"])


def test_epochs_to_an_accuracy() -> None:
    runs = [stored(4, seed=0, curve=[0.4, 0.6, 0.5, 0.71]), stored(4, seed=1, curve=[0.5, 0.5])]
    assert reached_targets(runs) == [0.5, 0.6, 0.7]
    (only,) = group(runs, ["norm"])
    assert only.epochs_to(0.5) == [2, 1]
    assert only.epochs_to(0.6) == [2, None]
    assert "by 1 of 2 runs" in to_text(comparison(*runs))
    speed = only.images_per_second()
    assert speed is not None
    assert speed.mean == 90.0  # the median: the first epoch does not count as much


def test_the_majority_answers_and_confidence_breaks_ties() -> None:
    def run(answers: list[str], confidence: list[float]) -> StoredRun:
        one = stored(4)
        return StoredRun(
            one.id, one.name, one.params, one.metrics, one.curves, one.data, read(TRUE[:3], answers, confidence)
        )

    two = [run(["cat", "dog", "cat"], [0.9, 0.6, 0.8]), run(["dog", "cat", "cat"], [0.8, 0.7, 0.5])]
    assert vote(two).tolist() == ["cat", "cat", "cat"]
    third = run(["dog", "dog", "dog"], [0.1, 0.1, 1.0])
    assert vote([*two, third]).tolist() == ["dog", "dog", "cat"]


def test_agreement_within_and_between() -> None:
    batch, layer = group([stored(8, seed=0), stored(6, seed=1), stored(4, "layer")], ["norm"])
    assert agreement(batch, batch) == 6 / 8  # the last two images
    assert agreement(batch, layer) == (4 / 8 + 6 / 8) / 2
    assert agreement(layer, layer) is None


def test_recall_of_a_class_over_seeds_and_of_one_run() -> None:
    over_seeds = recall(Group("batch", {}, [stored(5, seed=0), stored(7, seed=1)]), "dog")
    assert over_seeds.mean == 0.5  # 1 and 3 of 4
    assert (over_seeds.low, over_seeds.high) == (0.0, 1.0)  # ± 12.7 · 0.25, cut off
    one = recall(Group("batch", {}, [stored(4)]), "cat")
    assert one.mean == 1.0
    assert one.low == pytest.approx(4 / (4 + 1.96**2), abs=1e-4)  # Wilson's, of all right: n / (n + z²)


def test_means_over_classes_by_hand() -> None:
    """Cats 3 of 3, dogs 1 of 2, and an answer of which there is no image."""
    found = class_means(read(["cat", "cat", "cat", "dog", "dog"], ["cat", "cat", "cat", "dog", "snow owl"], [0.5] * 5))
    assert found["test/balanced_accuracy"] == pytest.approx((1 + 1 / 2) / 2)
    assert found["test/macro_f1"] == pytest.approx((1 + 2 / 3 + 0) / 3)


def test_means_over_classes_stand_beside_the_accuracy() -> None:
    found = comparison(stored(4, seed=0), stored(6, seed=1))  # all 4 cats are right, and 0 or 2 of 4 dogs
    lines = [re.split("  +", line) for line in to_text(found).splitlines()[:2]]
    row = dict(zip(*lines, strict=True))
    assert row["balanced accuracy"] == row["accuracy"] == "62.50 ± 158.83 %"  # 12.706 · 12.5; classes of one size
    group_ = to_json(found)["groups"][0]
    assert group_["balanced_accuracy"]["mean"] == pytest.approx(0.625)
    # F1 of cats 8/12 and of dogs 0; then 8/10 and 4/6.
    assert group_["macro_f1"]["mean"] == pytest.approx((1 / 3 + (4 / 5 + 2 / 3) / 2) / 2)
    assert all(cell in to_html(found, {}) for cell in ("<td>33.33 %</td>", "<td>73.33 %</td>"))


def test_a_class_that_the_test_set_lacks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is answered, and has no recall."""
    monkeypatch.chdir(tmp_path)
    predictions = read(TRUE, ["emu"] * 4 + ["dog"] * 4, [0.75] * len(TRUE))
    found = comparison(stored(4), replace(stored(4, "layer"), predictions=predictions))
    assert {name: of["layer norm"].mean for name, of in class_recalls(found.groups).items()} == {"cat": 0, "dog": 1}
    command.write(found)
    assert not re.search(r"\bnan\b", command.PAGE.read_text() + to_text(found), re.IGNORECASE)


def test_a_real_difference_in_words() -> None:
    (pair,) = pairs_of(*(stored(8, "batch", s) for s in range(3)), *(stored(r, "layer", r) for r in (3, 4, 4)))
    # 11/24 below 1: deviation of the second group 0.0722, its error 0.0417, t with 2 degrees of freedom 4.3027
    assert pair.sentence.startswith("layer norm is 54.2 ± 17.9 points below batch norm in test accuracy with 3 seeds")
    assert pair.sentence.endswith("significant")


def test_no_difference_in_words() -> None:
    (pair,) = pairs_of(*(stored(r, "batch", r) for r in (3, 4, 5)), *(stored(r, "layer", r) for r in (4, 5, 6)))
    # One deviation apart: 17 in Cohen's table.
    assert "3 seeds cannot separate layer norm from batch norm" in pair.sentence
    assert "About 17 seeds" in pair.sentence


def test_seeds_that_are_needed_of_many_pairs_are_for_one_alone() -> None:
    runs = [stored(s + r, norm, s) for norm, r in (("a", 3), ("b", 4), ("c", 4)) for s in range(3)]
    first, second, _ = pairs_of(*runs)
    assert first.sentence == second.sentence.replace("c norm", "b norm")
    assert "About 17 seeds" in first.sentence
    assert first.sentence.endswith("if only this pair were compared")


def test_a_difference_that_is_one_of_many_in_words() -> None:
    runs = [stored(r + s, norm, s) for norm, r in (("a", 2), ("b", 5), ("c", 3)) for s in range(3)]
    first, _, _ = pairs_of(*runs)
    # Three deviations of 1 apart: t² = 9 / (2/3) with 4 degrees of freedom, p = 0.0213, three times that for Holm.
    assert "cannot separate b norm from a norm after correction for 3 pairs" in first.sentence
    assert re.search(r"b norm − a norm +accuracy .* 0\.021 +0\.064\n", to_text(comparison(*runs)))


def test_one_seed_in_words() -> None:
    (pair,) = pairs_of(stored(8), stored(1, "layer"))
    assert pair.sentence.startswith("layer norm is 87.5 points below batch norm in test accuracy with 1 seed")
    assert "the difference is significant" in pair.sentence
    assert "Run at least 2 seeds of each" in pair.sentence
    found = comparison(stored(8), stored(1, "layer"))
    # None of 8 and 7: with one image more on either side −7/10 ± 1.96 sqrt((9/10 − 49/100) / 10), and p = 2 / 2^7
    assert re.search(r"−87\.50 points +−100\.00 to −30\.31 points +7 +0 +0\.016 +0\.016", to_text(found))
    assert to_json(found)["pairs"][0]["interval"] is None


def test_as_many_runs_vote_on_either_side() -> None:
    # Of three of batch two have all right; that of the lowest seed has 5, and so has the one of layer.
    batch = [stored(8, "batch", 2), stored(8, "batch", 1), stored(5, "batch", 0)]
    (pair,) = pairs_of(*batch, stored(5, "layer", 7))
    assert pair.votes == 1
    assert pair.mcnemar == McNemar(0, 0, 1.0, p_holm=1.0)
    assert pair.sentence.startswith(
        "layer norm and batch norm have the same test accuracy with the lowest seed of each group (1 and 3 seeds "
        "available)"
    )
    assert pair.welch is not None
    assert pair.welch.mean == pytest.approx(-2 / 8)  # of the means
    found = comparison(*batch, stored(5, "layer", 7))
    numbers = to_json(found)["pairs"][0]
    assert numbers["mcnemar"]["votes"] == 1
    assert numbers["over_images"]["difference"] == 0
    assert "<td>1</td><td>+0.00 points</td>" in to_html(found, {})
    (two,) = pairs_of(*batch, stored(5, "layer", 1), stored(4, "layer", 0), stored(8, "layer", 9))
    assert two.votes == 3
    (two,) = pairs_of(*batch, stored(6, "layer", 1), stored(8, "layer", 0))
    assert two.votes == 2  # ties of 5 and 8 go to the first name, "cat", and all dogs from the sixth on are wrong
    assert two.over_images is not None
    assert two.over_images.mean == pytest.approx(1 / 8)


def test_nothing_varies_in_words() -> None:
    (same,) = pairs_of(*(stored(4, norm, s) for norm in ("batch", "layer") for s in (0, 1)))
    assert "have the same test accuracy with 2 seeds" in same.sentence
    (other,) = pairs_of(*(stored(4 + (norm == "layer"), norm, s) for norm in ("batch", "layer") for s in (0, 1)))
    assert "cannot be tested" in other.sentence


def test_many_pairs_are_corrected() -> None:
    pairs = pairs_of(stored(8, "a"), stored(8, "b"), stored(1, "c"))
    # Two of three have p = 2 / 2^7; Holm makes it three times that, and the second no less.
    assert [p.mcnemar.p_holm for p in pairs if p.mcnemar] == [1.0, pytest.approx(3 / 64), pytest.approx(3 / 64)]


def with_values(norm: str, seed: int, loss: float, speed: float, hardware: str = "CPU") -> StoredRun:
    """A run of a loss and a speed of its own."""
    run = stored(4, norm, seed)
    curves = {**run.curves, "train/images_per_second": [speed]}
    return replace(run, metrics={**run.metrics, "test/loss": loss}, curves=curves, hardware=hardware)


def test_loss_and_speed_are_tested_too() -> None:
    values = {"a": (1.0, 2.0, 3.0), "b": (3.0, 4.0, 5.0), "c": (1.0, 2.0, 3.0)}
    runs = [with_values(norm, s, v, 10 * v) for norm, found in values.items() for s, v in enumerate(found)]
    ab, ac, bc = pairs_of(*runs)
    p = 2 * (0.5 - 3 / 8 * math.sqrt(2.4) * 0.8)  # as in test_statistics
    half = 2.776445 * math.sqrt(2 / 3)
    loss = ab.over_seeds["loss"]
    assert (loss.mean, loss.p) == (2, pytest.approx(p))
    assert (loss.low, loss.high) == (pytest.approx(2 - half, abs=1e-5), pytest.approx(2 + half, abs=1e-5))
    assert loss.p_holm == pytest.approx(3 * p)  # of three pairs, and of the loss alone
    assert (ac.over_seeds["loss"].p, ac.over_seeds["loss"].p_holm) == (1, 1)
    assert bc.over_seeds["images_per_second"].mean == -20
    assert ab.over_seeds["ece"].p is None  # nothing varies
    numbers = to_json(comparison(*runs))["pairs"][0]
    assert numbers["welch_of"].keys() == {"loss", "ece", "images_per_second"}
    assert numbers["welch_of"]["loss"]["p_holm"] == loss.p_holm
    line = r"b norm − a norm +loss +\+2\.000 +−0\.267 to \+4\.267 +0\.070 +0\.211"
    assert re.search(line, to_text(comparison(*runs)))


def test_speeds_of_other_hardware_are_not_compared() -> None:
    runs = [with_values("a", 0, 1, 10), with_values("b", 0, 1, 20, "GPU")]
    assert "images_per_second" not in pairs_of(*runs)[0].over_seeds
    assert "different hardware" in notes_on(group(runs, ["norm"]), ["norm"])[-1]


def test_classes_of_two_runs_are_compared_over_images() -> None:
    (pair,) = pairs_of(stored(8), stored(3, "layer"))  # of four cats three are right, and of four dogs none
    cat, dog = pair.classes["cat"], pair.classes["dog"]
    assert (cat.mean, cat.p) == (-0.25, 1)
    assert (dog.mean, dog.p) == (-1, 2 / 2**4)
    assert dog.p_holm == 2 * dog.p
    # Of 6 images one more on either side: −4/6 ± 1.96 sqrt((1 - 16/36) / 6), and −1/6 ± 1.96 sqrt((1/2 - 1/36) / 6)
    assert dog.high == pytest.approx(-4 / 6 + 1.96 * math.sqrt(5 / 54), abs=1e-4)
    assert cat.low == pytest.approx(-1 / 6 - 1.96 * math.sqrt(17 / 216), abs=1e-4)
    assert pair.class_sentence.startswith(
        "the recall of layer norm minus that of batch norm is lowest for dog (−100.00 points)"
    )
    assert "highest for cat (−25.00 points)" in pair.class_sentence
    assert "for 0 of 2 classes" in pair.class_sentence


def test_classes_of_several_runs_are_compared_over_seeds() -> None:
    runs = [stored(8, "batch", s) for s in range(3)] + [stored(r, "layer", r) for r in (4, 4, 5)]
    (pair,) = pairs_of(*runs)
    # Dogs: 1 beside 0, 0 and 1/4 of four: 1/12 with an error of 1/12, and two degrees of freedom
    dog = pair.classes["dog"]
    assert dog.mean == pytest.approx(-11 / 12)
    assert dog.high == pytest.approx(-11 / 12 + 4.302653 / 12, abs=1e-6)
    assert dog.low == -1  # cut off
    assert pair.classes["cat"].p is None  # nothing varies
    assert dog.p_holm == dog.p  # of one that was tested
    assert dog.significant
    assert "for 1 of 2 classes" in pair.class_sentence
    (mixed,) = pairs_of(*runs[:4])
    assert mixed.classes["dog"].low is None
    assert mixed.class_sentence.endswith("cannot be tested")
    (same,) = pairs_of(stored(4), stored(4, "layer"))
    assert same.class_sentence.endswith("the same for every class (+0.00 points)")


def test_each_run_has_a_line_and_each_group_a_mean(tmp_path: Path) -> None:
    three, two = [[0.1, 0.3], [0.2, 0.4], [0.3, 0.5, 0.6]], [[0.1, 0.2], [0.3, 0.2]]
    drawn = figures.curves(
        {
            "three": {"val/accuracy": three, "val/loss": three},
            "two": {"val/accuracy": two, "val/loss": two},
            "one": {"val/accuracy": [[0.5]], "val/loss": [[]]},
        }
    )
    lines = [list(line.get_ydata()) for line in drawn.figure.axes[0].lines]
    assert lines == [pytest.approx([0.2, 0.4, 0.6]), *three, pytest.approx([0.2, 0.2]), *two, [0.5]]
    accuracy, loss = (axes.get_title(loc="left") for axes in drawn.figure.axes)
    assert "one ends highest, at 50.0 %" in accuracy  # the three end at 0.3, 0.4 and 0.6
    assert "two ends lowest, at 0.2" in loss
    assert "Final accuracy: three 43.3 %; two 20.0 %; one 50.0 %." in drawn.alt
    save(drawn, tmp_path / "figure.png")


def test_each_pair_has_a_panel_and_real_differences_full_dots(tmp_path: Path) -> None:
    real, maybe = Difference(-0.3, -0.4, -0.2, 0.001, p_holm=0.01), Difference(0.1)
    found = {"cat": real, "$x$ " + "y" * 99: maybe}
    drawn = figures.differences({f"b{i} − a": found for i in range(4)}, ["it is lowest for cat"])
    assert drawn.alt.endswith("by class. It is lowest for cat.")
    assert len(drawn.figure.axes) == 4
    for axes in drawn.figure.axes:
        dots = [line for line in axes.lines if line.get_marker() == "o"]
        assert [line.get_xdata()[0] for line in dots] == [-0.3, 0.1]
        assert [line.get_markerfacecolor() == "white" for line in dots] == [False, True]
        assert "1 of 2 classes" in axes.get_title(loc="left")
    save(drawn, tmp_path / "figure.png")


def test_other_data_are_not_compared() -> None:
    runs = [stored(4), stored(6, "layer", data="other")]
    (pair,) = pairs_of(*runs)
    assert (pair.welch, pair.mcnemar) == (None, None)
    assert "not compared" in pair.sentence
    found = comparison(*runs, notes=notes_on(group(runs, ["norm"]), ["norm"]))
    assert f"--where \"dataset.digest = '{runs[0].data}'\"" in to_text(found)
    assert class_recalls(found.groups) == {}
    assert f"{pair.sentence}." in to_html(found, {})
    assert "McNemar" not in to_html(found, {})


def test_what_else_differs_is_said() -> None:
    runs = [stored(4, lr="1", width="1"), stored(4, seed=1, lr="2", width="1"), stored(4, "layer", lr="1", width="2")]
    notes = notes_on(group(runs, ["norm"]), ["norm"])
    assert notes == [
        "runs of one group differ in more than the seed: lr",
        "the groups also differ in width, which may cause a difference",
    ]


def measured(run: StoredRun, gain: float, **changes: str) -> StoredRun:
    """A run with measures whose values are far from their gains."""
    none = {"low": None, "high": None}
    one = {"mean": 0.75, **none, "better_than_random": {"mean": gain, **none}}
    alike = {"mean": 0.25, **none, "curves": {"rank_correlation": [0.9, 0.25]}}
    measures = {
        name: {
            "what": "", "higher_is_better": True, "x": [], "baselines": {},
            "methods": {"GradCAM": {"layer3": None, "layer4": estimate}},
        }
        for name, estimate in {"road": one, "deletion": one, "randomisation": alike}.items()
    }  # fmt: skip
    maps = measures_of_maps(sample={"images": 5, "of": 8, "seed": 0}, insertion=None, **measures)
    return replace(run, gradcam=maps, params={**run.params, "gradcam.method": "GradCAM", **changes})


def test_maps_are_worth_what_they_gain_over_random_ones() -> None:
    runs = [
        measured(stored(4, norm, s), g) for norm, gs in (("a", (0.1, 0.3)), ("b", (-0.5,))) for s, g in enumerate(gs)
    ]
    found = comparison(*runs)
    assert found.map_quality.why == ""
    assert found.map_quality.means["a norm"].keys() == {"road", "deletion", "randomisation"}
    assert found.map_quality.means["a norm"]["deletion"] == mean_interval([0.1, 0.3])
    assert found.map_quality.means["b norm"] == {
        "road": Interval(-0.5), "deletion": Interval(-0.5), "randomisation": Interval(0.25)
    }  # fmt: skip
    assert re.search(r"\nb norm +−0\.500 +−0\.500 +0\.250\n", to_text(found))
    numbers = to_json(found)
    assert numbers["worth"]["a norm"]["road"]["mean"] == pytest.approx(0.2)
    assert [numbers["worth"][name]["road"]["n"] for name in ("a norm", "b norm")] == [2, 1]
    assert numbers["no_worth"] is None
    page = to_html(found, {})
    assert "ROAD and its gain depend on the confidence" in page
    assert "GradCAM at layer4 on a sample of 5 test images" in page


@pytest.mark.parametrize(
    ("other", "why"),
    [
        (stored(4, "b"), "these runs have no measures of maps, or only those of older code: b-seed0"),
        (
            replace(stored(4, "b"), gradcam=measures_of_maps(road=None)),
            "these runs have no measures of maps, or only those of older code: b-seed0",
        ),
        (measured(stored(4, "b", data="other"), 0.1), "the runs have different data or test images"),
        (measured(stored(4, "b"), 0.1, **{"gradcam.method": "LayerCAM"}), "the runs differ in gradcam.method"),
        (
            measured(stored(4, "b"), 0.1, **{"gradcam.measure.images": "9"}),
            "the runs differ in gradcam.measure.images",
        ),
    ],
)
def test_why_maps_are_not_compared(other: StoredRun, why: str) -> None:
    found = comparison(measured(stored(4, "a"), 0.1), other)
    assert found.map_quality.why == why
    assert f"note: the quality of the maps is not compared: {why}" in to_text(found)
    numbers = to_json(found)
    assert (numbers["worth"], numbers["no_worth"]) == ({}, why)
    assert f"Not compared: {why}." in to_html(found, {})


def test_epochs_of_runs_without_validation_are_not_known() -> None:
    found = replace(comparison(stored(4, "a"), stored(4, "b", curve=[0.3])), targets=[0.5])
    a, b = (line.split("  ") for line in to_text(found).splitlines()[1:3])
    assert (a[-1].strip(), b[-1].strip()) == ("–", "not reached")


def test_numbers_have_no_minus_zero() -> None:
    assert plus_minus(-0.001, 0.002, "+") == "+0.00 ± 0.00"
    assert plus_minus(-1234.5, digits=1) == "−1,234.5"


def test_names_are_text_and_the_page_needs_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    hostile = '<script>alert("$")</script>'
    runs = [stored(r, norm, s, curve=[0.2, 0.5]) for norm in ("batch", hostile) for s, r in enumerate((4, 6))]
    command.write(comparison(*runs, notes=["\x1b[2J"]))
    page = command.PAGE.read_text()
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert not re.search(r"""(src|href)=["'](?!data:image/png|#)""", page)
    assert page.count("<img") == page.count('alt="') == 3
    assert "\x1b" not in to_text(comparison(*runs, notes=["\x1b[2J"]))
    numbers = json.loads(command.NUMBERS.read_text())
    assert numbers["groups"][0]["accuracy"]["mean"] == 0.625
    assert {"welch", "mcnemar", "interval", "sentence"} <= set(numbers["pairs"][0])


@pytest.mark.parametrize("text", ["90", "0", "a", "0.5,nan"])
def test_accuracies_are_fractions(text: str) -> None:
    assert command.accuracies("0.9, 0.5,0.9") == [0.5, 0.9]
    with pytest.raises(UserError, match=f"--to-accuracy is {text}. Give fractions"):
        command.accuracies(text)


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return make_store(tmp_path / "mlflow.db")


def log(name: str, key: str, predictions: bool = True, status: str = "FINISHED", maps: str = "") -> str:
    """A run as a mirror leaves it, so far as it is compared."""
    client, experiment = tracking.open_store()
    run = client.create_run(experiment, run_name=name).info.run_id
    values = {"test/accuracy": 0.5, "test/loss": 1.0, "test/ece": 0.1}
    metrics = [Metric(k, v, 0, 0) for k, v in values.items()] + [Metric("val/accuracy", e / 10, 0, e) for e in (1, 2)]
    tags = [RunTag("model_key", key), RunTag("experiment", f"exp-{name}")]
    client.log_batch(run, metrics, [Param("seed", "3"), Param("norm", "batch")], tags)
    if predictions:
        rows = [{"true": t, "predicted": "cat", "confidence": "0.5"} for t in ("cat", "dog")]
        artifacts.write_csv(Path("predictions.csv"), rows)
        client.log_artifact(run, "predictions.csv", "metrics")
    if maps:
        Path("gradcam.json").write_text(maps)
        client.log_artifact(run, "gradcam.json", "metrics")
    client.set_terminated(run, status)
    return str(run)


def test_runs_of_a_store(store: Path) -> None:
    old = log("old", "same")
    new, other = log("new", "same", maps='{"road": 1}'), log("other", "key", maps="[broken")
    log("half", "half", predictions=False)
    log("dead", "dead", status="KILLED")
    found = read_runs()
    assert {run.id for run in found.runs} == {new, other}
    assert found.runs[0].curves["val/accuracy"] == [0.1, 0.2]
    assert found.runs[0].predictions.predicted.tolist() == ["cat", "cat"]
    assert found.runs[0].seed == 3
    # Not logged, as by older code: of cat and dog, both taken for a cat, recalls are 1 and 0, and F1 2/3 and 0.
    assert found.runs[0].metrics["test/balanced_accuracy"] == 0.5
    assert found.runs[0].metrics["test/macro_f1"] == pytest.approx(1 / 3)
    assert [run.gradcam for run in found.runs] == [None, None]
    said = "\n".join(found.left_out)
    for words in ("old (", "same model as a newer run", "half (", "no metrics/predictions.csv", "dead (", "killed"):
        assert words in said
    for names in ([old], ["old"], ["exp-old"]):
        assert [run.id for run in read_runs(names).runs] == [old]
    assert len(read_runs(["normlens"]).runs) == 2
    assert len(read_runs(where="params.norm = 'batch'").runs) == 2
    with pytest.raises(UserError, match="no run is called nobody"):
        read_runs(["nobody", "old"])
    with pytest.raises(UserError, match=r"no finished run to compare.*\n.*dead"):
        read_runs(["dead"])
    with pytest.raises(UserError, match="--where 'x y' selects no runs"):
        read_runs(where="x y")


def test_tables_with_and_without_files_are_read(tmp_path: Path) -> None:
    """Runs of earlier versions have no column `file`."""
    table = tmp_path / "predictions.csv"
    rows = [{"index": 0, "true": "cat", "predicted": "dog", "confidence": "0.5"}]
    artifacts.write_csv(table, rows)
    old = read_predictions(table)
    artifacts.write_csv(table, [{"file": 'a, "b".png', **row} for row in rows])
    new = read_predictions(table)
    for found in (old, new):
        assert [found.true, found.predicted, found.confidence] == [["cat"], ["dog"], [0.5]]


def test_the_same_comparison_is_one_run(store: Path) -> None:
    file = Path("compare.json")
    for text in ("first", "second"):
        file.write_text(text)
        run = tracking.log_comparison("key", "by norm", {"runs": "a,b"}, [file])
    client, _ = tracking.open_store()
    experiment = client.get_experiment_by_name(tracking.COMPARISONS)
    assert experiment is not None
    (found,) = client.search_runs([experiment.experiment_id])
    assert (found.info.run_id, found.data.tags["runs"]) == (run, "a,b")
    assert Path(client.download_artifacts(run, "compare.json")).read_text() == "second"


def test_a_store_that_is_none_is_a_sentence(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    with pytest.raises(UserError, match=r"http://127\.0\.0\.1:9 cannot be read"):
        read_runs()
