"""What dvc.yaml declares against what the code reads: what is undeclared makes results stale unseen."""

import ast
from collections.abc import Iterator
from itertools import combinations
from pathlib import PurePosixPath
from typing import Any

import pytest
import yaml
from pydantic import BaseModel

from src.params import Data, GradCam, Optimizers, Params, Schedules
from src.yaml_files import flatten
from tests.conftest import PARAMS_YAML, REPOSITORY

STAGES: dict[str, dict[str, Any]] = yaml.safe_load((REPOSITORY / "dvc.yaml").read_text())["stages"]
PARAMS: dict[str, Any] = yaml.safe_load(PARAMS_YAML.read_text())
LEAVES = sorted(flatten(PARAMS))

# Files that shape no result of a stage: a change of theirs must not train anything again.
EXEMPT_NAMES = (
    "record", "params", "yaml_files", "artifacts", "errors", "locks", "processes", "git", "markdown",
    "launch", "addresses", "tracking_uri", "results", "wording", "runtime/run", "runtime/slots",
    "announce", "config/changes", "distributed/training",
)  # fmt: skip
EXEMPT = {f"src/{name}.py" for name in EXEMPT_NAMES}
EXEMPT |= {path.relative_to(REPOSITORY).as_posix() for path in (REPOSITORY / "src/tracking").glob("*.py")}

# Key or group -> the stages that its change makes stale, besides `check` and `report`, which every change does.
# The longest key that fits a leaf holds.
READERS: dict[str, set[str]] = {
    "recipe": set(),
    "reference": set(),
    "norm": {"lr_range", "train"},
    "seed": {"lr_range", "train", "gradcam"},
    "lr": {"lr_range"},
    "device": {"lr_range", "train", "evaluate", "gradcam"},
    "precision": {"lr_range", "train"},
    "data.source": {"download", "prepare"},
    "data.path": {"download"},
    "data.url": {"download"},
    "data.sha256": {"download"},
    "data.mirrors": {"download"},
    "data.size": {"prepare"},
    "data.share": {"prepare"},
    "data.val_share": {"prepare"},
    "data.test_share": {"prepare"},
    "data.split_seed": {"prepare"},
    "data.max_unreadable": {"prepare"},
    "data.max_duplicates": {"prepare"},
    "data.zip_encoding": {"prepare"},
    "data.shapes": {"download"},
    "augment": {"prepare", "lr_range", "train"},
    "model": {"lr_range", "train"},
    "lr_range": {"lr_range"},
    "train": {"train"},
    "train.batch_size": {"lr_range", "train"},
    "train.optimizer": {"lr_range", "train"},
    "train.weight_decay": {"lr_range", "train"},
    "train.decay_norms": {"lr_range", "train"},
    "train.label_smoothing": {"lr_range", "train"},
    "train.class_weights": {"lr_range", "train"},
    "optimizer": {"lr_range", "train"},
    "schedule": {"train"},
    "evaluate": {"evaluate"},
    "gradcam": {"gradcam"},
}


def expected_readers(leaf: str) -> set[str]:
    """The stages that a change of `leaf` makes stale by itself."""
    groups = [key for key in READERS if leaf == key or leaf.startswith(f"{key}.")]
    return READERS[max(groups, key=len)] | {"check", "report"}


def within(name: str, group: str) -> bool:
    return name == group or name.startswith(f"{group}.")


def declared(stage: str) -> list[str]:
    """The leaves of params.yaml that `stage` declares; `- params.yaml:` declares them all."""
    entries = STAGES[stage].get("params", [])
    if {"params.yaml": None} in entries:
        return LEAVES
    return [leaf for leaf in LEAVES if any(within(leaf, entry) for entry in entries)]


def paths(stage: str, *kinds: str) -> list[PurePosixPath]:
    """The deps or outs of a stage as paths; `data.path` takes its committed value."""
    entries = [entry for kind in kinds for entry in STAGES[stage].get(kind, [])]
    names = [next(iter(entry)) if isinstance(entry, dict) else entry for entry in entries]
    return [PurePosixPath(name.replace("${data.path}", PARAMS["data"]["path"])) for name in names]


