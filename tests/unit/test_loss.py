"""The training loss with class weights, by hand."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from sklearn.utils.class_weight import compute_class_weight

from src.training.loss import make_class_weights, training_loss
from src.training.ranks import Ranks
from tests.unit.training_helpers import make_params

CPU = torch.device("cpu")
BALANCED = make_params(**{"train.class_weights": "balanced"})
# Two images of class 0, one of class 1: probabilities 0.5 and 0.25 of the first, 0.2 of the second.
LOGITS = torch.tensor([[0.5, 0.5], [0.25, 0.75], [0.8, 0.2]], dtype=torch.float64).log()
LABELS = torch.tensor([0, 0, 1])
WEIGHTS = torch.tensor([0.75, 1.5], dtype=torch.float64)  # 3 / (2 * 2) and 3 / (2 * 1)


def test_balanced_weights_by_hand() -> None:
    weights = make_class_weights(BALANCED, np.array([0, 1, 0, 2, 0, 0]), 3, CPU)
    assert weights is not None
    assert weights.tolist() == [0.5, 2, 2]  # 6 / (3 * 4), 6 / (3 * 1)
    assert make_class_weights(make_params(), np.array([0, 1, 0, 2, 0, 0]), 3, CPU) is None


@given(st.lists(st.integers(0, 4), max_size=40))
def test_balanced_weights_agree_with_scikit_learn(more: list[int]) -> None:
    labels = np.array([*range(5), *more])
    weights = make_class_weights(BALANCED, labels, 5, CPU)
    assert weights is not None
    expected = compute_class_weight("balanced", classes=np.arange(5), y=labels)
    assert weights.numpy() == pytest.approx(expected, rel=1e-6)
    assert weights.numpy()[labels].mean() == pytest.approx(1)


def test_the_weighted_loss_by_hand() -> None:
    plain = training_loss(LOGITS, LABELS, 0.0, None, "mean")
    assert plain.item() == pytest.approx(np.log([2, 4, 5]).mean())
    weighted = 0.75 * np.log(2) + 0.75 * np.log(4) + 1.5 * np.log(5)
    assert training_loss(LOGITS, LABELS, 0.0, WEIGHTS, "sum").item() == pytest.approx(weighted)
    assert training_loss(LOGITS, LABELS, 0.0, WEIGHTS, "mean").item() == pytest.approx(weighted / 3)


def test_the_weight_multiplies_the_smoothed_loss_of_the_image() -> None:
    """With smoothing 0.2 the true one of two classes has 0.9 and the other 0.1."""
    losses = [np.log(2), 0.9 * np.log(4) - 0.1 * np.log(0.75), 0.9 * np.log(5) - 0.1 * np.log(0.8)]
    found = training_loss(LOGITS, LABELS, 0.2, WEIGHTS, "mean").item()
    assert found == pytest.approx(np.dot([0.75, 0.75, 1.5], losses) / 3)


@pytest.mark.parametrize("weights", [None, torch.tensor([0.5, 1, 4])])
@pytest.mark.parametrize("images", [1, 2, 13])
def test_parts_of_a_batch_have_the_gradient_of_its_mean(weights: torch.Tensor | None, images: int) -> None:
    """As three ranks share it, with none for some of them: their gradients are averaged."""
    labels = torch.arange(images) % 3
    logits = torch.randn((images, 3), generator=torch.Generator().manual_seed(0), dtype=torch.float64)

    def gradient(ranks: int) -> torch.Tensor:
        bias = torch.zeros(3, dtype=torch.float64, requires_grad=True)
        for part in (Ranks(rank, ranks).part(images) for rank in range(ranks)):
            loss = training_loss(logits[part] + bias, labels[part], 0.1, weights, "sum") * (ranks / images)
            (loss / ranks).backward()  # type: ignore[no-untyped-call]
        assert bias.grad is not None
        return bias.grad

    bias = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    training_loss(logits + bias, labels, 0.1, weights, "mean").backward()  # type: ignore[no-untyped-call]
    assert bias.grad is not None
    for ranks in (1, 3):
        torch.testing.assert_close(gradient(ranks), bias.grad)


def test_without_weights_the_loss_has_the_bits_of_pytorch() -> None:
    logits = torch.randn((50, 4), generator=torch.Generator().manual_seed(0))
    labels = torch.arange(50) % 4
    found = training_loss(logits, labels, 0.1, None, "mean")
    assert torch.equal(found, F.cross_entropy(logits, labels, label_smoothing=0.1))
