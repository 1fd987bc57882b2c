"""The page docs/results/README.md with its claims, goals, tables and curves, and what README shows of it.

    python -m benchmarks.recipe_results

fills it from benchmarks/results/recipes-*.json, laptop-trials.json and recipes/*.yaml, and draws the curves. No number
of the page is typed; a test compares it with the files.
"""

import argparse
import json
import shlex
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from matplotlib.ticker import MaxNLocator, PercentFormatter

from benchmarks.document import put
from benchmarks.harness import RESULTS
from benchmarks.logged import Logged
from src import artifacts
from src.comparison.words import interval
from src.config.recipes import base, read_recipe, with_recipe
from src.errors import UserError
from src.figures import style
from src.params import Params
from src.runtime.run import run_command
from src.statistics import Interval, mean_interval, wilson_interval
from src.wording import duration, percent, percent_interval, shown

DOCUMENT, README = Path("docs/results/README.md"), Path("README.md")

# Name -> recipe, and what else is set; in the order in which they run and stand in the tables.
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "laptop": ("laptop", {}),
    "standard": ("standard", {}),
    "standard-layer": ("standard-layer", {}),
    "seed-004": ("seed-004", {}),
    "seed-002": ("seed-002", {}),
    "standard:norm=layer": ("standard", {"norm": "layer"}),
    "seed-000": ("seed-000", {}),
    "seed-001": ("seed-001", {}),
    "seed-003": ("seed-003", {}),
}
SOURCES = sorted(name for name in VARIANTS if name.startswith("seed-"))  # the five earlier projects

# Places of the page that show a result file, by its name, with what stands there until it exists.
FILES = {"recipes-cpu": "", "recipes-cuda": "No CUDA GPU was available."}
TRIALS_FILE = "laptop-trials.json"  # of benchmarks/trials.py

# Ours are drawn through, the source projects' dashed; colours tell the recipes apart within each.
LOOKS: dict[str, tuple[str, str]] = {
    "laptop": (style.INK, "-"),
    "standard": (style.BLUE, "-"),
    "standard-layer": (style.RED, "-"),
    "standard:norm=layer": (style.ORANGE, "-"),
    "seed-000": (style.GREEN, "--"),
    "seed-001": (style.PURPLE, "--"),
    "seed-002": (style.SKY, "--"),
    "seed-003": (style.YELLOW, "--"),
    "seed-004": (style.MUTED, "--"),
}

# Goals: test accuracies, and the longest training of `laptop`.
STANDARD, LAYER, LAPTOP, LAPTOP_MINUTES = 0.94, 0.92, 0.90, 15
LAPTOP_SEEDS = (0, 1, 2)

# {"data": name, "command": without --only and --seeds, "runs": [Logged, ...]}
Result = dict[str, Any]
Runs = Mapping[str, Sequence[Logged]]  # by variant, each of VARIANTS
Verdict = tuple[str, str]  # whether a goal is reached, and by which numbers

COLUMNS = (
    "recipe", "norm", "epochs", "batch", "rate", "n", "test accuracy (95 % interval)", "with flip TTA",
    "recorded by the source project", "training", "images/s", "hardware",
)  # fmt: skip
SHORT_COLUMNS = ("recipe", "n", "test accuracy (95 % interval)", "training")  # those in README

REACHED, SHORT, UNKNOWN = "reached", "**falls short**", "not measured"


class Results:
    """A result file that is complete after each run; all of its runs are of the same data."""

    def __init__(self, file: Path, data: str, command: str) -> None:
        """Continue with `file` if it is about the same data; else its runs are replaced, and a line says so."""
        self.file = file
        self.data = data
        self.command = command
        self.runs: list[Logged] = []
        if file.exists():
            before = read(file)
            if before["data"] == data:
                self.runs = runs_of(before)
            else:
                print(f"{file} holds results of other data; they are replaced")

    def known(self, name: str, params: Params, device_type: str) -> Logged | None:
        """The run of `params` by the code as it is now, if the file has it."""
        return next((run for run in self.runs if run.name == name and run.is_of(params, device_type)), None)

    def add(self, run: Logged) -> None:
        """Write the file with `run`, without earlier runs of its variant with the same seed or with other settings."""

        def stays(other: Logged) -> bool:
            return other.name != run.name or (other.seed != run.seed and other.settings_digest == run.settings_digest)

        others = [other for other in self.runs if stays(other)]
        order = list(VARIANTS)
        self.runs = sorted([*others, run], key=lambda r: (order.index(r.name), r.seed))
        artifacts.write_json(self.file, self.content())

    def content(self) -> Result:
        """What the file holds."""
        return {"data": self.data, "command": self.command, "runs": [asdict(run) for run in self.runs]}


