"""Parameters: what is refused and how the person hears of it."""

import copy
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from src import git
from src.artifacts import PARAMS
from src.errors import UserError
from src.params import fill_size, load_params, parse_params, wrong_value
from src.yaml_files import flatten, parse_yaml, read_yaml
from tests.conftest import PARAMS_YAML

CONTENT: dict[str, Any] = read_yaml(PARAMS_YAML)


def changed(key: str, value: object) -> dict[str, Any]:
    content = copy.deepcopy(CONTENT)
    *parents, leaf = key.split(".")
    node = content
    for parent in parents:
        node = node[parent]
    node[leaf] = value
    return content


def test_the_committed_file_is_valid_and_is_the_documented_experiment() -> None:
    params = parse_params(CONTENT)
    assert (params.norm, params.data.source, params.train.epochs, params.model.width) == ("batch", "cifar10", 20, 64)
    assert params.model.strides == [1, 2, 2, 2]


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("norm", "bacth", "did you mean batch?). Allowed: batch, layer, layer2d, group, instance, none"),
        ("lr", 0, "lr is 0. Allowed: auto, or a number above 0"),
        ("lr", "fast", "lr is 'fast'"),
        ("lr", True, "lr is True"),
        ("lr", float("nan"), "lr is nan"),
        ("device", "gpu", "Allowed: auto, cpu, cuda or cuda:N"),
        ("data.size", 33, "multiple of 8"),
        ("data.path", "https://example.org/a.zip", "data.url"),
        ("data.path", "/data/${norm}", "data.path is '/data/${norm}'. It should not be ??? and should not contain ${"),
        ("data.path", "???", "data.path is '???'. It should not be ???"),
        ("data.url", "ftp://example.org/a.zip", "data.url must begin with http"),
        ("data.url", "https://example.org/a.zip", "data.source cifar10"),
        ("data.sha256", "abc", "64 hexadecimal digits"),
        ("data.max_duplicates", -0.1, "data.max_duplicates is -0.1"),
        ("data.zip_encoding", "klingon", "gbk"),
        ("data.zip_encoding", "rot13", "gbk"),  # no text encoding
        ("data.zip_encoding", "undefined", "gbk"),
        ("train.epochs", 0, "train.epochs is 0. It should be greater than or equal to 1"),
        ("train.epochs", 2.5, "train.epochs is 2.5"),
        ("train.epoch", 2, "train.epoch is not a parameter (did you mean train.epochs?)"),
        ("train.weight_decay", -1.0, "train.weight_decay is -1.0"),
        ("train.weight_decay", "1e-", "train.weight_decay is '1e-'"),
        ("train.compile", "yes", "train.compile is 'yes'"),
        ("model.strides", [1, 2, 2], "model.strides"),
        ("model.strides", [1, 2, 2, "2"], "model.strides.3"),
        ("lr_range.end", 1e-6, "lr_range.end must be above lr_range.start"),
        ("gradcam.method", "GradCam", "did you mean GradCAM?"),
        ("gradcam", None, "gradcam"),
    ],
)
def test_a_wrong_value_is_named_with_what_is_allowed_and_the_way_back(key: str, value: object, said: str) -> None:
    with pytest.raises(UserError) as error:
        parse_params(changed(key, value))
    assert said in str(error.value)
    assert key in str(error.value)
    assert git.undo(PARAMS) in str(error.value)


@pytest.mark.parametrize(
    "wrong", ["size/0", "size/2.5", "size / 8", "size*2", "-size/8", "8/size", "Size", "size/", "size8"]
)
def test_a_wrong_share_of_the_size_is_shown_with_what_is_allowed(wrong: str) -> None:
    pad = {"name": "Pad", "padding": ["size/8", wrong]}
    with pytest.raises(UserError, match=re.escape(f"augment contains {wrong!r}")) as error:
        parse_params(changed("augment", [pad]))
    assert "size/8" in str(error.value)
    assert git.undo(PARAMS) in str(error.value)


@pytest.mark.parametrize(
    ("size", "pixels"),
    [
        (32, [32, 32, 4, 8, 3, 1]),
        (16, [16, 16, 2, 4, 1, 1]),
        (40, [40, 40, 5, 10, 3, 1]),
        (224, [224, 224, 28, 56, 19, 1]),
    ],
)
def test_shares_of_the_size_by_hand(size: int, pixels: list[int]) -> None:
    """Of 40, 12 go in 3.33 times; of 16, 1.33; of 224, 18.67."""
    shares = ["size", "size/1", "size/8", "size/4", "size/12", "size/1000000"]
    transform = {"name": "Pad", "padding": shares, "p": 0.5, "fill": {"of": "size/8"}}
    filled = {"name": "Pad", "padding": pixels, "p": 0.5, "fill": {"of": pixels[2]}}
    assert fill_size([transform, {"name": "Resize"}], size) == [filled, {"name": "Resize"}]


