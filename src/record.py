"""The content of an MLflow run, read from the files that the stages of this workspace wrote.

These files are authoritative, and MLflow holds a copy. Everything in a run can be rebuilt from here.
"""

import getpass
import json
import os
import platform
import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from src import artifacts, git, results, wording
from src.addresses import redacted
from src.errors import UserError
from src.markdown import escape
from src.params import Params, load_params
from src.wording import (
    accuracy_interval,
    capital,
    counted,
    data_name,
    images,
    network_options,
    norm_name,
    percent,
    percent_interval,
    reference_accuracy,
    reference_label,
    wrong,
)
from src.wording import points as in_points
from src.yaml_files import flatten, number, read_yaml

STAGES = ("prepare", "lr_range", "train", "evaluate", "gradcam", "report")  # those whose results a run holds
PIPELINE = ("check", "download", *STAGES)
LIBRARIES = ("torch", "torchvision", "albumentations", "grad-cam", "torch-lr-finder", "mlflow", "dvc", "numpy")
# A link in the model card. Untrusted text in the card never contains `](`.
FIGURE = re.compile(r"\]\(\.\./(figures/[^)]+)\)")


@dataclass(frozen=True)
class Point:
    """One value of a metric. `step` is the epoch, the batch of the range test, or 0."""

    name: str
    value: float
    step: int = 0


def public(params: Params) -> Params:
    """`params` without users and passwords in addresses. Everything that is shown or sent comes from these."""
    return Params.model_validate(without_passwords(params.model_dump()))


def without_passwords(value: Any) -> Any:
    """Apply `redacted` to the addresses in a value of a parameter, or in a list or mapping of values."""
    if isinstance(value, dict):
        return {key: without_passwords(part) for key, part in value.items()}
    if isinstance(value, list):
        return [without_passwords(part) for part in value]
    return redacted(value) if isinstance(value, str) else value


def flat_params(params: Params) -> dict[str, str]:
    """Every public parameter as text, by dotted key. A list is one value, as JSON."""
    values = flatten(public(params).model_dump())
    return {key: v if isinstance(v, str) else json.dumps(v) for key, v in values.items()}


def run_key(params: Params, model_key: str) -> str:
    """The key of a run: one resolved `params.yaml` on one trained model. Another password gives the same key."""
    return artifacts.sha256_json([model_key, flat_params(params)])[:32]


def run_name(params: Params) -> str:
    """The name of the DVC experiment that this run belongs to, otherwise norm and seed."""
    return os.environ.get("DVC_EXP_NAME") or f"{params.norm}-seed{params.seed}"


def recipe_changes(params: Params) -> dict[str, tuple[Any, Any]] | None:
    """(value in the recipe's file, value of this run) by dotted key, for the values that differ.

    None if `params.recipe` does not name a readable recipe file.
    """
    if params.recipe not in {file.stem for file in artifacts.RECIPES.glob("*.yaml")}:
        return None
    try:
        recipe = without_passwords(flatten(read_yaml(artifacts.RECIPES / f"{params.recipe}.yaml")))
    except UserError:
        return None
    ours = flatten(public(params).model_dump())
    shaping = [key for key in recipe if key in ours and key != "recipe" and not key.startswith("reference.")]
    return {key: (recipe[key], ours[key]) for key in shaping if not _same(recipe[key], ours[key])}


def _same(written: Any, ours: Any) -> bool:
    """Whether a value in a file equals the value of this run. PyYAML reads `1e-05` as text."""
    return bool(written == ours or (isinstance(ours, float) and number(written) == ours))


def tags(params: Params, model_key: str) -> dict[str, str]:
    """The origin of a run: recipe, result to compare with, revision, commit and library versions."""
    params = public(params)
    commit = git.output("rev-parse", "HEAD").strip()
    found = {
        "model_key": model_key,
        "baseline": os.environ.get("DVC_EXP_BASELINE_REV") or commit,
        "experiment": os.environ.get("DVC_EXP_NAME", ""),
        "recipe": params.recipe,
        "reference": params.reference.name,
        "mlflow.source.name": "dvc.yaml",
        "mlflow.user": getpass.getuser(),
        "mlflow.source.git.commit": commit,
        "versions": ", ".join([f"python {platform.python_version()}", *(f"{n} {version(n)}" for n in LIBRARIES)]),
    }
    return {key: value for key, value in found.items() if value}


def sweep_tags() -> dict[str, str]:
    """The tag of a sweep's trial. MLflow shows the run below the run of the sweep."""
    parent = os.environ.get("NORMLENS_SWEEP_RUN")
    return {"mlflow.parentRunId": parent} if parent else {}


def machine_tags() -> dict[str, str]:
    """Tags of the machine that trained the model."""
    model = results.Model.read()
    return {"hardware": model.hardware, "device": model.device, "precision": model.precision}


def history(epochs: Sequence[results.Epoch]) -> list[Point]:
    """The training history as points. `train_loss` becomes `train/loss`. Unknown values are left out."""
    names = {
        "train_loss": "train/loss",
        "train_accuracy": "train/accuracy",
        "val_loss": "val/loss",
        "val_accuracy": "val/accuracy",
        "lr": "train/lr",
        "images_per_second": "train/images_per_second",
        "seconds": "train/seconds",
        "cpu_percent": "system/cpu_percent",
        "memory_gib": "system/memory_gib",
        "gpu_memory_gib": "system/gpu_memory_gib",
    }
    return [
        Point(name, value, row.epoch)
        for row in epochs
        for column, name in names.items()
        if (value := getattr(row, column)) is not None
    ]


