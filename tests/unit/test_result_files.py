"""Result files as types: what is written is what was measured, and files of older code can be read."""

import json
from pathlib import Path

import numpy as np
import pytest

from src import artifacts, results
from src.errors import UserError
from src.explain.summary import MEASURES
from tests.map_measures import measures_of_maps

TEST = results.Evaluation(
    accuracy=0.5, accuracy_low=0.2, accuracy_high=0.8, balanced_accuracy=0.45, macro_f1=0.4, top5=1.0, loss=1.0,
    ece=0.1, images=3, wrong=1, images_per_second=10.0,
)  # fmt: skip


@pytest.fixture(autouse=True)
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_a_file_has_the_fields_that_were_given_in_their_order() -> None:
    TEST.write()
    content = artifacts.read_json(results.Evaluation.PATH)
    assert list(content) == [
        "accuracy", "accuracy_low", "accuracy_high", "balanced_accuracy", "macro_f1", "top5", "loss", "ece", "images",
        "wrong", "images_per_second",
    ]  # fmt: skip
    assert results.Evaluation.read() == TEST
    TEST.model_copy(update={"flip_accuracy": 0.6}).write()
    assert list(artifacts.read_json(results.Evaluation.PATH))[-1] == "flip_accuracy"


def test_measures_of_maps_come_back_as_they_were() -> None:
    maps = measures_of_maps()
    maps.write()
    assert results.Maps.read() == maps
    content = artifacts.read_json(results.Maps.PATH)
    assert list(content)[-7:] == [*MEASURES, "verdict"]
    assert content["energy"] is None  # it was not taken, which the file says
    road = content["road"]["methods"]["GradCAM"]["layer4"]
    assert list(road) == ["mean", "low", "high", "curves", "better_than_random", "better_than_centre"]
    assert "curves" not in road["better_than_random"]
    assert maps.own("road") == maps.measures["road"].methods["GradCAM"]["layer4"]
    assert maps.own("energy") is None


def test_a_bound_that_was_cut_stays_a_whole_number() -> None:
    estimate = results.Estimate.model_validate({"mean": 0.5, "low": 0, "high": 0.75})
    assert estimate.model_dump_json() == '{"mean":0.5,"low":0,"high":0.75}'


def test_measures_of_older_code_can_be_read() -> None:
    """Files had neither titles nor the time of the measures, and left untested methods out."""
    content = json.loads(measures_of_maps().model_dump_json(exclude_unset=True))
    for name in MEASURES:
        if content[name]:
            del content[name]["title"]
    del content["randomisation"]["methods"]["GradCAM"]["layer4"]
    artifacts.write_json(results.Maps.PATH, content)
    old = results.Maps.read()
    assert old.own("road") == measures_of_maps().own("road")
    assert old.own("randomisation") is None


def test_tables_have_six_digits_and_empty_cells_for_unknown_values() -> None:
    scores = results.ClassScores(name="a, b", precision=np.nan, recall=1 / 3, f1=None, images=3)
    results.ClassScores.write_all([scores])
    assert results.ClassScores.PATH.read_text() == 'class,precision,recall,f1,images\n"a, b",,0.333333,,3\n'
    (read,) = results.ClassScores.read_all()
    assert (read.name, read.precision, read.recall, read.f1) == ("a, b", None, 0.333333, None)
    prediction = results.Prediction(index=7, file="x.png", true="a", predicted="b", confidence=2 / 3)
    results.Prediction.write_all([prediction, prediction], results.MISCLASSIFIED)
    text = results.MISCLASSIFIED.read_text()
    assert text == "index,file,true,predicted,confidence\n" + 2 * "7,x.png,a,b,0.666667\n"
    results.Prediction.write_all(results.Prediction.read_all(results.MISCLASSIFIED), results.MISCLASSIFIED)
    assert results.MISCLASSIFIED.read_text() == text


def test_a_history_without_validation_or_gpu() -> None:
    row = {"epoch": 1, "train_loss": 2.0, "train_accuracy": 0.1, "val_loss": "", "val_accuracy": "", "lr": 1e-5}
    artifacts.write_csv(results.Epoch.PATH, [row | {"images_per_second": 5.5, "seconds": 3.0, "gpu_memory_gib": ""}])
    (epoch,) = results.Epoch.read_all()
    assert (epoch.epoch, epoch.lr) == (1, 1e-5)
    assert epoch.val_loss is epoch.gpu_memory_gib is epoch.memory_gib is None


@pytest.mark.parametrize(
    ("content", "problem"),
    [("[]", "not a JSON object"), ('{"accuracy": ', "Expecting value"), ('{"accuracy": "high"}', "accuracy: ")],
)
def test_a_damaged_file_is_an_error_with_its_cure(content: str, problem: str) -> None:
    artifacts.write_text(results.Evaluation.PATH, content)
    with pytest.raises(UserError, match=rf"metrics/evaluate\.json is damaged .*{problem}.*dvc repro"):
        results.Evaluation.read()


def test_unknown_keys_are_ignored() -> None:
    artifacts.write_json(results.Evaluation.PATH, TEST.model_dump(exclude_unset=True) | {"brier": 0.5})
    assert results.Evaluation.read() == TEST
