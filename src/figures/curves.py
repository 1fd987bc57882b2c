"""Learning curves and learning rate by epoch."""

from collections.abc import Sequence
from functools import partial
from itertools import pairwise

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator, PercentFormatter

from src.figures.style import BLUE, GREEN, MUTED, PURPLE, RED, Described, new_figure, plain
from src.results import Epoch
from src.wording import counted, course, number, percent


def learning_curves(
    history: Sequence[Epoch], kept: int, test_accuracy: float, target: float = 0.0, target_label: str = ""
) -> Described:
    """Loss and accuracy of training and validation, with the epoch of the `kept` weights and the test accuracy.

    `target` is a test accuracy to compare with, labelled `target_label`. 0 draws no line.
    """
    figure = new_figure(11.2, 4.3)
    loss, accuracy = figure.subplots(1, 2)
    said = []
    for axes, name, form in ((loss, "loss", partial(number, digits=3)), (accuracy, "accuracy", percent)):
        train = [getattr(row, f"train_{name}") for row in history]
        val = [value for row in history if (value := getattr(row, f"val_{name}")) is not None]
        validation = f", validation {name} {course(val, form)}" if val else ""
        said.append(f"Training {name} {course(train, form)}{validation}.")
        _line(axes, train, BLUE, "train (augmented)")
        if val:
            _line(axes, val, RED, "validation")
        axes.axvline(kept, color=MUTED, linestyle=":", linewidth=1.2, label=f"saved weights: epoch {kept}")
    label = f"test: {percent(test_accuracy)}"
    accuracy.axhline(test_accuracy, color=GREEN, linestyle="--", linewidth=1.2, label=label)
    if target > 0:
        label = f"{plain(target_label)}: {percent(target)}"
        accuracy.axhline(target, color=PURPLE, linestyle="-.", linewidth=1.2, label=label)
    loss.set(title="Loss", ylabel="loss")
    accuracy.set(title="Accuracy", ylabel="accuracy")
    accuracy.yaxis.set_major_formatter(PercentFormatter(1, symbol=" %"))
    # One legend below the axes has room for the label of the target and covers no line.
    figure.legend(*accuracy.get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return Described(
        figure,
        f"Two line charts over {counted(len(history), 'epoch')}. {' '.join(said)} Lines mark epoch {kept}, whose "
        f"weights were kept, and the test accuracy of {percent(test_accuracy)}.",
    )


def learning_rate(history: Sequence[Epoch]) -> Described:
    """Learning rate at the last step of each epoch."""
    figure = new_figure(11.2, 2.6)
    axes = figure.subplots()
    rates = [row.lr for row in history]
    _line(axes, rates, BLUE, "learning rate")
    axes.set(title="Learning rate at the last step of each epoch", ylabel="learning rate", ylim=(0, None))
    return Described(figure, _rates_alt(rates))


def _rates_alt(rates: Sequence[float]) -> str:
    if all(one == other for one, other in pairwise(rates)):
        return f"Line chart of the learning rate: {number(rates[0], 3)} in every epoch."
    highest = max(rates)
    return (
        f"Line chart of the learning rate. It is {number(rates[0], 3)} at the end of epoch 1, highest in epoch "
        f"{rates.index(highest) + 1} with {number(highest, 3)}, and {number(rates[-1], 3)} at the end of epoch "
        f"{len(rates)}."
    )


def _line(axes: Axes, values: Sequence[float], colour: str, label: str) -> None:
    """Draw one curve over the epochs, with markers, so that a single epoch is visible."""
    marker = "o" if len(values) <= 60 else ""
    axes.plot(range(1, len(values) + 1), values, color=colour, marker=marker, label=label)
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.set_xlim(0.5, len(values) + 0.5)
