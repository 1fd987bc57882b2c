"""Recipes: relative to the committed file, so that nothing leaks in."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recipes.__main__ import given_keys, nest, overrides, read_recipe
from src.errors import UserError
from src.params import flatten, hydra_value
from tests.conftest import REPOSITORY

COMMITTED = {"norm": "batch", "train": {"epochs": 20, "lr": 0.1}}


def test_only_the_difference_is_set() -> None:
    assert overrides(COMMITTED, COMMITTED, {"train.epochs": 2}, set()) == (["train.epochs=2"], [])


def test_what_ran_before_is_taken_back_and_named() -> None:
    workspace = {"norm": "layer", "train": {"epochs": 2, "lr": 0.1}}
    settings, replaced = overrides(workspace, COMMITTED, {}, set())
    assert settings == ["norm=batch", "train.epochs=20"]
    assert replaced == [("norm", "layer", "batch"), ("train.epochs", 2, 20)]


def test_a_value_given_on_the_command_line_wins() -> None:
    assert overrides(COMMITTED, COMMITTED, {"train.epochs": 2, "norm": "group"}, {"norm"})[0] == ["train.epochs=2"]


def test_lost_and_foreign_keys_are_mended() -> None:
    workspace = {"norm": "batch", "mine": 1, "train": {"epochs": 20}}
    assert overrides(workspace, COMMITTED, {}, set())[0] == ["~mine", "+train.lr=0.1"]


def test_keys_given_in_every_way_dvc_takes() -> None:
    arguments = ["--queue", "-S", "norm=batch,layer", "-Sseed=1", "--set-param", "a.b=2", "--set-param=+c=3", "-n", "x"]
    assert given_keys(arguments) == {"norm", "seed", "a.b", "c"}


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (True, "true"), (1e-05, "1e-05"), ("batch", "batch"), ("", "''"), ("a b", "'a b'"), ("it's", r"'it\'s'"),
        ("1e-05", "'1e-05'"), ([1, 2], "[1,2]"), ([{"name": "Pad", "p": 0.5}], "[{name:Pad,p:0.5}]"), (None, "null"),
    ],
)  # fmt: skip
def test_values_in_hydras_grammar(value: object, text: str) -> None:
    assert hydra_value(value) == text


scalars = st.one_of(
    st.booleans(), st.integers(-(10**9), 10**9), st.text(st.characters(codec="ascii", exclude_categories=["Cc"]))
)


@given(st.one_of(scalars, st.lists(scalars, max_size=4), st.floats(allow_nan=False, allow_infinity=False)))
def test_dvc_reads_back_what_we_write(value: object) -> None:
    from hydra.core.override_parser.overrides_parser import OverridesParser

    (override,) = OverridesParser.create().parse_overrides([f"key={hydra_value(value)}"])
    read = override.value()
    if isinstance(value, list):
        assert [getattr(item, "text", item) for item in read] == value
    else:
        assert getattr(read, "text", read) == value


@given(
    st.dictionaries(st.text("abc", min_size=1), st.dictionaries(st.text("abc", min_size=1), st.integers(), min_size=1))
)
def test_nest_undoes_flatten(tree: dict[str, dict[str, int]]) -> None:
    assert nest(flatten(tree)) == tree


@pytest.mark.parametrize("name", sorted(f.stem for f in (REPOSITORY / "recipes").glob("*.yaml")))
def test_every_recipe_is_valid_and_says_what_it_is(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(REPOSITORY)
    read_recipe(name)
    assert (REPOSITORY / "recipes" / f"{name}.yaml").read_text().startswith("# ")


def test_an_unknown_recipe_names_the_nearest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(REPOSITORY)
    with pytest.raises(UserError, match=r"did you mean quick\?"):
        read_recipe("quik")


def test_a_recipe_with_a_wrong_key_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(REPOSITORY)
    monkeypatch.setattr("recipes.__main__.FOLDER", tmp_path)
    (tmp_path / "bad.yaml").write_text("# Bad\ntrain:\n  epoch: 3\n")
    with pytest.raises(UserError, match=r"bad\.yaml: train\.epoch is not a parameter \(did you mean train\.epochs"):
        read_recipe("bad")
