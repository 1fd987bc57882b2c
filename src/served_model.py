"""The logged model. MLflow runs this file to serve the model. It contains no pickle.

Besides `src/tracking/`, only this module imports mlflow, because MLflow requires it ("models from code").
"""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from mlflow.exceptions import MlflowException
from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel, PythonModelContext

from src.errors import UserError
from src.evaluation.logits import predict_probabilities
from src.model.saved import load_model

BATCH = 64  # images per forward pass; a request may hold any number


class NormLensModel(PythonModel):
    """Raw images in, class names and probabilities out."""

    def load_context(self, context: PythonModelContext) -> None:
        """Load the weights. A damaged file is rejected by its hash."""
        paths = context.artifacts
        self.model, self.description = load_model(Path(paths["weights"]), Path(paths["description"]))

    def predict(
        self, context: PythonModelContext, model_input: np.ndarray, params: dict[str, Any] | None = None
    ) -> pd.DataFrame:
        """Images (N, S, S, 3), RGB, 0 to 255 -> one row per image: class, probability, and p(NAME) for every class.

        Raises MlflowException for any other input, which a server answers with status 400.
        """
        about = self.description
        try:
            images = raw_images(model_input, about.size)
            probabilities = predict_probabilities(
                self.model, about, images, device=torch.device("cpu"), batch_size=BATCH
            )  # (N, C)
        except UserError as error:
            raise MlflowException.invalid_parameter_value(str(error)) from None
        table = pd.DataFrame(probabilities, columns=[f"p({name})" for name in about.classes])
        table.insert(0, "class", [about.classes[i] for i in probabilities.argmax(axis=1)])
        table.insert(1, "probability", probabilities.max(axis=1))
        return table


def raw_images(given: object, size: int) -> npt.NDArray[np.uint8]:
    """Return `given` as uint8 (N, S, S, 3). Raises UserError if it is anything else.

    An input schema does not check this. MLflow would cast the numbers of a JSON request to the type in the schema, and
    images with values from 0 to 1, the most likely mistake, would all become black.
    """
    wanted = f"images of shape (N, {size}, {size}, 3), RGB, whole numbers from 0 to 255 (not normalised)"
    if isinstance(given, list) and not given:  # a server converts other lists to arrays, but not `[]`
        given = np.empty((0, size, size, 3), dtype=np.uint8)
    if not isinstance(given, np.ndarray):
        raise UserError(f"the input is a {type(given).__name__}, but the model takes an array: {wanted}")
    if given.ndim != 4 or given.shape[1:] != (size, size, 3):
        raise UserError(f"the shape is {given.shape}, but the model takes {wanted}")
    if not len(given):
        raise UserError(f"the batch has no images, but the model takes {wanted}")
    if not np.issubdtype(given.dtype, np.integer):
        raise UserError(f"the numbers have type {given.dtype}, but the model takes {wanted}")
    low, high = int(given.min()), int(given.max())
    if low < 0 or high > 255:
        raise UserError(f"the numbers range from {low} to {high}, but the model takes {wanted}")
    return given.astype(np.uint8)


set_model(NormLensModel())
