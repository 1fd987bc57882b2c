"""Maps against an independent Grad-CAM, against the library's defaults and known by hand; the choice of mistakes."""

import re
from collections.abc import Iterable, Iterator
from typing import get_args

import numpy as np
import pytest
import pytorch_grad_cam
import torch
from hypothesis import given
from hypothesis import strategies as st
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from pytorch_grad_cam.utils.svd_on_activations import get_2d_projection_with_sign_correction
from torch import nn

from src.errors import UserError
from src.explain.cams import compute_cams
from src.explain.choose import ORDERS, choose_mistakes
from src.model.layers import check_map, find_layer
from src.model.resnet import build
from src.params import CamMethod

METHODS = get_args(CamMethod)
NO_GRADIENT = ("EigenCAM", "ScoreCAM", "AblationCAM")
INPUTS = torch.randn(5, 3, 16, 16, generator=torch.Generator().manual_seed(1))  # (N, C, S, S)
TARGETS = [0, 1, 2, 3, 0]


def model_with(norm: str = "batch") -> nn.Module:
    torch.manual_seed(0)
    model = build(norm, 4, [1, 2, 2, 2], 4)
    model.train()(INPUTS)  # running statistics that are not the initial ones
    return model.eval()


def plain_grad_cam(model: nn.Module, layer: nn.Module, inputs: torch.Tensor, target: int) -> np.ndarray:
    """Grad-CAM of one image (1, 3, S, S), from the paper: equations 1 and 2, scaled to [0, 1], enlarged."""
    seen: list[torch.Tensor] = []
    handle = layer.register_forward_hook(lambda module, args, output: seen.append(output))
    score = model(inputs)[0, target]
    handle.remove()
    (gradient,) = torch.autograd.grad(score, seen[0])
    weights = gradient.mean(dim=(2, 3), keepdim=True)  # (1, C, 1, 1)
    cam = torch.relu((weights * seen[0]).sum(dim=1, keepdim=True))  # (1, 1, h, w)
    cam = cam - cam.min()
    cam = cam / cam.max() if cam.max() > 0 else cam
    cam = nn.functional.interpolate(cam, size=inputs.shape[2:], mode="bilinear", align_corners=False)
    cam = cam - cam.min()
    return (cam / cam.max() if cam.max() > 0 else cam)[0, 0].detach().numpy()


@pytest.mark.parametrize("norm", ["batch", "layer"])
@pytest.mark.parametrize("name", ["layer2", "layer3[-1]", "layer4"])
def test_grad_cam_is_that_of_the_paper(norm: str, name: str) -> None:
    model = model_with(norm)
    layer = find_layer(model, name)
    maps = compute_cams(model, layer, INPUTS, TARGETS, method="GradCAM", batch_size=3)
    assert maps.max() == pytest.approx(1, abs=1e-5)
    for i, target in enumerate(TARGETS):
        assert maps[i] == pytest.approx(plain_grad_cam(model, layer, INPUTS[i : i + 1], target), abs=1e-5)


@pytest.mark.parametrize(
    ("name", "module"),
    [
        ("conv1", "conv1"), ("layer2[-2]", "layer2.0"), ("layer3[-2]", "layer3.0"), ("layer4[-1]", "layer4.1"),
        ("layer1[0].conv1", "layer1.0.conv1"), ("layer1.0.conv1", "layer1.0.conv1"),
        ("layer3[0].shortcut[0]", "layer3.0.shortcut.0"), ("layer2.0.shortcut[-1]", "layer2.0.shortcut.1"),
        ("layer4[-1].norm2", "layer4.1.norm2"), ("layer1[1].shortcut", "layer1.1.shortcut"),
    ],
)  # fmt: skip
def test_a_dotted_path_with_indices_is_a_layer_that_gives_maps(name: str, module: str) -> None:
    model = model_with()
    assert find_layer(model, name) is model.get_submodule(module)
    check_map(model, name, INPUTS)
    assert compute_cams(model, find_layer(model, name), INPUTS, TARGETS, method="GradCAM", batch_size=5).max() > 0


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("layer5", "has conv1, norm1, layer1"), ("layer4[-3]", "layer4 has indices -2 to 1"),
        ("layer2.7", "layer2 has 0, 1"), ("layer3[1].shortcut[0]", "is empty"), ("layer1[0][1]", "not a list"),
        ("linear", "no map"), ("", "layer1[0].conv1"), ("layer1[0]conv1", "layer1[0].conv1"),
        ("layer2..conv1", "layer1[0].conv1"), (" layer1", "layer1[0].conv1"), ("layer1[٠]", "layer1[0].conv1"),
    ],
)  # fmt: skip
def test_what_gives_no_map_is_refused_with_a_sentence(name: str, sentence: str) -> None:
    with pytest.raises(UserError, match=re.escape(sentence)):
        check_map(model_with(), name, INPUTS)


