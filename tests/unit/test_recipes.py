"""Recipes: relative to the committed file, so that nothing leaks in; what is wrong is told with its line."""

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from src import artifacts, git
from src.config.overrides import command_line, flags, given_keys, overrides
from src.config.recipes import parse_recipe, read_recipe, recipe_files
from src.errors import UserError
from src.params import hydra_value, parse_params, setting
from src.yaml_files import flatten, nest, read_yaml
from tests.conftest import PARAMS_YAML, REPOSITORY, copy_repository

PARAMS = read_yaml(PARAMS_YAML)
OVERRIDES = OverridesParser.create()
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


def test_command_lines_survive_a_shell() -> None:
    values = {"norm": "layer", "data.path": "/data/it's mine"}
    assert shlex.split(command_line(values, "prepare")) == ["dvc", "exp", "run", *flags(values), "prepare"]
    assert flags(values) == ["-S", "norm=layer", "-S", r"data.path='/data/it\'s mine'"]
    assert command_line({}, "prepare") == "dvc repro prepare"


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
    st.booleans(), st.integers(-(10**9), 10**9), st.text(st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"]))
)


@given(st.one_of(scalars, st.lists(scalars, max_size=4), st.floats(allow_nan=False, allow_infinity=False)))
def test_dvc_reads_back_what_we_write(value: object) -> None:
    (override,) = OVERRIDES.parse_overrides([f"key={hydra_value(value)}"])
    read = override.value()
    if isinstance(value, list):
        assert [getattr(item, "text", item) for item in read] == value
    else:
        assert getattr(read, "text", read) == value


PRINTABLE = st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"])
TRICKY = st.sampled_from([*"!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~ é", "yes", "NO", "on", "null", "true", "1e5", "12:30"])
# Without what DVC cannot read and the schema rejects.
texts = st.lists(TRICKY | PRINTABLE, min_size=1, max_size=8).map("".join).filter(lambda t: "${" not in t and t != "???")


@pytest.fixture(scope="module")
def params_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file for DVC to change; only `data.path` is read."""
    file = tmp_path_factory.mktemp("overrides") / "params.yaml"
    file.write_text("data:\n  path: own  # a comment\n")
    return file


def written_by_dvc(settings: list[str], file: Path) -> object:
    """`data.path` after `dvc exp run -S` has written `settings` into params.yaml, as the stages read it."""
    from dvc.utils.cli_parse import to_path_overrides
    from dvc.utils.hydra import apply_overrides

    ((name, overrides),) = to_path_overrides(settings).items()
    assert name == "params.yaml"
    apply_overrides(file, overrides)
    return read_yaml(file)["data"]["path"]


@settings(deadline=None)  # DVC reads and writes a file; the first time loads its libraries
@given(text=texts)
def test_any_path_arrives_as_it_is(text: str, params_file: Path) -> None:
    """Through DVC, which writes YAML 1.2, and a shell that runs the printed flag."""
    assert written_by_dvc([f"data.path={hydra_value(text)}"], params_file) == text
    flag, word = shlex.split(setting("data.path", text))
    assert flag == "-S"
    assert written_by_dvc([word], params_file) == text


@settings(deadline=None)
@given(text=texts)
def test_any_path_of_a_grid_arrives_as_it_is(text: str) -> None:
    from dvc.utils.hydra import get_hydra_sweeps

    (_, second) = get_hydra_sweeps({"params.yaml": ["norm=batch,layer", f"data.path={hydra_value(text)}"]})
    (path,) = OVERRIDES.parse_overrides(second["params.yaml"][1:])
    assert getattr(path.value(), "text", path.value()) == text


DOCUMENTED = re.findall(
    r"""^dvc exp run .*-S "data\.path='.*$""", (REPOSITORY / "own/README.md").read_text(), re.MULTILINE
)
PLAIN = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._-:"


