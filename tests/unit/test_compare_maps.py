"""The same test images explained by several runs: which images, how far maps agree, and what is said and drawn."""

import json
import re
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from commands import compare as command
from src import artifacts, record
from src.comparison import make_maps as module
from src.comparison.groups import Group, Predictions, StoredRun
from src.comparison.images import BOTH, FEWEST, MOST, ShownImage, by_answers, by_maps, derangement, draw
from src.comparison.make_maps import make_maps
from src.comparison.maps import Maps, PairMaps, agreements, mean_agreement
from src.comparison.read import class_means
from src.comparison.result import Comparison
from src.comparison.tables import agreement_rows, to_text
from src.data.prepared import Prepared, Split, save
from src.errors import UserError
from src.figures import maps as figures
from src.figures.style import save as save_figure
from src.model.resnet import build
from src.model.saved import Description, save_model
from src.params import Params
from src.statistics import Permutation
from tests.conftest import PARAMS_YAML
from tests.run_files import committed_params
from tests.unit.test_figures import texts
from tests.unit.test_report import ODD_NAMES, rows

HOSTILE = '<script>alert("$x$")</script> \\frac{'
CLASSES = ["cat", "dog", HOSTILE]
COUNT = 60  # test images
STRIDES = [1, 2, 2, 2]


def test_images_are_drawn_once_for_all_comparisons() -> None:
    drawn = draw(10_000, 32)
    assert len(drawn) == len(set(drawn)) == MOST
    assert drawn.tolist() == sorted(draw(10_000, 32))
    assert len(draw(10_000, 128)) == 50  # a quarter of the pixels that 64 a side would have
    assert len(draw(10_000, 512)) == FEWEST
    assert draw(5, 32).tolist() == [0, 1, 2, 3, 4]


@given(st.integers(2, 50))
def test_nobody_is_compared_with_itself_by_chance(count: int) -> None:
    partners = derangement(count)
    assert sorted(partners) == list(range(count))
    assert (partners != np.arange(count)).all()


def test_images_that_both_or_one_answers_wrong() -> None:
    right = np.array([[False, False, True, True, True], [False, True, False, True, True]])
    rows = by_answers(np.array([2, 3, 5, 7, 11]), right, ["batch", "layer"])
    assert rows == [ShownImage(2, "both wrong"), ShownImage(3, "only batch wrong"), ShownImage(5, "only layer wrong")]
    of_three = np.array([[False, False, True], [False, True, False], [False, False, False]])
    three = by_answers(np.arange(3), of_three, ["a", "b", "c"])
    assert three == [ShownImage(0, "all wrong")]  # of the others two are wrong
    assert by_answers(np.arange(9), np.ones((2, 9), bool), ["a", "b"]) == []
    many = by_answers(np.arange(900), np.zeros((2, 900), bool), ["a", "b"])
    assert len(many) == BOTH
    assert many == by_answers(np.arange(900), np.zeros((2, 900), bool), ["a", "b"])
    assert [row.index for row in many] != list(range(BOTH))


def test_images_on_which_maps_disagree_most() -> None:
    rows = by_maps(np.array([3, 5, 7, 9, 11]), np.array([0.5, -0.1, 0.2, 0.9, 0.3]), [ShownImage(5, "both wrong")])
    assert rows == [ShownImage(index, "maps disagree most") for index in (7, 11, 3)]


def run(norm: str, seed: int, right: int = COUNT, data: str = "d" * 32) -> StoredRun:
    """A run that answers the first `right` images right; others with the next class."""
    labels = np.arange(COUNT) % len(CLASSES)
    answers = np.where(np.arange(COUNT) < right, labels, (labels + 1) % len(CLASSES))
    names = np.array(CLASSES)
    predictions = Predictions(names[labels], names[answers], np.full(COUNT, 0.75))
    params = record.flat_params(committed_params()) | {"norm": norm, "seed": str(seed)}
    metrics = {"test/accuracy": right / COUNT, "test/loss": 1.0, "test/ece": 0.1} | class_means(predictions)
    curves: dict[str, Sequence[float]] = {"val/accuracy": [], "val/loss": [], "train/images_per_second": []}
    return StoredRun(f"{norm}{seed}", f"{norm}-{seed}", params, metrics, curves, data, predictions)


