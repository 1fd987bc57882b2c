"""docs/study-norms.md from benchmarks/results/study-*.json: `python -m benchmarks.study_page`

No number of the page is typed; a test compares it with the files.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.document import PLACE
from benchmarks.measure import RESULTS
from benchmarks.study_plan import SHAPES
from commands import run_command
from src import artifacts
from src.comparison.statistics import Mean
from src.comparison.tables import worth_rows
from src.comparison.words import plus_minus
from src.report.formats import percent

DOCUMENT = Path("docs/study-norms.md")
FIGURES = Path("docs/images")  # a folder a study
CAPTIONS = {
    "curves": "Validation accuracy and loss by epoch",
    "differences": "Differences of the recall by class, with 95 % intervals",
    "agreement": "How far the maps of two runs agree on the same images",
    "maps": "Grad-CAMs of the same test images, one run of each norm",
}
NONE = {
    "study-shapes": "Not measured yet.",
    "study-images": "Not measured yet: a CUDA GPU was not at hand so far.",
}

Result = Mapping[str, Any]  # what benchmarks.study writes


def section(name: str, result: Result, figures: Path = FIGURES) -> str:
    """Markdown: what is true, the tables, those of the CAPTIONS that are in `figures`/`name`, and what it rests on."""
    found = result["comparison"]
    drawn = {
        figure: f"![{caption}](images/{name}/{figure}.png)"
        for figure, caption in CAPTIONS.items()
        if (figures / name / f"{figure}.png").exists()
    }
    parts = [
        _list([pair["sentence"] for pair in found["pairs"]]),
        _table(found["groups"]),
        drawn.pop("curves", ""),
        _list([pair["class_sentence"] for pair in found["pairs"]]),
        drawn.pop("differences", ""),
    ]
    if maps := found["maps"]:
        parts.append(f"Where they look: {maps['method']} at `{maps['layer']}`, {maps['images']} test images.")
        parts.append(_list([pair["sentence"] for pair in maps["pairs"]]))
    parts += [*drawn.values(), _worth(found["worth"])]
    parts += [f"Note: {note}." for note in found["notes"]]
    return "\n\n".join(filter(None, [*parts, _basis(result)]))


def fill(document: str, folder: Path) -> str:
    """`document` with the result of `folder` in each of its places, and the lines to type."""

    def place(name: str) -> str:
        file = folder / f"{name}.json"
        if name == "lines":
            content = "\n".join(["```", *SHAPES.lines(), "```"])
        else:
            content = section(name, artifacts.read_json(file)) if file.exists() else NONE[name]
        return f"<!-- results: {name} -->\n{content}\n<!-- end of results -->"

    return PLACE.sub(lambda found: place(found[1]), document)


def write_document() -> None:
    """Fill docs/study-norms.md."""
    artifacts.write_text(DOCUMENT, fill(DOCUMENT.read_text(encoding="utf-8"), RESULTS))


def _list(sentences: Sequence[str]) -> str:
    return "\n".join(f"- {sentence}" for sentence in sentences if sentence)


def _worth(found: Mapping[str, Mapping[str, Any]]) -> str:
    """What the maps of each group are worth, and how to read it."""
    if not found:
        return ""
    means = {label: {name: Mean(**mean) for name, mean in of.items()} for label, of in found.items()}
    head, *lines = worth_rows(means)
    table = _rows([["maps of", *head[1:]], *([f"`{label}`", *cells] for label, *cells in lines)])
    return (
        f"{table}\n\nA gain is by how much these maps are better than random maps of the same model: above 0 is "
        "better. ROAD depends on how sure a model is. Where the network is random, batch norm has its "
        "initial statistics."
    )


def _rows(rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown, its header first."""
    head, *rest = rows
    return "\n".join(f"| {' | '.join(cells)} |" for cells in [head, ["---"] * len(head), *rest])


def _table(groups: Sequence[Mapping[str, Any]]) -> str:
    epochs = list(groups[0]["epochs_to"])
    head = ["norm", "seeds", "accuracy", "loss", "calibration error", "images/s"]
    head += [f"epochs to {100 * float(level):g} %" for level in epochs] + ["agreement of the seeds"]
    lines = [head]
    for group in groups:
        speed = group["images_per_second"]
        lines.append(
            [
                f"`{group['label']}`",
                ", ".join(map(str, group["seeds"])),
                _mean(group["accuracy"], 100, 2) + " %",
                _mean(group["loss"], 1, 3),
                _mean(group["ece"], 100, 2) + " %",
                "–" if speed is None else _mean(speed, 1, 0),
                *(", ".join("–" if e is None else str(e) for e in group["epochs_to"][level]) for level in epochs),
                "–" if group["agreement"] is None else percent(group["agreement"]),
            ]
        )
    return _rows(lines)


def _mean(value: Mapping[str, Any], factor: float, digits: int) -> str:
    """Mean ± half the width of its 95 % interval."""
    half = value["half_width"]
    return plus_minus(factor * value["mean"], None if half is None else factor * half, digits=digits)


def _basis(result: Result) -> str:
    about, same = result["machine"], result["commit"] == result["compared_by"]
    return (
        f"{result['experiments']} experiments on {result['data']} in {result['minutes']:.1f} minutes; "
        f"`{result['command']}`; {about['hardware']}, Python {about['python']}, PyTorch {about['torch']}, "
        f"MLflow {about['mlflow']}, DVC {about['dvc']}; {result['date']}, commit {result['commit']}"
        f"{'' if same else ', compared by the code of ' + result['compared_by']}. "
        "± is half the width of the 95 % t-interval over the seeds."
    )


if __name__ == "__main__":
    run_command(write_document)
