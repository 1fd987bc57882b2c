"""Alternative text of each figure in the report: what it shows, in words and numbers."""

from collections.abc import Sequence
from itertools import pairwise

from src.pages.content import Row, Run
from src.wording import hundredths, listed, number, percent

NAMED = 5  # mistakes in the text of a figure; the page lists all
LONGEST = 40  # characters of a class name


def texts(run: Run) -> dict[str, str]:
    """The alternative text of each figure by its name. All texts differ."""
    lr_range = (
        f"Line chart of the training loss against the learning rate, {number(run.params['lr_range.start'], 3)} to "
        f"{number(run.lr_range['last_lr'], 3)} in {run.lr_range['iterations']} batches. "
        f"Suggestions: {listed(run.lr_range['suggestions'])}. A line marks the rate in use: {number(run.model['lr'])}."
    )
    return {
        "report/curves": _curves(run),
        "report/learning_rate": _learning_rate(run.history),
        "lr_range/lr_range": lr_range,
        "evaluate/confusion_matrix": _confusion(run),
        "evaluate/reliability": (
            f"Bar chart of the accuracy and the number of images in {run.params['evaluate.bins']} bins of confidence. "
            f"The expected calibration error, the mean absolute difference between accuracy and confidence over bins, "
            f"is {percent(run.test['ece'])}."
        ),
        "prepare/class_counts": (
            f"Stacked bars of the number of images in {run.data['classes']:,} classes. In total there are "
            f"{run.data['train']:,} training, {run.data['val']:,} validation and {run.data['test']:,} test images"
            f"{_test_range(run.per_class)}."
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
        f"Lines mark epoch {run.model['epoch']}, whose weights were kept, and the test accuracy of "
        f"{percent(run.test['accuracy'])}."
    )


def _course(values: Sequence[str]) -> str:
    """The first and the last value of a curve in words. '' if there are no values."""
    if len(values) < 2:
        return "".join(values)
    return f"from {values[0]} to {values[-1]}"


def _learning_rate(history: Sequence[Row]) -> str:
    rates = [float(row["lr"]) for row in history]
    if all(one == other for one, other in pairwise(rates)):
        return f"Line chart of the learning rate: {number(rates[0], 3)} in every epoch."
    highest = max(rates)
    return (
        f"Line chart of the learning rate. It is {number(rates[0], 3)} at the end of epoch 1, highest in epoch "
        f"{rates.index(highest) + 1} with {number(highest, 3)}, and {number(rates[-1], 3)} at the end of epoch "
        f"{len(rates)}."
    )


def _confusion(run: Run) -> str:
    right = run.test["images"] - run.test["wrong"]
    text = (
        f"Confusion matrix of {run.data['classes']:,} classes. {right:,} of {run.test['images']:,} test images are on "
        "the diagonal"
    )
    recalls = sorted((float(row["recall"]), row["class"]) for row in run.per_class if row["recall"] != "")
    if not recalls or recalls[0][0] == recalls[-1][0]:
        return f"{text}."
    (low, worst), (high, best) = recalls[0], recalls[-1]
    return (
        f"{text}. The recall is highest for {_name(best)} ({percent(high)}) and lowest for {_name(worst)} "
        f"({percent(low)})."
    )


def _test_range(per_class: Sequence[Row]) -> str:
    """The number of test images per class, as the end of a sentence."""
    counts = [int(row["images"]) for row in per_class]
    low, high = min(counts), max(counts)
    return f", {low:,} per class" if low == high else f", {low:,} to {high:,} per class"


def _augmented(run: Run) -> str:
    steps = [step["name"] for step in run.params["augment"]]
    how = f"after {', '.join(steps)} in several epochs" if steps else "unchanged, because there is no augmentation"
    size = run.data["size"]
    return f"Training images of {size} x {size} pixels, one column per image. First row: original. Other rows: {how}."


def _sheets(run: Run) -> dict[str, str]:
    """Texts of the figures of mistakes, which show the same images in the same order."""
    mistakes = run.misclassified
    if not mistakes:
        return {}
    images = f"misclassified test images, in the order of the list of {len(mistakes):,}"  # a figure may show fewer
    named = "; ".join(
        f"{_name(row['true'])} as {_name(row['predicted'])} ({percent(row['confidence'], 0)})"
        for row in mistakes[:NAMED]
    )
    more = "" if len(mistakes) <= NAMED else ", and so on"
    method, layer = run.gradcam["method"], run.gradcam["layer"]
    heat = f"{method} maps at {{}} of {images}, brightest where there is most evidence for the {{}} class."
    of_layers = {f"gradcam/{name}": heat.format(of, "predicted") for of, name in run.gradcam["grids"].items()}
    return {
        "gradcam/misclassified": f"Grid of {images}. True and predicted class, with confidence: {named}{more}.",
        **of_layers,
        "gradcam/true": heat.format(layer, "true"),
        "gradcam/layers": (
            f"Matrix of misclassified test images, one row per image: the image, then the {method} maps of the "
            f"predicted class at {', '.join(run.gradcam['grids'])}."
        ),
    }


def _measures(run: Run) -> dict[str, str]:
    """Texts of the figures of the measures. Empty if there are no measures."""
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
            f"Point charts of each measure with intervals, by layer ({layers}) and method ({methods}), with random "
            f"maps and a blob in the centre as baselines. ROAD of {method} at {layer} is {hundredths(ours['mean'])}. "
            f"ROAD of random maps is {hundredths(chance['mean'])}."
        ),
        "gradcam/removal": (
            f"Four line charts of the probability of the predicted class by the share of pixels removed or inserted, "
            f"for maps at {layer}. With {last} of the pixels removed in the order of {method}, the probability is "
            f"{percent(falls[-1], 0)} without the most relevant ones and {percent(stays[-1], 0)} without the least "
            f"relevant ones."
        ),
    }
    if alike is None:
        return found
    # the same choice as in src/figures/measures.py
    tested = next(name for name in (method, *alike["methods"]) if alike["methods"][name][layer] is not None)
    correlations = alike["methods"][tested][layer]["curves"]["rank_correlation"]
    return found | {
        "gradcam/randomisation": (
            f"Two line charts of the rank correlation with the original maps. {', '.join(alike['x'])} become random "
            f"one after the other. The left chart has all methods at {layer}, the right one all layers by {tested}. "
            f"The correlation of {tested} at {layer} goes "
            f"{_course([hundredths(value) for value in (1, *correlations)])}."
        ),
    }


def _name(name: str) -> str:
    return name if len(name) <= LONGEST else f"{name[: LONGEST - 1]}…"
