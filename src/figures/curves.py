"""Learning curves and learning rate by epoch."""

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from src.figures.style import BLUE, GREEN, MUTED, PURPLE, RED, new_figure, plain
from src.wording import percent


@dataclass(frozen=True)
class Curves:
    """One value per epoch, starting with epoch 1. `val_*` are empty without a validation split."""

    train_loss: Sequence[float]
    train_accuracy: Sequence[float]
    val_loss: Sequence[float]
    val_accuracy: Sequence[float]
    lr: Sequence[float]


def learning_curves(
    curves: Curves, kept: int, test_accuracy: float, target: float = 0.0, target_label: str = ""
) -> Figure:
    """Loss and accuracy of training and validation, with the epoch of the `kept` weights and the test accuracy.

    `target` is a test accuracy to compare with, labelled `target_label`. 0 draws no line.
    """
    figure = new_figure(11.2, 4.3)
    loss, accuracy = figure.subplots(1, 2)
    for axes, train, val in (
        (loss, curves.train_loss, curves.val_loss),
        (accuracy, curves.train_accuracy, curves.val_accuracy),
    ):
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
    return figure


def learning_rate(curves: Curves) -> Figure:
    """Learning rate at the last step of each epoch."""
    figure = new_figure(11.2, 2.6)
    axes = figure.subplots()
    _line(axes, curves.lr, BLUE, "learning rate")
    axes.set(title="Learning rate at the last step of each epoch", ylabel="learning rate", ylim=(0, None))
    return figure


def _line(axes: Axes, values: Sequence[float], colour: str, label: str) -> None:
    """Draw one curve over the epochs, with markers, so that a single epoch is visible."""
    marker = "o" if len(values) <= 60 else ""
    axes.plot(range(1, len(values) + 1), values, color=colour, marker=marker, label=label)
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.set_xlim(0.5, len(values) + 0.5)
