"""Class activation maps of the same test images by several runs, made from the weights in the MLflow store."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from tempfile import TemporaryDirectory

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from src import artifacts, record, tracking
from src.comparison.groups import Group, StoredRun
from src.comparison.images import Sample, draw_sample
from src.comparison.maps import MOST_GROUPS, Maps, compare_maps
from src.config.overrides import command_line
from src.data.prepared import Prepared
from src.errors import UserError
from src.explain.cams import ONE_BY_ONE, cams_as_set
from src.model.device import resolve_device
from src.model.inputs import to_input
from src.model.layers import check_map
from src.model.resnet import build
from src.model.saved import Description, load_description, load_model
from src.params import GradCam, Params
from src.yaml_files import flatten, parse_yaml

FALLBACK_METHOD = "GradCAM"
FALLBACK_LAYER = "layer4"

Uint8 = npt.NDArray[np.uint8]


def make_maps(
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
            kept, about = _described(store, groups, data, per_group, folder, notes, lost)
            if len(about) < 2:
                raise UserError("; ".join(["fewer than two models can be explained", *notes]))
            layer = _common_layer(settings.layers[-1], list(about.values()), data.size)
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
    return compare_maps(kept, maps, sample, settings.method, layer, settings.image_weight, notes)


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


def check_images(runs: Sequence[StoredRun], data: Prepared | None, params: Params) -> Prepared:
    """Return `data` if at least one run has it, else raise UserError with the command that prepares the images."""
    if data is not None and any(_same_data(run, data) for run in runs):
        return data
    there = "is missing" if data is None else "has other images than the runs"
    raise UserError(f"{artifacts.PREPARED} {there}. Prepare the images with: {_preparation(runs[0], params)}")


def _preparation(run: StoredRun, params: Params) -> str:
    """The command that prepares the images of `run` in this workspace."""
    there, typed = record.flat_params(params), flatten(params.model_dump())
    wanted = {key: v for key, v in run.params.items() if key.startswith("data.") and there.get(key, v) != v}
    values = {key: v if isinstance(typed[key], str) else parse_yaml(v) for key, v in sorted(wanted.items())}
    return command_line(values, "prepare")


def _same_data(run: StoredRun, data: Prepared) -> bool:
    return run.data == data.digest[: len(run.data)] and len(run.predictions.true) == len(data.test)


def _described(
    store: tracking.Reader,
    groups: Sequence[Group],
    data: Prepared,
    per_group: int,
    folder: str,
    notes: list[str],
    lost: Mapping[str, str],
) -> tuple[list[Group], dict[str, Description]]:
    """The groups with their runs that can be explained, lowest seeds first, and the descriptions of the models by run.

    `lost` has the problem with the weights of a run by its id. Runs that are left out are added to `notes`.
    """
    kept: list[Group] = []
    about: dict[str, Description] = {}
    for group in groups:
        if len(kept) == MOST_GROUPS:
            break
        runs: list[StoredRun] = []
        for run in sorted(group.runs, key=lambda run: run.seed):
            if len(runs) == per_group:
                break
            try:
                if not _same_data(run, data):
                    raise UserError("its images are not those in data/prepared")
                if run.id in lost:
                    raise UserError(lost[run.id])
                description = load_description(store.download_model(run.id, "model.json", folder))
                if description.data_digest != data.digest or description.classes != data.classes:
                    raise UserError("its model was trained on other data than the run")
            except UserError as error:
                notes.append(f"{run.name} ({run.id[:8]}) has no maps: {str(error).partition('. Make')[0]}")
                continue
            runs.append(run)
            about[run.id] = description
        if runs:
            kept.append(replace(group, runs=runs))
    if len(kept) < len(groups):
        notes.append(f"{len(kept)} of the {len(groups)} groups have maps (at most {MOST_GROUPS})")
    explained, there = sum(len(group.runs) for group in kept), sum(len(group.runs) for group in groups)
    if explained < there:
        notes.append(f"{explained} of the {there} runs have maps (at most {per_group} per group, see --cam-runs)")
    return kept, {run.id: about[run.id] for group in kept for run in group.runs}


def _common_layer(asked: str, models: Sequence[Description], size: int) -> str:
    """`asked` if all models have a map there, else FALLBACK_LAYER, which every model has."""
    try:
        with torch.device("meta"):  # computes shapes only
            image = torch.empty(1, 3, size, size)
            for d in models:
                model = build(
                    d.norm, d.width, d.strides, len(d.classes), weight_standardization=d.weight_standardization
                )
                check_map(model.eval(), asked, image)
    except UserError:
        return FALLBACK_LAYER
    return asked
