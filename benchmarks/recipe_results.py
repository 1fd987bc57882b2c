"""The recipes' results: their file, the tables, goals and curves of docs/results.md.

    python -m benchmarks.recipe_results

fills the document, and draws the curves, from benchmarks/results/recipes-*.json and recipes/*.yaml. No number in it is
typed; a test compares the document with the files.
"""

import json
import statistics
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from benchmarks.document import PLACE
from benchmarks.logged import Logged
from benchmarks.measure import RESULTS
from commands import run_command
from recipes.read import base, read_recipe
from src import artifacts
from src.comparison.statistics import mean_interval
from src.errors import UserError
from src.figures import style
from src.params import Params

DOCUMENT = Path("docs/results.md")

# Name -> recipe, and what else is set; in the order in which they run and stand in the tables.
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "standard": ("standard", {}),
    "standard-layer": ("standard-layer", {}),
    "standard:norm=layer": ("standard", {"norm": "layer"}),
    **{f"seed-{number:03}": (f"seed-{number:03}", {}) for number in range(5)},
}
SEEDS = [name for name in VARIANTS if name.startswith("seed-")]

# Places of the document: those of result files, by the file's name; and others.
FILES = {"recipes-cuda": "A CUDA GPU was not at hand so far.", "recipes-cpu": ""}
GOALS, RECORDED = "goals", "recorded"

# Ours are drawn through, the seeds' dashed; colours tell the recipes apart within each.
LOOKS: dict[str, tuple[str, str]] = {
    "standard": (style.BLUE, "-"),
    "standard-layer": (style.RED, "-"),
    "standard:norm=layer": (style.ORANGE, "-"),
    "seed-000": (style.GREEN, "--"),
    "seed-001": (style.PURPLE, "--"),
    "seed-002": (style.SKY, "--"),
    "seed-003": (style.INK, "--"),
    "seed-004": (style.MUTED, "--"),
}

# {"data": name, "share": 1.0, "epochs": None or for all, "command": ..., "runs": [Logged, ...]}
Result = dict[str, Any]


class Results:
    """A result file that is complete after each run. `about` (data, share, epochs) holds for all of its runs."""

    def __init__(self, file: Path, about: dict[str, Any], command: str) -> None:
        """Go on with `file` where it is about the same; else its runs are replaced, which a line says."""
        self.file = file
        self.about = about
        self.command = command
        self.runs: list[Logged] = []
        if file.exists():
            before = read(file)
            if {key: before[key] for key in about} == about:
                self.runs = runs_of(before)
            else:
                print(f"{file} holds results of other data or of another length; they are replaced")

    def known(self, name: str, params: Params, device_type: str) -> Logged | None:
        """The run of `params` by the code as it is now, where the file has it."""
        return next((run for run in self.runs if run.name == name and run.is_of(params, device_type)), None)

    def add(self, run: Logged) -> None:
        """Put `run` in the place of what was known of the same variant and seed, and write the file."""
        others = [r for r in self.runs if (r.name, r.seed) != (run.name, run.seed)]
        order = list(VARIANTS)
        self.runs = sorted([*others, run], key=lambda r: (order.index(r.name), r.seed))
        artifacts.write_json(self.file, self.content())

    def content(self) -> Result:
        """What the file holds."""
        return self.about | {"command": self.command, "runs": [asdict(run) for run in self.runs]}


def read(file: Path) -> Result:
    """A result file; UserError where it is something else."""
    try:
        result: Result = json.loads(file.read_bytes())
        if missing := {"data", "share", "epochs", "command", "runs"} - set(result):
            raise ValueError(f"it lacks {', '.join(sorted(missing))}")
        runs_of(result)
    except (OSError, ValueError, TypeError) as error:
        raise UserError(f"{file} is not a result file of benchmarks.recipes: {error}") from None
    return result


def runs_of(result: Result) -> list[Logged]:
    """The runs of a result file."""
    return [Logged(**run) for run in result["runs"]]


def label(name: str) -> str:
    """A variant as a person types it: `standard -S norm=layer`."""
    return name.replace(":", " -S ")


def whole(result: Result) -> bool:
    """Whether every recipe had all images and its own number of epochs."""
    return result["share"] == 1 and result["epochs"] is None


def section(result: Result) -> str:
    """Markdown: what the runs are, a line a variant, what is missing, and what it all rests on."""
    runs = runs_of(result)
    by_name = {name: [run for run in runs if run.name == name] for name in VARIANTS}
    parts = []
    if not whole(result):
        parts.append(_cut(result))
    if runs:
        head = (
            "recipe", "norm", "epochs", "batch", "rate", "test accuracy (95 % interval)", "with mirror images",
            "recorded by the seed", "training", "images/s", "on",
        )  # fmt: skip
        lines = [_cells(head), _cells(["---"] * len(head))]
        lines += [_line(name, found) for name, found in by_name.items() if found]
        parts.append("\n".join(lines))
    if missing := [f"`{label(name)}`" for name, found in by_name.items() if not found]:
        parts.append(f"Not measured yet: {', '.join(missing)}.")
    if runs:
        parts.append(_basis(result, runs))
    return "\n\n".join(parts)


