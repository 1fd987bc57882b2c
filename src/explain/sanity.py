"""Does a map depend on what the model has learned? The same maps while its layers become random, from the top down.

Adebayo et al.: Sanity Checks for Saliency Maps. NeurIPS 2018, https://arxiv.org/abs/1810.03292. Maps are compared by
src/explain/agreement.py, and by `ssim`.
"""

import copy
from collections.abc import Iterator

import numpy as np
import torch
from torch import nn

from src.model.saved import Description, network

# What becomes random at each step, besides all before it: modules of src/model/resnet.py, the stem last.
CASCADE = {
    "linear": ("linear",),
    "layer4": ("layer4",),
    "layer3": ("layer3",),
    "layer2": ("layer2",),
    "layer1": ("layer1",),
    "stem": ("conv1", "norm1"),
}
WINDOW = 7  # pixels a side over which SSIM compares


def fresh_network(about: Description, seed: int) -> nn.Module:
    """The network that `about` describes with weights drawn by `seed`, in evaluation mode, on the CPU."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed((seed + 2**31) % 2**32)  # the model may have begun with the weights of `seed` itself
        return network(about).eval()


def randomised(model: nn.Module, fresh: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Name of the step and a copy of `model`, whose parts down to there are those of `fresh`, for each step.

    `fresh` is the same network with random weights; the statistics of its norms are the initial ones. Both are left as
    they are. It is one copy, which the next step changes.
    """
    changed = copy.deepcopy(model)
    for step, parts in CASCADE.items():
        for part in parts:
            changed.get_submodule(part).load_state_dict(fresh.get_submodule(part).state_dict())
        yield step, changed


def ssim(maps: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Structural similarity of each two maps (N, S, S) in [0, 1], float64 (N,): the mean over all windows.

    Wang et al., IEEE Transactions on Image Processing 13(4), 2004, with even windows of WINDOW pixels a side.
    """
    one, other = (torch.from_numpy(m.astype(np.float64))[:, None] for m in (maps, others))

    def mean(x: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.avg_pool2d(x, WINDOW, stride=1)

    a, b = mean(one), mean(other)
    spread = mean(one**2) - a**2 + mean(other**2) - b**2
    shared = mean(one * other) - a * b
    low, high = 0.01**2, 0.03**2  # the paper's constants, for a range of 1
    index = (2 * a * b + low) * (2 * shared + high) / ((a**2 + b**2 + low) * (spread + high))
    return np.asarray(index.mean(dim=(1, 2, 3)).numpy())
