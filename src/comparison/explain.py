"""Class activation maps of the same test images by several runs, made anew from the weights in the MLflow store."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from tempfile import TemporaryDirectory

import numpy as np
from torch import nn

from src import tracking
from src.comparison import images
from src.comparison.groups import Group
from src.comparison.images import Indices
from src.comparison.maps import Column, Maps, compare_maps, mean_agreement
from src.comparison.models import MOST_GROUPS, check_images, common_layer, described
from src.comparison.runs import StoredRun
from src.data.prepared import Prepared
from src.errors import UserError
from src.explain.agreement import Float32
from src.explain.cams import ONE_BY_ONE, cams_as_set
from src.model.device import resolve_device
from src.model.inputs import to_input
from src.model.saved import Description, load_model
from src.params import GradCam, Params

FALLBACK_METHOD = "GradCAM"


def explain(
    groups: Sequence[Group],
    data: Prepared | None,
    params: Params,
    per_group: int,
    progress: Callable[[Iterable[str]], Iterable[str]] = iter,
    files: Sequence[str] = (),
) -> Maps:
    """Explain the same images of `data` with at most `per_group` runs of each group.

    For the class that each run predicts, at the last of `gradcam.layers`. The figure's columns are the runs with the
    lowest seed of each group; of a single group, its runs. A run whose model cannot be had is left out, and the next
    seed of its group takes its place. `progress` wraps the ids of the runs. `files` are the paths of all test images,
    () if they have none. Raises UserError if there are no `data`, if no run has them, or if fewer than two runs can be
    explained.
    """
    data = check_images([run for group in groups for run in group.runs], data, params)
    store = tracking.Reader()
    replaced: list[str] = []
    settings, device = params.gradcam, resolve_device(params.device)
    if settings.method in ONE_BY_ONE:
        replaced.append(f"{settings.method} takes a pass for every channel: the maps are {FALLBACK_METHOD}'s")
        settings = settings.model_copy(update={"method": FALLBACK_METHOD})
    lost: dict[str, str] = {}  # why the weights of a run cannot be used, by its id
    with TemporaryDirectory() as folder:
        while True:  # a run that is lost may be one whose answers choose the images: all begins anew, which is rare
            notes = list(replaced)
            kept, about = described(store, groups, data, per_group, folder, notes, lost)
            if len(about) < 2:
                raise UserError("; ".join(["fewer than two models can be explained", *notes]))
            layer = common_layer(settings.layers[-1], list(about.values()), data.size)
            if layer != settings.layers[-1]:
                notes.append(f"the maps are at {layer}: not every model has a map at {settings.layers[-1]}")
            shown = _columns(kept)
            right = np.stack([run.predictions.predicted == run.predictions.true for run in shown.values()])  # (R, T)
            sample = images.draw(right.shape[1], data.size)
            rows = images.by_answers(right, list(shown))
            indices = np.union1d(sample, [row.index for row in rows]).astype(np.int64)
            explained = {run.id: run for group in kept for run in group.runs}
            maps: dict[str, Float32] = {}
            before = len(lost)
            for run_id in progress(explained):
                try:
                    model, description = _load(store, run_id, folder)
                except UserError as error:
                    lost[run_id] = str(error)
                    continue
                if len(lost) == before:
                    maps[run_id] = _maps(
                        explained[run_id], model.to(device), description, data, indices, settings, layer
                    )
            if len(lost) == before:
                break

    of_sample = np.searchsorted(indices, sample)
    compared = {run_id: found[of_sample] for run_id, found in maps.items()}
    inside, pairs = compare_maps(kept, compared, sample)
    rows += images.by_maps(sample, mean_agreement([compared[run.id] for run in shown.values()]), rows)
    chosen = np.array([row.index for row in rows])
    places = np.searchsorted(indices, chosen)
    first = next(iter(shown.values()))
    return Maps(
        method=settings.method,
        layer=layer,
        image_weight=settings.image_weight,
        sample=sample,
        groups=inside,
        pairs=pairs,
        empty=int(sum((found.max(axis=(1, 2)) == 0).sum() for found in compared.values())),
        rows=rows,
        images=np.ascontiguousarray(data.test.images[chosen]),
        files=[files[row.index] if files else "" for row in rows],
        true=first.predictions.true[chosen].tolist(),
        columns=[
            Column(
                label,
                run.predictions.predicted[chosen].tolist(),
                run.predictions.confidence[chosen].tolist(),
                maps[run.id][places],
            )
            for label, run in shown.items()
        ],
        notes=notes,
    )


def _columns(groups: Sequence[Group]) -> Mapping[str, StoredRun]:
    """The runs of the figure by their labels: the lowest seed of each group, or the runs of a single one."""
    if len(groups) == 1:
        return {f"seed {run.seed} ({run.id[:4]})": run for run in groups[0].runs[:MOST_GROUPS]}
    return {group.label: group.runs[0] for group in groups}


def _load(store: tracking.Reader, run_id: str, folder: str) -> tuple[nn.Module, Description]:
    """The model of a run whose description is in `folder`; UserError where its weights are missing or damaged."""
    weights = store.download_model(run_id, "model.safetensors", folder)
    try:
        return load_model(weights, weights.with_name("model.json"))
    except UserError:
        raise UserError("its model is damaged, or of another run") from None
    finally:
        weights.unlink()  # else all of them lie there at once


def _maps(
    run: StoredRun,
    model: nn.Module,
    about: Description,
    data: Prepared,
    indices: Indices,
    settings: GradCam,
    layer: str,
) -> Float32:
    """Maps (N, S, S) of the test images `indices` for the classes that the run predicts."""
    device = next(model.parameters()).device
    inputs = to_input(np.ascontiguousarray(data.test.images[indices]), about.mean, about.std, device)
    targets = [about.classes.index(name) for name in run.predictions.predicted[indices]]
    return cams_as_set(settings, model, layer, inputs, targets)
