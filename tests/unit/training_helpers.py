"""A tiny data set and parameters for tests of the model and its training."""

import copy
from typing import Any

import numpy as np
import yaml

from src.data.prepared import Prepared, Split
from src.params import Params, parse_params
from tests.conftest import PARAMS_YAML

COMMITTED = yaml.safe_load(PARAMS_YAML.read_text(encoding="utf-8"))
CLASSES = ["red", "green", "blue"]


def make_params(**overrides: Any) -> Params:
    """The committed parameters made small, with dotted overrides: `make_params(**{"train.epochs": 2})`."""
    content = copy.deepcopy(COMMITTED)
    small = {
        "device": "cpu",
        "precision": "fp32",
        "data.size": 16,
        "model.width": 4,
        "train.epochs": 2,
        "train.batch_size": 16,
        "train.workers": 0,
        "augment": [{"name": "HorizontalFlip", "p": 0.5}],
    }
    for key, value in (small | overrides).items():
        *parents, leaf = key.split(".")
        place = content
        for parent in parents:
            place = place[parent]
        place[leaf] = value
    return parse_params(content)


def make_prepared(train: int = 48, val: int = 12) -> Prepared:
    """Noise with the channel of the class a little brighter, (N, 16, 16, 3)."""
    splits = [_split(train, 0), _split(val, 1), _split(12, 2)]
    third = (0.3, 0.3, 0.3)
    return Prepared(*splits, classes=CLASSES, mean=third, std=third, source="shapes", digest="d" * 64, test_masks=None)


def _split(count: int, seed: int) -> Split:
    labels = np.arange(count, dtype=np.int64) % len(CLASSES)
    images = np.random.default_rng(seed).integers(0, 150, (count, 16, 16, 3))
    images[np.arange(count), :, :, labels] += 60
    return Split(images.astype(np.uint8), labels)
