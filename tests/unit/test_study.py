"""The study of docs/results/study-norms.md: its runs, their files, what is run again, and the page."""

import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks import study, study_page
from benchmarks.harness import RESULTS
from benchmarks.recipes import Planned
from benchmarks.study import ARMS, COMPARISONS, NAME, RUNS, compare_all, file_of, planned, read_all, run_missing
from benchmarks.study_runs import SAMPLE, Finished, read_run, read_sample, write_run
from commands import compare as command
from src import tracking
from src.comparison.groups import StoredRun, group, notes_on, reached_targets
from src.comparison.make_maps import make_maps
from src.comparison.read import Selection
from src.comparison.result import Comparison
from src.errors import UserError
from src.figures.style import save
from src.params import Params
from tests.conftest import REPOSITORY
from tests.map_measures import measures_of_maps
from tests.run_files import committed_params
from tests.unit.test_compare_maps import COUNT, Store, noise, run
from tests.unit.test_results import a_run

COMMON = {"data.source": "shapes", "device": "cpu"}


@pytest.fixture(autouse=True)
def _in_the_repository(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(REPOSITORY)


def test_the_page_is_that_of_the_committed_files() -> None:
    document = study_page.DOCUMENT.read_text(encoding="utf-8")
    found = read_all(RESULTS / NAME)
    filled = study_page.fill(document, list(found.values()), compare_all(found, RESULTS / NAME), len(RUNS))
    assert document == filled, "make it so with: python -m benchmarks.study"
    for image in re.findall(r"\]\((images/[^)]+)\)", document):
        assert (study_page.DOCUMENT.parent / image).is_file()


def test_every_norm_has_every_seed_and_each_rate_is_known_in_time() -> None:
    assert len(RUNS) == len(set(RUNS)) == 15
    for place, (arm, seed) in enumerate(RUNS):
        if lender := ARMS[arm].rate_of:
            assert (lender, seed) in RUNS[:place]
    assert {arm for arms in COMPARISONS.values() for arm in arms} == ARMS.keys()


def a_file(folder: Path, arm: str, seed: int, params: Params, rate: float = 0.5) -> Path:
    """The file of a run of `params` by the code as it is now."""
    about = replace(a_run(arm, params=params), lr=rate)
    one = run(ARMS[arm].norm, seed)
    write_run(file_of(folder, arm, seed), Finished(about, one, "noise", "GradCAM", "layer4", np.zeros((2, 4, 4), "u1")))
    return file_of(folder, arm, seed)


def test_a_common_rate_is_that_of_the_run_that_lends_it(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="batch, seed 1, which is not finished"):
        planned("layer-at-batch-rate", 1, COMMON, tmp_path)
    a_file(tmp_path, "batch", 1, committed_params(), rate=0.125)
    wanted = planned("layer-at-batch-rate", 1, COMMON, tmp_path).params
    own = planned("layer", 1, COMMON, tmp_path).params
    assert (wanted.norm, wanted.seed, wanted.lr, own.lr) == ("layer", 1, 0.125, "auto")
    assert wanted == own.model_copy(update={"lr": 0.125})


def test_only_runs_without_a_file_of_the_same_training_are_made(tmp_path: Path) -> None:
    runs = [("batch", 0), ("layer", 0), ("group", 0), ("layer2d", 0), ("layer-at-batch-rate", 0)]
    there = [planned(arm, 0, COMMON, tmp_path).params for arm, _ in runs[:2]]
    kept = a_file(tmp_path, "batch", 0, there[0]).read_bytes()
    a_file(tmp_path, "layer", 0, there[1].model_copy(update={"seed": 9}))  # of other parameters
    made: list[str] = []

    def make(wanted: Planned, file: Path) -> None:
        made.append(wanted.name)
        if wanted.name == "group":
            raise UserError("the recipe failed")
        a_file(tmp_path, wanted.name, wanted.params.seed, wanted.params)

    (failed,) = run_missing(runs, COMMON, tmp_path, make)
    assert made == ["layer", "group", "layer2d", "layer-at-batch-rate"]
    assert "group, seed 0: the recipe failed" in failed
    assert file_of(tmp_path, "batch", 0).read_bytes() == kept
    made.clear()
    assert run_missing(runs, COMMON, tmp_path, make, minutes=-1) == []
    assert made == []
    run_missing(runs, COMMON, tmp_path, make)
    assert made == ["group"]


def test_a_damaged_file_is_an_error(tmp_path: Path) -> None:
    file = a_file(tmp_path, "batch", 0, committed_params())
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    for broken in (bytes(content), bytes(content)[:100], b""):
        file.write_bytes(broken)
        with pytest.raises(UserError, match=r"batch-0\.npz is missing or damaged"):
            read_run(file)


def study_runs() -> dict[tuple[str, int], StoredRun]:
    """Runs as the store has them: three seeds of batch and layer norm, with other answers and curves."""
    runs = {}
    for arm, right in (("batch", 50), ("layer", 54)):
        for seed in range(3):
            one = run(ARMS[arm].norm, seed, right + seed)
            curves = {**one.curves, "val/accuracy": [0.25, 0.5 + 0.01 * seed], "val/loss": [1.0, 0.5]}
            confidence = np.round(np.random.default_rng(seed).random(COUNT), 6)
            predictions = replace(one.predictions, confidence=confidence)
            runs[arm, seed] = replace(one, curves=curves, predictions=predictions, gradcam=measures_of_maps())
    return runs


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder with the files of `study_runs`, made from a store."""
    runs = study_runs()
    by_id = {one.id: one for one in runs.values()}
    about = {(arm, seed): a_run(arm, seed=seed, run_id=one.id) for (arm, seed), one in runs.items()}
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tracking, "Reader", Store)
    monkeypatch.setattr(study, "read_runs", lambda names: Selection([by_id[name] for name in names], []))
    noise()
    for (arm, seed), of_run in about.items():
        params = committed_params(device="cpu", norm=ARMS[arm].norm, seed=seed)
        study.keep(Planned(arm, {}, params), of_run, file_of(tmp_path / NAME, arm, seed), "noise")
    return tmp_path / NAME


def written(comparison: Comparison) -> dict[str, bytes]:
    """All that `commands.compare` writes of a comparison, by path."""
    command.write(comparison)
    return {file.as_posix(): file.read_bytes() for file in Path("reports").rglob("*") if file.is_file()}


def test_a_comparison_of_the_files_is_that_of_the_store(kept: Path) -> None:
    runs = list(study_runs().values())
    groups = group(runs, ["norm"])
    maps = make_maps(groups, noise(), committed_params(device="cpu"), 3)
    stored = Comparison(["norm"], groups, reached_targets(runs), notes_on(groups, ["norm"]), maps)
    of_store = written(stored)
    assert len(of_store) == 7  # page, numbers and five figures
    assert written(compare_all(read_all(kept), kept)["own-rate"]) == of_store
    assert max(file.stat().st_size for file in kept.iterdir()) < 250_000


def test_the_page_says_no_more_than_the_tests(kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: pytest.fail("nothing is run"))
    found = read_all(kept)
    compared = compare_all(found, kept)
    assert compared.keys() == {"own-rate"}  # no run at the common rate yet
    study.write_figures(compared, study_page.IMAGES)
    page = (REPOSITORY / study_page.DOCUMENT).read_text(encoding="utf-8")
    text = study_page.fill(page, list(found.values()), compared, len(RUNS))
    paragraph = study_page.conclusion(list(found.values()), compared, len(RUNS))
    assert paragraph in text
    assert "6 of 15 runs" in paragraph
    assert "85.00 ± 4.14 % with batch norm and 91.67 ± 4.14 % with layer norm" in paragraph  # 50, 51, 52 of 60
    assert "Layer norm is significantly more accurate than batch norm" in paragraph
    assert "differ significantly more" not in text
    assert text.count("3 and 3 seeds cannot show") == 1
    links = re.findall(r"\]\((../images/study-norms/[^)]+)\)", text)
    assert [Path(link).stem for link in links] == ["curves", "differences", "agreement", "maps"]
    assert all((study_page.DOCUMENT.parent / link).resolve().is_file() for link in links)
    assert "own-rate" in study.numbers(found, compared)


def test_the_hero_needs_a_run_of_each_norm(kept: Path) -> None:
    found = read_all(kept)
    assert study.hero(found, kept) is None
    for arm, lender in (("layer2d", "batch"), ("group", "layer")):
        write_run(file_of(kept, arm, 0), found[lender, 0])
    drawn = study.hero(read_all(kept), kept)
    assert drawn is not None
    sheet = drawn.figure.axes[0]
    assert len(sheet.images) == 1 + 2 * 4  # the image, and for each norm the image and its map
    texts = [text.get_text() for text in sheet.texts]
    assert "batch norm\n85.00 ± 4.14 %" in texts
    assert "group norm\n90.00 %" in texts  # a single seed has no interval
    save(drawn, kept / "hero.png")


def test_runs_at_a_common_rate_differ_in_the_norm_only(kept: Path) -> None:
    found = read_all(kept)
    for seed in range(3):
        lent = found["layer", seed]
        params = {**lent.run.params, "lr": "0.5"}
        run_ = replace(lent.run, id=f"c{seed}", params=params)
        write_run(file_of(kept, "layer-at-batch-rate", seed), replace(lent, run=run_))
    found = read_all(kept)
    common = compare_all(found, kept)["common-rate"]
    assert common.notes == []
    assert [one.label for one in common.groups] == ["batch norm", "layer norm"]
    assert "one common rate" in study_page.conclusion(list(found.values()), compare_all(found, kept), len(RUNS))


def test_the_study_works_in_a_kept_copy_with_a_store_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = tmp_path / "study"
    monkeypatch.setattr(study, "COPY", copy)
    monkeypatch.setenv("DVC_ROOT", "/elsewhere")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    for _ in range(2):
        with study.workplace(smoke=False):
            assert Path.cwd() == copy
            assert tracking.tracking_uri() == f"sqlite:///{copy}/mlflow.db"
            assert planned("batch", 0, {}, tmp_path).params.recipe == NAME
        assert Path.cwd() == REPOSITORY
    with (
        subprocess.Popen([sys.executable, "-c", "input()"], cwd=copy, stdin=subprocess.PIPE),
        pytest.raises(UserError, match="still works in"),
        study.workplace(smoke=False),
    ):
        pass


def test_a_study_without_runs_says_so(tmp_path: Path) -> None:
    assert compare_all(read_all(tmp_path), tmp_path) == {}
    assert study_page.conclusion([], {}, len(RUNS)) == study_page.basis([]) == study_page.NONE
    one = {("batch", 0): read_run(a_file(tmp_path, "batch", 0, committed_params()))}
    assert study_page.conclusion(list(one.values()), compare_all(one, tmp_path), len(RUNS)) == study_page.NONE
    with pytest.raises(UserError, match=SAMPLE):
        read_sample(tmp_path / SAMPLE)
