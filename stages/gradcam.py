"""Class activation maps of misclassified test images, with the same images in the same order in every figure."""

from functools import partial
from itertools import chain

from torch import nn
from tqdm import tqdm

from src import artifacts, results
from src.data import prepared
from src.explain.judge import judge
from src.explain.mistakes import explain_mistakes
from src.figures import gradcam as figures
from src.figures import measures as measure_figures
from src.figures.style import save
from src.model.device import resolve_device
from src.model.saved import Description, load_model
from src.params import Params
from src.runtime.run import run_stage
from src.runtime.slots import compute_turn
from src.tracking import Mirror

FOLDER = artifacts.FIGURES / "gradcam"


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
    data, device = prepared.load(), resolve_device(params.device)
    model.to(device)
    predictions = results.Prediction.read_all()
    predicted = [data.classes.index(row.predicted) for row in predictions]
    bar = partial(tqdm, delay=1)
    batches = partial(bar, unit="batch")
    with compute_turn(device):
        mistakes = explain_mistakes(params, model, description, data, predictions, figures.LARGEST, batches)
        judged = judge(params, model, description, data, predicted, bar)

    maps = results.Maps(
        method=settings.method,
        layer=settings.layers[-1],
        grids=figures.grids(settings.layers),
        wrong=sum(row.wrong for row in predictions),
        shown=len(mistakes.rows),
        images_per_second=round(mistakes.images_per_second, 1),
        measure_seconds=judged.seconds,
        sample=judged.sample,
        **judged.measures,
        verdict=judged.verdict,
    )
    results.Prediction.write_all(mistakes.rows, results.MISCLASSIFIED)
    maps.write()
    for name, figure in chain(measure_figures.figures(maps), figures.figures(settings, mistakes)):
        save(figure, FOLDER / f"{name}.png")
    print(f"{settings.method} maps of {maps.shown} of {maps.wrong:,} misclassified test images")


if __name__ == "__main__":
    run_stage(main)
