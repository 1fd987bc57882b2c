"""Remove pixels from images: the order of removal, and the fill of the gaps.

All images are normalised, so that 0 is the mean of the training split.
"""

import numpy as np
import torch

TOLERANCE = 1e-3  # of the imputation's residual, relative to the first one; smaller than the added noise


def ranks(maps: np.ndarray, *ties: np.ndarray) -> np.ndarray:
    """Rank of each pixel, int64 (N, S, S), from 0 for the most evidence to S * S - 1.

    Ties are broken by the first of `ties`, each (N, S, S), then by the next. With random maps as ties, and if the last
    of them has distinct values, pixels without evidence are in random order and not in that of their position.
    """
    flat = (len(maps), -1)
    keys = [-values.reshape(flat) for values in (maps, *ties)]
    order = np.lexsort(keys[::-1], axis=1)  # (N, S * S), by the last key first
    places = np.empty_like(order)
    np.put_along_axis(places, order, np.broadcast_to(np.arange(order.shape[1]), order.shape), axis=1)
    return places.reshape(maps.shape)


def blur(images: torch.Tensor, sigma: float) -> torch.Tensor:
    """Images (N, C, S, S) blurred by a Gaussian of `sigma` pixels. At the border only pixels inside the image count."""
    at = torch.arange(images.shape[-1], dtype=images.dtype, device=images.device)
    weights = torch.exp(-((at[:, None] - at) ** 2) / (2 * sigma**2))
    weights = weights / weights.sum(dim=1, keepdim=True)  # (S, S)
    return weights @ images @ weights.T


def impute(images: torch.Tensor, removed: torch.Tensor) -> torch.Tensor:
    """Images (N, C, S, S) with each `removed` pixel, bool (N, S, S), set to the weighted mean of its neighbours.

    Rong et al.: A Consistent and Efficient Evaluation Strategy for Attribution Methods. ICML 2022, section 4.2,
    https://arxiv.org/abs/2202.00449. Neighbours in a row or column have weight 1/6, diagonal ones 1/12. This gives a
    symmetric positive definite system, which conjugate gradients solve for all images at once. pytorch-grad-cam builds
    and factors one sparse matrix per image instead, which takes longer than the model. The caller adds the noise. If
    all pixels of an image are removed, they become 0.
    """
    side = images.shape[-1]
    band = torch.ones(side, side, dtype=images.dtype, device=images.device).tril(1).triu(-1)
    band.fill_diagonal_(2)

    def around(x: torch.Tensor) -> torch.Tensor:
        """The weighted sum of each pixel's neighbours: rows and columns of 1 2 1, without the centre of the 3 x 3."""
        return (band @ x @ band).sub_(x, alpha=4).div_(12)

    unknown = removed[:, None].to(images.dtype)  # (N, 1, S, S)
    weight = unknown * around(torch.ones_like(images[:1, :1]))  # sum of the neighbours' weights, less at the border
    filled = torch.zeros_like(images)
    residual = unknown * around(images * (1 - unknown))
    direction = residual.clone()
    size = _dot(residual, residual)
    goal = TOLERANCE**2 * size
    for _ in range(side**2):
        if bool((size <= goal).all()):
            break
        step = (weight * direction).addcmul_(unknown, around(direction), value=-1)
        length = size / _dot(direction, step).clamp_min(1e-30)  # avoids 0 / 0 for images that are solved exactly
        filled.addcmul_(length, direction)
        residual.addcmul_(length, step, value=-1)
        before, size = size, _dot(residual, residual)
        direction.mul_(size / before.clamp_min(1e-30)).add_(residual)
    return torch.where(removed[:, None], filled, images)


def _dot(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """(N, C, S, S) twice -> (N, C, 1, 1)"""
    return (a * b).sum(dim=(2, 3), keepdim=True)
