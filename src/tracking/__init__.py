"""MLflow: all that the pipeline says to it or asks of it. Nothing else of the pipeline imports mlflow.

The MLflow run of a pipeline is the mirror of its files: mirror.py. The store is opened by store.py.
"""

import os
import warnings

# Above the import, because mlflow reads them there: no call home; bounded waits (its default retries for 244 s a call).
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "5")
os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "CRITICAL")  # its errors are raised too, and told in a sentence
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
# Deprecations among its own libraries, and advice on options that are left out on purpose: nothing a person can mend.
warnings.filterwarnings("ignore", module=r"mlflow|sqlalchemy|alembic")

from mlflow import MlflowClient
from mlflow.entities import Run

from src.tracking.mirror import Mirror
from src.tracking.reader import Reader
from src.tracking.store import COMPARISONS, EXPERIMENT, LONGEST, close_dead_runs, open_store, shown_uri
from src.tracking.sweep import Sweep
from src.tracking.writers import Version, log_comparison, register_model
from src.tracking_uri import tracking_uri

__all__ = [
    "COMPARISONS",
    "EXPERIMENT",
    "LONGEST",
    "Mirror",
    "MlflowClient",
    "Reader",
    "Run",
    "Sweep",
    "Version",
    "close_dead_runs",
    "log_comparison",
    "open_store",
    "register_model",
    "shown_uri",
    "tracking_uri",
]