def group(norm: str, *seeds: int, right: int = COUNT) -> Group:
    return Group(norm, {"norm": norm}, [run(norm, seed, right) for seed in seeds])


def ramps(*starts: int) -> np.ndarray:
    """Maps (N, 8, 8) whose values rise from pixel `start` on and go on at the first."""
    return np.stack([np.roll(np.arange(64, dtype=np.float32), start).reshape(8, 8) for start in starts])


def test_agreement_within_and_between() -> None:
    one, other = ramps(0, 5, 9, 13), ramps(0, 5, 9, 13)[:, ::-1, ::-1]
    groups = [group("batch", 0, 1), group("layer", 0)]
    (batch, layer), (pair,) = agreements(groups, {"batch0": one, "batch1": one, "layer0": other}, np.arange(4))
    assert batch.within is not None
    assert layer.within is None
    assert batch.within["iou"].mean == 1
    assert batch.within["spearman"].mean == pytest.approx(1, abs=1e-6)
    assert batch.within["spearman"].half_width == pytest.approx(0, abs=1e-6)
    assert batch.within["iou"].chance < 1
    # The first map is turned around wholly, so its rank correlation is -1, and the top fifths share nothing.
    _, (first,) = agreements(groups, {"batch0": one[:1], "batch1": one[:1], "layer0": other[:1]}, np.arange(1))
    assert first.between["spearman"].mean == pytest.approx(-1, abs=1e-6)
    assert first.between["iou"].mean == 0
    assert pair.between["spearman"].lowest == pair.between["spearman"].highest  # all pairs of runs are alike
    assert mean_agreement([one, other])[0] == pytest.approx(-1, abs=1e-6)
    assert mean_agreement([one, other]).mean() == pytest.approx(pair.between["spearman"].mean)


def test_agreement_where_answers_are_the_same() -> None:
    groups = [group("batch", 0, right=2), group("layer", 0, right=3)]  # the third answer is another one
    one, other = ramps(0, 5, 9, 13), ramps(0, 5, 20, 13)
    _, (pair,) = agreements(groups, {"batch0": one, "layer0": other}, np.array([0, 1, 2, 3]))
    assert pair.between["iou"].same_answer == 1
    _, (third,) = agreements(groups, {"batch0": one[2:3], "layer0": other[2:3]}, np.array([2]))
    assert pair.between["iou"].mean == pytest.approx((3 + third.between["iou"].mean) / 4)
    assert third.between["iou"].same_answer is None


def made(noise: float = 0.2, **bases: tuple[float, int]) -> list[PairMaps]:
    """Pairs of groups: by label, how far its runs are from a common map (0 to 1), and the number of its runs."""
    rng = np.random.default_rng(0)
    common = rng.random((50, 8, 8), dtype=np.float32)
    groups, maps = [], {}
    for label, (apart, count) in bases.items():
        own = (1 - apart) * common + apart * rng.random(common.shape, dtype=np.float32)
        groups.append(group(label, *range(count)))
        maps |= {run.id: own + noise * rng.random(own.shape, dtype=np.float32) for run in groups[-1].runs}
    return agreements(groups, maps, np.arange(50))[1]


def test_runs_look_elsewhere_only_where_the_corrected_test_says_so() -> None:
    (apart,) = made(a=(0, 4), b=(1, 4))
    assert apart.over_seeds is not None
    assert apart.over_seeds.p_holm == pytest.approx(2 / 70)  # one of 35 splits into four and four, which count twice
    assert "differ significantly more" in apart.sentence
    for pair in (*made(a=(0, 4), b=(0, 4)), *made(a=(0, 3), b=(1, 3)), *made(a=(0, 4), b=(1, 4), c=(0, 4))):
        assert pair.over_seeds is not None
        assert pair.over_seeds.p_holm is not None
        assert pair.over_seeds.p_holm > 0.05
        assert "no evidence of a difference beyond that between random seeds" in pair.sentence
    (single,) = made(a=(0, 1), b=(1, 1))
    assert "Run at least 2 seeds of each" in single.sentence


