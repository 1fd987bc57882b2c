"""Class activation maps of the same test images by several runs, made from the weights in the MLflow store."""

from collections.abc import Callable, Iterable, Sequence
from tempfile import TemporaryDirectory

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from src import tracking
from src.comparison.groups import Group
from src.comparison.images import Sample, draw_sample
from src.comparison.maps import Maps, collect
from src.comparison.models import check_images, common_layer, described
from src.comparison.runs import StoredRun
from src.data.prepared import Prepared
from src.errors import UserError
from src.explain.cams import ONE_BY_ONE, cams_as_set
from src.model.device import resolve_device
from src.model.inputs import to_input
from src.model.saved import Description, load_model
from src.params import GradCam, Params

FALLBACK_METHOD = "GradCAM"

Uint8 = npt.NDArray[np.uint8]


def explain(
    groups: Sequence[Group],
    data: Prepared | None,
    params: Params,
    per_group: int,
    progress: Callable[[Iterable[str]], Iterable[str]] = iter,
    files: Sequence[str] = (),
) -> Maps:
    """Explain the same images of `data` with at most `per_group` runs of each group.

    Maps are of the class that each run predicts, at the last of `gradcam.layers`. If a model cannot be read, its run is
    left out, and the next seed of its group takes its place. `progress` wraps the ids of the runs. `files` are the
    paths of all test images, or () if they have none. Raises UserError if there are no `data`, if no run has them, or
    if fewer than two runs can be explained.
    """
    data = check_images([run for group in groups for run in group.runs], data, params)
    store, sample = tracking.Reader(), draw_sample(data, files)
    replaced: list[str] = []
    settings, device = params.gradcam, resolve_device(params.device)
    if settings.method in ONE_BY_ONE:
        replaced.append(
            f"the maps are by {FALLBACK_METHOD}, because {settings.method} needs a forward pass per channel"
        )
        settings = settings.model_copy(update={"method": FALLBACK_METHOD})
    lost: dict[str, str] = {}  # id of the run -> why its weights cannot be used
    made: dict[tuple[str, str], Uint8] = {}  # by id of the run and layer
    with TemporaryDirectory() as folder:
        while True:  # another run replaces a lost one, and the common layer may change
            notes = list(replaced)
            kept, about = described(store, groups, data, per_group, folder, notes, lost)
            if len(about) < 2:
                raise UserError("; ".join(["fewer than two models can be explained", *notes]))
            layer = common_layer(settings.layers[-1], list(about.values()), data.size)
            if layer != settings.layers[-1]:
                notes.append(f"the maps are at {layer}, because not every model has a map at {settings.layers[-1]}")
            runs = {run.id: run for group in kept for run in group.runs}
            missing = [run_id for run_id in runs if (run_id, layer) not in made]
            if not missing:
                break
            for run_id in progress(missing):
                try:
                    made[run_id, layer] = run_maps(store, runs[run_id], sample, settings, layer, device, folder)
                except UserError as error:
                    lost[run_id] = str(error)
    maps = {run_id: made[run_id, layer] for run_id in runs}
    return collect(kept, maps, sample, settings.method, layer, settings.image_weight, notes)


def run_maps(
    store: tracking.Reader,
    run: StoredRun,
    sample: Sample,
    settings: GradCam,
    layer: str,
    device: torch.device,
    folder: str,
) -> Uint8:
    """Maps (N, S, S), uint8 with 255 for 1, of the images of `sample` for the classes that `run` predicts.

    `folder` has the description of the run's model. Raises UserError if the weights are missing or damaged.
    """
    model, about = _load(store, run.id, folder)
    inputs = to_input(sample.images, about.mean, about.std, device)
    targets = [about.classes.index(name) for name in run.predictions.predicted[sample.indices]]
    maps = cams_as_set(settings, model.to(device), layer, inputs, targets)
    return np.asarray(np.rint(255 * maps), dtype=np.uint8)


def _load(store: tracking.Reader, run_id: str, folder: str) -> tuple[nn.Module, Description]:
    """The model of a run whose description is in `folder`. Raises UserError if its weights are missing or damaged."""
    weights = store.download_model(run_id, "model.safetensors", folder)
    try:
        return load_model(weights, weights.with_name("model.json"))
    except UserError:
        raise UserError("its model is damaged or belongs to another run") from None
    finally:
        weights.unlink()  # otherwise the folder fills with the weights of all runs