def goals(result: Result | None) -> str:
    """Markdown: what was to be reached at full length, and whether the runs of `result` do."""
    runs = runs_of(result) if result is not None and whole(result) else []
    by_name = {name: [run for run in runs if run.name == name] for name in VARIANTS}
    comparable = len({run.data_digest for run in runs}) <= 1
    lines = ["| goal | | |", "|---|---|---|"]
    for text, judge in (
        ("`standard`, with batch norm, beats every seed recipe by a clear margin", _beats_all),
        ("`standard-layer` beats `seed-003` in half its epochs", _beats_in_half),
    ):
        verdict = judge(by_name) if comparable else ("not comparable", "the runs are of different data")
        lines.append(_cells([text, *verdict]))
    return "\n".join(lines)


def recorded() -> str:
    """Markdown: what the seed projects say that they reached, from the recipes."""
    committed = base()
    head = ("recipe", "seed project", "norm", "epochs", "recorded test accuracy", "what differed there")
    lines = [_cells(head), _cells(["---"] * len(head))]
    for name in SEEDS:
        keys = read_recipe(name, committed)
        accuracy = f"{keys['reference.accuracy']:.2%}"
        about = [f"`{name}`", keys["reference.name"], f"`{keys['norm']}`", str(keys["train.epochs"]), accuracy]
        lines.append(_cells([*about, " ".join(keys["reference.note"].split())]))
    return "\n".join(lines)


def fill(document: str, folder: Path) -> str:
    """`document` with each place filled from `folder`/NAME.json; UserError where a place is missing or unknown."""
    contents = {name: _file_section(folder, name, none) for name, none in FILES.items()}
    cuda = folder / "recipes-cuda.json"
    contents |= {GOALS: goals(read(cuda) if cuda.exists() else None), RECORDED: recorded()}
    places = {name for name, _ in PLACE.findall(document)}
    if wrong := places ^ contents.keys():
        raise UserError(f"the document must have exactly the places {', '.join(contents)}; see {', '.join(wrong)}")
    return PLACE.sub(lambda p: f"<!-- results: {p[1]} -->\n{contents[p[1]]}\n<!-- end of results -->", document)


def curves(runs: list[Logged]) -> Figure:
    """Validation accuracy by epoch; of several seeds the mean, within the range of all."""
    figure = style.new_figure(9.5, 4.6)
    axes = figure.subplots()
    for name, (colour, dashes) in LOOKS.items():
        of_all = [run.val_accuracy for run in runs if run.name == name and run.val_accuracy]
        if not of_all:
            continue
        by_epoch = list(zip(*of_all, strict=False))  # early stopping may end one before the others
        epochs = range(1, len(by_epoch) + 1)
        text = label(name) + (f" ({len(of_all)} seeds)" if len(of_all) > 1 else "")
        width, mark = (2.2, "o") if dashes == "-" else (1.4, "s")
        means = [statistics.fmean(values) for values in by_epoch]
        axes.plot(epochs, means, color=colour, linestyle=dashes, linewidth=width, marker=mark, markersize=3, label=text)
        if len(of_all) > 1:
            low, high = [min(values) for values in by_epoch], [max(values) for values in by_epoch]
            axes.fill_between(epochs, low, high, color=colour, alpha=0.2, linewidth=0)
    axes.set(title="Validation accuracy by epoch", xlabel="epoch", ylabel="accuracy")
    axes.set_xlim(left=0.5)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    figure.legend(loc="outside right center")
    return figure


def draw(folder: Path) -> None:
    """The curves of each result file of `folder`, beside it."""
    for file in (folder / f"{name}.json" for name in FILES):
        if file.exists() and (runs := runs_of(read(file))):
            style.save(curves(runs), file.with_suffix(".png"))


def write_document() -> None:
    """Fill the places of docs/results.md."""
    artifacts.write_text(DOCUMENT, fill(DOCUMENT.read_text(encoding="utf-8"), RESULTS))


def main() -> None:
    """Draw the curves and fill the document."""
    draw(RESULTS)
    write_document()


def _file_section(folder: Path, name: str, none: str) -> str:
    """The section of a result file with its curves, or a sentence where there is none yet."""
    file = folder / f"{name}.json"
    if not file.exists():
        names = ", ".join(f"`{label(variant)}`" for variant in VARIANTS)
        return f"Not measured yet: {names}. {none}".strip()
    result = read(file)
    curve = f"![Validation accuracy by epoch](../{RESULTS.as_posix()}/{name}.png)"
    return section(result) + (f"\n\n{curve}" if result["runs"] else "")