def read(file: Path) -> Result:
    """A result file. Raises UserError if it is something else."""
    try:
        result: Result = json.loads(file.read_bytes())
        if missing := {"data", "command", "runs"} - set(result):
            raise ValueError(f"it lacks {', '.join(sorted(missing))}")
        runs_of(result)
    except (OSError, ValueError, TypeError) as error:
        raise UserError(f"{file} is not a result file of benchmarks.recipes: {error}") from None
    return result


def runs_of(result: Result) -> list[Logged]:
    """The runs of a result file."""
    return [Logged(**run) for run in result["runs"]]


def by_variant(result: Result | None) -> Runs:
    """The runs of each of VARIANTS; none before anything is measured."""
    runs = runs_of(result) if result else []
    return {name: [run for run in runs if run.name == name] for name in VARIANTS}


def label(name: str) -> str:
    """A variant as it is typed: `standard -S norm=layer`."""
    return name.replace(":", " -S ")


def accuracy(runs: Sequence[Logged]) -> Interval:
    """Mean test accuracy with a t-interval over seeds, or the Wilson interval over the test images of a single run."""
    if len(runs) == 1:
        return Interval(runs[0].accuracy, runs[0].low, runs[0].high)
    return mean_interval([run.accuracy for run in runs])


def claims(result: Result | None) -> str:
    """Markdown: what `laptop` and `standard` reach, by which command, with how many runs, and on what."""
    parts = []
    for name in ("laptop", "standard"):
        runs = by_variant(result)[name]
        if not result or not runs:
            parts.append(f"Not measured yet: `{name}`.")
            continue
        seeds = ["--seeds", str(len(runs))] if len(runs) > 1 else []
        seconds = statistics.fmean(run.seconds for run in runs)
        parts.append(
            f"**`{name}`: {_accuracy(runs)} test accuracy on {result['data']} after {duration(seconds)} of training, "
            f"n = {len(runs)}, {_hardware(runs)}.**\n\n"
            f"```\n{result['command']} {shlex.join(['--only', name, *seeds])}\n```"
        )
    return "\n\n".join(parts)


def goals(result: Result | None) -> str:
    """Markdown: what is to be reached, and what the runs of `result` reached."""
    runs = by_variant(result)
    of_seeds = f"seeds {LAPTOP_SEEDS[0]} to {LAPTOP_SEEDS[-1]}, each trained in at most {LAPTOP_MINUTES} minutes"
    verdicts = {
        f"`laptop`: at least {percent(LAPTOP, 0)} as the mean of {of_seeds}": _laptop(runs),
        f"`standard`: at least {percent(STANDARD, 0)}": _at_least(STANDARD, runs["standard"]),
        "`standard`: above the recipe of every source project, intervals apart": _above_all(runs),
        f"`standard-layer`: at least {percent(LAYER, 0)}": _at_least(LAYER, runs["standard-layer"]),
    }
    if len({run.data_digest for found in runs.values() for run in found}) > 1:
        verdicts = dict.fromkeys(verdicts, ("not comparable", "the runs are of different data"))
    return _table([("goal", "result", "measured"), *((goal, *verdict) for goal, verdict in verdicts.items())])


def section(result: Result) -> str:
    """Markdown: one row per variant, what is missing, and what the numbers rest on."""
    by_name = by_variant(result)
    found = {name: runs for name, runs in by_name.items() if runs}
    parts = [_table([COLUMNS, *(_row(name, runs) for name, runs in found.items())])] if found else []
    if missing := [name for name in by_name if name not in found]:
        parts.append(f"Not measured yet: {_listed(missing)}.")
    if found:
        parts.append(_basis(result))
    return "\n\n".join(parts)


def trials(rows: Sequence[Mapping[str, Any]]) -> str:
    """Markdown: one row per trial of benchmarks/trials.py, by how it differs from the recipe laptop as it is now."""
    if not rows:
        return "Not measured yet."
    recipe = with_recipe("laptop")
    ordered = sorted(rows, key=lambda row: -row.get("accuracy", 0))
    lines: list[Sequence[str]] = [
        ("differs from `laptop`", "rate", "validation accuracy", "training", "images/s"),
        *(_trial(row, recipe) for row in ordered),
    ]
    images = rows[0]["images"]
    text = f"All trials have seed 0, {images['train']:,} training and {images['val']:,} validation images."
    if best := ordered[0].get("accuracy"):
        bounds = wilson_interval(round(best * images["val"]), images["val"])
        text += f" The 95 % interval of the best accuracy is {percent_interval(*bounds)}."
    machines = ", ".join(
        _distinct(
            f"{row['machine']['hardware']}, {row['precision']}, PyTorch {row['machine']['torch']}" for row in rows
        )
    )
    dates, commits = (", ".join(sorted({row[key] for row in rows})) for key in ("date", "commit"))
    return "\n\n".join([_table(lines), f"{text} Measured on {machines}; {dates}, commit {commits}."])


