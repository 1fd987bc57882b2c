"""What the benchmark of the range test concludes from trainings, by hand."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks import range_test
from benchmarks.range_test import (
    DOCUMENT,
    FILE,
    GRID,
    SEEDS,
    Job,
    Record,
    Setting,
    agreement,
    constant_rates,
    fill,
    jobs,
    section,
    summary,
)
from src.errors import UserError
from tests.conftest import REPOSITORY

SETTING = Setting("develop", "small", "batch", 32, "sgd", 1)


def swept(rate: float | None) -> dict[str, list[float]]:
    """A sweep whose loss falls around twice `rate`, so that half of the centroid is `rate`; None: it never falls."""
    lrs = np.geomspace(1e-5, 10, 300)
    fall = np.zeros(300) if rate is None else np.exp(-10 * np.log10(lrs / (2 * rate)) ** 2)
    return {"lrs": lrs.tolist(), "losses": (2.4 - fall).tolist()}


def filled(file: Path, rates: list[float | None]) -> Record:
    """Accuracies of the grid are 0.5, and 0.8, 0.9, 0.7 at rate 0.1; a swept rate that is new reaches 0.6."""
    record = Record(file)
    for seed, rate in zip(SEEDS, rates, strict=True):
        record.add(Job(SETTING, seed, None), swept(rate))
        assert record.rate(SETTING, seed) == rate
        for at in GRID["sgd"]:
            record.add(Job(SETTING, seed, at), {"accuracy": (0.8, 0.9, 0.7)[seed] if at == 0.1 else 0.5})
        if rate is not None and rate not in GRID["sgd"]:
            record.add(Job(SETTING, seed, rate), {"accuracy": 0.6})
    return record


def test_regret_is_taken_against_the_best_mean_over_seeds(tmp_path: Path) -> None:
    record = filled(tmp_path / "results.json", [0.1, 0.05, None])
    (row,) = summary([SETTING], record)
    assert (row["best_rate"], row["best"]) == (0.1, pytest.approx(0.8))  # not 0.9, the luck of one seed
    assert row["regret"] == pytest.approx(100 * (0.8 - (0.8 + 0.6 + 0.1) / 3))  # a rejected sweep counts as chance
    assert agreement([row]) == (1, 3)  # 0.1 and 0.05; a rejected sweep agrees with none
    assert constant_rates([row]) == {"sgd": (0.1, pytest.approx(0))}


def test_the_file_continues(tmp_path: Path) -> None:
    file = tmp_path / "results.json"
    record = filled(file, [0.1, 0.1, 0.1])
    again = Record(file)
    assert again.rows == record.rows
    assert [job for job in jobs([SETTING], again) if again.find(job) is None] == []
    again.rows = [row for row in again.rows if row["job"]["rate"] != 0.1]
    assert {job.rate for job in jobs([SETTING], again) if again.find(job) is None} == {0.1}
    with pytest.raises(UserError, match="not trained yet"):
        summary([Setting("confirm", "small", "layer", 32, "sgd", 1)], record)


def test_a_hopeless_rate_is_trained_with_one_seed(tmp_path: Path) -> None:
    record = Record(tmp_path / "results.json")
    for rate, accuracy in zip(GRID["sgd"], (0.2, 0.31, 0.4, 0.39, 0.35, 0.1), strict=True):
        record.add(Job(SETTING, 0, rate), {"accuracy": accuracy})
    left = {(job.rate, job.seed) for job in jobs([SETTING], record) if job.rate and record.find(job) is None}
    assert left == {(rate, seed) for rate in GRID["sgd"][1:5] for seed in (1, 2)}


def test_the_page_shows_the_committed_results() -> None:
    written = (REPOSITORY / DOCUMENT).read_text(encoding="utf-8")
    assert fill(written, Record(REPOSITORY / FILE)) == written, "make it so with: python -m benchmarks.range_test"


def test_a_half_shows_no_table_until_it_is_complete(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(range_test, "SETTINGS", (SETTING,))
    record = filled(tmp_path / "results.json", [0.1, 0.05, 0.1])
    assert "| range tests without a suggestion | 0 | 0 |" in section("develop", record)
    record.rows = [row for row in record.rows if row["job"]["rate"] != 0.05]
    assert "|" not in section("develop", record)
