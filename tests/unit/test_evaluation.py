"""Accuracy, intervals and per-class scores against hand-computed values."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn.metrics import f1_score, precision_recall_fscore_support, recall_score

from src.data.prepared import Split
from src.evaluation.logits import predict_logits
from src.evaluation.metrics import (
    balanced_accuracy,
    class_scores,
    confusion_matrix,
    cross_entropy,
    macro_f1,
    mean_probabilities,
    softmax,
    top_k_accuracy,
)
from src.evaluation.summary import model_summary
from src.model.resnet import build

LOGITS = np.log(np.array([[0.7, 0.2, 0.1], [0.1, 0.5, 0.4], [0.3, 0.3, 0.4], [0.6, 0.3, 0.1]]))
LABELS = np.array([0, 2, 2, 1])


def labelled_logits() -> st.SearchStrategy[tuple[np.ndarray, np.ndarray]]:
    values = st.floats(-50, 50, width=32)
    logits = hnp.arrays(np.float32, st.tuples(st.integers(1, 20), st.integers(2, 8)), elements=values)
    return logits.flatmap(
        lambda x: st.tuples(st.just(x), hnp.arrays(np.int64, len(x), elements=st.integers(0, x.shape[1] - 1)))
    )


def test_softmax_and_cross_entropy_by_hand() -> None:
    assert softmax(LOGITS + 1000) == pytest.approx(np.exp(LOGITS))
    assert cross_entropy(LOGITS, LABELS) == pytest.approx(-np.log([0.7, 0.4, 0.4, 0.3]).mean())


@given(labelled_logits())
def test_cross_entropy_agrees_with_torch(case: tuple[np.ndarray, np.ndarray]) -> None:
    logits, labels = case
    expected = torch.nn.functional.cross_entropy(torch.tensor(logits, dtype=torch.float64), torch.tensor(labels))
    assert cross_entropy(logits, labels) == pytest.approx(float(expected), abs=1e-9)


def test_probabilities_and_not_logits_are_averaged_by_hand() -> None:
    # view 1: 0.9 and 0.1; view 2: 0.3 and 0.7, whatever is added to its logits. Mean: 0.6 and 0.4, the first class.
    views = np.log([[0.9, 0.1]]), np.log([[0.3, 0.7]]) + 100
    assert mean_probabilities(*views) == pytest.approx(np.array([[0.6, 0.4]]))
    # view 1: 0.6, 0.4 and 0; view 2: 0, 0.4 and 0.6. The mean of the logits would be largest at the second class too,
    # but with probability 1: the votes are 0.3, 0.4 and 0.3.
    views = np.log([[0.6, 0.4, 1e-9]]), np.log([[1e-9, 0.4, 0.6]])
    assert mean_probabilities(*views) == pytest.approx(np.array([[0.3, 0.4, 0.3]]), abs=1e-8)
    # one sure view outvotes an unsure one, but not more than its one vote: 0.01 + 0.98 against 0.99 + 0.02
    views = np.log([[0.01, 0.99]]), np.log([[0.98, 0.02]])
    assert mean_probabilities(*views).argmax() == 1


@given(labelled_logits())
def test_the_order_of_views_does_not_matter(case: tuple[np.ndarray, np.ndarray]) -> None:
    logits, _ = case
    one, other = mean_probabilities(logits, logits[::-1]), mean_probabilities(logits[::-1], logits)
    assert one == pytest.approx(other)
    assert one.sum(axis=1) == pytest.approx(1)


def test_top_k_by_hand() -> None:
    assert top_k_accuracy(LOGITS, LABELS, 1) == 0.5
    assert top_k_accuracy(LOGITS, LABELS, 2) == 1.0
    assert top_k_accuracy(LOGITS, LABELS, 5) == 1.0  # more than there are classes


@given(labelled_logits())
def test_top_k_begins_with_argmax_and_grows_to_one(case: tuple[np.ndarray, np.ndarray]) -> None:
    logits, labels = case
    shares = [top_k_accuracy(logits, labels, k) for k in range(1, logits.shape[1] + 1)]
    assert shares[0] == (logits.argmax(axis=1) == labels).mean()
    assert shares == sorted(shares)
    assert shares[-1] == 1.0


def test_confusion_matrix_and_scores_by_hand() -> None:
    # class 3 has no image and is never predicted; class 2 is never predicted
    labels, predicted = np.array([0, 0, 0, 1, 1, 2]), np.array([0, 0, 1, 1, 0, 1])
    confusion = confusion_matrix(labels, predicted, 4)
    assert confusion.tolist() == [[2, 1, 0, 0], [1, 1, 0, 0], [0, 1, 0, 0], [0, 0, 0, 0]]
    scores = class_scores(confusion)
    assert scores.precision == pytest.approx([2 / 3, 1 / 3, np.nan, np.nan], nan_ok=True)
    assert scores.recall == pytest.approx([2 / 3, 1 / 2, 0, np.nan], nan_ok=True)
    assert scores.f1 == pytest.approx([2 / 3, 2 / 5, 0, np.nan], nan_ok=True)
    assert scores.images.tolist() == [3, 2, 1, 0]
    assert balanced_accuracy(scores) == pytest.approx((2 / 3 + 1 / 2 + 0) / 3)
    assert macro_f1(scores) == pytest.approx((2 / 3 + 2 / 5 + 0) / 3)


def test_means_over_classes_count_a_predicted_class_without_images_in_f1_alone() -> None:
    # class 0: 9 of 10 right; class 1: right; class 2 has no image and takes the last one of class 0
    labels, predicted = np.array([0] * 10 + [1]), np.array([0] * 9 + [2, 1])
    scores = class_scores(confusion_matrix(labels, predicted, 3))
    assert balanced_accuracy(scores) == pytest.approx((9 / 10 + 1) / 2)
    assert macro_f1(scores) == pytest.approx((18 / 19 + 1 + 0) / 3)


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=60))
def test_class_scores_agree_with_scikit_learn(pairs: list[tuple[int, int]]) -> None:
    labels, predicted = np.array(pairs).T
    confusion = confusion_matrix(labels, predicted, 5)
    assert confusion.sum() == len(pairs)
    expected = precision_recall_fscore_support(labels, predicted, labels=range(5), zero_division=np.nan)
    for ours, theirs in zip(class_scores(confusion), expected, strict=True):
        assert ours == pytest.approx(theirs, nan_ok=True)
    scores = class_scores(confusion)
    assert macro_f1(scores) == pytest.approx(f1_score(labels, predicted, average="macro", zero_division=0))
    # As balanced_accuracy_score, which warns of a predicted class without images.
    recall = recall_score(labels, predicted, labels=np.unique(labels), average="macro", zero_division=0)
    assert balanced_accuracy(scores) == pytest.approx(recall)


@settings(max_examples=5, deadline=None)
@given(st.integers(1, 9))
def test_logits_do_not_depend_on_the_batch_size(batch_size: int) -> None:
    torch.manual_seed(0)
    model = build("batch", 4, [1, 2, 2, 2], 3).train()
    images = np.random.default_rng(0).integers(0, 256, (8, 16, 16, 3), dtype=np.uint8)
    half = ((0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
    split, cpu = Split(images, np.zeros(8, dtype=np.int64)), torch.device("cpu")
    logits = predict_logits(model, split, *half, device=cpu, batch_size=batch_size)
    assert logits.shape == (8, 3)
    assert logits.dtype == np.float32
    assert logits == pytest.approx(predict_logits(model, split, *half, device=cpu, batch_size=8), abs=1e-5)


def test_model_summary_has_the_columns_and_totals() -> None:
    text = model_summary(build("batch", 64, [1, 2, 2, 2], 10), 32)
    columns = ("Kernel Shape", "Input Shape", "Output Shape", "Param #", "Mult-Adds")
    for wanted in (*columns, "Total params: 11,173,962", "Total mult-adds (M): 555.43"):
        assert wanted in text
