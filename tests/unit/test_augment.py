"""Albumentations image by image: each wrong transform is named; the draws of both ways are in test_augmenters.py."""

from typing import Any

import pytest

from src import git
from src.artifacts import PARAMS
from src.data.augment import check_transforms
from src.errors import UserError
from src.params import load_params
from tests.conftest import PARAMS_YAML


def test_committed_transforms_are_fine() -> None:
    for size in (16, 32, 40, 64):
        check_transforms(load_params(PARAMS_YAML).augment, size)
    check_transforms([{"name": "RandomResizedCrop", "size": ["size", "size"]}], 24)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"p": 0.5}, r"augment\[0\] has no `name`"),
        ({"name": "RandomCrp"}, r"augment\[0\] \(RandomCrp\) is not .*RandomCrop"),
        ({"name": "Compose"}, "is not an Albumentations transform"),
        ({"name": "DualTransform"}, "is not an Albumentations transform"),
        ({"name": "RandomCrop", "heigth": 32, "width": 32}, "no argument heigth.*height"),
        ({"name": "CoarseDropout", "max_holes": 1}, "no argument max_holes.*num_holes_range"),
        ({"name": "RandomCrop", "width": 32}, "height: Field required"),
        ({"name": "HorizontalFlip", "p": 2}, "p: Input should be less than or equal to 1"),
        ({"name": "CoarseDropout", "num_holes_range": [3, 1]}, "num_holes_range: "),
        ({"name": "ShiftScaleRotate"}, "Please use Affine"),
        ({"name": "RandomCrop", "height": 64, "width": 64}, r"\(RandomCrop\) fails .* \(32, 32, 3\)"),
        ({"name": "MaskDropout"}, "requires .*mask"),
        ({"name": "Pad", "padding": 4}, r"into \(40, 40, 3\) uint8\. .* crop or resize to `size`"),
        ({"name": "Normalize"}, "float32"),
        ({"name": "Pad", "padding": 4, "p": 0.5}, r"\(40, 40, 3\)"),
    ],
)
def test_wrong_transforms_are_named(entry: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        check_transforms([entry], 32)
    assert git.undo(PARAMS) in str(caught.value)