def limit(*pairs: PairMaps) -> str:
    groups = [pairs[0].first, *dict.fromkeys(pair.second for pair in pairs)]
    nothing = np.zeros((0, 8, 8, 3), np.uint8)
    return Maps("GradCAM", "layer4", 0.5, np.arange(50), groups, pairs, 0, [], nothing, [], [], [], []).limit


def test_what_few_seeds_cannot_show_is_said_once() -> None:
    assert re.match(r"3 and 3 seeds cannot show a difference .* 0\.100$", limit(*made(a=(0, 3), b=(0, 3))))
    assert limit(*made(a=(0, 4), b=(0, 4))) == ""
    assert "0.029 before correction" in limit(*made(a=(0, 4), b=(0, 4), c=(0, 4)))
    assert limit(*made(a=(0, 1), b=(0, 3), c=(0, 3))).startswith("so few seeds cannot")
    assert limit(*made(a=(0, 1), b=(0, 1))) == ""  # nothing is tested


def test_pairs_of_groups_are_corrected_over_seeds() -> None:
    pairs = {(p.first.group.label, p.second.group.label): p for p in made(a=(0, 3), b=(1, 3), c=(1, 3), d=(1, 1))}
    ab, ad = pairs["a", "b"], pairs["a", "d"]
    # One of ten splits into three and three, the first of six tests; one of four into three and one, the fourth test
    assert ab.over_seeds == Permutation(0.1, 0.1, p_holm=pytest.approx(0.6))
    assert ad.over_seeds == Permutation(0.25, 0.25, p_holm=0.75)


def test_the_agreement_of_each_group_is_a_row_of_its_own(data: Prepared) -> None:
    groups = [group("batch", 0, 1, right=50), group("layer", 0, 1, right=54)]
    maps = make_maps(groups, data, parameters(), 2)
    rows = agreement_rows(maps)
    assert [row[0] for row in rows] == ["two seeds of batch", "two seeds of layer", "layer and batch"]
    for row, found in zip(rows, (*(one.within for one in maps.groups), maps.pairs[0].between), strict=True):
        assert found is not None
        one = found["spearman"]
        assert row[1] == f"{one.mean:.2f} ± {one.half_width:.2f}".replace("-", "−")


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Prepared:
    """A workspace with prepared images of noise."""
    monkeypatch.chdir(tmp_path)
    return noise()


def noise() -> Prepared:
    """Images of noise, in this workspace."""
    rng = np.random.default_rng(0)
    splits = [
        Split(rng.integers(0, 256, (count, 16, 16, 3), np.uint8), np.arange(count, dtype=np.int64) % len(CLASSES))
        for count in (6, 3, COUNT)
    ]
    half = (0.5, 0.5, 0.5)
    prepared = Prepared(*splits, CLASSES, half, half, "shapes", "d" * 64, None)
    save(prepared, artifacts.PREPARED)
    return prepared


class Store:
    """What a `Reader` has of models, made from the id of the run: its norm and its seed."""

    missing: Sequence[str] = ()
    downloaded: Sequence[str] = ()

    def download_model(self, run_id: str, name: str, folder: str) -> Path:
        if run_id in self.missing:
            raise UserError(f"it has no {name} (FileNotFoundError: gone)")
        place = Path(folder) / run_id
        place.mkdir(exist_ok=True)
        norm, seed = run_id[:-1], int(run_id[-1])
        torch.manual_seed(seed)
        about = Description(
            norm=norm, width=4, strides=STRIDES, weight_standardization=False, classes=CLASSES, size=16,
            mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25), model_key="k", seed=seed, lr=0.1, epochs=1, epoch=1,
            device="cpu", precision="fp32", hardware="", source="shapes", data_digest="d" * 64,
        )  # fmt: skip
        model = build(norm, 4, STRIDES, len(CLASSES))
        model.train()(torch.randn(8, 3, 16, 16))  # running statistics
        if name == "model.json":  # the weights come later, as from the store
            save_model(model, about, place / "model.safetensors", place / "model.json")
            (place / "model.safetensors").rename(place / "later")
        else:
            (place / "later").rename(place / name)
            assert len(list(Path(folder).rglob("*.safetensors"))) == 1  # those before are gone
        return place / name


