"""Rank the finished runs of the MLflow store by the validation results of their models."""

from collections.abc import Sequence
from dataclasses import dataclass
from tempfile import TemporaryDirectory

from src import artifacts, results, tracking
from src.errors import UserError

METRICS = {"val/accuracy": "val_accuracy", "val/loss": "val_loss"}  # name in MLflow -> that in `results.Training`


@dataclass(frozen=True)
class Candidate:
    """A finished run whose model can be registered."""

    run_id: str
    name: str
    model_key: str
    model_id: str  # of the logged model
    data: str  # digest of the prepared data in MLflow
    data_name: str
    value: float  # of the metric, for the saved weights
    card: str  # '' if the run has none

    @property
    def label(self) -> str:
        return f"{self.name} ({self.run_id[:8]})"


@dataclass(frozen=True)
class Ranking:
    """Candidates, best first, and the reason for each run that was left out."""

    candidates: Sequence[Candidate]
    left_out: Sequence[str]


def rank(names: Sequence[str], where: str, metric: str) -> Ranking:
    """Rank the finished runs that `names` and MLflow's filter `where` select (see tracking.Reader) by `metric`.

    `metric` is a name in METRICS. Of several runs of the same trained model only the newest counts. Of equally good
    models the oldest comes first, so that a new one has to be better.
    Raises UserError if no run is left, or if the runs were validated on different images.
    """
    store = tracking.Reader()
    found: dict[str, Candidate] = {}  # by model
    left_out: list[str] = []
    with TemporaryDirectory() as folder:
        for run in reversed(store.runs(names, where)):  # oldest first
            run_id, tags = run.info.run_id, run.data.tags
            label = f"{run.info.run_name} ({run_id[:8]})"
            model_key = tags.get("model_key", run_id)
            if run.info.status != "FINISHED":
                left_out.append(f"{label} is not finished: {run.info.status.lower()}")
                continue
            if "report" not in tags.get("stages", "").split(","):
                left_out.append(f"{label} is not complete: it has no report")
                continue
            if not (model_id := store.logged_model(run)):
                left_out.append(f"{label} has no logged model")
                continue
            try:
                # Not the last value of the metric, because the saved weights may be those of another epoch.
                kept = results.Training.read(store.download(run_id, "metrics/train.json", folder))
            except UserError as error:
                left_out.append(f"{label} is not complete: {error}")
                continue
            if (value := getattr(kept, METRICS[metric])) is None:
                left_out.append(f"{label} has no validation images (data.val_share is 0)")
                continue
            inputs = run.inputs.dataset_inputs if run.inputs is not None else []
            data = inputs[0].dataset if inputs else None
            if model_key in found:
                left_out.append(f"{found[model_key].label} has the same model as a newer run, which is used instead")
            # The newer run takes the place of the older one, also in the order.
            found[model_key] = Candidate(
                run_id=run_id,
                name=run.info.run_name,
                model_key=model_key,
                model_id=model_id,
                data=data.digest if data else "",
                data_name=data.name if data else "unknown data",
                value=value,
                card=_read_card(store, run_id, folder),
            )
    if not found:
        reasons = "".join(f"\n  {reason}" for reason in left_out)
        raise UserError(f"no run to register at {tracking.shown_uri()}. Make one with: dvc repro{reasons}")
    _refuse_different_data(list(found.values()))
    sign = 1 if metric == "val/loss" else -1
    return Ranking(sorted(found.values(), key=lambda candidate: sign * candidate.value), left_out)  # stable


def _read_card(store: tracking.Reader, run_id: str, folder: str) -> str:
    try:
        return store.download(run_id, artifacts.CARD.as_posix(), folder).read_text(encoding="utf-8")
    except UserError:  # a run of older code without a model card
        return ""


def _refuse_different_data(candidates: list[Candidate]) -> None:
    """Raise UserError if the runs were validated on different images, because their results are not comparable."""
    digests = list(dict.fromkeys(candidate.data for candidate in candidates))
    if len(digests) == 1:
        return
    lines = []
    for digest in digests:
        of_it = [candidate for candidate in candidates if candidate.data == digest]
        names = ", ".join(candidate.label for candidate in of_it[:3]) + (", ..." if len(of_it) > 3 else "")
        lines.append(f"\n  --where \"dataset.digest = '{digest}'\"   {of_it[0].data_name}: {names}")
    raise UserError(
        f"the runs were validated on {len(digests)} different sets of images, so their results are not comparable. "
        f"Name runs, or select one set with:{''.join(lines)}"
    )
