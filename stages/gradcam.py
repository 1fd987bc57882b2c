"""Class activation maps of misclassified test images, with the same images in the same order in every figure."""

import time
from collections.abc import Sequence
from functools import partial

import numpy as np
from torch import nn
from tqdm import tqdm

from src import artifacts
from src.data import prepared
from src.explain.cams import cams_as_set
from src.explain.choose import choose_mistakes
from src.explain.judge import judge
from src.figures import gradcam as figures
from src.figures import measures as measure_figures
from src.figures.style import save
from src.model.device import resolve_device
from src.model.inputs import to_input
from src.model.saved import Description, load_model
from src.params import GradCam, Params
from src.runtime.run import run_stage
from src.runtime.slots import compute_turn
from src.tracking import Mirror

FOLDER = artifacts.FIGURES / "gradcam"
COLUMNS = ("index", "file", "true", "predicted", "confidence")
MATRIX_ROWS = 25  # images in the layer matrix, at most


def main(params: Params) -> None:
    """Explain mistakes of the model in its MLflow run."""
    model, description = load_model()
    with Mirror(params, description.model_key) as mirror:
        explain(params, model, description)
        mirror.upload("gradcam")


def explain(params: Params, model: nn.Module, description: Description) -> None:
    """Write metrics/misclassified.csv and gradcam.json, and figures/gradcam.

    `predicted.png` has the maps of the predicted class at the last of gradcam.layers, and `predicted-LAYER.png` those
    at another layer. Both have the same images in the same places. `layers.png` has all layers, one row per image.
    """
    settings = params.gradcam
    data = prepared.load()
    device = resolve_device(params.device)
    model.to(device)
    main_layer = settings.layers[-1]

    predictions = artifacts.read_csv(artifacts.METRICS / "predictions.csv")
    wrong = np.array([row["true"] != row["predicted"] for row in predictions])
    confidence = np.array([float(row["confidence"]) for row in predictions])
    chosen = choose_mistakes(wrong, confidence, count=settings.count, order=settings.choose, seed=params.seed)
    mistakes = [predictions[i] for i in chosen]
    images = np.ascontiguousarray(data.test.images[chosen])  # (K, S, S, 3)
    # Only compute maps of images that fit into a figure.
    inputs = to_input(images[: figures.LARGEST], description.mean, description.std, device)  # (M, 3, S, S)

    def cams(layer: str, of: str) -> np.ndarray:
        """Maps (M, S, S) for the class in column `of` of the predictions."""
        targets = [data.classes.index(row[of]) for row in mistakes[: len(inputs)]]
        bar = partial(tqdm, desc=f"{settings.method} {layer}", unit="batch", delay=1)
        return cams_as_set(settings, model, layer, inputs, targets, bar)

    with compute_turn(device):
        of_predicted = {layer: cams(layer, "predicted") for layer in dict.fromkeys(settings.layers)}
        start = time.perf_counter()  # after the first call, which loads the library
        of_true = cams(main_layer, "true")
        speed = len(inputs) / (time.perf_counter() - start)
        predicted = [data.classes.index(row["predicted"]) for row in predictions]
        measured = judge(params, model, description, data, predicted)

    grids = {layer: f"predicted-{file_name(layer)}" for layer in of_predicted} | {main_layer: "predicted"}
    write_table(mistakes)
    artifacts.write_json(
        artifacts.METRICS / "gradcam.json",
        {
            "method": settings.method,
            "layer": main_layer,
            "grids": grids,
            "wrong": int(wrong.sum()),
            "shown": len(mistakes),
            "images_per_second": round(speed, 1),
            **measured,
        },
    )
    for name, figure in measure_figures.figures(measured, settings.method, main_layer):
        save(figure, FOLDER / f"{name}.png")
    save_figures(
        settings, mistakes, images, {grids[layer]: (layer, maps) for layer, maps in of_predicted.items()}, of_true
    )
    print(f"{settings.method} maps of {len(mistakes)} of {wrong.sum():,} misclassified test images")


def write_table(mistakes: Sequence[dict[str, str]]) -> None:
    """Write metrics/misclassified.csv, with only a header if there are no mistakes."""
    table = artifacts.METRICS / "misclassified.csv"
    if mistakes:
        artifacts.write_csv(table, mistakes)
    else:
        artifacts.write_text(table, ",".join(COLUMNS) + "\n")


def save_figures(
    settings: GradCam,
    mistakes: Sequence[dict[str, str]],
    images: np.ndarray,
    of_predicted: dict[str, tuple[str, np.ndarray]],
    of_true: np.ndarray,
) -> None:
    """Draw the K `mistakes` with their images, uint8 (K, S, S, 3), and maps (M, S, S).

    `of_predicted` has the layer and the maps of each figure by its name. `of_true` has the maps at the main layer.
    """
    titles = figures.pair_titles([row["predicted"] for row in mistakes], [row["true"] for row in mistakes])
    pair = "predicted / true"

    def save_grid(name: str, maps: np.ndarray, layer: str, target: str) -> None:
        heading = f"{settings.method} at {layer} for the {target} class: {pair}"
        grid = figures.overlay_grid(images, maps, titles, settings.columns, heading, settings.image_weight)
        save(grid, FOLDER / f"{name}.png")

    heading = f"Misclassified test images: {pair}"
    save(figures.image_grid(images, titles, settings.columns, heading), FOLDER / "misclassified.png")
    for name, (layer, maps) in of_predicted.items():
        save_grid(name, maps, layer, "predicted")
    save_grid("true", of_true, settings.layers[-1], "true")
    by_layer = dict(of_predicted.values())
    matrix = figures.layer_matrix(
        images[:MATRIX_ROWS],
        np.stack([by_layer[layer][:MATRIX_ROWS] for layer in settings.layers], axis=1),  # (R, L, S, S)
        titles[:MATRIX_ROWS],
        settings.layers,
        f"{settings.method} by layer for the predicted class: {pair}",
        settings.image_weight,
    )
    save(matrix, FOLDER / "layers.png")


def file_name(layer: str) -> str:
    """The dotted name of a layer without brackets, which a shell would expand. layer1[0].conv1 -> layer1.0.conv1

    Different layers have different names. If two spellings share a name, they mean the same layer.
    """
    return layer.replace("[", ".").replace("]", "")


if __name__ == "__main__":
    run_stage(main)
