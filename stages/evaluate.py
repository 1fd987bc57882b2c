"""Evaluate the model on the test set: accuracy, loss, calibration, per-class scores and every prediction."""

from functools import partial

from torch import nn
from tqdm import tqdm

from src import artifacts, results
from src.data import prepared
from src.evaluation.evaluate import evaluate
from src.evaluation.summary import model_summary
from src.figures import evaluate as figures
from src.figures.style import save
from src.model.device import resolve_device
from src.model.saved import Description, load_model
from src.params import Params
from src.runtime.run import run_stage
from src.runtime.slots import compute_turn
from src.tracking import Mirror
from src.wording import accuracy_interval, class_means, percent

FOLDER = artifacts.FIGURES / "evaluate"


def main(params: Params) -> None:
    """Evaluate the model in its MLflow run."""
    model, description = load_model()
    with Mirror(params, description.model_key) as mirror:
        write_results(params, model, description)
        mirror.upload("evaluate")


def write_results(params: Params, model: nn.Module, description: Description) -> None:
    """Write metrics/evaluate.json, per_class.csv, predictions.csv and model_summary.txt, and figures/evaluate."""
    data, files = prepared.load(), prepared.load_files("test")
    device = resolve_device(params.device)
    with compute_turn(device):
        found = evaluate(params, model, description, data, files, device, partial(tqdm, unit="batch", delay=1))
    found.result.write()
    results.ClassScores.write_all(found.per_class)
    results.Prediction.write_all(found.predictions)
    save(figures.confusion_matrix(found.confusion, data.classes), FOLDER / "confusion_matrix.png")
    save(figures.reliability_diagram(found.reliability, found.result.ece), FOLDER / "reliability.png")
    artifacts.write_text(results.MODEL_SUMMARY, model_summary(model, data.size))
    test = found.result
    print(f"test accuracy {percent(test.accuracy)} ({accuracy_interval(test)}) on {test.images:,} images")
    print(class_means(test))


if __name__ == "__main__":
    run_stage(main)