def test_paths_are_quoted_as_own_readme_says(params_file: Path) -> None:
    arrived = [written_by_dvc([shlex.split(line)[-1]], params_file) for line in DOCUMENTED]
    assert arrived == ["/data/pets (1).zip", "/data/Zoë's pets, 2026"]
    assert written_by_dvc([f"data.path=/{PLAIN}"], params_file) == f"/{PLAIN}"  # what needs no quotes
    for character in ",=()[]{}'#&;<>!^~|*?@%+é ":
        path = f"/data/a{character}b"
        quoted = path.replace("'", r"\'")
        (word,) = shlex.split(f"\"data.path='{quoted}'\"")
        assert written_by_dvc([word], params_file) == path


@given(
    st.dictionaries(st.text("abc", min_size=1), st.dictionaries(st.text("abc", min_size=1), st.integers(), min_size=1))
)
def test_nest_undoes_flatten(tree: dict[str, dict[str, int]]) -> None:
    assert nest(flatten(tree)) == tree


@pytest.mark.parametrize("name", sorted(f.stem for f in (REPOSITORY / "recipes").glob("*.yaml")))
def test_every_recipe_is_valid_and_says_what_it_is(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(REPOSITORY)
    assert read_recipe(name, PARAMS)["recipe"] == name
    assert (REPOSITORY / "recipes" / f"{name}.yaml").read_text().startswith("# ")


@pytest.mark.parametrize("name", sorted(f.stem for f in (REPOSITORY / "recipes").glob("*.yaml")))
def test_dvc_reads_every_value_of_a_recipe_as_it_is(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from dvc.utils.hydra import apply_overrides

    monkeypatch.chdir(REPOSITORY)
    file = tmp_path / "params.yaml"
    shutil.copy(PARAMS_YAML, file)
    recipe = read_recipe(name, PARAMS)
    settings, _ = overrides(PARAMS, PARAMS, recipe, set())
    apply_overrides(file, settings)
    assert parse_params(yaml.safe_load(file.read_text())) == parse_params(nest(flatten(PARAMS) | recipe))


def test_quick_states_what_its_minute_rests_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(REPOSITORY)
    quick = read_recipe("quick", PARAMS)
    images = (
        quick["data.shapes.train"] * quick["train.epochs"] + quick["lr_range.iterations"] * quick["train.batch_size"]
    )
    assert (quick["device"], quick["data.source"], quick["model.width"]) == ("cpu", "shapes", 16)
    assert images < 40_000


def test_standard_is_params_yaml_and_standard_layer_states_the_same_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(REPOSITORY)
    committed = flatten(PARAMS)
    standard, layer = read_recipe("standard", PARAMS), read_recipe("standard-layer", PARAMS)
    assert standard == {key: committed[key] for key in standard}
    assert layer.keys() == standard.keys()
    unused = ("optimizer.adam", "schedule.plateau", "schedule.cosine", "schedule.constant")
    shaping = {
        key
        for key in committed
        if key.split(".")[0] in ("norm", "seed", "lr", "model", "lr_range", "train", "optimizer", "schedule", "augment")
        and not key.startswith(unused)
    }
    silent = {"train.compile", "train.workers", "train.devices", "train.nodes"}  # shape no result
    silent |= {"train.class_weights"}  # suits a data set, not a recipe
    assert shaping - standard.keys() == silent
    assert (layer["norm"], layer["train.epochs"]) == ("layer", 20)


def test_an_unknown_recipe_lists_the_known_ones_with_the_nearest_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(REPOSITORY)
    with pytest.raises(
        UserError, match=r"no recipe 'seed003' \(did you mean seed-003\?\)\. Recipes: seed-003, seed-00"
    ) as error:
        read_recipe("seed003", PARAMS)
    assert set(str(error.value).partition("Recipes: ")[2].split(", ")) == set(recipe_files())
    with pytest.raises(UserError, match=r"did you mean quick\?\)\. Recipes: quick, "):
        read_recipe("quik", PARAMS)


def test_a_recipe_of_your_own_is_its_file_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "recipes").mkdir()
    (tmp_path / "recipes/mine.yaml").write_text("norm: layer\ntrain.epochs: 3\ntrain:\n  schedule: cosine\n")
    monkeypatch.chdir(tmp_path)
    expected = {"recipe": "mine", "norm": "layer", "train.epochs": 3, "train.schedule": "cosine"}
    assert read_recipe("mine", PARAMS) == expected
    with pytest.raises(UserError, match=r"Recipes: mine$"):
        read_recipe("min", PARAMS)


def mine(content: str | bytes) -> dict[str, Any]:
    """A person's recipe of that content, read."""
    return parse_recipe(content if isinstance(content, bytes) else content.encode(), Path("recipes/mine.yaml"), PARAMS)


@pytest.mark.parametrize(
    ("content", "line", "said"),
    [
        ("# Mine\n\ntrain:\n  epoch: 3\n", 4, "train.epoch is not a parameter (did you mean train.epochs?)"),
        ("norm: batch\nnrom: layer\n", 2, "nrom is not a parameter (did you mean norm?)"),
        ("modle:\n  width: 8\n", 1, "modle is not a parameter (did you mean model?)"),
        ("norm: layer\ntrain:\n  epochs: 0\n", 3, "train.epochs is 0. It should be greater than or equal to 1"),
        ("train:\n  schedule: linear\n", 2, "train.schedule is 'linear' (did you mean cosine?). Allowed: onecycle"),
        ("norm:\n  kind: layer\n", 1, "norm is {'kind': 'layer'}. Allowed: batch"),
        ("norm:\n", 1, "norm is None"),
        ("train: 5\n", 1, "train is a group. Indent its keys below it, as in train.epochs"),
        ("seed: 1\ntrain:\n", 2, "train is a group"),
        ("lr:\n- 0.1\n", 1, "lr is [0.1]. Allowed: auto, or a number above 0"),
        ("model:\n  strides:\n  - 1\n  - 2\n  - two\n  - 2\n", 5, "model.strides.2 is 'two'"),
        ("augment:\n- name: Pad\n- Pad\n", 3, "augment.1 is 'Pad'"),
        ("augment:\n- name: Pad\n- 5: 1\n", 3, "augment.1.5 is 5. It should be a valid string"),
        ("seed: 2\nlr_range:\n  start: 100\n", 3, "lr_range.end must be above lr_range.start (100)"),
        ("train:\n  schedule: plateau\ndata:\n  val_share: 0\n", 2, "train.schedule needs validation images"),
        ("optimizer:\n  sgd:\n    nesterov: true\n    momentum: 0\n", 3, "nesterov needs optimizer.sgd.momentum"),
        ("recipe: yours\n", 1, "recipe is 'yours', but the name of the file is 'mine'"),
        ("recipe: 7\n", 1, "recipe is 7. It should be a valid string"),
        ("norm: layer\nseed: 1\nnorm: batch\n", 3, "norm is already in line 1"),
        ("train:\n  epochs: 1\nseed: 1\ntrain:\n  ema: 0.9\n", 4, "train is already in line 1"),
        ("train:\n  epochs: 1\ntrain.epochs: 2\n", 3, "train.epochs is already in line 2"),
        ("norm: layer\ntrain: [\n", 3, "is not valid YAML"),
        ("norm: layer\n\ttrain: 1\n", 2, "is not valid YAML"),
        ("norm: a: b\n", 1, "is not valid YAML"),
        ("norm: layer\n---\nseed: 1\n", 2, "is not valid YAML"),
        ("seed: 1\nlr: *unknown\n", 2, "is not valid YAML: an alias (*name) is not allowed"),
        ("seed: 1\nlr: 2026-13-01\n", 2, "the value of lr cannot be read: month must be in 1..12"),
        ("seed: 1\nlr: !!python/object/apply:os.system ['true']\n", 2, "the value of lr cannot be read"),
        ("data: &all\n  shapes: *all\n", 2, "an alias (*name) is not allowed"),
        ("? [norm]\n: 1\n", 1, "has a key that is not a word"),
        ("\n- norm\n", 2, "is not a `key: value`"),
        ("layer\n", 1, "is not a `key: value`"),
        ("# only words\n", 1, "is empty"),
        ("", 1, "is empty"),
        ("# né\nnorm: \x07\n", 2, "contains the control character"),
        (b"seed: 1\n# n\xe9\n", 2, "is not UTF-8 text"),
    ],
)  # fmt: skip
def test_a_wrong_recipe_is_told_with_file_line_and_key(content: str | bytes, line: int, said: str) -> None:
    with pytest.raises(UserError) as error:
        mine(content)
    assert f"recipes/mine.yaml:{line}: " in str(error.value)
    assert said in str(error.value)
    assert git.undo(artifacts.PARAMS) not in str(error.value)


def test_everything_wrong_is_told_at_once_in_the_order_of_the_lines() -> None:
    with pytest.raises(UserError) as error:
        mine("train:\n  epoch: 1\n  ema: 2\nnorm: x\n")
    assert re.findall(r"mine\.yaml:(\d+)", str(error.value)) == ["2", "3", "4"]


def test_a_wrong_committed_file_is_not_the_recipes_fault() -> None:
    wrong = nest(flatten(PARAMS) | {"train.epochs": 0})
    with pytest.raises(UserError, match=r"^params\.yaml: train\.epochs is 0.*\n.*commit it"):
        parse_recipe(b"norm: layer\n", Path("recipes/mine.yaml"), wrong)
    assert parse_recipe(b"train.epochs: 1\n", Path("recipes/mine.yaml"), wrong)["train.epochs"] == 1


LEAVES = sorted(flatten(PARAMS))
words = st.text("abcdefghijklmnopqrstuvwxyz_", min_size=1, max_size=12)
yaml_values = st.recursive(
    st.none() | scalars | st.floats() | st.dates() | st.binary(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words | st.integers(), inner, max_size=3),
    max_leaves=6,
)


@given(
    place=st.integers(0, 3),
    group=st.sampled_from(["", "train.", "data.shapes.", "norm."]),
    word=words,
    value=yaml_values,
)
def test_any_unknown_key_is_named_with_its_line(place: int, group: str, word: str, value: object) -> None:
    key = f"{group}{word}"
    assume(not any(leaf == key or leaf.startswith(f"{key}.") for leaf in LEAVES))
    with pytest.raises(UserError) as error:
        mine("\n" * place + yaml.safe_dump({key: value}))
    assert f"recipes/mine.yaml:{place + 1}: {key} is not a parameter" in str(error.value)


def refusal(content: str | bytes) -> str | None:
    """What is said against a recipe; None where nothing is."""
    try:
        mine(content)
    except UserError as error:
        return str(error)
    return None


@given(key=st.sampled_from(LEAVES), place=st.integers(0, 3), value=yaml_values)
def test_any_value_is_taken_or_named_with_its_line(key: str, place: int, value: object) -> None:
    content = "\n" * place + yaml.safe_dump({key: value})
    said = refusal(content)
    if said is None:
        parse_params(nest(flatten(PARAMS) | mine(content)))
        return
    told = re.match(r"recipes/mine\.yaml:(\d+): (\S+) ", said)
    assert told is not None, said
    assert place < int(told[1]) <= content.count("\n") + 1
    assert told[2] == key or told[2].startswith(f"{key}.") or key in said


@given(st.binary(max_size=40) | st.text("ab:-[]{}&*!#'\"|>%@?,\n\t ", max_size=30))
def test_any_file_is_read_or_told_with_its_line(content: str | bytes) -> None:
    said = refusal(content)
    assert said is None or re.match(r"recipes/mine\.yaml:\d+: ", said)


def test_the_door_prints_a_sentence_and_lists_broken_recipes_too(tmp_path: Path) -> None:
    root = copy_repository(tmp_path / "copy")
    (root / "recipes/mine.yaml").write_bytes(b"# n\xe9\ntrain:\n  epoch: 1\n")
    listed, run = (
        subprocess.run(
            [sys.executable, "-m", "recipes", *arguments], cwd=root, capture_output=True, text=True, check=False
        )
        for arguments in ([], ["mine"])
    )
    assert re.search(r"^  mine +n", listed.stdout, re.MULTILINE)
    assert (run.returncode, run.stdout) == (1, "")
    assert run.stderr.startswith("error: recipes/mine.yaml:1: is not UTF-8 text")
