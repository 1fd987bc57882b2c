"""Augmentation draws: a function of (seed, epoch, index), independent between transforms, fairly distributed."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from src.data.augment import Augmenter, check_transforms
from src.errors import UserError
from src.params import load_params
from tests.unit.data_helpers import ROOT

Transforms = list[dict[str, Any]]

PAD_CROP: Transforms = [
    {"name": "Pad", "padding": 4, "border_mode": 0, "fill": 0},
    {"name": "RandomCrop", "height": "size", "width": "size"},
]
FLIP: Transforms = [{"name": "HorizontalFlip", "p": 0.3}]


def marked(count: int) -> np.ndarray:
    """Black images with one white pixel at row 16, column 15: where it goes tells the crop and the flip."""
    images = np.zeros((count, 32, 32, 3), np.uint8)
    images[:, 16, 15] = 255
    return images


def positions(transforms: Transforms, count: int, epoch: int = 1, seed: int = 0) -> np.ndarray:
    """(N, 2): row and column of the white pixel after augmentation."""
    out = Augmenter(transforms, 32, seed)(marked(count), np.arange(count), epoch)
    found = out[..., 0].reshape(count, -1).argmax(axis=1)
    return np.stack([found // 32, found % 32], axis=1)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), epoch=st.integers(1, 10_000), start=st.integers(0, 10**9))
def test_a_function_of_seed_epoch_and_index(seed: int, epoch: int, start: int) -> None:
    transforms = [dict(entry) for entry in load_params(ROOT / "params.yaml").augment]
    images = np.random.default_rng(0).integers(0, 256, (8, 16, 16, 3), np.uint8)
    indices = np.arange(start, start + 8)
    augmenter = Augmenter(transforms, 16, seed)
    whole = augmenter(images, indices, epoch)
    augmenter(images, indices, epoch + 1)  # what came before leaves no trace, nor do order and batch
    order = np.array([5, 2, 7])
    np.testing.assert_array_equal(augmenter(images[order], indices[order], epoch), whole[order])
    np.testing.assert_array_equal(Augmenter(transforms, 16, seed)(images, indices, epoch), whole)


def test_no_two_images_epochs_or_seeds_alike() -> None:
    base = positions(PAD_CROP, 500)
    for other in (positions(PAD_CROP, 500, epoch=2), positions(PAD_CROP, 500, seed=1), np.roll(base, 1, axis=0)):
        same = (base == other).all(axis=1).mean()
        assert same == pytest.approx(1 / 81, abs=0.02)  # as often as chance has it


def test_crops_are_uniform() -> None:
    found = positions(PAD_CROP, 8100) - np.array([16, 15])
    assert (found.min(), found.max()) == (-4, 4)
    counts = np.bincount((found[:, 0] + 4) * 9 + found[:, 1] + 4, minlength=81)
    chi_square = ((counts - 100) ** 2 / 100).sum()  # 80 degrees of freedom: 99.9 % lie below 125
    assert 40 < chi_square < 125


def test_probability_is_honoured() -> None:
    flipped = positions(FLIP, 10_000)[:, 1] == 16
    assert flipped.mean() == pytest.approx(0.3, abs=0.015)
    assert positions([{"name": "HorizontalFlip", "p": 0.0}], 50)[:, 1].max() != 16
    assert positions([{"name": "HorizontalFlip", "p": 1.0}], 50)[:, 1].min() == 16


def test_transforms_are_independent_of_each_other() -> None:
    gates: Transforms = [{"name": "HorizontalFlip", "p": 0.5}, {"name": "VerticalFlip", "p": 0.5}]
    found = positions(gates, 10_000)
    across, down = found[:, 1] == 16, found[:, 0] == 15
    assert abs(np.corrcoef(across, down)[0, 1]) < 0.04
    crop_and_flip = positions([*FLIP, *PAD_CROP], 10_000)
    rows = crop_and_flip[:, 0] - 16
    columns = crop_and_flip[:, 1]
    assert abs(np.corrcoef(rows, columns)[0, 1]) < 0.04


def test_hole_and_order() -> None:
    hole = {"name": "CoarseDropout", "num_holes_range": [1, 1], "hole_height_range": [8, 8]}
    hole |= {"hole_width_range": [8, 8], "fill": 7, "p": 1.0}
    out = Augmenter([hole], 32, 0)(np.full((200, 32, 32, 3), 200, np.uint8), np.arange(200), 1)
    assert ((out == 7).all(axis=3).sum(axis=(1, 2)) == 64).all()
    assert len({image.tobytes() for image in out}) > 150


def test_input_is_left_alone_and_an_empty_list_changes_nothing() -> None:
    images = marked(3)
    images.flags.writeable = False
    np.testing.assert_array_equal(Augmenter([], 32, 0)(images, np.arange(3), 1), images)
    Augmenter([*PAD_CROP, *FLIP], 32, 0)(images, np.arange(3), 1)
    np.testing.assert_array_equal(images, marked(3))


def test_committed_transforms_are_fine() -> None:
    for size in (16, 32, 64):
        check_transforms(load_params(ROOT / "params.yaml").augment, size)
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
        ({"name": "RandomCrop", "height": 64, "width": 64}, r"\(RandomCrop\) fails on a \(32, 32, 3\) image"),
        ({"name": "MaskDropout"}, "requires .*mask"),
        ({"name": "Pad", "padding": 4}, r"into \(40, 40, 3\) uint8; end the list with a crop or resize to `size`"),
        ({"name": "Normalize"}, "float32"),
        ({"name": "Pad", "padding": 4, "p": 0.5}, r"\(40, 40, 3\)"),
    ],
)
def test_wrong_transforms_are_named(entry: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        check_transforms([entry], 32)
    assert "git restore params.yaml" in str(caught.value)
