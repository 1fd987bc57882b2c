"""Class activation maps of misclassified test images: one list of mistakes, in one order, in every figure."""

import time
from functools import partial

import numpy as np
from torch import nn
from tqdm import tqdm

from src import artifacts
from src.data import prepared
from src.explain.cams import compute_cams
from src.explain.choose import choose_mistakes
from src.figures import gradcam as figures
from src.figures.style import save
from src.model.device import resolve_device
from src.model.inputs import to_input
from src.model.layers import find_layer
from src.model.saved import Description, load_model
from src.params import Params
from src.tracking import Mirror
from stages import compute_turn, run_stage

COLUMNS = ("index", "true", "predicted", "confidence")
MATRIX_ROWS = 10  # images in the layer matrix


def main(params: Params) -> None:
    """Explain mistakes of the model, within its MLflow run."""
    model, description = load_model()
    with Mirror(params, description.model_key) as mirror:
        explain(params, model, description)
        mirror.upload("gradcam")


def explain(params: Params, model: nn.Module, description: Description) -> None:
    """Write metrics/misclassified.csv and gradcam.json, and figures/gradcam."""
    settings = params.gradcam
    data = prepared.load()
    device = resolve_device(params.device)
    model.to(device)

    predictions = artifacts.read_csv(artifacts.METRICS / "predictions.csv")
    wrong = np.array([row["true"] != row["predicted"] for row in predictions])
    confidence = np.array([float(row["confidence"]) for row in predictions])
    chosen = choose_mistakes(wrong, confidence, count=settings.count, order=settings.choose, seed=params.seed)
    mistakes = [predictions[i] for i in chosen]

    images = np.ascontiguousarray(data.test.images[chosen])  # (K, S, S, 3)
    inputs = to_input(images, description.mean, description.std, device)  # (K, 3, S, S)
    predicted = [data.classes.index(row["predicted"]) for row in mistakes]
    true = [data.classes.index(row["true"]) for row in mistakes]
    layer = settings.layers[-1]

    def cams(name: str, targets: list[int], count: int | None = None) -> np.ndarray:
        return compute_cams(
            model,
            find_layer(model, name),
            inputs[:count],
            targets[:count],
            method=settings.method,
            batch_size=settings.batch_size,
            aug_smooth=settings.aug_smooth,
            eigen_smooth=settings.eigen_smooth,
            progress=partial(tqdm, desc=f"{settings.method} {name}", unit="batch", delay=1),
        )

    with compute_turn(device):
        of_predicted = cams(layer, predicted)
        start = time.perf_counter()  # not before: the first call loads the library
        of_true = cams(layer, true)
        seconds = time.perf_counter() - start
        # (R, L, S, S); the last layer's maps are there already
        of_others = [cams(name, predicted, MATRIX_ROWS) for name in settings.layers[:-1]]
        by_layer = np.stack([*of_others, of_predicted[:MATRIX_ROWS]], axis=1)

    table = artifacts.METRICS / "misclassified.csv"
    if mistakes:
        artifacts.write_csv(table, mistakes)
    else:
        artifacts.write_text(table, ",".join(COLUMNS) + "\n")
    artifacts.write_json(
        artifacts.METRICS / "gradcam.json",
        {
            "method": settings.method,
            "layer": layer,
            "wrong": int(wrong.sum()),
            "shown": len(mistakes),
            "images_per_second": round(len(mistakes) / seconds, 1),
        },
    )
    folder = artifacts.FIGURES / "gradcam"
    titles = figures.pair_titles([row["predicted"] for row in mistakes], [row["true"] for row in mistakes])
    pair = "predicted / true"
    grid = partial(figures.overlay_grid, images, columns=settings.columns, image_weight=settings.image_weight)
    save(
        figures.image_grid(images, titles, settings.columns, f"Misclassified test images: {pair}"),
        folder / "misclassified.png",
    )
    save(
        grid(of_predicted, titles, heading=f"{settings.method} at {layer} for the predicted class: {pair}"),
        folder / "predicted.png",
    )
    save(grid(of_true, titles, heading=f"{settings.method} at {layer} for the true class: {pair}"), folder / "true.png")
    save(
        figures.layer_matrix(
            images[:MATRIX_ROWS],
            by_layer,
            titles[:MATRIX_ROWS],
            settings.layers,
            f"{settings.method} by layer for the predicted class: {pair}",
            settings.image_weight,
        ),
        folder / "layers.png",
    )
    print(f"{settings.method} of {len(mistakes)} of {wrong.sum():,} misclassified test images")


if __name__ == "__main__":
    run_stage(main)