def recorded() -> str:
    """Markdown: the test accuracies that the source projects recorded, from the recipes."""
    committed = base()
    lines: list[Sequence[str]] = [
        ("recipe", "source project", "norm", "epochs", "recorded test accuracy", "what differed there")
    ]
    for name in SOURCES:
        keys = read_recipe(name, committed)
        about = [f"`{name}`", keys["reference.name"], f"`{keys['norm']}`", str(keys["train.epochs"])]
        lines.append([*about, percent(keys["reference.accuracy"]), " ".join(keys["reference.note"].split())])
    return _table(lines)


def fill(document: str, folder: Path) -> str:
    """`document` with each place filled from the files of `folder`. Raises UserError on a missing or unknown place."""
    measured, tried = _on_cpu(folder), folder / TRIALS_FILE
    contents = {name: _file_section(folder, name, none) for name, none in FILES.items()} | {
        "claims": claims(measured),
        "goals": goals(measured),
        "trials": trials(artifacts.read_json(tried)["rows"] if tried.exists() else []),
        "recorded": recorded(),
    }
    return put(document, contents)


def fill_readme(document: str, folder: Path) -> str:
    """README with the claim about `laptop` and a short table of all recipes measured on a CPU, from `folder`."""
    measured = _on_cpu(folder)
    return put(document, {"claim": claim(measured), "recipes": short_table(measured)})


def claim(result: Result | None) -> str:
    """Markdown: what `laptop` reaches and how long that takes."""
    runs = by_variant(result)["laptop"]
    if not result or not runs:
        return "Not measured yet: `laptop`."
    minutes = round(statistics.fmean(run.seconds for run in runs) / 60)
    return (
        f"**{_accuracy(runs)} on the test images of {result['data']} in {minutes} minutes of training on "
        f"{_hardware(runs)}: `python -m recipes laptop`, n = {len(runs)}.** [All results](docs/results/README.md)"
    )


def short_table(result: Result | None) -> str:
    """Markdown: SHORT_COLUMNS of the table of all recipes."""
    rows = [_row(name, runs) for name, runs in by_variant(result).items() if runs]
    if not rows:
        return "Not measured yet."
    places = [COLUMNS.index(column) for column in SHORT_COLUMNS]
    return _table([[row[place] for place in places] for row in (COLUMNS, *rows)])


def curves(runs: list[Logged]) -> style.Described:
    """Validation accuracy by epoch, one line per run."""
    figure = style.new_figure(9.5, 4.6)
    axes = figure.subplots()
    for name, (colour, dashes) in LOOKS.items():
        of_all = [run.val_accuracy for run in runs if run.name == name and run.val_accuracy]
        if not of_all:
            continue
        text = label(name) + (f" ({len(of_all)} seeds)" if len(of_all) > 1 else "")
        for values, of_first in zip(of_all, (text, *[None] * len(of_all)), strict=False):
            axes.plot(range(1, len(values) + 1), values, color=colour, linestyle=dashes, linewidth=1.4, label=of_first)
    axes.set(title="Validation accuracy by epoch", xlabel="epoch", ylabel="accuracy")
    axes.set_xlim(left=0.5)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.yaxis.set_major_formatter(PercentFormatter(1, symbol=" %"))
    figure.legend(loc="outside right center")
    return style.Described(figure, "Line chart of the validation accuracy by epoch, with a line per recipe.")


def draw(folder: Path) -> None:
    """The curves of each result file of `folder`, beside it."""
    for file in (folder / f"{name}.json" for name in FILES):
        if file.exists() and (runs := runs_of(read(file))):
            style.save(curves(runs), file.with_suffix(".png"))


def write_document() -> None:
    """Fill docs/results/README.md, and what README shows of it."""
    for document, filled in ((DOCUMENT, fill), (README, fill_readme)):
        artifacts.write_text(document, filled(document.read_text(encoding="utf-8"), RESULTS))


def main() -> None:
    """Draw the curves and fill the document."""
    argparse.ArgumentParser(prog="python -m benchmarks.recipe_results", description=__doc__).parse_args()
    draw(RESULTS)
    write_document()


def _on_cpu(folder: Path) -> Result | None:
    """The results on a CPU, None before anything is measured."""
    file = folder / "recipes-cpu.json"
    return read(file) if file.exists() else None


def _file_section(folder: Path, name: str, none: str) -> str:
    """The section of a result file with its curves, or a sentence if there is none yet."""
    file = folder / f"{name}.json"
    if not file.exists():
        return f"Not measured yet: {_listed(VARIANTS)}. {none}".strip()
    result = read(file)
    curve = f"![Validation accuracy by epoch](../../{RESULTS.as_posix()}/{name}.png)"
    return section(result) + (f"\n\n{curve}" if result["runs"] else "")


