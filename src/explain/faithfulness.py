"""Faithfulness: the probability of a class while pixels are removed or inserted in the order of a map.

ROAD: Rong et al., ICML 2022, https://arxiv.org/abs/2202.00449. Insertion and deletion: Petsiuk et al., RISE, BMVC 2018,
https://arxiv.org/abs/1806.07421.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import nn

from src.explain.perturb import blur, impute
from src.model.device import exact_fp32

SHARES = (0.2, 0.4, 0.6, 0.8)  # of the pixels, removed by ROAD
NOISE = 0.01  # standard deviation of the noise on imputed pixels, as in the authors' code
STEPS = 8  # of insertion and deletion, with equally many pixels each
BLUR = 1 / 8  # standard deviation of the blur at the start of insertion, as a share of the side


@dataclass(frozen=True, eq=False)
class Subject:
    """The images whose maps are measured, and everything that is the same for all their maps.

    `inputs` (N, 3, S, S) are normalised, on the device of `model`. `targets` are the classes that the maps explain.
    `seed` is the seed of the noise of ROAD.
    """

    model: nn.Module
    inputs: torch.Tensor
    targets: Sequence[int]
    batch_size: int
    seed: int

    def probability(self, images: torch.Tensor) -> np.ndarray:
        """Probability of each image's target, float64 (N,), for changed `images` (N, 3, S, S)."""
        chosen = torch.as_tensor(self.targets, device=images.device)[:, None]
        found = []
        with torch.inference_mode(), exact_fp32():
            for start in range(0, len(images), self.batch_size):
                rows = slice(start, start + self.batch_size)
                found.append(self.model(images[rows]).double().softmax(dim=1).gather(1, chosen[rows])[:, 0].cpu())
        return np.asarray(torch.cat(found).numpy())

    @cached_property
    def noise(self) -> torch.Tensor:
        """Noise (N, 3, S, S), drawn once, so that maps only differ by the pixels that they remove."""
        generator = torch.Generator().manual_seed(self.seed)
        return NOISE * torch.randn(self.inputs.shape, generator=generator).to(self.inputs.device)

    @cached_property
    def blurred(self) -> torch.Tensor:
        """The blurred images (N, 3, S, S)."""
        return blur(self.inputs, BLUR * self.inputs.shape[-1])

    @cached_property
    def whole(self) -> np.ndarray:
        """Probability (N,) for the unchanged images."""
        return self.probability(self.inputs)

    @cached_property
    def nothing(self) -> np.ndarray:
        """Probability (N,) for images that only have the mean colour."""
        return self.probability(torch.zeros_like(self.inputs))

    @cached_property
    def haze(self) -> np.ndarray:
        """Probability (N,) for the blurred images."""
        return self.probability(self.blurred)


def road(subject: Subject, ranks: np.ndarray) -> np.ndarray:
    """Probabilities (N, 2, len(SHARES)) after a share of the pixels was removed and imputed with a little noise.

    `ranks` (N, S, S) are 0 for the most relevant pixel. Row 0 is without the most relevant pixels, row 1 without the
    least relevant ones. A map is faithful if row 0 falls and row 1 stays.
    """
    pixels = ranks[0].size
    found = np.empty((len(ranks), 2, len(SHARES)))
    for column, share in enumerate(SHARES):
        count = round(share * pixels)
        for row, chosen in enumerate((ranks < count, ranks >= pixels - count)):
            removed = torch.from_numpy(chosen).to(subject.inputs.device)
            filled = impute(subject.inputs, removed) + removed[:, None] * subject.noise
            found[:, row, column] = subject.probability(filled)
    return found


def deletion(subject: Subject, ranks: np.ndarray) -> np.ndarray:
    """Probabilities (N, STEPS + 1) as pixels change to the mean colour of the training split, most relevant first."""
    gone = torch.zeros_like(subject.inputs)
    inner = [_mixed(subject, gone, subject.inputs, ranks, step) for step in range(1, STEPS)]
    return np.stack([subject.whole, *inner, subject.nothing], axis=1)


def insertion(subject: Subject, ranks: np.ndarray) -> np.ndarray:
    """Probabilities (N, STEPS + 1) while the pixels of a blurred image become sharp, most relevant first."""
    inner = [_mixed(subject, subject.inputs, subject.blurred, ranks, step) for step in range(1, STEPS)]
    return np.stack([subject.haze, *inner, subject.whole], axis=1)


def area(curves: np.ndarray) -> np.ndarray:
    """Area (N,) under curves (N, K + 1) at equal steps from 0 to 1, by the trapezoidal rule."""
    return np.asarray(np.trapezoid(curves, dx=1 / (curves.shape[1] - 1), axis=1))


def _mixed(subject: Subject, after: torch.Tensor, before: torch.Tensor, ranks: np.ndarray, step: int) -> np.ndarray:
    """Probability (N,) when `step` of STEPS shares of the pixels come from `after` and the others from `before`."""
    taken = torch.from_numpy(ranks < round(step / STEPS * ranks[0].size)).to(before.device)
    return subject.probability(torch.where(taken[:, None], after, before))
