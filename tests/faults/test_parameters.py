"""Parameters that a stranger, a slip or a script writes: refused by a sentence before data is touched, or they work."""

import inspect
import math
import re
import shutil
import warnings
from collections.abc import Iterator
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from src import artifacts
from src.config.recipes import parse_recipe
from src.errors import UserError
from src.params import Params, parse_params
from src.yaml_files import nest, read_yaml
from stages import check, train
from tests.faults.small import COMMITTED, SMALL, STAGES, NoMirror, enter, run, small
from tests.pipeline.test_pipeline import another
from tests.pipeline.workspace import IDENTITY, Workspace, failure, stages_run
from tests.unit.data_helpers import tree, write_folder
from tests.unit.test_dvc_graph import expected_readers

LEAVES = sorted(COMMITTED)
NUMBERS = [leaf for leaf in LEAVES if leaf == "lr" or type(COMMITTED[leaf]) in (int, float)]
LONGEST = 500  # characters of a sentence about one key, the list of what is allowed included
HOSTILE = [
    None, True, False, 0, -1, 1, 2**31, 2**63, 10**30, 0.5, 5e-324, 1e308, -1e308, math.nan, math.inf, -math.inf,
    "", " ", "nan", "1e400", "9" * 5000, "é", "\ud800", "\0", "a\nb", "\x1b[2J", "x" * 10**6, "../..", "-rf", "~",
    "${norm}", "cuda:999999999999", "cuda:٣", "auto\n", "!!python/name:os.system", b"\xff", (1, 2), {1}, [], {}, [[]],
    [None], [{}], {"": 1}, {1: 2}, {"\ud800": 1}, [{"name": "\ud800"}], [1] * 10_000, [["x"] * 99] * 99,
]  # fmt: skip
TOO_LONG_TO_WRITE = 10**5000  # Python refuses to make a text of it, also for Hypothesis
anything = st.recursive(
    st.sampled_from(HOSTILE) | st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(st.characters()), inner, max_size=3),
    max_leaves=5,
)


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A workspace without any data: whoever would read some, fails."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("src.git.output", lambda *_: "")  # 4,000 processes that find no repository take 15 s
        folder = tmp_path_factory.mktemp("room")
        enter(folder, patch)
        yield folder


def told(content: dict[str, Any]) -> Params | str:
    """The parameters, or the sentence that refuses them; whatever else happens fails the test."""
    try:
        return parse_params(content)
    except UserError as error:
        return str(error)


def assert_sentence(said: str, key: str, keys: int = 1) -> None:
    """`said` names the key, is bounded, and can be printed anywhere."""
    assert key in said
    assert len(said) <= LONGEST * keys, len(said)
    assert said.isascii() or said.encode().decode() == said
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f]", said)


@pytest.mark.parametrize("leaf", LEAVES)
def test_hostile_values_are_taken_or_named(room: Path, leaf: str) -> None:
    for value in [*HOSTILE, TOO_LONG_TO_WRITE, [TOO_LONG_TO_WRITE], [{"name": "Pad", "padding": TOO_LONG_TO_WRITE}]]:
        result = told(nest(COMMITTED | SMALL | {leaf: value}))
        if isinstance(result, str):
            assert_sentence(result, leaf)
        elif leaf != "augment":
            check_answers(result, leaf)


def check_answers(params: Params, leaf: str) -> None:
    """`check` says yes or a sentence, and writes and reads nothing."""
    try:
        check.main(params)
    except UserError as error:
        assert_sentence(str(error), leaf)
    assert {path.name for path in Path("data").rglob("*")} <= {"checked"}


@settings(max_examples=400, deadline=None)
@given(leaf=st.sampled_from(LEAVES), value=anything)
def test_any_value_is_taken_or_named(leaf: str, value: object) -> None:
    result = told(nest(COMMITTED | {leaf: value}))
    if isinstance(result, str):
        # More than one wrong item of a list is told at once.
        assert_sentence(result, leaf if leaf in result else leaf.rpartition(".")[0], keys=result.count("\n") + 1)


