"""What the served model takes for images, and what it answers to everything else."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from mlflow.exceptions import MlflowException

from src.errors import UserError
from src.evaluation import logits
from src.model.resnet import build
from src.model.saved import Description, save_model
from src.served_model import NormLensModel, raw_images

IMAGES = np.random.default_rng(0).integers(0, 256, (7, 8, 8, 3), dtype=np.uint8)


@pytest.mark.parametrize("kind", [np.uint8, np.int64, np.uint16])
def test_whole_numbers_of_a_pixel_are_images(kind: type) -> None:
    """JSON knows no uint8: a server makes int64 of it."""
    given = raw_images(IMAGES.astype(kind), 8)
    assert given.dtype == np.uint8
    np.testing.assert_array_equal(given, IMAGES)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (IMAGES / 255, "float64"),
        (IMAGES.astype(np.float32), "float32"),
        (IMAGES > 100, "bool"),
        (IMAGES.astype(np.int64) - 128, "from -128 to 127"),
        (IMAGES.astype(np.int64) + 1, "from 1 to 256"),
        (IMAGES[0], "the shape is (8, 8, 3)"),
        (IMAGES[:, :4], "the shape is (7, 4, 8, 3)"),
        (IMAGES.transpose(0, 3, 1, 2), "the shape is (7, 3, 8, 8)"),
        (IMAGES[..., 0], "the shape is (7, 8, 8)"),
        (IMAGES[:0], "no images"),
        ([], "no images"),
        (np.array(["a"]), "the shape is (1,)"),
        ({"images": IMAGES}, "the input is a dict"),
        (None, "the input is a NoneType"),
    ],
)
def test_anything_else_is_named_with_what_is_wanted(given: Any, words: str) -> None:
    with pytest.raises(UserError) as error:
        raw_images(given, 8)
    assert words in str(error.value)
    assert str(error.value).endswith("(N, 8, 8, 3), RGB, whole numbers from 0 to 255 (not normalised)")


def test_the_model_answers_in_classes_and_refuses_in_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights, description = tmp_path / "w.safetensors", tmp_path / "d.json"
    torch.manual_seed(0)
    network = build("batch", 4, [1, 2, 2, 2], 3)
    about = Description(
        norm="batch", width=4, strides=[1, 2, 2, 2], weight_standardization=False, classes=["a", "b", "c"], size=8,
        mean=(0.5, 0.4, 0.3), std=(0.2, 0.2, 0.2), model_key="k", seed=0, lr=0.1, epochs=1, epoch=1, device="cpu",
        precision="fp32", hardware="", source="shapes", data_digest="d",
    )  # fmt: skip
    save_model(network, about, weights, description)
    model = NormLensModel()
    context: Any = SimpleNamespace(artifacts={"weights": str(weights), "description": str(description)})
    model.load_context(context)
    monkeypatch.setattr("src.served_model.BATCH", 3)  # the last batch is not full
    table = model.predict(context, IMAGES)

    inputs = (torch.tensor(IMAGES).permute(0, 3, 1, 2) / 255 - torch.tensor(about.mean).view(3, 1, 1)) / 0.2
    with torch.no_grad():
        expected = network.eval()(inputs).softmax(1).numpy()
    assert list(table.columns) == ["class", "probability", "p(a)", "p(b)", "p(c)"]
    np.testing.assert_allclose(table[["p(a)", "p(b)", "p(c)"]], expected, atol=1e-6)
    assert list(table["class"]) == ["abc"[i] for i in expected.argmax(1)]
    np.testing.assert_array_equal(table["probability"], table[["p(a)", "p(b)", "p(c)"]].max(axis=1))

    with pytest.raises(MlflowException, match="float64") as error:
        model.predict(context, IMAGES / 255)
    assert error.value.error_code == "INVALID_PARAMETER_VALUE"  # which a server answers with 400
    monkeypatch.setattr(model, "model", network.double())
    monkeypatch.setattr(logits, "to_input", lambda *_: torch.full((7, 3, 8, 8), torch.nan, dtype=torch.float64))
    with pytest.raises(MlflowException, match="not finite"):
        model.predict(context, IMAGES)