def outs(stage: str) -> list[PurePosixPath]:
    return paths(stage, "outs", "metrics", "plots")


def imported(file: str) -> Iterator[str]:
    """Files of this repository that `file` imports, anywhere in it, lazily too."""
    for node in ast.walk(ast.parse((REPOSITORY / file).read_text())):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{file} has a relative import"
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        for name in names:
            path = name.replace(".", "/")
            yield from (f for f in (f"{path}.py", f"{path}/__init__.py") if (REPOSITORY / f).is_file())


def reached(stage: str) -> list[str]:
    """Every file of this repository that `stage` may execute, in sorted order."""
    found: set[str] = set()
    waiting = [f"stages/{stage}.py"]
    while waiting:
        file = waiting.pop()
        if file not in found:
            found.add(file)
            waiting.extend(imported(file))
    return sorted(found)


def chain(node: ast.expr) -> list[str] | None:
    """`params.train.epochs` -> ['params', 'train', 'epochs']; None where it does not start at a name."""
    attributes: list[str] = []
    while isinstance(node, ast.Attribute):
        attributes.insert(0, node.attr)
        node = node.value
    return [node.id, *attributes] if isinstance(node, ast.Name) else None


SECTIONS: dict[str, tuple[str, type[BaseModel]]] = {
    "Params": ("", Params),
    "Data": ("data", Data),
    "Optimizers": ("optimizer", Optimizers),
    "Schedules": ("schedule", Schedules),
    "GradCam": ("gradcam", GradCam),
}


def resolve(prefix: str, section: type[BaseModel], names: list[str]) -> tuple[str, type[BaseModel] | None, list[str]]:
    """Follow attribute names from a section of the schema: (dotted key, its section or None for a leaf, the rest)."""
    current: type[BaseModel] | None = section
    while names and current is not None and names[0] in current.model_fields:
        kind = current.model_fields[names[0]].annotation
        prefix = f"{prefix}.{names[0]}" if prefix else names[0]
        current = kind if isinstance(kind, type) and issubclass(kind, BaseModel) else None
        names = names[1:]
    return prefix, current, names


def read_by(stage: str) -> dict[str, str]:
    """The leaves of params.yaml that `stage` reads, each with a file that reads it."""
    found: dict[str, str] = {}
    for file in reached(stage):
        for handed, key in keys_read(file) if file not in EXEMPT else ():
            # `prepare` imports the names of the raw files from the sources, and runs none of their functions.
            if handed == "Data" and stage != "download" and file.startswith("src/data/sources/"):
                continue
            found |= {leaf: file for leaf in LEAVES if within(leaf, key)}
    return found


def keys_read(file: str) -> Iterator[tuple[str, str]]:
    """(annotation, dotted key) of every parameter that the functions of `file` read from a section handed to them.

    Attribute chains are followed through local names (`settings = params.train`). A section that is handed on whole is
    counted where its keys are read; `model_dump` reads the whole section.
    """
    for function in ast.walk(ast.parse((REPOSITORY / file).read_text())):
        if not isinstance(function, ast.FunctionDef):
            continue
        for argument in (*function.args.args, *function.args.kwonlyargs):
            if not isinstance(argument.annotation, ast.Name) or argument.annotation.id not in SECTIONS:
                continue
            handed = argument.annotation.id
            known = {argument.arg: SECTIONS[handed]}
            for node in ast.walk(function):
                if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                    names = chain(node.value)
                    if names and names[0] in known:
                        key, section, rest = resolve(*known[names[0]], names[1:])
                        if section is not None and not rest:
                            known[node.targets[0].id] = (key, section)
            for node in ast.walk(function):
                names = chain(node) if isinstance(node, ast.Attribute) else None
                if names and names[0] in known:
                    key, section, rest = resolve(*known[names[0]], names[1:])
                    if section is None or rest == ["model_dump"]:
                        yield handed, key


@pytest.mark.parametrize("stage", STAGES)
def test_every_imported_file_is_declared(stage: str) -> None:
    deps = paths(stage, "deps")
    undeclared = [
        file
        for file in reached(stage)
        if file not in EXEMPT
        and not file.endswith("/__init__.py")
        and not any(dep == PurePosixPath(file) or dep in PurePosixPath(file).parents for dep in deps)
    ]
    assert not undeclared, f"stage {stage} imports files that are not among its deps in dvc.yaml: {undeclared}"


