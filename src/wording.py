"""How numbers and results look in words, for everything that prints, draws or shows them in more than one place."""

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from src.addresses import redacted
from src.params import Params, Reference
from src.results import DataSet, Duplicates, Evaluation, Model, RangeTest

SOURCES = {"cifar10": "CIFAR-10", "folder": "image folder", "shapes": "generated shapes"}
# Field of `Duplicates` -> the images that are counted, and the place of their copies.
COPIES = {
    "train_test": ("test image", "among the training images"),
    "train_val": ("validation image", "among the training images"),
    "val_test": ("test image", "among the validation images"),
    "two_labels": ("image", "with a copy under another label"),
}


def percent(share: float | None, digits: int = 2) -> str:
    """Format a fraction as a percentage. An unknown one becomes a dash. 0.9214 -> 92.14 %"""
    return "–" if share is None else f"{100 * share:.{digits}f} %"


def percent_interval(low: float | None, high: float | None, digits: int = 2) -> str:
    """Format an interval of fractions. (0.9088, 0.9324) -> 90.88 % to 93.24 %"""
    return f"{percent(low, digits)} to {percent(high, digits)}"


def minus(text: str) -> str:
    """Replace hyphens by minus signs. -0.12 -> −0.12"""
    return text.replace("-", "−")


def points(difference: float) -> str:
    """Format the difference of two fractions in percentage points. -0.0115 -> −1.15 points"""
    return minus(f"{100 * difference:+z.2f} points")


def hundredths(value: float) -> str:
    """Format a number with two decimals. -0.123 -> −0.12"""
    return minus(f"{value:z.2f}")


def number(value: float, digits: int = 4) -> str:
    """Format a number with `digits` significant digits. 1e-05 -> 1e-05; 0.012345 -> 0.01235"""
    return f"{value:.{digits}g}"


def duration(seconds: float) -> str:
    """Format a duration in seconds. 75 -> 1 min 15 s"""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def counted(count: int, noun: str) -> str:
    """A number with its noun. 1, file -> 1 file; 1200, file -> 1,200 files"""
    return f"{count:,} {noun}" + ("" if count == 1 else "s")


def course(values: Sequence[float], form: Callable[[float], str]) -> str:
    """The first and the last value of a curve in the format `form`. -> from 1.5 to 0.4"""
    return form(values[0]) if len(values) == 1 else f"from {form(values[0])} to {form(values[-1])}"


def capital(text: str) -> str:
    """`text` as the beginning of a sentence."""
    return text[:1].upper() + text[1:]


def listed(values: Mapping[str, float]) -> str:
    """Names with numbers for a sentence, or `none`. {'valley': 0.0123} -> valley 0.0123"""
    return ", ".join(f"{name} {number(value, 3)}" for name, value in values.items()) or "none"


def shown(value: object) -> str:
    """Format a parameter as in params.yaml, a list on one line. An empty text becomes a dash."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return "[" + ", ".join(shown(v) for v in value) + "]"
    return "–" if value == "" else str(value)


def norm_name(norm: str) -> str:
    """The parameter `norm` as words of a sentence. layer -> layer norm; none -> no norm"""
    return "no norm" if norm == "none" else f"{norm} norm"


def run_title(norm: str, data: str) -> str:
    """The subject of a run, given `data_name`. -> ResNet-18 with layer norm on CIFAR-10"""
    return f"ResNet-18 with {norm_name(norm)} on {data}"


def data_name(params: Params, source: str) -> str:
    """The name of the data set. For your own images it includes the name of the archive or folder."""
    own = Path(re.split("[?#]", redacted(params.data.url))[0] or params.data.path).name
    return f"{SOURCES[source]} {own}" if source == "folder" else SOURCES[source]


def split_sizes(train: int, val: int, test: int) -> str:
    """-> 5,400 training, 600 validation and 2,000 test images"""
    return f"{train:,} training, {val:,} validation and {test:,} test images"


def images(data: DataSet) -> str:
    """-> 5,400 training, 600 validation and 2,000 test images of 10 classes, 32 × 32 pixels"""
    sizes = split_sizes(data.train, data.val, data.test)
    return f"{sizes} of {data.classes} classes, {data.size} × {data.size} pixels"


def copies_found(duplicates: Duplicates) -> list[str]:
    """One text per kind of copy. -> ['3 test images among the training images']. [] if there are none."""
    counts = {name: getattr(duplicates, name) for name in COPIES}
    return [f"{counted(counts[name], noun)} {where}" for name, (noun, where) in COPIES.items() if counts[name]]


def leak(duplicates: Duplicates) -> str:
    """What copies of test images among the training images mean. '' if there are none."""
    if not duplicates.train_test:
        return ""
    return "The model was trained on those test images, so the test accuracy may be too high."


def order_of(choose: str) -> str:
    """Which mistakes the parameter `gradcam.choose` selects. first -> the first in the test set"""
    return {
        "first": "the first in the test set",
        "confident": "the most confident mistakes",
        "random": "drawn at random",
    }[choose]


def network_options(params: Params) -> str:
    """The options of the network that are on, as the end of a phrase: ', standardised weights', or ''."""
    chosen = {
        ", standardised weights": params.model.weight_standardization,
        ", zero-initialised blocks": params.model.zero_init,
    }
    return "".join(words for words, is_on in chosen.items() if is_on)


def network(model: Model, params: Params) -> str:
    """-> layer norm, standardised weights, width 64, strides 1-2-2-2, 11,173,962 parameters"""
    strides = "-".join(map(str, model.strides))
    return (
        f"{norm_name(model.norm)}{network_options(params)}, width {model.width}, strides {strides}, "
        f"{model.parameters:,} parameters"
    )


def learning_rate(model: Model, params: Params, test: RangeTest) -> str:
    """-> 0.012 from the range test (valley), or 0.012 (fixed)"""
    return f"{number(model.lr)} " + (f"from the range test ({test.suggestion})" if params.lr == "auto" else "(fixed)")


def recipe_changes(changes: Mapping[str, tuple[Any, Any]]) -> dict[str, str]:
    """The change of each value, given (recipe's value, ours) by key. '' for a list. -> {'norm': 'batch → layer'}"""
    return {
        key: "" if isinstance(ours, list) else f"{shown(theirs)} → {shown(ours)}"
        for key, (theirs, ours) in changes.items()
    }


def accuracy_interval(test: Evaluation) -> str:
    """-> 95 % interval 90.88 % to 93.24 %"""
    return f"95 % interval {percent_interval(test.accuracy_low, test.accuracy_high)}"


def class_means(test: Evaluation) -> str:
    """-> balanced accuracy 87.12 %, macro F1 86.34 %"""
    return f"balanced accuracy {percent(test.balanced_accuracy)}, macro F1 {percent(test.macro_f1)}"


def wrong(test: Evaluation) -> str:
    """-> 157 of 2,000 test images"""
    return f"{test.wrong:,} of {test.images:,} test images"


def reference_label(reference: Reference) -> str:
    """The label of the result to compare with, or '' if there is none."""
    if reference.name:
        return f"recorded by {reference.name}"
    return "target" if reference.accuracy > 0 else ""


def reference_accuracy(reference: Reference) -> str:
    """-> 95.00 %, or no accuracy"""
    return percent(reference.accuracy) if reference.accuracy > 0 else "no accuracy"