def _row(name: str, runs: Sequence[Logged]) -> Sequence[str]:
    first = runs[0]
    flips = [run.flip[0] for run in runs if run.flip]
    return [
        f"`{label(name)}`",
        f"`{first.norm}`",
        ", ".join(_distinct(run.epochs for run in runs)),
        str(first.batch_size),
        ", ".join(_distinct(f"{run.lr:g}" + (" (range test)" if run.swept else "") for run in runs)),
        str(len(runs)),
        _accuracy(runs),
        percent(statistics.fmean(flips)) if flips else "",
        "" if first.reference is None else percent(first.reference),
        duration(statistics.fmean(run.seconds for run in runs)),
        f"{statistics.fmean(run.images_per_second for run in runs):,.0f}",
        _hardware(runs),
    ]


def _trial(row: Mapping[str, Any], recipe: Mapping[str, Any]) -> Sequence[str]:
    changes = {key: value for key, value in row["params"].items() if value != recipe.get(key)}
    what = ", ".join(f"{key} {_value(value)}" for key, value in changes.items()) or "nothing"
    rate = f"{row['lr']:g}" if "lr" in row else ""
    if "failed" in row:
        return [what, rate, f"failed: {row['failed'].replace('|', '/')}", "", ""]
    return [
        what, rate, percent(row["accuracy"]), duration(row["seconds"]), f"{row['images_per_second']:,.0f}"
    ]  # fmt: skip


def _value(value: Any) -> str:
    """A parameter for a table cell; of transforms, their names."""
    if isinstance(value, list) and all(isinstance(item, dict) for item in value):
        return " > ".join(item["name"] for item in value)
    return shown(value)


def _laptop(runs: Runs) -> Verdict:
    chosen = [run for run in runs["laptop"] if run.seed in LAPTOP_SEEDS]
    if missing := sorted(set(LAPTOP_SEEDS) - {run.seed for run in chosen}):
        return UNKNOWN, f"missing: seed {', '.join(map(str, missing))}"
    mean, slowest = accuracy(chosen).mean, max(run.seconds for run in chosen)
    reached = mean >= LAPTOP and slowest <= 60 * LAPTOP_MINUTES
    return REACHED if reached else SHORT, f"{_accuracy(chosen)}, at most {duration(slowest)}"


def _at_least(least: float, runs: Sequence[Logged]) -> Verdict:
    if not runs:
        return UNKNOWN, ""
    return REACHED if accuracy(runs).mean >= least else SHORT, _accuracy(runs)


def _above_all(runs: Runs) -> Verdict:
    """Whether the interval of `standard` lies above that of every source project's recipe."""
    if not runs["standard"]:
        return UNKNOWN, ""
    low = accuracy(runs["standard"]).low
    measured = [name for name in SOURCES if runs[name]]
    apart = [
        name for name in measured if low is not None and (high := accuracy(runs[name]).high) is not None and high < low
    ]
    missing = [name for name in SOURCES if name not in measured]
    told = {"above": apart, "not above": [name for name in measured if name not in apart], "not measured": missing}
    verdict = SHORT if told["not above"] else UNKNOWN if missing else REACHED
    return verdict, "; ".join(f"{word} {_listed(names)}" for word, names in told.items() if names)


def _accuracy(runs: Sequence[Logged]) -> str:
    found = accuracy(runs)
    return f"{percent(found.mean)} ({interval(found, percent)})"


def _hardware(runs: Sequence[Logged]) -> str:
    return ", ".join(_distinct(f"{run.hardware}, {run.precision}" for run in runs))


def _basis(result: Result) -> str:
    """Data, command, versions, dates and commits."""
    runs = runs_of(result)
    images, minutes = runs[0].images, sum(run.seconds for run in runs) / 60
    dates, commits = (", ".join(sorted(set(values))) for values in ([r.date for r in runs], [r.commit for r in runs]))
    return (
        f"- Data: {result['data']}, {images['train']:,} training, {images['val']:,} validation and "
        f"{images['test']:,} test images\n"
        f"- Command: `{result['command']}`\n"
        f"- Versions: {' / '.join(_distinct(run.versions for run in runs))}\n"
        f"- Measured: {dates}, commit {commits}, {minutes:.0f} minutes of training in all"
    )


def _distinct(values: Iterable[object]) -> list[str]:
    """Each value once, in the order of its first appearance."""
    return list(dict.fromkeys(map(str, values)))


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f"`{label(name)}`" for name in names)


def _table(rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown, its header first."""
    head, *rest = rows
    return "\n".join(f"| {' | '.join(cells)} |" for cells in [head, ["---"] * len(head), *rest])


if __name__ == "__main__":
    run_command(main)
