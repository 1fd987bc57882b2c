"""Class activation maps: the evidence for a class in each part of an image. Only this file uses pytorch-grad-cam.

Selvaraju et al.: Grad-CAM. ICCV 2017, https://arxiv.org/abs/1610.02391. The library cites the other methods:
https://github.com/jacobgil/pytorch-grad-cam (1.5.7).
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from types import SimpleNamespace
from unittest import mock

import numpy as np
import torch
from torch import nn

from src.model.device import exact_fp32
from src.model.layers import find_layer
from src.params import GradCam

# Without gradients: one forward pass per channel of the layer, tens to hundreds of times the work of other methods.
ONE_BY_ONE = ("ScoreCAM", "AblationCAM")


def compute_cams(
    model: nn.Module,
    layer: nn.Module,
    inputs: torch.Tensor,
    targets: Sequence[int],
    *,
    method: str,
    batch_size: int,
    aug_smooth: bool = False,
    eigen_smooth: bool = False,
    progress: Callable[[Iterable[int]], Iterable[int]] = iter,
) -> np.ndarray:
    """Maps (N, S, S), float32 in [0, 1], of the evidence for class `targets[i]` in image i at `layer`.

    `inputs` (N, 3, S, S) are normalised, on the device of `model`, which must not be compiled. `method` is the name of
    a class in pytorch_grad_cam. Each map is scaled by its own maximum. A map without any evidence is all zero. A map
    does not depend on the other images of its batch. `progress` wraps the sequence of batch starts, for a bar.
    """
    import pytorch_grad_cam  # here, because it takes seconds
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputSoftmaxTarget, ClassifierOutputTarget

    # Ablation-CAM divides by the score. A negative logit would invert the map, so the score is the probability.
    target_type = ClassifierOutputSoftmaxTarget if method == "AblationCAM" else ClassifierOutputTarget
    step = 1 if method in ONE_BY_ONE else batch_size
    maps = np.zeros((len(inputs), *inputs.shape[2:]), dtype=np.float32)
    with _mended_library(), exact_fp32(), _graph_from(layer, model):  # before the library adds its hook to the layer
        explainer = getattr(pytorch_grad_cam, method)(model=model, target_layers=[layer])
        if method in ONE_BY_ONE:
            explainer.batch_size = batch_size  # channels per forward pass
        try:  # not `with explainer`, because its exit suppresses IndexError
            for start in progress(range(0, len(inputs), step)):
                chosen = [target_type(int(c)) for c in targets[start : start + step]]
                maps[start : start + step] = explainer(
                    inputs[start : start + step], chosen, aug_smooth=aug_smooth, eigen_smooth=eigen_smooth
                )
        finally:
            explainer.activations_and_grads.release()
    return np.asarray(np.clip(np.nan_to_num(maps), 0, 1))


def cams_as_set(
    settings: GradCam,
    model: nn.Module,
    layer: str,
    inputs: torch.Tensor,
    targets: Sequence[int],
    progress: Callable[[Iterable[int]], Iterable[int]] = iter,
) -> np.ndarray:
    """`compute_cams` at the layer with this dotted name, with the settings of `gradcam`."""
    return compute_cams(
        model,
        find_layer(model, layer),
        inputs,
        targets,
        method=settings.method,
        batch_size=settings.batch_size,
        aug_smooth=settings.aug_smooth,
        eigen_smooth=settings.eigen_smooth,
        progress=progress,
    )


@contextmanager
def _graph_from(layer: nn.Module, model: nn.Module) -> Iterator[None]:
    """Restrict autograd to what follows the output of `layer` in `model`.

    A map only needs the gradient of a score with respect to that output. Without this the library computes gradients
    back to the first layer and of every parameter, which is two thirds of the work and nearly all of the memory. The
    output becomes a leaf of the graph, and hooks that are added to `layer` later see this leaf. If a layer returns its
    input unchanged (an empty shortcut), the gradient only covers its own path, not all paths that use this input.
    """
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    for parameter in trained:
        parameter.requires_grad_(False)
    cut = layer.register_forward_hook(lambda _module, _args, output: output.detach().requires_grad_())
    try:
        yield
    finally:
        cut.remove()
        for parameter in trained:
            parameter.requires_grad_(True)


@contextmanager
def _mended_library() -> Iterator[None]:
    """Disable the library's progress bar per image, and correct the sign of its principal components.

    An SVD determines a component only up to its sign, so half of the Eigen-CAMs would show the background. The library
    has the correction (Chung & Ying 2025, equation 13) but does not use it here.
    """
    from pytorch_grad_cam import (
        ablation_cam,
        base_cam,
        eigen_cam,
        eigen_grad_cam,
        grad_cam_elementwise,
        hirescam,
        layer_cam,
        score_cam,
    )
    from pytorch_grad_cam.utils.svd_on_activations import get_2d_projection_with_sign_correction

    with ExitStack() as patches:
        for module in (ablation_cam, score_cam):
            patches.enter_context(mock.patch.object(module, "tqdm", SimpleNamespace(tqdm=iter)))
        for module in (base_cam, eigen_cam, eigen_grad_cam, grad_cam_elementwise, hirescam, layer_cam):
            patches.enter_context(
                mock.patch.object(module, "get_2d_projection", get_2d_projection_with_sign_correction)
            )
        yield
