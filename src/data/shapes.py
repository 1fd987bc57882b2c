"""Generated images of coloured shapes. Their outlines are known, so explanations can be checked against them.

Shapes of ten classes have random positions, sizes (40 % to 75 % of the side) and rotations (up to 45 degrees either
way). Their colours are bright, on darker random textures with random specks. Only the outline depends on the class.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from src import artifacts
from src.data.prepared import Split
from src.data.raw import RawData
from src.params import Data

Array = npt.NDArray[np.floating[Any]]  # float32 throughout
Inside = npt.NDArray[np.bool_]

CHUNK = 250  # images drawn at once
SUPERSAMPLING = 3  # points per pixel and axis
GRID = 5  # cells of the coarse noise in the textures


def _circle(x: Array, y: Array) -> Inside:
    return x * x + y * y < 0.85**2


def _ring(x: Array, y: Array) -> Inside:
    r2 = x * x + y * y
    return (r2 < 0.95**2) & (r2 > 0.55**2)


def _square(x: Array, y: Array) -> Inside:
    return (np.abs(x) < 0.72) & (np.abs(y) < 0.72)


def _triangle(x: Array, y: Array) -> Inside:
    return (y > -0.5) & (np.float32(np.sqrt(3)) * np.abs(x) + y < 1)


def _star(x: Array, y: Array) -> Inside:
    """Five tips. In each sector of 72 degrees: below the line from a tip (radius 1) to a notch (radius 0.42)."""
    sector = 2 * np.pi / 5
    angle = np.abs(np.mod(np.arctan2(y, x), sector) - sector / 2)  # 0 between two tips, 36 degrees at a tip
    r = np.hypot(x, y)
    notch = 0.42
    along, across = r * np.cos(angle), r * np.sin(angle)
    tip_along, tip_across = np.cos(sector / 2), np.sin(sector / 2)
    inside: Inside = tip_across * (along - notch) < across * (tip_along - notch)
    return inside


def _cross(x: Array, y: Array) -> Inside:
    a, b = np.abs(x), np.abs(y)
    return (np.minimum(a, b) < 0.27) & (np.maximum(a, b) < 0.92)


def _crescent(x: Array, y: Array) -> Inside:
    return (x * x + y * y < 0.95**2) & ((x - 0.5) ** 2 + y * y > 0.75**2)


def _heart(x: Array, y: Array) -> Inside:
    u, v = 1.25 * x, 1.25 * y + 0.1
    inside: Inside = (u * u + v * v - 1) ** 3 < u * u * v**3
    return inside


def _hexagon(x: Array, y: Array) -> Inside:
    half, tilted = np.float32(0.5), np.float32(np.sqrt(3) / 2)
    a, b = np.abs(x), np.abs(y)
    return (b < 0.8) & (half * b + tilted * a < 0.8)


def _arrow(x: Array, y: Array) -> Inside:
    head = (x > 0) & (np.abs(y) < 0.72 * (0.97 - x))
    return head | ((x <= 0) & (x > -0.92) & (np.abs(y) < 0.24))


# Whether points, in units of the shape's radius, are inside.
SHAPES: dict[str, Callable[[Array, Array], Inside]] = {
    "arrow": _arrow,
    "circle": _circle,
    "crescent": _crescent,
    "cross": _cross,
    "heart": _heart,
    "hexagon": _hexagon,
    "ring": _ring,
    "square": _square,
    "star": _star,
    "triangle": _triangle,
}


def read(spec_file: Path, data: Data) -> RawData:
    """Render the images that `shapes.json` describes at `data.size`."""
    spec = artifacts.read_json(spec_file)
    train, _ = render(spec["train"], data.size, [spec["seed"], 0])
    test, masks = render(spec["test"], data.size, [spec["seed"], 1])
    return RawData(train, test, list(SHAPES), masks)


def render(count: int, size: int, seed: list[int]) -> tuple[Split, Inside]:
    """Render `count` images (N, S, S, 3) with balanced classes, and masks (N, S, S) that are True on the shape."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(count, dtype=np.int64) % len(SHAPES))
    images = np.empty((count, size, size, 3), np.uint8)
    masks = np.empty((count, size, size), np.bool_)
    for start in tqdm(range(0, count, CHUNK), desc="drawing shapes", unit=" chunks", leave=False, delay=1):
        rows = slice(start, start + CHUNK)
        number = len(labels[rows])
        coverage = _coverage(labels[rows], size, rng)  # (N, S, S): share of each pixel inside the shape
        back, front = _colours(number, rng)
        plain = back[0] + (back[1] - back[0]) * _texture(number, size, rng)[..., None]
        scene = _with_specks(plain, size, rng)
        object_ = front + 0.12 * (_texture(number, size, rng)[..., None] - 0.5)
        alpha = coverage[..., None]
        mixed = scene * (1 - alpha) + object_ * alpha + rng.normal(0, 0.03, scene.shape).astype(np.float32)
        images[rows] = np.rint(np.clip(mixed, 0, 1) * 255).astype(np.uint8)
        masks[rows] = coverage >= 0.5
    return Split(images, labels), masks