def _cut(result: Result) -> str:
    """What runs that are not whole are, in bold."""
    parts = [f"{100 * result['share']:g}% of the images, stratified by class"] if result["share"] < 1 else []
    parts += [_count(result["epochs"], "epoch")] if result["epochs"] else []
    text = (
        f"**Cut short: {' and '.join(parts)}, the same for every recipe.** This shows that each recipe runs from end "
        "to end, and what that costs. It is no measure of what they reach at full length: small batches make more "
        "steps of the same images"
    )
    if result["epochs"]:
        text += (
            ", and schedules are squeezed. A recipe that states its rate has a range test of fewer steps, which shapes "
            "nothing"
        )
    return f"{text}."


def _line(name: str, runs: list[Logged]) -> str:
    first = runs[0]
    several = [run.accuracy for run in runs]
    if len(runs) == 1:
        accuracy = f"{first.accuracy:.2%} ({first.low:.2%} to {first.high:.2%})"
    else:
        mean = mean_interval(several)
        assert mean.half_width is not None  # of two or more
        low, high = mean.mean - mean.half_width, mean.mean + mean.half_width
        accuracy = (
            f"{mean.mean:.2%} ({low:.2%} to {high:.2%}, by t over {len(runs)} seeds; "
            f"they range from {min(several):.2%} to {max(several):.2%})"
        )
    flips = [run.flip[0] for run in runs if run.flip]
    rates = ", ".join(dict.fromkeys(f"{run.lr:g}" + (" (range test)" if run.swept else "") for run in runs))
    return _cells(
        [
            f"`{label(name)}`",
            f"`{first.norm}`",
            ", ".join(dict.fromkeys(str(run.epochs) for run in runs)),
            str(first.batch_size),
            rates,
            accuracy,
            f"{statistics.fmean(flips):.2%}" if flips else "",
            "" if first.reference is None else f"{first.reference:.2%}",
            f"{statistics.fmean(run.seconds for run in runs):,.0f} s",
            f"{statistics.fmean(run.images_per_second for run in runs):,.0f}",
            ", ".join(dict.fromkeys(f"{run.hardware}, {run.precision}" for run in runs)),
        ]
    )


def _beats_all(by_name: dict[str, list[Logged]]) -> tuple[str, str]:
    """Clear: the 95 % interval of every run of `standard` lies above that of every run of the seed recipe."""
    ours = by_name["standard"]
    if not ours:
        return "not measured", "`standard` is missing"
    low = min(run.low for run in ours)
    rivals = [run for name in SEEDS for run in by_name[name]]
    if beaten_by := [run for run in rivals if not run.high < low]:
        told = [f"`{run.name}` {run.accuracy:.2%} (up to {run.high:.2%})" for run in beaten_by]
        return "**falls short**", f"from {low:.2%} on, not clear of {', '.join(told)}"
    if missing := [f"`{name}`" for name in SEEDS if not by_name[name]]:
        return "not measured", f"missing: {', '.join(missing)}"
    best = max(rivals, key=lambda run: run.accuracy)
    return (
        "reached",
        f"from {low:.2%} on; the best of them is `{best.name}` with {best.accuracy:.2%} (up to {best.high:.2%})",
    )


def _beats_in_half(by_name: dict[str, list[Logged]]) -> tuple[str, str]:
    """By the accuracies themselves, and the epochs trained; the intervals are told."""
    ours, theirs = by_name["standard-layer"], by_name["seed-003"]
    if missing := [f"`{name}`" for name in ("standard-layer", "seed-003") if not by_name[name]]:
        return "not measured", f"missing: {', '.join(missing)}"
    a, b = ours[0], theirs[0]
    why = ", against ".join(
        f"{run.accuracy:.2%} ({run.low:.2%} to {run.high:.2%}) after {_count(run.epochs, 'epoch')}" for run in (a, b)
    )
    return ("reached" if a.accuracy > b.accuracy and 2 * a.epochs <= b.epochs else "**falls short**"), why


def _basis(result: Result, runs: list[Logged]) -> str:
    """Data, command, versions, dates and commits."""
    images = runs[0].images
    versions, dates, commits = (
        sorted({value for value in values if value})
        for values in ([r.versions for r in runs], [r.date for r in runs], [r.commit for r in runs])
    )
    minutes = sum(run.seconds for run in runs) / 60
    return (
        f"{result['data']}: {images['train']:,} training, {images['val']:,} validation and {images['test']:,} test "
        f"images; `{result['command']}`; {' / '.join(versions)}; {', '.join(dates)}, commit {', '.join(commits)}. "
        f"{minutes:.1f} minutes of training in all. Intervals of single runs are Wilson's, over the test images. "
        "Accuracy with mirror images is of each image and its mirror image together."
    )


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _cells(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    run_command(main)