def maps_by_default(
    model: nn.Module, layer: nn.Module, inputs: torch.Tensor, targets: list[int], method: str, **smooth: bool
) -> np.ndarray:
    """The library alone: one image a call, with the graph of the whole network."""
    with getattr(pytorch_grad_cam, method)(model=model, target_layers=[layer]) as explainer:
        maps = [explainer(inputs[i : i + 1], [ClassifierOutputTarget(t)], **smooth)[0] for i, t in enumerate(targets)]
    assert all(parameter.grad is not None for parameter in model.parameters())  # or it would not be the whole graph
    return np.stack(maps)


@pytest.mark.parametrize("norm", ["batch", "layer", "group"])
@pytest.mark.parametrize("name", ["layer1", "layer1[0].conv1", "layer2[-1].norm2", "layer3[-1]", "layer4"])
def test_maps_are_those_of_the_library_one_by_one(norm: str, name: str) -> None:
    # in double precision: group norm of so few channels is instance norm, where rounding is most of a gradient's mean
    model, inputs = model_with(norm).double(), INPUTS.double()
    layer = find_layer(model, name)
    maps = compute_cams(model, layer, inputs, TARGETS, method="GradCAM", batch_size=3)
    assert maps == pytest.approx(maps_by_default(model, layer, inputs, TARGETS, "GradCAM"), abs=1e-5)


