"""Images from which pixels were taken: in which order, and what stands in their place.

All images are normalised, so that 0 is the mean of the training split.
"""

import numpy as np
import torch

TOLERANCE = 1e-3  # of the residual of the imputation, as a share of the first: pixels err by less than the noise added


def ranks(maps: np.ndarray, *ties: np.ndarray) -> np.ndarray:
    """The place of each pixel, int64 (N, S, S), when those with the most evidence come first: 0 to S * S - 1.

    Pixels with the same evidence, as all those of a map without any, are in the order of the first of `ties`, each
    (N, S, S), and where that ties too, of the next. With random maps they count as chance has it, and not by where they
    lie, if the values of the last one are distinct.
    """
    flat = (len(maps), -1)
    keys = [-values.reshape(flat) for values in (maps, *ties)]
    order = np.lexsort(keys[::-1], axis=1)  # (N, S * S), the last key counts first
    places = np.empty_like(order)
    np.put_along_axis(places, order, np.broadcast_to(np.arange(order.shape[1]), order.shape), axis=1)
    return places.reshape(maps.shape)


def blur(images: torch.Tensor, sigma: float) -> torch.Tensor:
    """Images (N, C, S, S) blurred by a Gaussian of `sigma` pixels, at the border by what lies within the image."""
    at = torch.arange(images.shape[-1], dtype=images.dtype, device=images.device)
    weights = torch.exp(-((at[:, None] - at) ** 2) / (2 * sigma**2))
    weights = weights / weights.sum(dim=1, keepdim=True)  # (S, S)
    return weights @ images @ weights.T


def impute(images: torch.Tensor, removed: torch.Tensor) -> torch.Tensor:
    """Images (N, C, S, S) whose `removed` pixels, bool (N, S, S), are each the weighted mean of their neighbours.

    Rong et al.: A Consistent and Efficient Evaluation Strategy for Attribution Methods. ICML 2022, section 4.2,
    https://arxiv.org/abs/2202.00449. Neighbours in a row or column count 1/6, diagonal ones 1/12. That is a system of
    equations, symmetric and positive definite, and conjugate gradients solve it for all images at once, where
    pytorch-grad-cam builds and factors a sparse matrix an image, which takes longer than the model. Noise is the
    caller's to add. Where nothing is left of an image, its pixels are 0.
    """
    side = images.shape[-1]
    band = torch.ones(side, side, dtype=images.dtype, device=images.device).tril(1).triu(-1)
    band.fill_diagonal_(2)

    def around(x: torch.Tensor) -> torch.Tensor:
        """The weighted sum of the neighbours of each pixel: rows and columns of 1 2 1 are the 3 x 3 but its centre."""
        return (band @ x @ band).sub_(x, alpha=4).div_(12)

    unknown = removed[:, None].to(images.dtype)  # (N, 1, S, S)
    weight = unknown * around(torch.ones_like(images[:1, :1]))  # of all neighbours: less at the border
    filled = torch.zeros_like(images)
    residual = unknown * around(images * (1 - unknown))
    direction = residual.clone()
    size = _dot(residual, residual)
    goal = TOLERANCE**2 * size
    for _ in range(side**2):
        if bool((size <= goal).all()):
            break
        step = (weight * direction).addcmul_(unknown, around(direction), value=-1)
        length = size / _dot(direction, step).clamp_min(1e-30)  # 0 / 0 for what is solved exactly
        filled.addcmul_(length, direction)
        residual.addcmul_(length, step, value=-1)
        before, size = size, _dot(residual, residual)
        direction.mul_(size / before.clamp_min(1e-30)).add_(residual)
    return torch.where(removed[:, None], filled, images)


def _dot(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """(N, C, S, S) twice -> (N, C, 1, 1)"""
    return (a * b).sum(dim=(2, 3), keepdim=True)
