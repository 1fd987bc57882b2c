"""The generated images: deterministic, true masks, and nothing but the outline tells the class."""

from pathlib import Path

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from src.data.prepare import prepare
from src.data.prepared import Split
from src.data.shapes import SHAPES, render
from src.data.sources import FETCHERS
from tests.unit.data_helpers import parameters

SPEC = {"seed": 3, "train": 40, "test": 20}


@pytest.fixture(scope="module")
def drawn() -> tuple[Split, np.ndarray]:
    return render(2000, 32, [0, 0])


def test_balanced_and_deterministic(drawn: tuple[Split, np.ndarray]) -> None:
    split, masks = drawn
    assert (split.images.shape, split.images.dtype) == ((2000, 32, 32, 3), np.uint8)
    assert np.bincount(split.labels).tolist() == [200] * 10
    again, masks_again = render(2000, 32, [0, 0])
    np.testing.assert_array_equal(again.images, split.images)
    np.testing.assert_array_equal(masks_again, masks)
    other, _ = render(2000, 32, [0, 1])
    assert len(np.unique(np.concatenate([split.images, other.images]).reshape(4000, -1), axis=0)) == 4000


def test_shapes_lie_inside_and_fill_what_is_said(drawn: tuple[Split, np.ndarray]) -> None:
    _, masks = drawn
    rows, columns = masks.any(axis=2), masks.any(axis=1)
    for line in (rows, columns):
        extent = 32 - line.argmax(axis=1) - line[:, ::-1].argmax(axis=1)  # pixels from the first to the last
        assert extent.max() <= 0.75 * 32 + 1
        assert extent.min() >= 5
    assert not (masks[:, 0].all(axis=1) | masks[:, :, 0].all(axis=1)).any()


def test_shape_stands_out_from_what_surrounds_it(drawn: tuple[Split, np.ndarray]) -> None:
    split, masks = drawn
    images = split.images.astype(np.float64)
    inside = (images * masks[..., None]).sum(axis=(1, 2)) / masks.sum(axis=(1, 2))[:, None]
    outside = (images * ~masks[..., None]).sum(axis=(1, 2)) / (~masks).sum(axis=(1, 2))[:, None]
    distance = np.linalg.norm(inside - outside, axis=1) / 255
    assert np.quantile(distance, 0.01) > 0.25


def test_areas_by_hand() -> None:
    fine = (np.arange(2000, dtype=np.float32) + 0.5) / 1000 - 1
    x, y = fine[None, :], fine[:, None]
    areas = {name: float(inside(x, y).mean()) * 4 for name, inside in SHAPES.items()}
    assert areas["circle"] == pytest.approx(np.pi * 0.85**2, rel=1e-3)
    assert areas["ring"] == pytest.approx(np.pi * (0.95**2 - 0.55**2), rel=1e-3)
    assert areas["square"] == pytest.approx(1.44**2, rel=3e-3)
    assert areas["triangle"] == pytest.approx(3 * np.sqrt(3) / 4, rel=1e-3)  # equilateral, radius 1
    assert areas["hexagon"] == pytest.approx(2 * np.sqrt(3) * 0.8**2, rel=1e-3)  # apothem 0.8
    assert areas["star"] == pytest.approx(5 * 0.42 * np.sin(np.pi / 5), rel=1e-3)  # ten triangles of sides 1 and 0.42
    assert areas["cross"] == pytest.approx(8 * 0.27 * 0.92 - 4 * 0.27**2, rel=3e-3)
    assert areas["arrow"] == pytest.approx(0.72 * 0.97**2 + 0.92 * 0.48, rel=3e-3)


def colour_features(images: np.ndarray) -> np.ndarray:
    """Mean and histogram of every channel, (N, 3 + 24)."""
    flat = images.reshape(len(images), -1, 3)
    bins = np.stack([(flat // 32 == value).mean(axis=1) for value in range(8)], axis=1)
    return np.concatenate([flat.mean(axis=1) / 255, bins.reshape(len(images), -1)], axis=1)


def test_neither_colour_nor_background_gives_the_class_away(drawn: tuple[Split, np.ndarray]) -> None:
    """Chance is 10 %; the area of a shape, which the histogram sees, is worth a little more."""
    split, _ = drawn
    border = np.concatenate([split.images[:, 0], split.images[:, -1], split.images[:, :, 0], split.images[:, :, -1]], 1)
    for features, allowed in ((colour_features(split.images), 0.25), (colour_features(border), 0.16)):
        scaled = StandardScaler().fit_transform(features)
        model = LogisticRegression(max_iter=300, C=0.1).fit(scaled[:1500], split.labels[:1500])
        assert model.score(scaled[1500:], split.labels[1500:]) < allowed


def test_through_download_and_prepare(tmp_path: Path) -> None:
    data = parameters(source="shapes", shapes=SPEC)
    FETCHERS["shapes"](data, tmp_path)
    ready, _, duplicates = prepare(tmp_path, data)
    assert [len(split) for split in (ready.train, ready.val, ready.test)] == [30, 10, 20]
    assert duplicates.images == 0
    assert ready.classes == sorted(SHAPES)
    assert ready.test_masks is not None
    assert ready.test_masks.shape == (20, 16, 16)
    assert prepare(tmp_path, data)[0].digest == ready.digest
