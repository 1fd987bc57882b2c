"""What an MLflow run consists of, read from the files that the stages of this workspace wrote.

The files are the truth and MLflow their mirror: everything in a run can be rebuilt from here.
"""

import getpass
import json
import os
import platform
import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from src import artifacts, git
from src.addresses import redacted
from src.errors import UserError
from src.markdown import escape
from src.params import Params, Reference, load_params
from src.yaml_files import flatten, number, read_yaml

STAGES = ("prepare", "lr_range", "train", "evaluate", "gradcam", "report")
LIBRARIES = ("torch", "torchvision", "albumentations", "grad-cam", "torch-lr-finder", "mlflow", "dvc", "numpy")
# A link of the model card; what it shows of a stranger holds no `](`.
FIGURE = re.compile(r"\]\(\.\./(figures/[^)]+)\)")
SOURCES = {"cifar10": "CIFAR-10", "folder": "image folder", "shapes": "generated shapes"}


@dataclass(frozen=True)
class Point:
    """One value of a metric; `step` is the epoch, or the batch of the range test, or 0."""

    name: str
    value: float
    step: int = 0


def public(params: Params) -> Params:
    """`params` without the users and passwords of addresses in them: what is shown or sent is made of these."""
    return Params.model_validate(without_passwords(params.model_dump()))


def without_passwords(value: Any) -> Any:
    """A value of a parameter, or a list or mapping of values, with its addresses as `redacted` leaves them."""
    if isinstance(value, dict):
        return {key: without_passwords(part) for key, part in value.items()}
    if isinstance(value, list):
        return [without_passwords(part) for part in value]
    return redacted(value) if isinstance(value, str) else value


def flat_params(params: Params) -> dict[str, str]:
    """Every public parameter as text by dotted key; a list is one value, as JSON."""
    values = flatten(public(params).model_dump())
    return {key: v if isinstance(v, str) else json.dumps(v) for key, v in values.items()}


def run_key(params: Params, model_key: str) -> str:
    """Identifies a run: one resolved `params.yaml` on one trained model. A new password makes no new run."""
    return artifacts.sha256_json([model_key, flat_params(params)])[:32]


def run_name(params: Params) -> str:
    """The DVC experiment that this run belongs to, else norm and seed."""
    return os.environ.get("DVC_EXP_NAME") or f"{params.norm}-seed{params.seed}"


def data_name(params: Params, source: str) -> str:
    """The data set as a person calls it; with the name of the archive or folder where it is one's own."""
    own = Path(re.split("[?#]", redacted(params.data.url))[0] or params.data.path).name
    return f"{SOURCES[source]} {own}" if source == "folder" else SOURCES[source]


def reference_label(reference: Reference) -> str:
    """How the result to compare with is called; '' where there is none."""
    if reference.name:
        return f"recorded by {reference.name}"
    return "target" if reference.accuracy > 0 else ""


