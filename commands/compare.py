"""Compare finished runs of the MLflow store: do two choices differ, by how much, and how sure is that?

Writes reports/compare.html, reports/compare.json and the figures in reports/compare, and puts them into a run of the
MLflow experiment `comparisons`.
"""

import argparse
from pathlib import Path

from commands import run_command
from src import artifacts
from src.comparison.groups import Group, group, grouping_keys, levels, same_images
from src.comparison.pairs import compare
from src.comparison.report import Comparison, to_html, to_json, to_text
from src.comparison.runs import StoredRun, differing, read_runs
from src.errors import UserError
from src.figures import compare as figures
from src.figures.style import save
from src.tracking import log_comparison

PAGE = Path("reports/compare.html")
NUMBERS = Path("reports/compare.json")
PICTURES = Path("reports/compare")
DRAWN = 20  # classes in the figure; the table has all


def main() -> None:
    """Print the table and the sentences, write the page and the numbers, log them."""
    parser = argparse.ArgumentParser(
        prog="python -m commands.compare", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", metavar="RUN", nargs="*", help="id or name of a run or an experiment; none: all runs")
    parser.add_argument("--by", default="", help="parameters to group by, e.g. norm,train.schedule; else what differs")
    parser.add_argument("--where", default="", help="""MLflow's filter, e.g. "params.model.width = '64'" """)
    parser.add_argument(
        "--to-accuracy", default="", metavar="A,B", help="validation accuracies to count epochs to, e.g. 0.5,0.9"
    )
    arguments = parser.parse_args()
    asked = accuracies(arguments.to_accuracy)

    selection = read_runs(arguments.runs, arguments.where)
    runs = selection.runs
    by = grouping_keys(runs, split(arguments.by))
    groups = group(runs, by)
    comparison = Comparison(
        by, groups, compare(groups), asked or levels(runs), [*findings(groups, by), *selection.left_out]
    )
    print(f"{len(runs)} runs, grouped by {', '.join(by)}\n\n{to_text(comparison)}\n")
    pictures = write(comparison)
    print(f"{PAGE}  (open it in a browser)\n{NUMBERS}")
    key = artifacts.sha256_json([sorted(run.id for run in runs), by, list(comparison.levels)])[:32]
    tags = {
        "runs": ",".join(run.id for run in runs),
        "by": ",".join(by),
        "mlflow.note.content": "\n".join(f"- {pair.sentence}" for pair in comparison.pairs),
    }
    run_id = log_comparison(key, f"by {', '.join(by)}"[:200], tags, [PAGE, NUMBERS, *pictures])
    print(f"MLflow run {run_id} of the experiment comparisons")


def split(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def accuracies(text: str) -> list[float]:
    """Fractions from the command line, lowest first."""
    try:
        values = sorted({float(part) for part in split(text)})
    except ValueError:
        values = [0.0]
    if not all(0 < value <= 1 for value in values):
        raise UserError(f"--to-accuracy {text}: give fractions above 0 and up to 1, as in 0.5,0.9")
    return values


def findings(groups: list[Group], by: list[str]) -> list[str]:
    """What a reader must know of the runs before believing the numbers."""
    notes = []
    runs: list[StoredRun] = [run for group in groups for run in group.runs]
    if not same_images(runs):
        notes.append("the runs saw DIFFERENT DATA or test images: groups that differ in them are not compared")
    inside = sorted({key for group in groups for key in differing(group.runs)} - set(by))
    if inside:
        notes.append(f"runs of one group differ in more than the seed: {', '.join(inside)}")
    elsewhere = sorted(set(differing(runs)) - set(by) - set(inside))
    if elsewhere:
        notes.append(f"the groups also differ in {', '.join(elsewhere)}: a difference may be due to that")
    if len(groups) == 1:
        notes.append(f"all runs have the same {', '.join(by)}, so there is no pair to compare")
    return notes


def write(comparison: Comparison) -> list[Path]:
    """The page, the numbers and the figures; where the figures are."""
    drawn = {}
    curves = {
        group.label: {metric: [run.curves[metric] for run in group.runs] for metric in ("val/accuracy", "val/loss")}
        for group in comparison.groups
    }
    if any(run for metrics in curves.values() for run in metrics["val/accuracy"]):
        drawn["curves"] = figures.curves(curves)
    if comparison.classes:
        drawn["classes"] = figures.classes(dict(list(comparison.classes.items())[:DRAWN]))
    files = {name: PICTURES / f"{name}.png" for name in drawn}
    for name, figure in drawn.items():
        save(figure, files[name])
    artifacts.write_json(NUMBERS, to_json(comparison))
    artifacts.write_text(PAGE, to_html(comparison, {name: file.read_bytes() for name, file in files.items()}))
    return list(files.values())


if __name__ == "__main__":
    run_command(main)