@pytest.mark.parametrize("method", [method for method in METHODS if method not in NO_GRADIENT])
@pytest.mark.parametrize("smooth", [{}, {"aug_smooth": True}])
def test_every_gradient_method_is_that_of_the_library(
    method: str, smooth: dict[str, bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    # the one difference that is meant: the sign of principal components
    monkeypatch.setattr("pytorch_grad_cam.eigen_grad_cam.get_2d_projection", get_2d_projection_with_sign_correction)
    model = model_with()
    layer = find_layer(model, "layer2")
    maps = compute_cams(model, layer, INPUTS, TARGETS, method=method, batch_size=3, **smooth)
    assert maps == pytest.approx(maps_by_default(model, layer, INPUTS, TARGETS, method, **smooth), abs=1e-5)


@pytest.mark.parametrize("method", METHODS)
def test_nothing_before_the_layer_is_recorded(method: str) -> None:
    model = model_with()
    recorded: dict[str, bool] = {}
    handles = [
        find_layer(model, name).register_forward_hook(
            lambda module, args, output, name=name: recorded.update({name: recorded.get(name) or output.requires_grad})
        )
        for name in ("conv1", "layer1", "layer2[0]", "layer3", "layer4")
    ]
    compute_cams(model, find_layer(model, "layer2"), INPUTS, TARGETS, method=method, batch_size=5)
    for handle in handles:
        handle.remove()
    assert recorded == {"conv1": False, "layer1": False, "layer2[0]": False, "layer3": True, "layer4": True}
    assert all(parameter.grad is None for parameter in model.parameters())


@pytest.mark.parametrize("method", ["GradCAM", "EigenCAM"])
def test_the_model_is_left_as_it_was_after_an_error(method: str) -> None:
    model = model_with()
    layer = find_layer(model, "layer4")
    frozen = {"conv1.weight", "layer4.0.norm1.bias"}
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name not in frozen)

    def fails(starts: Iterable[int]) -> Iterator[int]:
        yield next(iter(starts))
        assert layer._forward_hooks
        raise RuntimeError("in the second batch")

    with pytest.raises(RuntimeError, match="in the second batch"):
        compute_cams(model, layer, INPUTS, TARGETS, method=method, batch_size=2, progress=fails)
    assert not any(module._forward_hooks for module in model.modules())
    assert {name for name, parameter in model.named_parameters() if not parameter.requires_grad} == frozen


def test_convolutions_are_exact_and_by_cudnn(monkeypatch: pytest.MonkeyPatch) -> None:
    model = model_with()
    flags = torch.backends.cudnn
    monkeypatch.setattr(flags, "allow_tf32", True)
    seen: list[tuple[bool, bool]] = []
    model.register_forward_hook(lambda *_: seen.append((flags.enabled, flags.allow_tf32)))
    compute_cams(model, find_layer(model, "layer4"), INPUTS, TARGETS, method="GradCAM", batch_size=5)
    assert seen == [(True, False)]
    assert (flags.enabled, flags.allow_tf32) == (True, True)


@pytest.mark.parametrize("method", METHODS)
def test_a_map_does_not_depend_on_the_other_images(method: str) -> None:
    model = model_with()
    layer = find_layer(model, "layer2")
    maps = compute_cams(model, layer, INPUTS, TARGETS, method=method, batch_size=5)
    assert maps.shape == (5, 16, 16)
    assert maps.dtype == np.float32
    assert maps.min() >= 0
    assert maps.max() == pytest.approx(1, abs=1e-5)
    tolerance = 1e-4 if method == "AblationCAM" else 1e-5  # it divides differences of nearly equal scores
    for i, target in enumerate(TARGETS):
        alone = compute_cams(model, layer, INPUTS[i : i + 1], [target], method=method, batch_size=1)
        assert maps[i] == pytest.approx(alone[0], abs=tolerance)


@pytest.mark.parametrize("smooth", [{"aug_smooth": True}, {"eigen_smooth": True}])
def test_smoothing_changes_maps_and_keeps_their_range(smooth: dict[str, bool]) -> None:
    model = model_with()
    layer = find_layer(model, "layer3")
    plain = compute_cams(model, layer, INPUTS, TARGETS, method="GradCAM", batch_size=5)
    smoothed = compute_cams(model, layer, INPUTS, TARGETS, method="GradCAM", batch_size=5, **smooth)
    assert smoothed.min() >= 0
    assert 0 < smoothed.max() <= 1
    assert np.abs(smoothed - plain).max() > 0.01


def test_aug_smooth_of_a_mirrored_image_is_the_mirrored_map() -> None:
    model = model_with()
    layer = find_layer(model, "layer3")
    both = torch.cat([INPUTS[:1], INPUTS[:1].flip(3)])
    maps = compute_cams(model, layer, both, [1, 1], method="GradCAM", batch_size=2, aug_smooth=True)
    assert maps[0] == pytest.approx(maps[1][:, ::-1], abs=1e-4)


class Linear(nn.Module):
    """Scores that are sums over the pixels of each channel: its Grad-CAM is known without computing."""

    def __init__(self, weights: list[list[float]]) -> None:
        super().__init__()
        self.features = nn.Identity()
        self.weights = nn.Parameter(torch.tensor(weights))  # (classes, channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.features(x).mean(dim=(2, 3)) @ self.weights.T


def test_map_lies_where_the_evidence_is_and_no_evidence_is_zero() -> None:
    model = Linear([[1.0, 0.0, 0.0], [-1.0, 0.0, 0.0]])
    image = torch.zeros(1, 3, 8, 8)
    image[0, 0, 2, 5] = 3.0
    maps = compute_cams(model, model.features, image.repeat(2, 1, 1, 1), [0, 1], method="GradCAM", batch_size=2)
    assert maps[0, 2, 5] == pytest.approx(1)
    assert maps[0].sum() == pytest.approx(1)
    assert not maps[1].any()  # evidence against the class: zeros, and no NaN


def test_eigen_cam_is_bright_on_the_object() -> None:
    model = Linear([[1.0, 1.0, 1.0], [-1.0, 0.0, 0.0]])
    image = torch.zeros(1, 3, 8, 8)
    image[0, :, 1:3, 1:3] = 1
    maps = compute_cams(model, model.features, image, [0], method="EigenCAM", batch_size=1)
    assert maps[0, 1:3, 1:3].min() == pytest.approx(1, abs=1e-5)
    assert maps[0, 4:, 4:].max() == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("method", ["GradCAM", "AblationCAM", "ScoreCAM"])
def test_the_model_is_left_as_it_was(method: str, capfd: pytest.CaptureFixture[str]) -> None:
    model = model_with()
    layer = find_layer(model, "layer4")
    before = {name: value.clone() for name, value in model.state_dict().items()}
    compute_cams(model, layer, INPUTS[:2], [0, 1], method=method, batch_size=2)
    assert find_layer(model, "layer4") is layer
    assert not any(module._forward_hooks for module in model.modules())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert capfd.readouterr() == ("", "")


def test_no_images_no_maps() -> None:
    model = model_with()
    maps = compute_cams(model, find_layer(model, "layer4"), INPUTS[:0], [], method="GradCAM", batch_size=4)
    assert maps.shape == (0, 16, 16)


WRONG = np.array([False, True, True, False, True, True])
CONFIDENCE = np.array([0.9, 0.4, 0.8, 0.7, 0.8, 0.5])


def test_choice_by_hand() -> None:
    assert choose_mistakes(WRONG, CONFIDENCE, count=3, order="first", seed=0).tolist() == [1, 2, 4]
    assert choose_mistakes(WRONG, CONFIDENCE, count=3, order="confident", seed=0).tolist() == [2, 4, 5]
    assert choose_mistakes(~WRONG & False, CONFIDENCE, count=3, order="random", seed=0).tolist() == []


@given(
    st.lists(st.tuples(st.booleans(), st.floats(0, 1)), min_size=1, max_size=40),
    st.integers(1, 50),
    st.sampled_from(sorted(ORDERS)),
    st.integers(0, 2**32 - 1),
)
def test_choice_is_of_mistakes_once_each(
    predictions: list[tuple[bool, float]], count: int, order: str, seed: int
) -> None:
    wrong, confidence = (np.array(column) for column in zip(*predictions, strict=True))
    chosen = choose_mistakes(wrong, confidence, count=count, order=order, seed=seed)
    assert len(chosen) == len(set(chosen.tolist())) == min(count, wrong.sum())
    assert wrong[chosen].all()
    assert (chosen == choose_mistakes(wrong, confidence, count=count, order=order, seed=seed)).all()


def test_random_choice_follows_the_seed() -> None:
    wrong, confidence = np.ones(100, dtype=bool), np.zeros(100)
    one, other = (choose_mistakes(wrong, confidence, count=10, order="random", seed=s).tolist() for s in (1, 2))
    assert one != other
