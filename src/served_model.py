"""The logged model: MLflow runs this file where the model is served. No pickle is involved.

It is the one module beside `src/tracking.py` that imports mlflow, because MLflow asks for it ("models from code").
"""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel, PythonModelContext

from src.model.inputs import to_input
from src.model.saved import load_model


class NormLensModel(PythonModel):
    """Raw images in, class names and probabilities out."""

    def load_context(self, context: PythonModelContext) -> None:
        """Load the weights; a damaged file is refused by its hash."""
        paths = context.artifacts
        self.model, self.description = load_model(Path(paths["weights"]), Path(paths["description"]))

    @torch.inference_mode()
    def predict(
        self, context: PythonModelContext, model_input: np.ndarray, params: dict[str, Any] | None = None
    ) -> pd.DataFrame:
        """Images uint8 (N, S, S, 3), RGB -> one row an image: class, probability, and every class's probability."""
        about = self.description
        logits = self.model(to_input(np.asarray(model_input), about.mean, about.std, torch.device("cpu")))
        probabilities = logits.softmax(dim=1).double().numpy()  # (N, C)
        table = pd.DataFrame(probabilities, columns=[f"p({name})" for name in about.classes])
        table.insert(0, "class", [about.classes[i] for i in probabilities.argmax(axis=1)])
        table.insert(1, "probability", probabilities.max(axis=1))
        return table


set_model(NormLensModel())
