"""Select the runs that can be explained here, the images and the layer."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch

from src import artifacts, record, tracking
from src.comparison.groups import Group
from src.comparison.maps import MOST_GROUPS
from src.comparison.runs import StoredRun
from src.config.overrides import command_line
from src.data.prepared import Prepared
from src.errors import UserError
from src.model.layers import check_map
from src.model.resnet import build
from src.model.saved import Description, load_description
from src.params import Params
from src.yaml_files import flatten, parse_yaml

FALLBACK_LAYER = "layer4"


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


def described(
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


def common_layer(asked: str, models: Sequence[Description], size: int) -> str:
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
