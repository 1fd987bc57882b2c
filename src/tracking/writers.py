"""Write comparisons and versions of the registered model to the MLflow store."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from mlflow.exceptions import MlflowException

from src.errors import UserError
from src.tracking.store import COMPARISONS, LONGEST, experiment_id, first_line, lock, open_store, shown_uri, writable


def log_comparison(key: str, name: str, tags: Mapping[str, str], files: Sequence[Path]) -> str:
    """Log a comparison as the run of COMPARISONS whose tag `comparison_key` is `key`, created if it is missing.

    Raises UserError if a call to the store fails.
    """
    with writable("the comparison"):
        client, _ = open_store()
        with lock(COMPARISONS):
            experiment = experiment_id(client, COMPARISONS)
            found = client.search_runs([experiment], f"tags.comparison_key = '{key}'", max_results=1)
            run = found[0] if found else client.create_run(experiment, tags={"comparison_key": key}, run_name=name)
        for tag, value in tags.items():
            client.set_tag(run.info.run_id, tag, value[:LONGEST])
        for file in files:
            client.log_artifact(run.info.run_id, str(file))
        client.set_terminated(run.info.run_id)
    return str(run.info.run_id)


class Version(NamedTuple):
    """A version of a registered model, and the version that had the alias before, or 0."""

    number: int
    before: int


def register_model(name: str, alias: str, run_id: str, model_id: str, description: str) -> Version:
    """Register the logged model of a run as a version of `name`, and move the alias to that version.

    A model that is already a version keeps its number and gets the new description. Raises UserError if a call to the
    store fails.
    """
    try:
        client, _ = open_store()
        with lock("registry"):
            try:
                client.create_registered_model(name)
            except MlflowException as error:
                if error.error_code != "RESOURCE_ALREADY_EXISTS":
                    raise
            before = int(client.get_registered_model(name).aliases.get(alias, 0))
            known = [v for v in client.search_model_versions(f"run_id = '{run_id}'") if v.name == name]
            if known:
                number = min(int(version.version) for version in known)
            else:
                # The address and not `models:/ID`, which MLflow would look up in the store of the environment.
                place = client.get_logged_model(model_id).artifact_location
                number = int(client.create_model_version(name, place, run_id, model_id=model_id).version)
            client.update_model_version(name, str(number), description)
            client.set_registered_model_alias(name, alias, str(number))
    except UserError:
        raise
    except Exception as error:  # as in `readable`
        raise UserError(
            f"the model was not registered as {name}@{alias} at {shown_uri()}: {first_line(error)}"
        ) from None
    return Version(number, before)
