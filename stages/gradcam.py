"""Class activation maps of misclassified test images: one list of mistakes, in one order, in every figure."""

import time
from collections.abc import Iterable
from functools import partial
from typing import Any

import numpy as np
from torch import nn
from tqdm import tqdm

from src import artifacts
from src.data import prepared
from src.explain.cams import compute_cams
from src.explain.choose import choose_mistakes, choose_sample
from src.explain.faithfulness import Subject
from src.explain.measure import Marks, Pair, measure
from src.explain.sanity import fresh_network
from src.explain.summary import summarise
from src.explain.verdict import verdict
from src.figures import gradcam as figures
from src.figures import measures as measure_figures
from src.figures.style import save
from src.model.device import resolve_device
from src.model.inputs import to_input
from src.model.layers import find_layer
from src.model.saved import Description, load_model
from src.params import Params
from src.tracking import Mirror
from stages import compute_turn, run_stage

COLUMNS = ("index", "true", "predicted", "confidence")
MATRIX_ROWS = 25  # images in the layer matrix, the first of the list


def main(params: Params) -> None:
    """Explain mistakes of the model, within its MLflow run."""
    model, description = load_model()
    with Mirror(params, description.model_key) as mirror:
        explain(params, model, description)
        mirror.upload("gradcam")


def explain(params: Params, model: nn.Module, description: Description) -> None:
    """Write metrics/misclassified.csv and gradcam.json, and figures/gradcam.

    The maps of the predicted class at the last of gradcam.layers are `predicted.png`, those at another layer
    `predicted-LAYER.png`, with the same images in the same places; `layers.png` has them all, a row an image.
    """
    settings = params.gradcam
    data = prepared.load()
    device = resolve_device(params.device)
    model.to(device)
    folder = artifacts.FIGURES / "gradcam"

    predictions = artifacts.read_csv(artifacts.METRICS / "predictions.csv")
    wrong = np.array([row["true"] != row["predicted"] for row in predictions])
    confidence = np.array([float(row["confidence"]) for row in predictions])
    chosen = choose_mistakes(wrong, confidence, count=settings.count, order=settings.choose, seed=params.seed)
    mistakes = [predictions[i] for i in chosen]

    images = np.ascontiguousarray(data.test.images[chosen])  # (K, S, S, 3)
    # Maps are made of the images that a figure has room for.
    inputs = to_input(images[: figures.LARGEST], description.mean, description.std, device)  # (M, 3, S, S)
    predicted = [data.classes.index(row["predicted"]) for row in mistakes]
    true = [data.classes.index(row["true"]) for row in mistakes]
    main_layer = settings.layers[-1]

    def cams(name: str, targets: list[int]) -> np.ndarray:
        return compute_cams(
            model,
            find_layer(model, name),
            inputs,
            targets[: len(inputs)],
            method=settings.method,
            batch_size=settings.batch_size,
            aug_smooth=settings.aug_smooth,
            eigen_smooth=settings.eigen_smooth,
            progress=partial(tqdm, desc=f"{settings.method} {name}", unit="batch", delay=1),
        )

    with compute_turn(device):
        of_predicted = {name: cams(name, predicted) for name in dict.fromkeys(settings.layers)}  # each (M, S, S)
        start = time.perf_counter()  # not before: the first call loads the library
        of_true = cams(main_layer, true)  # (M, S, S)
        seconds = time.perf_counter() - start

    measured = judge(params, model, description, data, [data.classes.index(row["predicted"]) for row in predictions])
    for name, figure in measure_figures.figures(measured, settings.method, main_layer):
        save(figure, folder / f"{name}.png")

    grids = {name: f"predicted-{file_name(name)}" for name in of_predicted} | {main_layer: "predicted"}
    table = artifacts.METRICS / "misclassified.csv"
    if mistakes:
        artifacts.write_csv(table, mistakes)
    else:
        artifacts.write_text(table, ",".join(COLUMNS) + "\n")
    artifacts.write_json(
        artifacts.METRICS / "gradcam.json",
        {
            "method": settings.method,
            "layer": main_layer,
            "grids": grids,
            "wrong": int(wrong.sum()),
            "shown": len(mistakes),
            "images_per_second": round(len(inputs) / seconds, 1),
            **measured,
        },
    )
    titles = figures.pair_titles([row["predicted"] for row in mistakes], [row["true"] for row in mistakes])
    pair = "predicted / true"

    def save_grid(name: str, maps: np.ndarray, layer: str, target: str) -> None:
        heading = f"{settings.method} at {layer} for the {target} class: {pair}"
        grid = figures.overlay_grid(images, maps, titles, settings.columns, heading, settings.image_weight)
        save(grid, folder / f"{name}.png")

    save(
        figures.image_grid(images, titles, settings.columns, f"Misclassified test images: {pair}"),
        folder / "misclassified.png",
    )
    for layer, maps in of_predicted.items():
        save_grid(grids[layer], maps, layer, "predicted")
    save_grid("true", of_true, main_layer, "true")
    save(
        figures.layer_matrix(
            images[:MATRIX_ROWS],
            np.stack([of_predicted[name][:MATRIX_ROWS] for name in settings.layers], axis=1),  # (R, L, S, S)
            titles[:MATRIX_ROWS],
            settings.layers,
            f"{settings.method} by layer for the predicted class: {pair}",
            settings.image_weight,
        ),
        folder / "layers.png",
    )
    print(f"{settings.method} of {len(mistakes)} of {wrong.sum():,} misclassified test images")


