"""hydra_ml: personalize a black-box LLM with a shared base and one small head per user (HYDRA, arXiv 2406.02888).

For programs: the names below. They are loaded when they are first used, so that `import hydra_ml` costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hydra_ml.errors import HydraError
    from hydra_ml.library import load_params, load_task, open_release, score_requests
    from hydra_ml.params import Params
    from hydra_ml.predictions import PREDICTION_COLUMNS
    from hydra_ml.records import Record
    from hydra_ml.serving.open_release import OpenRelease
    from hydra_ml.tasks import FieldTask, Task

_HOMES = {
    "FieldTask": "hydra_ml.tasks",
    "HydraError": "hydra_ml.errors",
    "OpenRelease": "hydra_ml.serving.open_release",
    "PREDICTION_COLUMNS": "hydra_ml.predictions",
    "Params": "hydra_ml.params",
    "Record": "hydra_ml.records",
    "Task": "hydra_ml.tasks",
    "load_params": "hydra_ml.library",
    "load_task": "hydra_ml.library",
    "open_release": "hydra_ml.library",
    "score_requests": "hydra_ml.library",
}
__all__ = [
    "PREDICTION_COLUMNS",
    "FieldTask",
    "HydraError",
    "OpenRelease",
    "Params",
    "Record",
    "Task",
    "load_params",
    "load_task",
    "open_release",
    "score_requests",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'hydra_ml' has no attribute {name!r}; it has {', '.join(sorted(_HOMES))}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(_HOMES)