@pytest.fixture(autouse=True)
def store(monkeypatch: pytest.MonkeyPatch) -> type[Store]:
    monkeypatch.setattr(Store, "missing", ())
    monkeypatch.setattr(module.tracking, "Reader", Store)
    return Store


def parameters(**changes: object) -> Params:
    params = committed_params(device="cpu")
    return params.model_copy(update={"gradcam": params.gradcam.model_copy(update=changes)})


def test_the_same_images_side_by_side(data: Prepared) -> None:
    groups = [group("batch", 1, 0, right=50), group("layer", 0, 1, 2, right=54)]
    maps = make_maps(groups, data, parameters(), 2)
    assert (maps.method, maps.layer, maps.runs, len(maps.sample)) == ("GradCAM", "layer4", 4, COUNT)
    assert [[r.seed for r in found.group.runs] for found in maps.groups] == [[0, 1], [0, 1]]  # the lowest seeds
    assert [column.label for column in maps.columns] == ["batch", "layer"]
    kinds = [row.why for row in maps.rows]
    assert kinds == ["both wrong"] * 3 + ["only batch wrong"] * 3 + ["maps disagree most"] * 3
    assert all(row.index >= 54 for row in maps.rows[:3])
    assert all(50 <= row.index < 54 for row in maps.rows[3:6])
    for i, row in enumerate(maps.rows):
        assert np.array_equal(maps.images[i], data.test.images[row.index])
        assert maps.true[i] == CLASSES[row.index % 3]
    assert all(column.maps.shape == (9, 16, 16) for column in maps.columns)
    assert maps.notes == ["4 of the 5 runs have maps (at most 2 per group, see --cam-runs)"]
    again = make_maps(groups, data, parameters(), 2)
    assert np.array_equal(again.columns[1].maps, maps.columns[1].maps)
    assert again.rows == maps.rows


def test_a_single_group_has_a_column_for_each_run(data: Prepared) -> None:
    maps = make_maps([group("batch", 0, 1, 2)], data, parameters(), 3)
    assert [column.label for column in maps.columns] == ["seed 0 (batc)", "seed 1 (batc)", "seed 2 (batc)"]
    assert maps.pairs == []
    assert maps.groups[0].within is not None


def test_a_layer_that_some_model_lacks_and_a_slow_method_are_replaced(data: Prepared) -> None:
    groups = [group("batch", 0), group("none", 0)]
    maps = make_maps(groups, data, parameters(layers=["layer2[0].norm3"], method="ScoreCAM"), 1)
    assert (maps.method, maps.layer) == ("GradCAM", "layer4")
    assert "because ScoreCAM needs" in maps.notes[0]
    assert "not every model has a map at layer2[0].norm3" in maps.notes[1]
    assert make_maps(groups, data, parameters(layers=["layer3[0].conv1"]), 1).layer == "layer3[0].conv1"
    assert make_maps(groups, data, parameters(layers=["linear"]), 1).layer == "layer4"  # no map


def test_models_that_are_missing_are_named(data: Prepared, store: type[Store], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "missing", ("layer0",))
    groups = [group("batch", 0), group("layer", 0, 1)]
    maps = make_maps(groups, data, parameters(), 1)
    assert [found.group.seeds for found in maps.groups] == [[0], [1]]  # the next one stands in
    assert "layer-0 (layer0) has no maps: it has no model.json" in maps.notes[0]
    with pytest.raises(UserError, match=r"fewer than two models can be explained; layer-0 \(layer0\) has no maps"):
        make_maps([group("batch", 0), group("layer", 0)], data, parameters(), 1)
    other = Group("layer", {}, [run("layer", 1, data="e" * 32)])
    with pytest.raises(UserError, match=r"its images are not those in data/prepared"):
        make_maps([group("batch", 0), other], data, parameters(), 1)


