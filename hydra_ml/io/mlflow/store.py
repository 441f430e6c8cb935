"""Where MLflow keeps runs and models, and how it is spoken to: one client per address, one kind of error.

`io.tracking` writes runs through it, `io.registry` models.
"""

from __future__ import annotations

import functools
import logging
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock

from hydra_ml.errors import HydraError, StoreError, without_secret
from hydra_ml.io.own_stack import load_own_stack

if TYPE_CHECKING:
    from mlflow import MlflowClient

STORE = Path(".mlflow")  # below the working directory, where the server of `make up` keeps its own

# A dead server is an error within seconds, not minutes; nothing is sent anywhere else; stdout is for answers.
_SETTINGS = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}

_DEFAULT = threading.RLock()


def tracking_uri() -> str:
    """MLFLOW_TRACKING_URI, or the SQLite store below the working directory."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{(STORE / 'mlflow.db').resolve()}"


def connect(uri: str | None = None) -> MlflowClient:
    """A client of the store, which is made where it is SQLite and not there yet; one per process and address.

    Raises ArtifactError where it does not answer.
    """
    return _connected(uri or tracking_uri())


@functools.cache
def _connected(uri: str) -> MlflowClient:
    for name, value in _SETTINGS.items():
        os.environ.setdefault(name, value)
    own = load_own_stack()
    if own is not None and uri.rstrip("/") == own.mlflow_url:
        for name, value in own.mlflow_login().items():
            os.environ.setdefault(name, value)
    from mlflow import MlflowClient

    for chatty in ("alembic", "mlflow"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    database = sqlite_file(uri)
    with speaking(uri, "be opened"):
        client = MlflowClient(tracking_uri=uri, registry_uri=uri)
        if database is None:
            client.search_experiments(max_results=1)
        else:  # several processes creating one database at once spoil it
            database.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(database.with_suffix(".lock")):
                client.search_experiments(max_results=1)
    return client


def sqlite_file(uri: str) -> Path | None:
    """The file of a SQLite address; None for a server or another database."""
    return Path(uri.removeprefix("sqlite:///")) if uri.startswith("sqlite:///") else None


@contextmanager
def speaking(uri: str, doing: str) -> Iterator[None]:
    """Whatever MLflow, its database or its disk raises inside becomes one StoreError: "MLflow at <uri> cannot
    <doing>". Our own errors pass.
    """
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except HydraError:
        raise
    except (MlflowException, SQLAlchemyError, OSError) as error:
        # MLflow's own message may name the address whole, and a cause is printed with its traceback.
        cause = error if without_secret(uri) == uri else None
        raise StoreError(
            f"MLflow at {without_secret(uri)} cannot {doing}: {_first_line(error)} Is its server up (`make up`), its "
            "disk writable and not full? MLFLOW_TRACKING_URI names the store; unset, it is .mlflow/ of this folder."
        ) from cause


@contextmanager
def as_default(uri: str) -> Iterator[None]:
    """MLflow's own default is this store meanwhile: to register or download a logged model it asks the default about
    it, whatever store the client speaks to."""
    with _DEFAULT:
        before = os.environ.get("MLFLOW_TRACKING_URI")
        os.environ["MLFLOW_TRACKING_URI"] = uri
        try:
            yield
        finally:
            if before is None:
                del os.environ["MLFLOW_TRACKING_URI"]
            else:
                os.environ["MLFLOW_TRACKING_URI"] = before


def _first_line(error: Exception) -> str:
    line = without_secret((str(error).strip() or type(error).__name__).splitlines()[0])
    return line[:400] if line.endswith(".") else f"{line[:400]}."
