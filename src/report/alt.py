"""What is seen on each figure, in words and numbers, for a reader who does not see it."""

from collections.abc import Sequence
from itertools import pairwise

from src.report.formats import listed, number, percent
from src.report.run import Row, Run

NAMED = 5  # mistakes that the text of a sheet names; the page lists them all
LONGEST = 40  # letters of a class name in a text


def texts(run: Run) -> dict[str, str]:
    """The alternative text of each figure by the name of the figure; no two are alike."""
    lr_range = (
        f"Line chart of the training loss against the learning rate, {number(run.params['lr_range.start'], 3)} to "
        f"{number(run.lr_range['last_lr'], 3)} in {run.lr_range['iterations']} batches. "
        f"Suggestions: {listed(run.lr_range['suggestions'])}. A line marks the rate in use, {number(run.model['lr'])}."
    )
    return {
        "report/curves": _curves(run),
        "report/learning_rate": _learning_rate(run.history),
        "lr_range/lr_range": lr_range,
        "evaluate/confusion_matrix": _confusion(run),
        "evaluate/reliability": (
            f"Bar chart of accuracy in {run.params['evaluate.bins']} bins of confidence, and of the images in each. "
            f"Accuracy and confidence differ by {percent(run.test['ece'])} on average over the images: the expected "
            f"calibration error."
        ),
        "prepare/class_counts": (
            f"Stacked bars of the images of {run.data['classes']:,} classes: {run.data['train']:,} training, "
            f"{run.data['val']:,} validation and {run.data['test']:,} test images in all{_test_range(run.per_class)}."
        ),
        "prepare/augmented": _augmented(run),
        **_sheets(run),
        **_measures(run),
    }


def _curves(run: Run) -> str:
    parts = []
    for name, shown in (("loss", lambda cell: number(cell, 3)), ("accuracy", percent)):
        of_train = _course([shown(row[f"train_{name}"]) for row in run.history])
        of_val = _course([shown(row[f"val_{name}"]) for row in run.history if row[f"val_{name}"] != ""])
        parts.append(f"Training {name} {of_train}" + (f", validation {name} {of_val}." if of_val else "."))
    epochs = f"{len(run.history)} epoch" + ("s" if len(run.history) > 1 else "")
    return (
        f"Two line charts over {epochs}. {' '.join(parts)} "
        f"Lines mark epoch {run.model['epoch']}, whose weights were kept, and the test accuracy, "
        f"{percent(run.test['accuracy'])}."
    )


def _course(values: Sequence[str]) -> str:
    """How a curve goes, from its first to its last value; '' for none."""
    if len(values) < 2:
        return "".join(values)
    return f"from {values[0]} to {values[-1]}"


def _learning_rate(history: Sequence[Row]) -> str:
    rates = [float(row["lr"]) for row in history]
    if all(one == other for one, other in pairwise(rates)):
        return f"Line chart of the learning rate: {number(rates[0], 3)} in every epoch."
    highest = max(rates)
    return (
        f"Line chart of the learning rate: {number(rates[0], 3)} at the end of epoch 1, highest in epoch "
        f"{rates.index(highest) + 1} with {number(highest, 3)}, {number(rates[-1], 3)} at the end of epoch "
        f"{len(rates)}."
    )


def _confusion(run: Run) -> str:
    right = run.test["images"] - run.test["wrong"]
    text = (
        f"Matrix of true against predicted classes, {run.data['classes']:,} of each: {right:,} of "
        f"{run.test['images']:,} test images lie on the diagonal"
    )
    recalls = sorted((float(row["recall"]), row["class"]) for row in run.per_class if row["recall"] != "")
    if not recalls or recalls[0][0] == recalls[-1][0]:
        return f"{text}."
    (low, worst), (high, best) = recalls[0], recalls[-1]
    return f"{text}, most often those of {_name(best)} ({percent(high)}), least often {_name(worst)} ({percent(low)})."


