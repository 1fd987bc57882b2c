"""The training loss and its class weights."""

from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F

from src.params import Params


def make_class_weights(
    params: Params, labels: npt.NDArray[np.int64], classes: int, device: torch.device
) -> torch.Tensor | None:
    """Weight of each class by `train.class_weights`, float32 (K,) on `device`. None for equal weights.

    `balanced` is N / (K * n_c) for a class with n_c of the N training `labels`, as in scikit-learn. All classes then
    have the same sum of weights, and the mean weight of a training image is 1. Each class needs at least one image.
    """
    if params.train.class_weights == "none":
        return None
    counts = np.bincount(labels, minlength=classes)
    return torch.from_numpy(len(labels) / (classes * counts)).float().to(device)


def training_loss(
    logits: torch.Tensor,
    labels: torch.Tensor,
    label_smoothing: float,
    weights: torch.Tensor | None,
    reduction: Literal["mean", "sum"],
) -> torch.Tensor:
    """Scalar cross-entropy of `logits` (B, K) with label smoothing, each image times the weight of its class.

    `mean` divides by the number of images, so an image counts the same in every batch. `F.cross_entropy` divides by the
    sum of their weights instead. With `sum`, the results for the parts of a batch add up to that of the batch. The
    weight multiplies the whole loss of an image. `F.cross_entropy` weights the smoothed labels class by class instead,
    so a rare class would affect the loss of all other images.
    """
    if weights is None:
        return F.cross_entropy(logits, labels, label_smoothing=label_smoothing, reduction=reduction)
    losses = F.cross_entropy(logits, labels, label_smoothing=label_smoothing, reduction="none") * weights[labels]
    return losses.sum() if reduction == "sum" else losses.mean()
