"""Sanity check of maps: the same maps while the layers of the network become random, from the top down.

A map that does not change does not depend on what the model has learned. Adebayo et al.: Sanity Checks for Saliency
Maps. NeurIPS 2018, https://arxiv.org/abs/1810.03292. Maps are compared by src/explain/agreement.py and by `ssim`.
"""

import copy
from collections.abc import Iterator

import numpy as np
import torch
from torch import nn

from src.model.saved import Description, network

# Modules of src/model/resnet.py that become random at each step, in addition to those of the steps before. The stem is
# last.
CASCADE = {
    "linear": ("linear",),
    "layer4": ("layer4",),
    "layer3": ("layer3",),
    "layer2": ("layer2",),
    "layer1": ("layer1",),
    "stem": ("conv1", "norm1"),
}
WINDOW = 7  # pixels per side of the windows of SSIM


def fresh_network(about: Description, seed: int) -> nn.Module:
    """The network that `about` describes, with weights drawn with `seed`, in evaluation mode on the CPU."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed((seed + 2**31) % 2**32)  # training may have started with the weights of `seed` itself
        return network(about).eval()


def randomised(model: nn.Module, fresh: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Yield the name of each step and a copy of `model` whose modules up to this step are those of `fresh`.

    `fresh` is the same network with random weights, and with the initial statistics of its norms. Neither `model` nor
    `fresh` changes. All steps yield the same copy, and the next step changes it.
    """
    changed = copy.deepcopy(model)
    for step, parts in CASCADE.items():
        for part in parts:
            changed.get_submodule(part).load_state_dict(fresh.get_submodule(part).state_dict())
        yield step, changed


def ssim(maps: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Structural similarity of each pair of maps (N, S, S) in [0, 1], float64 (N,), as the mean over all windows.

    Wang et al., IEEE Transactions on Image Processing 13(4), 2004, with uniform windows of WINDOW pixels per side.
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