def _test_range(per_class: Sequence[Row]) -> str:
    """How many test images the classes have, to end a sentence."""
    counts = [int(row["images"]) for row in per_class]
    low, high = min(counts), max(counts)
    return f", {low:,} of each class" if low == high else f", {low:,} to {high:,} of a class"


def _augmented(run: Run) -> str:
    steps = [step["name"] for step in run.params["augment"]]
    how = f"after {', '.join(steps)} as drawn in several epochs" if steps else "unchanged, as no augmentation is set"
    size = run.data["size"]
    return f"Training images in columns by class, {size} pixels a side: in the first row as they are, below {how}."


def _sheets(run: Run) -> dict[str, str]:
    """Of the figures of mistakes, which show the same images in the same order."""
    mistakes = run.misclassified
    if not mistakes:
        return {}
    images = f"misclassified test images, in the order of the list of {len(mistakes):,}"  # a sheet may show fewer
    named = "; ".join(
        f"{_name(row['predicted'])} for {_name(row['true'])} ({percent(row['confidence'], 0)})"
        for row in mistakes[:NAMED]
    )
    more = "" if len(mistakes) <= NAMED else ", and so on"
    method, layer = run.gradcam["method"], run.gradcam["layer"]
    heat = f"Heat maps by {method} at {{}} over {images}: red where there is most evidence for the {{}} class."
    of_layers = {f"gradcam/{name}": heat.format(of, "predicted") for of, name in run.gradcam["grids"].items()}
    return {
        "gradcam/misclassified": f"Sheet of {images}. Taken, with which confidence: {named}{more}.",
        **of_layers,
        "gradcam/true": heat.format(layer, "true"),
        "gradcam/layers": (
            f"Matrix of mistakes, a row an image: the image, then heat maps by {method} for the predicted class at "
            f"{', '.join(run.gradcam['grids'])}."
        ),
    }


def _measures(run: Run) -> dict[str, str]:
    """Of the figures about what the maps are worth; none where it was not measured."""
    road, alike = run.gradcam["road"], run.gradcam["randomisation"]
    if road is None:
        return {}
    method, layer = run.gradcam["method"], run.gradcam["layer"]
    ours, chance = road["methods"][method][layer], road["baselines"]["random"][layer]
    falls, stays = ours["curves"]["most_relevant_first"], ours["curves"]["least_relevant_first"]
    methods, layers = ", ".join(road["methods"]), ", ".join(road["methods"][method])
    last = percent(road["x"][-1], 0)
    found = {
        "gradcam/by_layer": (
            f"Point charts with intervals of each measure, by layer ({layers}) and method ({methods}), beside random "
            f"maps and a blob in the centre. ROAD of {method} at {layer} is {number(ours['mean'], 2)}, of random maps "
            f"{number(chance['mean'], 2)}."
        ),
        "gradcam/removal": (
            f"Four line charts of the probability of the predicted class by the share of pixels removed or inserted, "
            f"for maps at {layer}. With {last} removed by {method}, it is {percent(falls[-1], 0)} without the most "
            f"relevant pixels and {percent(stays[-1], 0)} without the least relevant ones."
        ),
    }
    if alike is None:
        return found
    # as src/figures/measures.py chooses
    tested = next(name for name in (method, *alike["methods"]) if alike["methods"][name][layer] is not None)
    correlations = alike["methods"][tested][layer]["curves"]["rank_correlation"]
    return found | {
        "gradcam/randomisation": (
            f"Two line charts of the rank correlation with the original maps while {', '.join(alike['x'])} become "
            f"random one after the other, for the methods at {layer} and for {tested} at each layer. {tested} at "
            f"{layer} goes {_course([number(value, 2) for value in (1, *correlations)])}."
        ),
    }


def _name(name: str) -> str:
    return name if len(name) <= LONGEST else f"{name[: LONGEST - 1]}…"