def test_half_a_pixel_is_rounded_up() -> None:
    assert [fill_size("size/16", size) for size in (16, 24, 32, 40)] == [1, 2, 2, 3]


def test_a_missing_key_is_named() -> None:
    content = copy.deepcopy(CONTENT)
    del content["train"]["epochs"]
    with pytest.raises(UserError, match=r"train\.epochs is missing"):
        parse_params(content)


def test_every_wrong_key_is_told_at_once() -> None:
    with pytest.raises(UserError) as error:
        parse_params(changed("norm", "x") | {"seed": -1})
    assert "norm is 'x'" in str(error.value)
    assert "seed is -1" in str(error.value)


@pytest.mark.parametrize(
    ("key", "value"), [("train.schedule", "plateau"), ("train.keep", "best"), ("train.early_stopping", 3)]
)
def test_what_needs_validation_images_is_refused_without_them(key: str, value: object) -> None:
    content = changed(key, value)
    parse_params(content)
    content["data"]["val_share"] = 0
    with pytest.raises(UserError, match="needs validation images"):
        parse_params(content)


def test_two_sources_at_once_are_rejected() -> None:
    content = changed("data.url", "https://example.org/a.zip")
    content["data"] |= {"source": "folder", "path": "./own"}
    assert parse_params(content).data.url
    content["data"]["path"] = "/data/pets"
    with pytest.raises(UserError, match=r"data\.url and data\.path"):
        parse_params(content)
    content["data"]["source"] = "shapes"  # which uses neither
    assert parse_params(content).data.url


def test_standardised_weights_need_a_norm() -> None:
    content = changed("norm", "none")
    parse_params(content)
    content["model"]["weight_standardization"] = True
    with pytest.raises(UserError, match=r"model\.weight_standardization needs a norm after each convolution"):
        parse_params(content)


@given(st.floats(min_value=1e-12, max_value=1e6))
def test_a_number_may_be_written_in_any_way(value: float) -> None:
    """PyYAML reads `1e-05` as text, and that is what DVC writes."""
    text = yaml.safe_load(f"value: {value!r}")["value"]
    assert parse_params(changed("lr", text)).lr == value
    assert parse_params(changed("train.weight_decay", str(value))).train.weight_decay == value


def test_text_that_only_yaml_1_1_takes_for_something_else_is_text() -> None:
    """DVC writes it without quotes and reads it as text: YAML 1.2."""
    content = parse_yaml("{a: no, b: On, c: 12:30, d: 1:30.5, e: true, f: 10, g: 0.5, h: 'yes', i: !!bool yes}")
    assert content == {
        "a": "no", "b": "On", "c": "12:30", "d": "1:30.5", "e": True, "f": 10, "g": 0.5, "h": "yes", "i": True
    }  # fmt: skip


def test_the_way_back_can_be_pasted_into_a_shell(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("src.params.committed_params", lambda path: {"data": {"path": "/data/it's a, b"}})
    (flag, word) = shlex.split(str(wrong_value("data.path", "is wrong")).rpartition(", or ")[2])
    assert (flag, word) == ("-S", r"data.path='/data/it\'s a, b'")


@pytest.mark.parametrize("content", ["", "- 1\n", "norm: [\n", "norm: !!python/object/apply:os.system ['true']\n"])
def test_a_file_that_is_no_mapping_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(content)
    with pytest.raises(UserError, match=re.escape(git.undo(path))):
        load_params(path)


def test_a_missing_file_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is missing"):
        load_params(tmp_path / "params.yaml")


def test_flatten_keeps_lists_whole() -> None:
    assert flatten({"a": {"b": 1, "c": {"d": [1, {"e": 2}]}}, "f": {}}) == {"a.b": 1, "a.c.d": [1, {"e": 2}], "f": {}}


def test_the_names_in_the_schema_are_those_of_the_code() -> None:
    from typing import get_args

    from src import params
    from src.model.norms import NORMS

    assert get_args(params.Norm) == tuple(NORMS)


def test_dvc_changes_the_line_of_the_key_alone(tmp_path: Path) -> None:
    """The file is written as DVC writes it, so that `git diff` shows what an experiment changed and nothing else."""
    from dvc.utils.hydra import apply_overrides

    before = PARAMS_YAML.read_text()
    path = tmp_path / "params.yaml"
    path.write_text(before)
    apply_overrides(path, ["norm=group", "model.width=32", "train.weight_decay=1e-5"])
    changed_lines = [
        new for old, new in zip(before.splitlines(), path.read_text().splitlines(), strict=True) if old != new
    ]
    assert [line.split("#")[0].strip() for line in changed_lines] == [
        "norm: group",
        "width: 32",
        "weight_decay: 1e-05",
    ]
