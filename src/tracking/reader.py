"""Read runs, files and models from the MLflow store."""

from collections.abc import Sequence
from pathlib import Path

from mlflow.entities import Run
from mlflow.exceptions import MlflowException

from src.errors import UserError
from src.tracking.store import EXPERIMENT, every_run, first_line, model_ids, open_store, readable
from src.tracking_uri import tracking_uri


class Reader:
    """Reads the store for commands. Raises UserError if the store cannot be reached."""

    def __init__(self) -> None:
        with readable():
            self._client, self._experiment = open_store()
            self._uri = tracking_uri()
        self._places: dict[str, str] = {}  # run -> address of its files

    def runs(self, names: Sequence[str], where: str) -> list[Run]:
        """The runs of our experiment that match MLflow's filter `where`, newest first.

        Each of `names` is an id, or the name of a run, a DVC experiment or an MLflow experiment. Without names all runs
        are returned.
        """
        with readable():
            experiments = [e for e in map(self._client.get_experiment_by_name, names) if e is not None]
            places = {self._experiment: EXPERIMENT} | {e.experiment_id: e.name for e in experiments}
            try:
                found = list(every_run(self._client, list(places), where))
            except MlflowException as error:
                if error.error_code != "INVALID_PARAMETER_VALUE":
                    raise
                raise UserError(f"--where {where!r} selects no runs: {first_line(error)}") from None
        self._places |= {run.info.run_id: run.info.artifact_uri for run in found}
        if not names:
            return found
        known: dict[str, list[Run]] = {name: [] for name in names}
        for run in found:
            own = {run.info.run_id, run.info.run_name, run.data.tags.get("experiment", "")}
            for name in (own | {places[run.info.experiment_id]}) & set(names):
                known[name].append(run)
        if unknown := [name for name, runs in known.items() if not runs]:
            raise UserError(
                f"no run is called {', '.join(unknown)}"
                + (f", or --where {where!r} excludes it" if where else "")
                + ". Give ids or names of runs, or names of experiments, as shown by: make ui"
            )
        chosen = {run.info.run_id for runs in known.values() for run in runs}
        return [run for run in found if run.info.run_id in chosen]

    def curve(self, run_id: str, metric: str) -> list[float]:
        """The values of a metric by epoch."""
        with readable():
            points = self._client.get_metric_history(run_id, metric)
        return [point.value for point in sorted(points, key=lambda point: point.step)]

    def download(self, run_id: str, path: str, folder: str) -> Path:
        """Download a file of a run, such as `metrics/predictions.csv`, to a folder for that run in `folder`."""
        from mlflow.artifacts import download_artifacts

        place = Path(folder) / run_id
        place.mkdir(exist_ok=True)
        try:
            # Not `client.download_artifacts`, which reads the whole run again to find the address of its files.
            source = self._places.get(run_id) or self._client.get_run(run_id).info.artifact_uri
            return Path(download_artifacts(f"{source}/{path}", dst_path=str(place), tracking_uri=self._uri))
        except Exception as error:  # the type depends on where the store keeps files
            raise UserError(f"it has no {path} ({first_line(error)})") from None

    def download_model(self, run_id: str, name: str, folder: str) -> Path:
        """Download a file of the logged model of a run, `model.json` or `model.safetensors`, as `download` does."""
        from mlflow.artifacts import download_artifacts

        place = Path(folder) / run_id
        place.mkdir(exist_ok=True)
        try:
            logged = model_ids(self._client.get_run(run_id))
            if not logged:
                raise UserError(f"it has no {name} (it logged no model)")
            source = self._client.get_logged_model(logged[0]).artifact_location
            return Path(download_artifacts(f"{source}/artifacts/{name}", dst_path=str(place), tracking_uri=self._uri))
        except UserError:
            raise
        except Exception as error:  # as in `download`
            raise UserError(f"it has no {name} ({first_line(error)})") from None

    def logged_model(self, run: Run) -> str:
        """The id of the complete logged model of a run, or ''."""
        for model_id in model_ids(run):
            try:
                with readable():
                    files = self._client.list_logged_model_artifacts(model_id)
            except UserError:  # deleted or lost
                continue
            if any(file.path == "MLmodel" for file in files):
                return str(model_id)
        return ""