def recipe_changes(params: Params) -> dict[str, tuple[Any, Any]] | None:
    """(value in the recipe's file, value of this run) by dotted key, where they differ.

    None where `params.recipe` names no file that can be read: then nobody knows.
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
    """Whether a value of a file is that of this run; PyYAML reads `1e-05` as a text."""
    return bool(written == ours or (isinstance(ours, float) and number(written) == ours))


def tags(params: Params, model_key: str) -> dict[str, str]:
    """Where a run comes from: recipe, result to compare with, revision, commit, library versions."""
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
    """The sweep that a run is a trial of: MLflow shows the run below that one."""
    parent = os.environ.get("NORMLENS_SWEEP_RUN")
    return {"mlflow.parentRunId": parent} if parent else {}


def machine_tags() -> dict[str, str]:
    """What the model was trained on."""
    model = artifacts.read_json(artifacts.MODEL)
    return {key: model[key] for key in ("hardware", "device", "precision")}


def history(rows: list[dict[str, Any]]) -> list[Point]:
    """Rows of `metrics/history.csv` as points; `train_loss` becomes `train/loss`, empty cells are left out."""
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
        Point(name, float(row[column]), int(row["epoch"]))
        for row in rows
        for column, name in names.items()
        if row.get(column) not in ("", None)
    ]


def points(stage: str) -> list[Point]:
    """The metrics that `stage` wrote."""
    metrics = artifacts.METRICS
    match stage:
        case "lr_range":
            result = artifacts.read_json(metrics / "lr_range.json")
            curve = [
                Point(f"lr_range/{column}", float(row[column]), step)
                for step, row in enumerate(artifacts.read_csv(metrics / "lr_range.csv"))
                for column in ("lr", "loss", "smoothed")
            ]
            return [*curve, *(Point(f"lr_range/{name}", v) for name, v in result["suggestions"].items())]
        case "train":
            return history(artifacts.read_csv(metrics / "history.csv"))
        case "evaluate":
            return _scalars("test", artifacts.read_json(metrics / "evaluate.json"))
        case "gradcam":
            return _maps(artifacts.read_json(metrics / "gradcam.json"))
        case "report":  # params.yaml is a file of its: the result to compare with belongs to no stage before
            recorded = load_params().reference.accuracy
            return [Point("test/reference_accuracy", recorded)] if recorded > 0 else []
    return []


def files(stage: str) -> list[Path]:
    """The figures and tables that `stage` wrote; they keep their path in the run."""
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
    """The model card with its figures, for a folder of their own: content by path there."""
    text = artifacts.CARD.read_text(encoding="utf-8")
    figures = {name: Path(name).read_bytes() for name in FIGURE.findall(text)}
    return {artifacts.CARD.name: FIGURE.sub(r"](\1)", text).encode(), **figures}


def description(params: Params, stages: tuple[str, ...]) -> str:
    """The run in Markdown, for the top of its page in the MLflow UI, from what `stages` wrote."""
    params = public(params)
    data = artifacts.read_json(artifacts.METRICS / "data.json")
    lines = []
    if "evaluate" in stages:  # first: the UI folds what is longer than a few lines
        test = artifacts.read_json(artifacts.METRICS / "evaluate.json")
        lines += [
            f"**Test accuracy {test['accuracy']:.2%}** (95 % interval {test['accuracy_low']:.2%} to "
            f"{test['accuracy_high']:.2%}), top-5 {test['top5']:.2%}, loss {test['loss']:.3f}, "
            f"calibration error {test['ece']:.3f}; {test['wrong']:,} of {test['images']:,} images wrong.",
            "",
        ]
        if reference_label(params.reference):
            lines += [_comparison(params, test, data), ""]
    lines += [
        f"ResNet-18, norm **{params.norm}**, width {params.model.width}{network_options(params)}, "
        f"on {escape(data_name(params, data['source']))}: "
        f"{data['train']:,} training, {data['val']:,} validation and {data['test']:,} test images of "
        f"{data['classes']} classes, {data['size']}x{data['size']}.",
        "",
        f"- optimiser {params.train.optimizer}, schedule {params.train.schedule}, batch {params.train.batch_size}, "
        f"{params.train.epochs} epochs, seed {params.seed}",
        f"- recipe {escape(params.recipe or 'none')}{escape(_changes(recipe_changes(params)))}",
    ]
    if "evaluate" in stages and "flip_accuracy" in test:
        lines.append(
            f"- each test image together with its mirror image: accuracy {test['flip_accuracy']:.2%} "
            f"({test['flip_accuracy_low']:.2%} to {test['flip_accuracy_high']:.2%})"
        )
    if "lr_range" in stages:
        rate = artifacts.read_json(artifacts.LR)["lr"]
        lines.append(f"- learning rate {rate:g}" + (" (range test)" if params.lr == "auto" else ""))
    if "train" in stages:
        model, train = artifacts.read_json(artifacts.MODEL), artifacts.read_json(artifacts.METRICS / "train.json")
        lines.append(
            f"- {model['parameters']:,} parameters, {train['seconds']:.0f} s of training, "
            f"{train['images_per_second']:.0f} images/s on {escape(model['hardware'])}, {model['precision']}"
        )
    if "report" in stages:
        lines += ["", "The whole story is in the artifacts `reports/run.html` and `reports/model_card.md`."]
    return "\n".join(lines)


def _comparison(params: Params, test: Mapping[str, Any], data: Mapping[str, Any]) -> str:
    """The result beside the recorded one, and what differed, in Markdown."""
    reference = params.reference
    label = escape(reference_label(reference))
    text = f"**{label[0].upper()}{label[1:]}: "
    if reference.accuracy > 0:
        difference = 100 * (test["accuracy"] - reference.accuracy)
        text += f"{reference.accuracy:.2%}**, here {test['accuracy']:.2%}: {difference:+.2f} points."
    else:
        text += "no accuracy**."
    there = f" There: {escape(reference.note).rstrip('.')}." if reference.note else ""
    return (
        f"{text}{there} Here: {data['train']:,} training images of {escape(data_name(params, data['source']))}, "
        f"{params.train.epochs} epochs."
    )


def network_options(params: Params) -> str:
    """How the network is not the plain one, in words to go on with: ', standardised weights' or ''."""
    chosen = {
        ", standardised weights": params.model.weight_standardization,
        ", zero-initialised blocks": params.model.zero_init,
    }
    return "".join(words for words, is_on in chosen.items() if is_on)


def _changes(changes: Mapping[str, tuple[Any, Any]] | None) -> str:
    """What differs from the recipe's file, in words; of a list the key alone."""
    if not changes:
        return "" if changes is None else ", as its file has it"
    named = [key if isinstance(ours, list) else f"{key} {ours} (there {was})" for key, (was, ours) in changes.items()]
    return f", but for {', '.join(named)}"


def _maps(content: Mapping[str, Any]) -> list[Point]:
    """What the maps of the main figures are worth; the last step of `gradcam/randomisation` is its result.

    Of the other methods and layers there is metrics/gradcam.json: a hundred metrics would bury the others.
    """
    found = []
    for name, section in content.items():
        if not isinstance(section, Mapping) or "methods" not in section:
            continue
        ours = section["methods"][content["method"]][content["layer"]]
        if ours is None:
            continue
        values = ours["curves"]["rank_correlation"] if name == "randomisation" else [ours["mean"]]
        found += [Point(f"gradcam/{name}", value, step) for step, value in enumerate(values)]
    return found


def _scalars(prefix: str, content: Mapping[str, Any]) -> list[Point]:
    return [
        Point(f"{prefix}/{name}", float(value))
        for name, value in content.items()
        if isinstance(value, (int, float)) and not isinstance(value, bool)
    ]