def _coverage(labels: npt.NDArray[np.int64], size: int, rng: np.random.Generator) -> Array:
    """Antialiased masks (N, S, S) in 0..1 of shapes that lie completely inside the image."""
    number = len(labels)
    radius = rng.uniform(0.2, 0.375, number)  # in units of the side
    centre = radius + (1 - 2 * radius) * rng.random((2, number))
    angle = rng.uniform(-np.pi / 4, np.pi / 4, number)
    fine = size * SUPERSAMPLING
    points = (np.arange(fine, dtype=np.float32) + 0.5) / fine
    coverage = np.empty((number, size, size), np.float32)
    for label, inside in enumerate(SHAPES.values()):
        rows = np.flatnonzero(labels == label)
        cos, sin = (_column(f(angle[rows]) / radius[rows]) for f in (np.cos, np.sin))
        right = points[None, None, :] - _column(centre[0, rows])  # (n, 1, F)
        up = _column(centre[1, rows]) - points[None, :, None]  # (n, F, 1)
        hit = inside(right * cos + up * sin, up * cos - right * sin)  # (n, F, F)
        blocks = hit.reshape(len(rows), size, SUPERSAMPLING, size, SUPERSAMPLING)
        coverage[rows] = blocks.mean(axis=(2, 4), dtype=np.float32)
    return coverage


def _colours(number: int, rng: np.random.Generator) -> tuple[tuple[Array, Array], Array]:
    """Two dark colours of the background and a brighter colour of the shape, each (N, 1, 1, 3)."""
    first, second = 0.6 * rng.random((2, number, 3))
    second = first + 0.5 * (second - first)
    candidates = 0.4 + 0.6 * rng.random((16, number, 3))
    enough = np.linalg.norm(candidates - first, axis=2) > 0.5
    front = candidates[enough.argmax(axis=0), np.arange(number)]
    shaped = [colour.astype(np.float32)[:, None, None, :] for colour in (first, second, front)]
    return (shaped[0], shaped[1]), shaped[2]


def _texture(number: int, size: int, rng: np.random.Generator) -> Array:
    """A blend of coarse noise, stripes and a checkerboard in 0..1, (N, S, S)."""
    at = np.linspace(0, GRID - 1, size)
    weights = np.maximum(0, 1 - np.abs(at[:, None] - np.arange(GRID))).astype(np.float32)  # (S, GRID): linear
    noise = weights @ rng.random((number, GRID, GRID)).astype(np.float32) @ weights.T

    points = (np.arange(size, dtype=np.float32) + 0.5) / size
    x, y = points[None, None, :], points[None, :, None]
    turn, cycles, phase = rng.uniform(0, np.pi, number), rng.uniform(2, 6, number), rng.uniform(0, 6.28, (2, number))
    u = 2 * np.pi * (x * _column(cycles * np.cos(turn)) + y * _column(cycles * np.sin(turn)))
    v = 2 * np.pi * (y * _column(cycles * np.cos(turn)) - x * _column(cycles * np.sin(turn)))
    stripes = 0.5 + 0.5 * np.sin(u + _column(phase[0]))
    chequer = 0.5 + 0.5 * np.sin(u + _column(phase[0])) * np.sin(v + _column(phase[1]))

    share = rng.dirichlet((0.7, 0.7, 0.7), number)
    blend: Array = sum(_column(share[:, i]) * part for i, part in enumerate((noise, stripes, chequer)))
    return blend


def _with_specks(scene: Array, size: int, rng: np.random.Generator) -> Array:
    """Draw two small bars of random colours, positions and directions over each background."""
    number = len(scene)
    points = (np.arange(size, dtype=np.float32) + 0.5) / size
    x, y = points[None, None, :], points[None, :, None]
    for _ in range(2):
        centre, turn = rng.random((2, number)), rng.uniform(0, np.pi, number)
        length, width = rng.uniform(0.05, 0.16, number), rng.uniform(0.015, 0.04, number)
        dx, dy = x - _column(centre[0]), y - _column(centre[1])
        cos, sin = _column(np.cos(turn)), _column(np.sin(turn))
        bar = (np.abs(dx * cos + dy * sin) < _column(length)) & (np.abs(dy * cos - dx * sin) < _column(width))
        colour = rng.random((number, 1, 1, 3)).astype(np.float32)
        scene = np.where(bar[..., None], colour, scene)
    return scene


def _column(values: npt.NDArray[np.float64]) -> Array:
    """(N,) -> (N, 1, 1) float32."""
    return values.astype(np.float32)[:, None, None]
