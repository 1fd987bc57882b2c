"""The parts of docs/results/study-norms.md that come from results: no number of the page is typed."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.document import put
from benchmarks.study_runs import Finished
from src import artifacts
from src.comparison.classes import extremes
from src.comparison.pairs import GroupPair
from src.comparison.result import Comparison
from src.comparison.tables import (
    AGREEMENT,
    DIFFERENCES,
    agreement_rows,
    cells,
    difference_rows,
    header,
    mean_percent,
    quality_rows,
)
from src.wording import points

DOCUMENT = Path("docs/results/study-norms.md")
IMAGES = Path("docs/images/study-norms")
HERO = Path("docs/images/hero.png")  # for README
NONE = "Not measured yet."
CAPTIONS = {
    "curves": "Validation accuracy and loss by epoch",
    "differences": "Difference of the recall by class, with 95 % intervals",
    "agreement": "Agreement of the maps of two runs on the same images",
    "maps": "Grad-CAMs of the same test images, one run of each norm",
}
FIGURES = {"own-rate": tuple(CAPTIONS), "common-rate": ("curves",)}  # by comparison: the figures on the page


def conclusion(found: Sequence[Finished], compared: Mapping[str, Comparison], total: int) -> str:
    """One paragraph: what the tests show, and what they do not; `total` is the number of runs of the study."""
    if "own-rate" not in compared:
        return NONE
    own, first = compared["own-rate"], found[0]
    parts = [f"Only {len(found)} of {total} runs are finished."] if len(found) < total else []
    accuracies = [f"{mean_percent(group.mean('test/accuracy'))} with {group.label}" for group in own.groups]
    parts.append(
        f"After {first.about.epochs} epochs on {first.data_name}, each norm at the rate of its own range test, test "
        f"accuracy is {listed(accuracies)}. ± is half the width of the 95 % interval over seeds."
    )
    parts += separated(own.pairs)
    if "common-rate" in compared:
        parts += [f"At one common rate, {pair.sentence}." for pair in compared["common-rate"].pairs]
    if own.maps is not None:
        apart = [pair.sentence for pair in own.maps.pairs if pair.over_seeds and pair.over_seeds.significant]
        if not apart:
            apart = [
                "there is no evidence that the maps of two norms differ beyond the difference between random seeds"
            ]
        parts += [f"{_capital(text)}." for text in [*apart, *filter(None, [own.maps.limit])]]
    parts.append("Other networks, data sets and lengths of training were not studied.")
    return " ".join(parts)


def separated(pairs: Sequence[GroupPair]) -> list[str]:
    """Which accuracies the seeds separate after correction, and which not, in sentences."""
    above: dict[str, list[str]] = {}
    open_ = []
    for pair in pairs:
        first, second = pair.first.label, pair.second.label
        if pair.welch is None or not pair.welch.significant:
            open_.append(f"{second} from {first}")
        elif pair.welch.mean > 0:
            above.setdefault(second, []).append(first)
        else:
            above.setdefault(first, []).append(second)
    said = [
        f"{_capital(better)} is significantly more accurate than {listed(worse)}." for better, worse in above.items()
    ]
    return said + ([f"The seeds do not separate {listed(open_, 'or')}."] if open_ else [])


def section(name: str, found: Sequence[Finished], comparison: Comparison | None) -> str:
    """The tables and figures of a comparison."""
    if comparison is None:
        return NONE
    figures = {
        figure: f"![{CAPTIONS[figure]}](../images/study-norms/{name}/{figure}.png)"
        for figure in FIGURES[name]
        if (IMAGES / name / f"{figure}.png").exists()
    }
    parts = [_groups(comparison, {one.run.id: one.about.lr for one in found})]
    parts += [f"Note: {note}." for note in comparison.notes]
    different = [row[:1] + row[2:] for row in difference_rows(comparison.pairs) if row[1] == "accuracy"]
    parts += [_table([DIFFERENCES[:1] + DIFFERENCES[2:], *different])] if different else []
    parts += [figures.pop("curves", ""), _classes(comparison.pairs), figures.pop("differences", "")]
    if maps := comparison.maps:
        parts.append(f"Maps: {maps.method} at `{maps.layer}`, {len(maps.sample)} test images.")
        parts.append(_table([AGREEMENT, *agreement_rows(maps)]))
    parts += figures.values()
    if name == "own-rate" and (rows := quality_rows(comparison.map_quality.means)):
        parts += [_table([["maps of", *rows[0][1:]], *rows[1:]]), WORTH]
    return "\n\n".join(filter(None, parts))


WORTH = (
    "A gain says how much better these maps are than random maps of the same model: above 0 is better. ROAD depends on "
    "the confidence of a model. In the random network, batch norm has its initial statistics."
)


def basis(found: Sequence[Finished]) -> str:
    """Data, machine, versions, dates and commits of the runs."""
    if not found:
        return NONE
    about = [one.about for one in found]
    images = about[0].images
    names, machines, versions, dates, commits = (
        ", ".join(dict.fromkeys(values))
        for values in (
            [one.data_name for one in found],
            [f"{run.hardware} ({run.precision})" for run in about],
            [run.versions for run in about],
            sorted(run.date for run in about),
            [run.commit for run in about],
        )
    )
    return (
        f"{len(found)} runs on {names}: {images['train']:,} training, {images['val']:,} validation and "
        f"{images['test']:,} test images. {sum(run.seconds for run in about) / 60:.0f} minutes of training on "
        f"{machines}; {versions}; {dates}; commit {commits}."
    )


def fill(document: str, found: Sequence[Finished], compared: Mapping[str, Comparison], total: int) -> str:
    """`document` with the results in its places; UserError if a place is missing or unknown."""
    contents = {"conclusion": conclusion(found, compared, total), "basis": basis(found)}
    contents |= {name: section(name, found, compared.get(name)) for name in FIGURES}
    return put(document, contents)


def write_document(found: Sequence[Finished], compared: Mapping[str, Comparison], total: int) -> None:
    """Fill docs/results/study-norms.md."""
    artifacts.write_text(DOCUMENT, fill(DOCUMENT.read_text(encoding="utf-8"), found, compared, total))


def listed(parts: Sequence[str], word: str = "and") -> str:
    """['a', 'b', 'c'] -> a, b and c"""
    return f" {word} ".join(filter(None, [", ".join(parts[:-1]), parts[-1]]))


def _groups(comparison: Comparison, rates: Mapping[str, float]) -> str:
    """The table of the groups, with the learning rates by seed and without what equals the accuracy here.

    The classes of the test set have the same size.
    """
    names = header(comparison.targets)
    shown = [place for place, name in enumerate(names) if name not in ("balanced accuracy", "macro F1")]
    rows = [[*(names[place] for place in shown), "rates"]]
    for group in comparison.groups:
        row = cells(group, comparison.targets)
        rates_used = ", ".join(f"{rates[run.id]:g}" for run in group.runs)
        rows.append([*(row[place] for place in shown), rates_used])
    return _table(rows)


def _classes(pairs: Sequence[GroupPair]) -> str:
    """For each pair: the classes whose recall differs most, and in how many it differs significantly."""
    rows = [["recall, second − first", "lowest", "highest", "significant classes"]]
    for pair in pairs:
        if pair.classes:
            ends = [f"{name} ({points(pair.classes[name].mean)})" for name in extremes(pair.classes)]
            significant = sum(one.significant for one in pair.classes.values())
            rows.append([pair.label, *ends, f"{significant} of {len(pair.classes)}"])
    return _table(rows) if len(rows) > 1 else ""


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]


def _table(rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table, its header first."""
    head, *rest = rows
    return "\n".join(f"| {' | '.join(row)} |" for row in [head, ["---"] * len(head), *rest])