def points(stage: str) -> list[Point]:
    """The metrics that `stage` wrote."""
    match stage:
        case "lr_range":
            curve = [
                Point(f"lr_range/{column}", value, step)
                for step, row in enumerate(results.RangeStep.read_all())
                for column, value in row
            ]
            return [*curve, *(Point(f"lr_range/{name}", v) for name, v in results.RangeTest.read().suggestions.items())]
        case "train":
            return history(results.Epoch.read_all())
        case "evaluate":
            found = results.Evaluation.read().model_dump(exclude_none=True)
            return [Point(f"test/{name}", float(value)) for name, value in found.items()]
        case "gradcam":
            return _maps(results.Maps.read())
        case "report":  # this stage reads all of params.yaml, so the result to compare with is logged here
            recorded = load_params().reference.accuracy
            return [Point("test/reference_accuracy", recorded)] if recorded > 0 else []
    return []


def files(stage: str) -> list[Path]:
    """The figures and tables that `stage` wrote. Their paths in the run are the same."""
    more = {
        "prepare": ["metrics/data.json"],
        "lr_range": ["metrics/lr_range.csv", "metrics/lr_range.json"],
        "train": ["metrics/history.csv", "metrics/train.json", "models/model.json"],
        "evaluate": [
            "metrics/evaluate.json",
            "metrics/model_summary.txt",
            "metrics/per_class.csv",
            "metrics/predictions.csv",
        ],
        "gradcam": ["metrics/gradcam.json", "metrics/misclassified.csv"],
        "report": ["reports/run.html", "reports/model_card.md", "params.yaml"],
    }
    figures = sorted(p for p in (artifacts.FIGURES / stage).rglob("*") if p.is_file())
    return [*figures, *(Path(name) for name in more[stage])]


def card() -> dict[str, bytes]:
    """The model card and its figures for a separate folder: content by path in that folder."""
    text = artifacts.CARD.read_text(encoding="utf-8")
    figures = {name: Path(name).read_bytes() for name in FIGURE.findall(text)}
    return {artifacts.CARD.name: FIGURE.sub(r"](\1)", text).encode(), **figures}


def description(params: Params, stages: tuple[str, ...]) -> str:
    """A Markdown description for the page of the run in the MLflow UI, from the files that `stages` wrote."""
    params = public(params)
    data = results.DataSet.read()
    test = results.Evaluation.read() if "evaluate" in stages else None
    lines = []
    if test is not None:  # first, because the UI collapses all but the first lines
        lines += [
            f"**Test accuracy {percent(test.accuracy)}** ({accuracy_interval(test)}), top-5 accuracy "
            f"{percent(test.top5)}, loss {test.loss:.3f}, calibration error {percent(test.ece)}. {wrong(test)} are "
            "misclassified.",
            "",
        ]
        if reference_label(params.reference):
            lines += [_comparison(params, test, data), ""]
    lines += [
        f"ResNet-18 with **{norm_name(params.norm)}**, width {params.model.width}{network_options(params)}, "
        f"on {escape(data_name(params, data.source))}: {images(data)}.",
        "",
        f"- optimiser {params.train.optimizer}, schedule {params.train.schedule}, "
        f"batch size {params.train.batch_size}, {counted(params.train.epochs, 'epoch')}, seed {params.seed}",
        f"- recipe {escape(params.recipe or 'none')}{escape(_changes(params))}",
    ]
    if test is not None and test.flip_accuracy is not None:
        lines.append(
            f"- test accuracy with test-time augmentation (mean over each image and its mirror image): "
            f"{percent(test.flip_accuracy)} ({percent_interval(test.flip_accuracy_low, test.flip_accuracy_high)})"
        )
    if "lr_range" in stages:
        rate = results.RangeTest.read().lr
        lines.append(f"- learning rate {rate:g}" + (" (range test)" if params.lr == "auto" else ""))
    if "train" in stages:
        model, train = results.Model.read(), results.Training.read()
        lines.append(
            f"- {model.parameters:,} parameters, {train.seconds:.0f} s of training, "
            f"{train.images_per_second:.0f} images/s on {escape(model.hardware)}, {model.precision}"
        )
    if "report" in stages:
        lines += ["", "Full report: artifacts `reports/run.html` and `reports/model_card.md`."]
    return "\n".join(lines)


def _comparison(params: Params, test: results.Evaluation, data: results.DataSet) -> str:
    """The result of this run beside the one to compare with, in Markdown."""
    reference = params.reference
    text = f"**{capital(escape(reference_label(reference)))}: {reference_accuracy(reference)}**."
    if reference.accuracy > 0:
        text += f" This run: {percent(test.accuracy)}, {in_points(test.accuracy - reference.accuracy)}."
    note = f" About this reference: {escape(reference.note).rstrip('.')}." if reference.note else ""
    return (
        f"{text}{note} This run has {data.train:,} training images of {escape(data_name(params, data.source))} "
        f"and {counted(params.train.epochs, 'epoch')}."
    )


def _changes(params: Params) -> str:
    """The differences from the recipe's file, as the end of a phrase. For a list only its key."""
    changes = recipe_changes(params)
    if changes is None:
        return ""
    named = [f"{key} {change}".rstrip() for key, change in wording.recipe_changes(changes).items()]
    return f", changed: {', '.join(named)}" if named else ", unchanged"


def _maps(maps: results.Maps) -> list[Point]:
    """The measures of the maps in the main figures. The last step of `gradcam/randomisation` is its result.

    Other methods and layers are only in metrics/gradcam.json, because they would be a hundred metrics more.
    """
    found = []
    for name in maps.measures:
        if (ours := maps.own(name)) is not None:
            values = ours.curves["rank_correlation"] if name == "randomisation" else [ours.mean]
            found += [Point(f"gradcam/{name}", value, step) for step, value in enumerate(values)]
    return found
