"""Grad-CAM of misclassified images: the project's way against pytorch-grad-cam's defaults, one image at a time.

The network is the full ResNet-18 with random weights and the images are noise. How long a map takes does not depend on
the values, and the label that makes an image a misclassified one is not looked at: maps are of the predicted class, as
in the pipeline's main figure.
"""

from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from torch import nn

from benchmarks.harness import Row, Settings, in_turn, seconds_of
from src.errors import UserError
from src.explain.cams import ONE_BY_ONE, compute_cams
from src.model.device import exact_fp32
from src.model.layers import find_layer
from src.model.resnet import build
from src.params import load_params

TOLERANCE = 1e-5  # largest difference of a map, which is in [0, 1]
GOAL = 6.0


def gradcam(settings: Settings) -> list[Row]:
    """Images/s of 64 maps at the last block; UserError where they are not those of the library."""
    import pytorch_grad_cam  # noqa: F401  (loading it takes seconds, and belongs to neither side)

    count, width = (4, 8) if settings.smoke else (64, 64)
    batch_size = load_params().gradcam.batch_size
    torch.manual_seed(0)
    model = build("batch", width, [1, 2, 2, 2], 10).to(settings.device)
    images = torch.randn(count, 3, 32, 32).to(settings.device)  # (N, 3, S, S)
    with torch.no_grad():
        model.train()(images)
        predicted = model.eval()(images).argmax(dim=1).tolist()

    layer = find_layer(model, "layer4[-1]")

    def ours() -> np.ndarray:
        return compute_cams(model, layer, images, predicted, method="GradCAM", batch_size=batch_size)

    def against() -> np.ndarray:
        return one_at_a_time(model, layer, images, predicted)

    difference = float(np.abs(ours() - against()).max())
    if not difference <= TOLERANCE:
        raise UserError(f"Grad-CAM: maps differ from the library's by {difference:.1e}, more than {TOLERANCE:.0e}")
    rates = in_turn(
        lambda: count / seconds_of(ours, settings.device),
        lambda: count / seconds_of(against, settings.device),
        settings.repeats,
    )
    sizes = f"{count} images 32x32 in batches of {batch_size}, width {width}, layer4[-1], fp32"
    note = f"{sizes}; maps differ by at most {difference:.1e}"
    if settings.device.type == "cpu":
        note += f"; convolutions take {convolutions(ours):.0%} of ours"
    return [Row("Grad-CAM / one image at a time, library's defaults", *rates, "images/s", goal=GOAL, note=note)]


def slow(settings: Settings) -> list[Row]:
    """Seconds an image of the methods that try every channel, against Grad-CAM, at the first and the last stage."""
    import pytorch_grad_cam  # noqa: F401

    few, many, width = (1, 2, 4) if settings.smoke else (1, 64, 64)
    batch_size = load_params().gradcam.batch_size
    torch.manual_seed(0)
    model = build("batch", width, [1, 2, 2, 2], 10).to(settings.device).eval()
    images = torch.randn(many, 3, 32, 32).to(settings.device)  # (N, 3, S, S)

    def seconds(method: str, name: str, count: int) -> float:
        """An image's."""
        layer, targets = find_layer(model, name), [0] * count
        return (
            seconds_of(
                lambda: compute_cams(model, layer, images[:count], targets, method=method, batch_size=batch_size),
                settings.device,
            )
            / count
        )

    rows = []
    for method in ONE_BY_ONE:
        for name in ("layer1", "layer4"):
            times = in_turn(
                partial(seconds, method, name, few), partial(seconds, "GradCAM", name, many), settings.repeats
            )
            note = f"a 32x32 image at {name}, width {width}, batches of {batch_size}, fp32"
            rows.append(Row(f"{method} / Grad-CAM, {name}", *times, "s", goal=None, at_most=True, note=note))
    return rows


def convolutions(work: Callable[[], object]) -> float:
    """The share of its time on the CPU that `work` spends in convolutions and their gradients."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        work()
    times = {event.key: event.self_cpu_time_total for event in profile.key_averages()}
    return float(sum(time for name, time in times.items() if "convolution" in name) / sum(times.values()))


def one_at_a_time(model: nn.Module, layer: nn.Module, images: torch.Tensor, targets: list[int]) -> np.ndarray:
    """Maps (N, S, S) as the library's documentation makes them: one call an image, back to every parameter.

    In fp32 also on CUDA, where PyTorch by itself rounds the inputs of convolutions to TF32.
    """
    from pytorch_grad_cam import GradCAM
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    with exact_fp32(), GradCAM(model=model, target_layers=[layer]) as cam:
        maps = [cam(images[i : i + 1], [ClassifierOutputTarget(target)])[0] for i, target in enumerate(targets)]
    return np.stack(maps)
