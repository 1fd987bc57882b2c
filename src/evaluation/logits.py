"""What a model answers to a set of images."""

from collections.abc import Callable, Iterable

import numpy as np
import torch
from torch import nn

from src.data.prepared import Split
from src.errors import UserError
from src.model.device import exact_fp32
from src.model.inputs import to_input


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

    In eval mode and fp32, whatever the training ran in: a reported result must not depend on the batch size. UserError
    where one is not finite.
    `progress` wraps the sequence of batch starts, for a bar.
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
            f"the model's answer is not finite for {len(bad)} of {len(logits)} images, the first of them {bad[0]}: "
            "its weights are spoilt. Train again with a lower rate: lr, or train.grad_clip: 1"
        )
    return logits
