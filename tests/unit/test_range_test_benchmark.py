"""What the benchmark of the range test concludes from trainings, by hand."""

from pathlib import Path

import pytest

from benchmarks.range_test import GRID, SEEDS, Job, Record, Setting, agreement, constant_rates, jobs, summary
from src.errors import UserError

SETTING = Setting("develop", "small", "batch", 32, "sgd", 1)


def filled(file: Path, rates: list[float | None]) -> Record:
    """Accuracies of the grid are 0.5, and 0.8, 0.9, 0.7 at rate 0.1; a swept rate that is new reaches 0.6."""
    record = Record(file)
    for seed, rate in zip(SEEDS, rates, strict=True):
        record.add(Job(SETTING, seed, None), {"rate": rate})
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


def test_the_file_continues_and_forgets_what_other_code_made(tmp_path: Path) -> None:
    file = tmp_path / "results.json"
    record = filled(file, [0.1, 0.1, 0.1])
    again = Record(file)
    assert again.rows == record.rows
    assert [job for job in jobs([SETTING], again) if again.find(job) is None] == []
    file.write_text(file.read_text().replace(record.code, "0" * 12))
    missing = [job for job in jobs([SETTING], Record(file)) if Record(file).find(job) is None]
    assert {job.rate for job in missing} == {None}  # the sweeps; trainings at the rates of the grid stay
    with pytest.raises(UserError, match="not trained yet"):
        summary([Setting("confirm", "small", "layer", 32, "sgd", 1)], record)
