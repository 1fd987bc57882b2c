"""Augmentation draws, by the batch and image by image: functions of (seed, epoch, index), fair and independent."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from src.data.augment import ImageAugmenter
from src.data.augmenters import Augmenter, BatchAugmenter, make_augmenter
from src.errors import UserError
from src.params import fill_size, load_params
from tests.conftest import PARAMS_YAML

Transforms = list[dict[str, Any]]

PAD_CROP: Transforms = [
    {"name": "Pad", "padding": 4, "border_mode": 0, "fill": 0},
    {"name": "RandomCrop", "height": 32, "width": 32},
]
FLIP: Transforms = [{"name": "HorizontalFlip", "p": 0.3}]
HOLE: Transforms = [
    {"name": "CoarseDropout", "num_holes_range": [1, 1], "hole_height_range": [8, 8], "hole_width_range": [8, 8]}
    | {"fill": 7, "p": 1.0}
]
WAYS = pytest.mark.parametrize("way", [BatchAugmenter, ImageAugmenter])


def marked(count: int) -> torch.Tensor:
    """Black images with one white pixel at row 16, column 15: where it goes tells the crop and the flip."""
    images = torch.zeros((count, 32, 32, 3), dtype=torch.uint8)
    images[:, 16, 15] = 255
    return images


def positions(way: type[Augmenter], transforms: Transforms, count: int, epoch: int = 1, seed: int = 0) -> np.ndarray:
    """(N, 2): row and column of the white pixel after augmentation."""
    out = way(transforms, 32, seed)(marked(count), torch.arange(count), epoch)  # type: ignore[call-arg]
    found = out[..., 0].flatten(1).int().argmax(dim=1).numpy()
    return np.stack([found // 32, found % 32], axis=1)


@WAYS
@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), epoch=st.integers(1, 10_000))
def test_a_function_of_seed_epoch_and_index(way: type[BatchAugmenter], seed: int, epoch: int) -> None:
    transforms = fill_size(load_params(PARAMS_YAML).augment, 32)
    images = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (12, 32, 32, 3), np.uint8))
    augmenter = way(transforms, 32, seed)
    whole = augmenter(images, torch.arange(12), epoch)
    augmenter(images, torch.arange(8), epoch + 1)  # what came before leaves no trace, nor do order and batch
    order = torch.tensor([5, 2, 7])
    assert torch.equal(augmenter(images, order, epoch), whole[order])
    assert torch.equal(way(transforms, 32, seed)(images[:8], order, epoch), whole[order])  # nor does the split's size


@WAYS
def test_no_two_images_epochs_or_seeds_alike(way: type[Augmenter]) -> None:
    base = positions(way, PAD_CROP, 500)
    others = [positions(way, PAD_CROP, 500, epoch=2), positions(way, PAD_CROP, 500, seed=1), np.roll(base, 1, axis=0)]
    for other in others:
        same = (base == other).all(axis=1).mean()
        assert same == pytest.approx(1 / 81, abs=0.02)  # as often as chance has it


@WAYS
def test_crops_are_uniform(way: type[Augmenter]) -> None:
    found = positions(way, PAD_CROP, 8100) - np.array([16, 15])
    assert (found.min(), found.max()) == (-4, 4)
    counts = np.bincount((found[:, 0] + 4) * 9 + found[:, 1] + 4, minlength=81)
    assert 40 < chi_square(counts) < 125  # 80 degrees of freedom: 99.9 % lie below 125


@WAYS
def test_holes_are_uniform(way: type[Augmenter]) -> None:
    """25 x 25 places, in 5 x 5 fields of 5 x 5: 24 degrees of freedom, 99.9 % lie below 51.2."""
    images = torch.full((10_000, 32, 32, 3), 200, dtype=torch.uint8)
    out = way(HOLE, 32, 0)(images, torch.arange(10_000), 1)  # type: ignore[call-arg]
    hole = (out == 7).all(dim=3)
    assert (hole.sum(dim=(1, 2)) == 64).all()
    assert (out[~hole] == 200).all()
    top, left = hole.any(dim=2).int().argmax(dim=1), hole.any(dim=1).int().argmax(dim=1)
    assert (int(top.max()), int(left.max())) == (24, 24)
    assert 6 < chi_square(np.bincount((top // 5 * 5 + left // 5).numpy(), minlength=25)) < 51.2


def chi_square(counts: np.ndarray) -> float:
    expected = counts.sum() / len(counts)
    return float(((counts - expected) ** 2 / expected).sum())


@WAYS
def test_probability_is_honoured(way: type[Augmenter]) -> None:
    flipped = positions(way, FLIP, 10_000)[:, 1] == 16
    assert flipped.mean() == pytest.approx(0.3, abs=0.015)
    assert positions(way, [{"name": "HorizontalFlip", "p": 0.0}], 50)[:, 1].max() != 16
    assert positions(way, [{"name": "HorizontalFlip", "p": 1.0}], 50)[:, 1].min() == 16


@WAYS
def test_an_alternating_flip_mirrors_each_image_in_every_second_epoch(way: type[Augmenter]) -> None:
    flips = [{"name": "AlternatingFlip"}]
    first, second, third = (positions(way, flips, 2000, epoch)[:, 1] == 16 for epoch in (1, 2, 3))
    assert (first != second).all()
    assert (first == third).all()
    assert first.mean() == pytest.approx(0.5, abs=0.04)
    assert (first == (positions(way, flips, 2000, seed=1)[:, 1] == 16)).mean() == pytest.approx(0.5, abs=0.04)
    found = positions(way, [*PAD_CROP, *flips], 10_000)  # drawn apart from the crop
    assert abs(np.corrcoef(found[:, 0], np.abs(found[:, 1] - 15.5) * 2)[0, 1]) < 0.04


@WAYS
def test_transforms_are_independent_of_each_other(way: type[Augmenter]) -> None:
    found = positions(way, [*FLIP, *PAD_CROP], 10_000)
    assert abs(np.corrcoef(found[:, 0], found[:, 1])[0, 1]) < 0.04
    found = positions(way, [*PAD_CROP, *FLIP], 10_000)
    assert abs(np.corrcoef(found[:, 0], np.abs(found[:, 1] - 15.5) * 2)[0, 1]) < 0.04


@WAYS
def test_input_is_left_alone_and_an_empty_list_changes_nothing(way: type[BatchAugmenter]) -> None:
    images = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), np.uint8))
    before = images.clone()
    out = way([], 32, 0)(images, torch.tensor([2, 0]), 1)
    assert torch.equal(out, before[[2, 0]])
    out.zero_()
    way([*PAD_CROP, *FLIP, *HOLE], 32, 0)(images, torch.arange(3), 1)
    assert torch.equal(images, before)


def test_shares_of_the_size_draw_as_pixels_do() -> None:
    """By the batch, and with a rotation image by image."""
    images = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (12, 32, 32, 3), np.uint8))
    hole = {**HOLE[0], "hole_height_range": ["size/4"] * 2, "hole_width_range": ["size/4"] * 2}
    shares = [{**PAD_CROP[0], "padding": "size/8"}, {"name": "RandomCrop", "height": "size", "width": "size"}, hole]
    for more in ([], [{"name": "Rotate", "limit": 5}]):
        pixels, of_size = (
            make_augmenter([*more, *transforms], 32, 0)(images, torch.arange(12), 1)
            for transforms in ([*PAD_CROP, *HOLE], shares)
        )
        assert torch.equal(pixels, of_size)
    committed = load_params(PARAMS_YAML).augment
    assert fill_size(committed[0], 32)["padding"] == 4
    assert fill_size(committed[3], 32)["hole_width_range"] == [8, 8]


def test_the_way_is_chosen_by_the_transforms() -> None:
    committed = load_params(PARAMS_YAML).augment
    assert all(isinstance(make_augmenter(committed, size, 0), BatchAugmenter) for size in (16, 32, 40, 224))
    assert isinstance(make_augmenter([], 32, 0), BatchAugmenter)
    others: list[Transforms] = [
        [*PAD_CROP, {"name": "Rotate", "limit": 5}],
        [*HOLE, *FLIP],  # a hole that moves
        [{"name": "RandomCrop", "height": 32, "width": 32, "pad_if_needed": True}],
        [{"name": "Pad", "padding": 0, "p": 0.5}],
        [{**HOLE[0], "num_holes_range": [1, 2]}],
        [{**HOLE[0], "hole_height_range": [0.1, 0.1]}],
        [{**HOLE[0], "fill": "random"}],
        [{**HOLE[0], "fill": 0.5}],
        [{**HOLE[0], "fill": [1, 2]}],
        [{"name": "RandomCrop", "height": 32.0, "width": 32}],
        [{"name": "Pad", "padding": True}, *PAD_CROP[1:]],
        [{"name": "CoarseDropout"}],
    ]
    for transforms in others:
        assert isinstance(make_augmenter(transforms, 32, 0), ImageAugmenter), transforms
    with pytest.raises(UserError, match="RandomCrp"):
        make_augmenter([{"name": "RandomCrp"}], 32, 0)
