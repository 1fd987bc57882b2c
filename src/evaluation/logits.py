"""Predictions of a model for a set of images."""

from collections.abc import Callable, Iterable

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from src.data.prepared import Split
from src.errors import UserError
from src.evaluation.metrics import softmax
from src.model.device import exact_fp32
from src.model.inputs import to_input
from src.model.saved import Description


def predict_logits(
    model: nn.Module,
    split: Split,
    mean: tuple[float, float, float],
    std: tuple[float, float, float],
    *,
    device: torch.device,
    batch_size: int,
    progress: Callable[[Iterable[int]], Iterable[int]] = iter,
) -> np.ndarray:
    """Logits (N, C), float32, of the images of `split`, in their order.

    They are computed in eval mode and fp32, whatever precision training used, so that reported results do not depend on
    the batch size. `progress` wraps the sequence of batch starts, for a bar. Raises UserError if a logit is not finite.
    """
    model = model.to(device).eval()
    batches = []
    with torch.inference_mode(), exact_fp32():
        for start in progress(range(0, len(split.images), batch_size)):
            images = np.ascontiguousarray(split.images[start : start + batch_size])
            inputs = to_input(images, mean, std, device)  # (B, 3, S, S)
            batches.append(model(inputs).float().cpu().numpy())
    logits = np.concatenate(batches)
    bad = np.flatnonzero(~np.isfinite(logits).all(axis=1))
    if len(bad):
        raise UserError(
            f"the output of the model is not finite for {len(bad)} of {len(logits)} images, first for image {bad[0]}, "
            "so its weights are unusable. Train again with a lower lr, or with: -S train.grad_clip=1"
        )
    return logits


def predict_probabilities(
    model: nn.Module,
    about: Description,
    images: npt.NDArray[np.uint8],
    *,
    device: torch.device,
    batch_size: int,
    progress: Callable[[Iterable[int]], Iterable[int]] = iter,
) -> np.ndarray:
    """Class probabilities (N, C), float64, of raw images (N, S, S, 3) without labels.

    Both `commands.predict` and the served model use this function. Raises UserError as `predict_logits` does.
    """
    split = Split(images, np.zeros(len(images), dtype=np.int64))
    return softmax(
        predict_logits(model, split, about.mean, about.std, device=device, batch_size=batch_size, progress=progress)
    )
