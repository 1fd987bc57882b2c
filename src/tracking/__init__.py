"""All communication of the pipeline with MLflow. No other code of the pipeline imports mlflow.

The MLflow run of a pipeline is a copy of its files (mirror.py). store.py opens the store. Everything except data,
model and training may import this package.
"""

import os
import warnings

# Set before mlflow is imported, which reads them then: no telemetry, bounded waits (by default it retries for 244 s).
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "5")
os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "CRITICAL")  # MLflow also raises its errors, and callers report them
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
# Deprecations among MLflow's own libraries, and advice on options that are omitted on purpose. Users cannot fix either.
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
