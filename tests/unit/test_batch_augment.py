"""Whole batches: given the same draws, every pixel is that of Albumentations."""

import inspect
from typing import Any

import albumentations
import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from src.data.batch_augment import STEPS, augment_batch, steps_of

SIZE = 12
IMAGES = np.random.default_rng(0).integers(0, 256, (4, SIZE, SIZE, 3), np.uint8)

colors = st.one_of(st.integers(0, 255), st.lists(st.integers(0, 255), min_size=3, max_size=3))
draws = st.floats(0, 1, exclude_max=True)


class Dictated:
    """In place of both of Albumentations' generators: it draws the given uniform numbers, in turn."""

    def __init__(self, uniform: list[float]) -> None:
        self.uniform = iter(uniform)

    def random(self) -> float:
        return next(self.uniform)

    def randint(self, low: int, high: int) -> int:
        assert low == high == 1  # number of holes
        return low

    def integers(self, low: int, high: Any, size: int = 1) -> Any:
        if low > 0 or high == 2**32 - 1:  # the side of a hole, from a range of one; the seed of random fills
            return np.full(size, low)
        return np.full(size, int(next(self.uniform) * int(high[0])))


DRAWS = {"Pad": 0, "PadIfNeeded": 0, "RandomCrop": 2, "HorizontalFlip": 1, "CoarseDropout": 3}


def one_by_one(transforms: list[dict[str, Any]], image: npt.NDArray[np.uint8], u: list[float]) -> npt.NDArray[np.uint8]:
    """`image` after the library's own transforms, with the draws `u`."""
    for entry in transforms:
        name, p = entry["name"], entry.get("p")
        own, u = u[: DRAWS[name]], u[DRAWS[name] :]
        transform = getattr(albumentations, name)(**{key: value for key, value in entry.items() if key != "name"})
        generator = Dictated(own[1:] if p in (0.0, 1.0) else own)  # no draw for what is certain
        transform.set_random_state(generator, generator)
        image = transform(image=image)["image"]
    return image


pads = st.fixed_dictionaries(
    {
        "name": st.just("Pad"),
        "padding": st.one_of(st.integers(0, 15), st.lists(st.integers(0, 5), min_size=4, max_size=4)),
    }
    | {"border_mode": st.integers(0, 4), "fill": colors}
)
pads_if_needed = st.fixed_dictionaries(
    {"name": st.just("PadIfNeeded"), "min_height": st.integers(1, 20), "min_width": st.integers(1, 20)}
    | {"border_mode": st.integers(0, 4), "fill": colors}
)
flips = st.fixed_dictionaries({"name": st.just("HorizontalFlip"), "p": st.sampled_from([0.0, 0.2, 0.5, 1.0])})
crop = st.just({"name": "RandomCrop", "height": SIZE, "width": SIZE})


@st.composite
def holes(draw: st.DrawFn) -> dict[str, Any]:
    height, width = draw(st.integers(1, SIZE)), draw(st.integers(1, SIZE))
    return {
        "name": "CoarseDropout",
        "num_holes_range": [1, 1],
        "hole_height_range": [height, height],
        "hole_width_range": [width, width],
        "fill": draw(colors),
        "p": draw(st.sampled_from([0.3, 1.0])),
    }


@settings(max_examples=150, deadline=None)
@given(
    moves=st.lists(st.one_of(pads, pads_if_needed, flips), max_size=3).filter(
        lambda entries: sum(entry.get("border_mode") == 0 for entry in entries) <= 1
    ),
    last=st.lists(holes(), max_size=2),
    data=st.data(),
)
def test_every_pixel_is_that_of_albumentations(
    moves: list[dict[str, Any]], last: list[dict[str, Any]], data: st.DataObject
) -> None:
    transforms = [*moves, data.draw(crop), *last]
    steps = steps_of(transforms, SIZE)
    width = sum(step.draws for step in steps)
    u = data.draw(st.lists(st.lists(draws, min_size=width, max_size=width), min_size=len(IMAGES), max_size=len(IMAGES)))
    batch = augment_batch(steps, torch.from_numpy(IMAGES), torch.tensor(u, dtype=torch.float64))
    for image, numbers, result in zip(IMAGES, u, batch, strict=True):
        np.testing.assert_array_equal(result.numpy(), one_by_one(transforms, image, numbers), err_msg=str(transforms))


def test_by_hand() -> None:
    """A 2 x 2 image with a border of one pixel; the draws choose the window at row 0, column 1, and a flip."""
    image = torch.tensor([[[10], [20]], [[30], [40]]], dtype=torch.uint8).expand(2, 2, 3)[None]
    transforms = [
        {"name": "Pad", "padding": 1, "fill": 7},
        {"name": "RandomCrop", "height": 2, "width": 2},
        {"name": "HorizontalFlip", "p": 0.5},
    ]
    out = augment_batch(steps_of(transforms, 2), image, torch.tensor([[0.0, 0.4, 0.1]], dtype=torch.float64))
    assert out[0, :, :, 0].tolist() == [[7, 7], [20, 10]]


@pytest.mark.parametrize("name", sorted(set(STEPS) - {"AlternatingFlip"}))
def test_arguments_and_defaults_are_those_of_albumentations(name: str) -> None:
    theirs = inspect.signature(getattr(albumentations, name).__init__).parameters
    ours = list(inspect.signature(STEPS[name]).parameters.values())[1:]  # without `shape`
    for argument in ours:
        if argument.kind is not inspect.Parameter.VAR_KEYWORD:
            assert theirs[argument.name].default == argument.default, argument.name


def test_two_constant_borders_of_different_colours_are_left_to_albumentations() -> None:
    two = [{"name": "Pad", "padding": 1, "fill": 0}, {"name": "Pad", "padding": 1, "fill": 9}]
    with pytest.raises(ValueError, match="whole batches"):
        steps_of([*two, {"name": "RandomCrop", "height": SIZE, "width": SIZE}], SIZE)