@settings(deadline=None)
@given(
    place=st.sampled_from(["", "train", "data.shapes", "optimizer.sgd"]), name=st.text(st.characters()), value=anything
)
def test_any_new_key_is_refused(place: str, name: str, value: object) -> None:
    content = nest(COMMITTED)
    section = content
    for part in place.split(".") if place else ():
        section = section[part]
    if name not in section:
        section[name] = value
        result = told(content)
        assert isinstance(result, str)
        assert "is not a parameter" in result or "should be a valid string" in result  # a lone surrogate
        assert_sentence(result, place, keys=2)


@pytest.mark.parametrize("leaf", LEAVES)
def test_a_key_taken_away_is_named(leaf: str) -> None:
    content = nest(COMMITTED)
    section = content
    for part in leaf.split(".")[:-1]:
        section = section[part]
    del section[leaf.rpartition(".")[2]]
    result = told(content)
    assert isinstance(result, str)
    assert_sentence(result, f"{leaf} is missing")


LAUGHS = "a: &a [x]\n" + "".join(f"{b}: &{b} [{', '.join([f'*{a}'] * 9)}]\n" for a, b in pairwise("abcdefghijkl"))


@pytest.mark.parametrize(
    "content",
    [
        b"norm: !!python/object/apply:os.system [touch harm]\n", b"norm: !!python/name:os.system\n", b"lr: !mine {}\n",
        b"norm: &a [*a]\n", b"augment: &a\n- *a\n", LAUGHS.encode(), b"<<: &a {norm: *a}\n", b"norm: *unknown\n",
        b"[" * 10_000, b"norm: " + b"{a: " * 10_000, b"- " * 10_000, b"norm: b\0tch\n", b"norm: \x1b[2J\n",
        b"norm: batch\nnorm: layer\n", b"train:\n  epochs: 1\n  epochs: 2\n", b"? [norm]\n: 1\n", b"? {a: 1}\n: 1\n",
        b"seed: " + b"9" * 5000, b"seed: 0x" + b"f" * 5000, b"seed: 2026-13-01\n", b"seed: !!int ''\n", b"n\xe9: 1\n",
        b"seed: !!float x\n", b"seed: !!timestamp x\n", b"seed: !!binary x\n", b"a: 1\n---\nb: 2\n", b"\xff\xfe",
        b"%YAML 9.9\n---\na: 1\n", b'norm: "\\U00110000"\n', b"", b"7",
        b"norm: '" + b"x" * 10**6 + b"'\n", b"x" * 10**5 + b": [\n",
    ],
)  # fmt: skip
def test_hostile_files_are_refused(content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    artifacts.PARAMS.write_bytes(content)
    with pytest.raises(UserError) as error:
        parse_params(nest(COMMITTED) | read_yaml(artifacts.PARAMS))
    assert_sentence(str(error.value), "params.yaml", keys=3)
    with pytest.raises(UserError) as error:
        parse_recipe(content, Path("recipes/mine.yaml"), nest(COMMITTED))
    assert_sentence(str(error.value), "recipes/mine.yaml:", keys=12)
    assert list(tmp_path.iterdir()) == [artifacts.PARAMS.absolute()]


@pytest.mark.parametrize("content", [LAUGHS, "norm: &a [*a]\n", "seed: &a 1\naugment: [*a]\n"])
def test_aliases_are_refused_where_they_stand(content: str, tmp_path: Path) -> None:
    """Not where they would unfold: the first one would take 9 to the power of 11 places."""
    (tmp_path / "params.yaml").write_text(content)
    with pytest.raises(UserError, match=r"an alias \(\*name\) is not allowed"):
        read_yaml(tmp_path / "params.yaml")


@pytest.mark.parametrize(
    "entry",
    [
        {}, {"name": None}, {"name": 1}, {"name": ["Pad"]}, {"name": "__class__"}, {"name": "__dict__"},
        {"name": "Compose"}, {"name": "OneOf"}, {"name": "BasicTransform"}, {"name": "load"}, {"name": "from_dict"},
        {"name": "os"}, {"name": "pad"}, {"name": "x" * 999}, {"name": "Lambda", "image": "print"},
        {"name": "HistogramMatching", "reference_images": ["/etc/passwd"]},
        {"name": "FDA", "reference_images": ["secret.png"]}, {"name": "PixelDistributionAdaptation"},
        {"name": "TextImage", "font_path": "/etc/passwd"}, {"name": "Equalize", "mask": "print"},
        {"name": "ToTensorV2"}, {"name": "Normalize"}, {"name": "Pad", "self": 1}, {"name": "Pad", "__init__": 1},
        {"name": "Pad", "padding": "__import__('os')"}, {"name": "Pad", "padding": 10**30},
        {"name": "Pad", "padding": 1e308}, {"name": "Pad", "padding": math.nan}, {"name": "Pad", "padding": -99},
        {"name": "Pad", "fill": {"a": 1}}, {"name": "Pad", "\ud800": 1},
        {"name": "Resize", "height": 10**6, "width": 10**6}, {"name": "Resize", "height": 0, "width": 0},
        {"name": "RandomCrop", "height": 99, "width": 99}, {"name": "GlassBlur", "sigma": 10_000},
        {"name": "HorizontalFlip", "p": 2}, {"name": "HorizontalFlip", "p": [0.5]},
        {"name": "RandomScale", "scale_limit": 999}, {"name": "CoarseDropout", "num_holes_range": [10**9, 10**9]},
    ],
)  # fmt: skip
def test_hostile_transforms_are_refused(room: Path, entry: dict[str, Any]) -> None:
    with pytest.raises(UserError) as error:
        check.main(small(augment=[entry]))
    assert_sentence(str(error.value), "augment", keys=4)


def test_every_transform_that_may_be_named_is_built_from_plain_values() -> None:
    """None takes a path or a function: a new version of the library may bring one."""
    from src.data import augment

    transforms = [value for value in vars(augment.albumentations).values() if augment._is_transform(value)]
    assert len(transforms) > 80
    for transform in transforms:
        for argument in inspect.signature(transform.__init__).parameters.values():
            words = ("Callable", "Path", "read_fn")
            assert argument.name == "mask" or not any(word in str(argument) for word in words), (transform, argument)


# What a leaf needs beside it for its value to be read, or to be allowed.
BESIDE: dict[str, dict[str, Any]] = {
    "lr_range.start": {"lr_range.end": 1e12},
    "lr_range.end": {"lr_range.start": 1e-12},
    "lr_range.iterations": {"lr_range.start": 0.1, "lr_range.end": 1e12, "lr_range.diverge": 1.5},  # ends early
    "schedule.onecycle.base_momentum": {"schedule.onecycle.max_momentum": 1 - 2**-53},
    "schedule.onecycle.max_momentum": {"schedule.onecycle.base_momentum": 0},
    "data.test_share": {"data.source": "folder"},
    "data.max_unreadable": {"data.source": "folder"},
    "data.max_duplicates": {"data.source": "folder"},
    "train.workers": {"augment": [{"name": "GaussNoise"}]},
}
# Beyond these, time and memory grow with the value and nothing else changes.
AFFORDED = {
    "data.size": 64,
    "data.shapes.train": 500,
    "data.shapes.test": 500,
    "model.width": 32,
    "lr_range.iterations": 1000,
}
TRIED = [
    0,
    5e-324,
    1e-12,
    1e-3,
    0.5,
    1 - 2**-53,
    1,
    2,
    4,
    10,
    16,
    40,
    64,
    256,
    500,
    1000,
    10**4,
    10**6,
    2**32 - 1,
    1e12,
    1e308,
]
EPOCHS = 3  # after which a training that would go on is ended


class Enough(Exception):
    """Ends a training."""


class Mirror(NoMirror):
    def epoch(self, row: Any) -> None:
        if row["epoch"] == EPOCHS:
            raise Enough


def beside(leaf: str) -> dict[str, Any]:
    group, _, rest = leaf.partition(".")
    chosen = {f"train.{group}": rest.partition(".")[0]} if group in ("optimizer", "schedule") else {}
    return chosen | BESIDE.get(leaf, {})


def extremes(leaf: str) -> list[float]:
    """The least and the largest of the numbers that are allowed for `leaf`."""
    allowed = []
    for value in TRIED:
        kinds = [value, int(value)] if float(value).is_integer() else [value]
        taken = [
            kind for kind in kinds if not isinstance(told(nest(COMMITTED | SMALL | beside(leaf) | {leaf: kind})), str)
        ]
        allowed += taken[:1] if value <= AFFORDED.get(leaf, math.inf) else []
    assert len(allowed) > 1, leaf
    return [allowed[0], allowed[-1]]


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace in which every stage has run."""
    folder = tmp_path_factory.mktemp("ready")
    with pytest.MonkeyPatch.context() as patch:
        enter(folder, patch)
        write_folder(Path("own"), tree(*(f"class {number % 2}/{number}.png" for number in range(12))))
        run(small())
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("leaf", NUMBERS)
def test_the_extremes_that_are_allowed_work(
    ready: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, leaf: str
) -> None:
    """Or end in a sentence: no traceback, no warning (an error in tests), no hang. A new leaf is tried by itself."""
    readers = expected_readers(leaf)
    data = readers & {"download", "prepare"}
    stages = [stage for stage in STAGES if stage in readers or (data and stage not in ("gradcam", "report"))]
    for number, value in enumerate(extremes(leaf)):
        shutil.copytree(ready, tmp_path / str(number), ignore=shutil.ignore_patterns(".checkpoints"))
        enter(tmp_path / str(number), monkeypatch)
        monkeypatch.setattr(train, "Mirror", Mirror)
        with suppress(UserError, Enough):
            run(small(**beside(leaf), **{leaf: value}), *stages)


# What a person types after `-S`, and a part of the answer. The last ones are answered by DVC itself: its grammar, and
# data.path, which it reads before any stage starts.
TYPED = [  # what DVC, its command line and YAML make of it; values of every kind are above
    ("norm=null", "norm is None"), ("norm={a:{b:[1]}}", "norm is {"), ("train.epochs=1e99", "train.epochs is "),
    ("augment=[{name:Lambda}]", "Lambda"), ("reference.name='a\x1bb'", "reference.name is "),
    ("+train.neu={a:1}", "train.neu is not a parameter"), ("~gradcam", "gradcam is missing"),
    ("data.path=/nowhere", ""), ("~data.path", ""), ("~~norm", ""),
]  # fmt: skip


@pytest.mark.slow
def test_what_a_person_types_is_refused_before_data_is_touched(copy: Workspace) -> None:
    before = copy.digests()
    for typed, word in TYPED:
        done = copy.run("dvc", "exp", "run", "-S", typed, **IDENTITY)
        output = done.stdout + done.stderr
        assert done.returncode != 0, typed
        assert "Traceback" not in output, failure(done)
        assert word in output, failure(done)
        assert stages_run(output) in ([], ["check"]), typed
        assert {**copy.digests(), "data/checked": before["data/checked"]} == before, typed
        copy.undo()


@pytest.mark.slow
def test_a_path_in_quotes_as_own_readme_shows_them_is_read(tmp_path: Path) -> None:
    """With every character for which DVC's grammar needs quotes, by a shell; DVC watches such a path too."""
    workspace = Workspace.create(tmp_path / "workspace")
    images = tmp_path / "a,b=(c)[d]{e} #f it's é;&"
    for kind in ("cat", "dog"):
        (images / kind).mkdir(parents=True)
        for number in range(4):
            Image.new("RGB", (32, 32), (60 * number, 0, 0)).save(images / kind / f"{number}.png")
    quoted = str(images).replace("'", r"\'")
    command = f"dvc exp run -S data.source=folder -S \"data.path='{quoted}'\" download"
    output = workspace.ok("sh", "-c", command, **IDENTITY)
    assert f"8 files from {images}" in output
    assert workspace.params()["data.path"] == str(images)
    assert stages_run(workspace.ok("sh", "-c", command, **IDENTITY)) == []
    (images / "cat/3.png").unlink()
    assert "7 files from" in workspace.ok("sh", "-c", command, **IDENTITY)


@pytest.mark.slow
def test_every_leaf_makes_the_right_stages_stale(copy: Workspace) -> None:
    """By DVC itself, against the table."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # DVC's own
        from dvc.repo import Repo

        committed = copy.params()
        assert sorted(committed) == LEAVES
        for leaf in LEAVES:
            copy.set_params({leaf: another(committed[leaf])})
            with Repo(str(copy.root)) as repo:
                stale = {name.rpartition(":")[2] for name in repo.status()}
            assert stale == expected_readers(leaf), leaf
            copy.set_params({leaf: committed[leaf]})