def judge(
    params: Params, model: nn.Module, description: Description, data: prepared.Prepared, predicted: list[int]
) -> dict[str, Any]:
    """What the maps are worth, for gradcam.json, on a sample of all test images; `predicted` are classes of them all.

    The maps are those of the figures: of the predicted class, with the same settings.
    """
    settings = params.gradcam
    device = resolve_device(params.device)
    chosen = choose_sample(data.test.labels, settings.measure.images, params.seed)
    images = np.ascontiguousarray(data.test.images[chosen])  # (N, S, S, 3)
    targets = [predicted[i] for i in chosen]
    inputs = to_input(images, description.mean, description.std, device)  # (N, 3, S, S)

    def maps_of(network: nn.Module, method: str, layer: str) -> np.ndarray:
        return compute_cams(
            network,
            find_layer(network, layer),
            inputs,
            targets,
            method=method,
            batch_size=settings.batch_size,
            aug_smooth=settings.aug_smooth,
            eigen_smooth=settings.eigen_smooth,
        )

    def progress(steps: Iterable[Any], work: str) -> Iterable[Any]:
        return tqdm(steps, desc=work, delay=1)

    found: dict[Pair, Marks] = {}
    seconds = 0.0
    if len(chosen):
        with compute_turn(device):
            start = time.perf_counter()
            found = measure(
                Subject(model, inputs, targets, settings.batch_size, params.seed),
                maps_of,
                fresh_network(description, params.seed).to(device),
                None if data.test_masks is None else data.test_masks[chosen],
                list(dict.fromkeys([settings.method, *settings.measure.methods])),
                list(dict.fromkeys(settings.layers)),
                progress,
            )
            seconds = time.perf_counter() - start
    return {
        "measure_seconds": round(seconds, 2),
        "sample": {"images": len(chosen), "of": len(data.test), "seed": params.seed},
        **summarise(found),
        "verdict": verdict(found, settings.method, settings.layers[-1]),
    }


def file_name(layer: str) -> str:
    """The dotted name of a layer without brackets, which a shell would expand. layer1[0].conv1 -> layer1.0.conv1

    Two layers never share a name: where two spellings do, they mean the same layer.
    """
    return layer.replace("[", ".").replace("]", "")


if __name__ == "__main__":
    run_stage(main)