@pytest.mark.parametrize("stage", STAGES)
def test_every_declared_file_or_folder_is_imported(stage: str) -> None:
    """In part, where it is a folder: `train` runs again for any change of the code for data."""
    code = [dep for dep in paths(stage, "deps") if dep.parts[0] in ("src", "stages")]
    used = [PurePosixPath(file) for file in reached(stage)]
    idle = [dep for dep in code if not any(dep == file or dep in file.parents for file in used)]
    assert not idle, f"stage {stage} runs again for code that it does not import: {idle}"


def test_the_walk_follows_lazy_imports_and_packages() -> None:
    assert {"src/tracking/mirror.py", "src/record.py", "src/model/norms.py"} <= set(reached("train"))
    assert "src/data/sources/download.py" in reached("download")
    assert not any(file.startswith("src/figures/") for file in reached("train")), "a figure's code would retrain"


@pytest.mark.parametrize("stage", STAGES)
def test_every_parameter_read_is_declared(stage: str) -> None:
    missing = {leaf: file for leaf, file in read_by(stage).items() if leaf not in declared(stage)}
    assert not missing, f"stage {stage} reads parameters that its entry in dvc.yaml lacks: {missing}"


@pytest.mark.parametrize("stage", [stage for stage in STAGES if declared(stage) != LEAVES])
def test_every_parameter_declared_is_read(stage: str) -> None:
    idle = set(declared(stage)) - read_by(stage).keys()
    assert not idle, f"stage {stage} runs again for parameters that it does not read: {idle}"


def test_reads_are_found_through_local_names_groups_and_nested_functions() -> None:
    assert {("Params", "train.epochs"), ("Params", "seed")} <= set(keys_read("src/training/loop.py"))
    assert ("Params", "gradcam.method") in set(keys_read("stages/gradcam.py"))
    assert ("Params", "model") in set(keys_read("src/training/key.py"))
    assert ("Optimizers", "optimizer.sgd.momentum") in set(keys_read("src/training/optimisers.py"))


@pytest.mark.parametrize("leaf", LEAVES)
def test_every_parameter_is_declared_where_expected(leaf: str) -> None:
    stages = {stage for stage in STAGES if leaf in declared(stage)}
    assert stages == expected_readers(leaf)
    named = leaf == "recipe" or within(leaf, "reference")  # words for the report, which shape no result
    assert named or stages - {"check", "report"}, f"{leaf} changes nothing but the report"


def test_no_stage_declares_a_parameter_that_does_not_exist() -> None:
    for stage, entry in STAGES.items():
        for name in entry.get("params", []):
            if isinstance(name, str):
                assert any(within(leaf, name) for leaf in LEAVES), f"stage {stage} declares {name}"


def test_outs_belong_to_one_stage_and_do_not_overlap() -> None:
    for one, other in combinations([out for stage in STAGES for out in outs(stage)], 2):
        assert one != other
        assert one not in other.parents
        assert other not in one.parents


def test_data_flows_down_the_list() -> None:
    made: set[PurePosixPath] = set()
    for stage in STAGES:
        for dep in paths(stage, "deps"):
            rooms = ("src", "stages", "recipes", PARAMS["data"]["path"])
            source = (REPOSITORY / dep).exists() and dep.parts[0] in rooms
            assert source or dep in made, f"stage {stage} depends on {dep}, which no stage before it makes"
        made.update(outs(stage))


def test_every_stage_says_what_it_does_and_is_a_module() -> None:
    for stage, entry in STAGES.items():
        assert entry["desc"]
        # `exec`: some shells (dash) else stay between DVC and the stage, which then does not see that DVC was killed.
        # PYTHONSAFEPATH: if the environment sets it, Python does not find `stages` in the current folder.
        shown = " ${data.size}" if stage == "check" else ""  # tests/pipeline/test_folders.py says why
        assert entry["cmd"] == f"exec env PYTHONSAFEPATH= python -m stages.{stage}{shown}"
