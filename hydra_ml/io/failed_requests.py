"""How often the LLM failed on a request though it answered others: data/predictions/<task>/failed-<content>.json.

Kept beside the batches, by the content of their requests, until such a batch is finished: a batch that is begun anew
with another release goes on counting. Holds request ids and figures, no text.
"""

from __future__ import annotations

import logging
from collections.abc import Collection
from dataclasses import asdict, dataclass
from pathlib import Path

from filelock import FileLock

from hydra_ml.errors import ArtifactError
from hydra_ml.io.files import load_json_as, save_json

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class FailedRuns:
    """Of one request."""

    runs: int
    last: float  # when the last of them was planned: shards tried again within a run count once
    model: str  # the LLM that failed; another one starts from nothing


class FailedRequests:
    """The counts of one file of requests; shards may count at once."""

    def __init__(self, home: Path, content: str) -> None:
        """home: the folder of the task's batches; content: digest of the file."""
        self._path = home / f"failed-{content}.json"
        self._lock = home / ".failed.lock"

    def count(self, request_ids: Collection[str], *, run: float, model: str) -> dict[str, int]:
        """One more failed run for each of these, kept before this returns; by request id, in how many runs the model
        has failed by now, of all the requests counted."""
        with FileLock(self._lock):
            known = self._known()
            for request_id in request_ids:
                before = known.get(request_id)
                if before is None or before.model != model:
                    before = FailedRuns(0, 0.0, model)
                if before.last != run:
                    known[request_id] = FailedRuns(before.runs + 1, run, model)
            if request_ids:
                save_json({request_id: asdict(failed) for request_id, failed in known.items()}, self._path)
        return {request_id: failed.runs for request_id, failed in known.items() if failed.model == model}

    def clear(self) -> None:
        """Forget them all."""
        self._path.unlink(missing_ok=True)

    def _known(self) -> dict[str, FailedRuns]:
        if not self._path.exists():
            return {}
        try:
            return load_json_as(dict[str, FailedRuns], self._path)
        except ArtifactError as error:
            log.warning("Failed runs are counted anew. %s", error)
            return {}