def test_weights_that_are_missing_or_damaged_leave_out_their_run(
    data: Prepared, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = Store.download_model
    broken = {"batch0", "layer1", "none0"}

    def damaged(self: Store, run_id: str, name: str, folder: str) -> Path:
        file = whole(self, run_id, name, folder)
        if name == "model.safetensors" and run_id == "layer1":
            file.unlink()
            raise UserError("it has no model.safetensors (gone)")
        if name == "model.safetensors" and run_id in broken:
            content = bytearray(file.read_bytes())
            content[-1] ^= 1
            file.write_bytes(content)
        return file

    monkeypatch.setattr(Store, "download_model", damaged)
    shutil.copy(PARAMS_YAML, artifacts.PARAMS)
    groups = [group("batch", 0, 1, right=50), group("layer", 0, 1), group("none", 0)]
    maps = make_maps(groups, data, parameters(), 2)
    assert [(one.group.label, one.group.seeds) for one in maps.groups] == [("batch", [1]), ("layer", [0])]
    assert [column.label for column in maps.columns] == ["batch", "layer"]
    assert maps.notes[:4] == [
        "batch-0 (batch0) has no maps: its model is damaged or belongs to another run",
        "layer-1 (layer1) has no maps: it has no model.safetensors (gone)",
        "none-0 (none0) has no maps: its model is damaged or belongs to another run",
        "2 of the 3 groups have maps (at most 6)",
    ]
    whole_runs = [group("batch", 1, right=50), group("layer", 0)]
    alone = make_maps(whole_runs, data, parameters(), 2)
    assert alone.rows == maps.rows
    assert np.array_equal(alone.columns[0].maps, maps.columns[0].maps)
    found, (note,) = command.explained([group("batch", 0), group("layer", 0)], 1)
    assert found is None
    assert note.startswith("no maps were made: fewer than two models can be explained; batch-0 (batch0) has no maps")


def test_there_are_as_many_columns_as_a_figure_has_room_for(data: Prepared, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_GROUPS", 2)
    maps = make_maps([group("batch", 0), group("layer", 0), group("none", 0)], data, parameters(), 1)
    assert [found.group.label for found in maps.groups] == ["batch", "layer"]
    assert "2 of the 3 groups have maps (at most 2)" in maps.notes


def test_images_that_are_not_here_are_made_by_a_command(data: Prepared) -> None:
    groups = [group("batch", 0), group("layer", 0)]
    with pytest.raises(UserError, match=r"data/prepared is missing\. .*: dvc repro prepare$"):
        make_maps(groups, None, parameters(), 1)
    other = replace(data, digest="e" * 64)
    for found in groups[0].runs:
        found.params["data.source"], found.params["data.share"] = "shapes", "0.5"  # type: ignore[index]
    told = r"has other images .*: dvc exp run -S data\.share=0\.5 -S data\.source=shapes prepare$"
    with pytest.raises(UserError, match=told):
        make_maps(groups, other, parameters(), 1)


def comparison(groups: Sequence[Group], maps: Maps | None) -> Comparison:
    return Comparison(["norm"], groups, [], [], maps)


def test_names_in_figures_page_and_numbers(data: Prepared, tmp_path: Path) -> None:
    groups = [
        replace(group("batch", 0, 1, right=50), label=HOSTILE),
        replace(group("layer", 0, 1, right=54), label="x" * 300),
    ]
    found = comparison(groups, make_maps(groups, data, parameters(), 2))
    command.write(found)
    page = command.PAGE.read_text()
    assert "<script" not in page
    assert not re.search(r"""(src|href)=["'](?!data:image/(png|jpeg)|#)""", page)
    assert page.count("<img") == len(re.findall(r' alt="[^"]{20,}"', page)) == 4
    assert len(page) < 5_000_000
    cells = re.findall(r"<th[ >][^<]*", page)
    assert all(re.match(r'<th scope="(col|row)">.', cell) for cell in cells)  # neither without scope nor empty
    rows = [row for body in re.findall(r"<tbody>(.*?)</tbody>", page, re.DOTALL) for row in body.split("<tr")[1:]]
    assert len(rows) > 20
    assert all('<th scope="row">' in row for row in rows)
    links = re.findall(r'href="#(\w+)"', page)
    assert links == re.findall(r'<section id="(\w+)">', page)
    assert len(links) >= 6
    numbers = json.loads(command.NUMBERS.read_text())["maps"]
    assert (numbers["method"], numbers["layer"], numbers["images"]) == ("GradCAM", "layer4", COUNT)
    assert numbers["theory"] == {"spearman": 0, "iou": pytest.approx(1 / 9)}
    assert numbers["pairs"][0]["between"]["spearman"].keys() == {
        "mean", "half_width", "chance", "lowest", "highest", "same_answer",
    }  # fmt: skip
    assert numbers["pairs"][0]["sentence"] in to_text(found)
    assert {file.name for file in command.PICTURES.iterdir()} == {
        f"{name}.png" for name in ("agreement", "maps", "classes", "differences")
    }
    command.write(comparison(groups, None))
    assert not (command.PICTURES / "maps.png").exists()  # of the comparison before


def test_the_images_of_the_sheet_are_listed_with_their_files(data: Prepared) -> None:
    groups = [group("batch", 0, right=50), group("layer", 0, right=54)]
    files = [f"test/{i}/{ODD_NAMES[i % len(ODD_NAMES)]}" for i in range(COUNT)]
    maps = make_maps(groups, data, parameters(), 1, files=files)
    listed = sheet_table(comparison(groups, maps))
    assert listed[0] == ["Test image", "File", "Reason", "True class", "batch", "layer"]
    assert [row[0] for row in listed[1:]] == [str(row.index) for row in maps.rows]
    assert [row[1] for row in listed[1:]] == [" ".join(files[row.index].split()) for row in maps.rows]
    true, wrong = (CLASSES[(maps.rows[0].index + turn) % len(CLASSES)] for turn in (0, 1))
    assert listed[1][2:] == ["both wrong", true, f"{wrong} 75 %", f"{wrong} 75 %"]
    numbers = json.loads(command.NUMBERS.read_text())["maps"]["rows"]
    assert [(row["index"], row["file"]) for row in numbers] == [(row.index, files[row.index]) for row in maps.rows]
    nameless = sheet_table(comparison(groups, make_maps(groups, data, parameters(), 1)))
    assert nameless == [row[:1] + row[2:] for row in listed]


def sheet_table(found: Comparison) -> list[list[str]]:
    """The list of the images that the page shows side by side, cell by cell."""
    command.write(found)
    return rows(command.PAGE.read_text().partition("Images of the sheet")[2].partition("</table>")[0])


def test_the_sheet_marks_wrong_answers(data: Prepared, tmp_path: Path) -> None:
    groups = [group("batch", 0, right=50), group("layer", 0, right=54)]
    drawn = figures.side_by_side(make_maps(groups, data, parameters(), 1))
    said = texts(drawn.figure)
    assert "GradCAM at layer4 for the class that each run predicts" in said
    assert said.count("both wrong") == said.count("only batch\nwrong") + said.count("only batch wrong") == 1
    assert sum(text.startswith("✗") for text in said) >= 9  # three times two, and three of one
    assert all("%" in text for text in said if text[0] in "✓✗")
    save_figure(drawn, tmp_path / "figure.png")


def test_a_workspace_without_images_is_compared_without_maps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    found, notes = command.explained([group("batch", 0), group("layer", 0)], 1)
    assert found is None
    assert "no maps were made: params.yaml is missing" in notes[0]
