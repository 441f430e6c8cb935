"""What feedback says of a release that is to be judged, beside the gate's own figures.

A challenger has served nobody, so it has no feedback of its own. What can be told is what its adapter would choose
among the candidates that were kept with the champion's, or an earlier release's, answers: no LLM is asked. Most of
these requests' final answers are records by then, and its heads have learned them: so the shares show whether something
that users wanted got lost, and are no claim of quality.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from hydra_ml.answering.adapter import choose_best
from hydra_ml.answering.feedback import kept_candidates
from hydra_ml.answering.score_requests import give_profiles
from hydra_ml.errors import HydraError
from hydra_ml.evaluation.decision import Reason
from hydra_ml.evaluation.feedback import ENOUGH, judge_feedback
from hydra_ml.io.feedback_store import standing_feedback, stored_feedback
from hydra_ml.io.history_store import stored_records
from hydra_ml.io.mlflow.registry import Registry
from hydra_ml.records import Request
from hydra_ml.serving.component import torch_threads
from hydra_ml.serving.open_release import OpenRelease, open_release
from hydra_ml.tasks.task import Task

NEWEST = 500  # requests with a final answer that are looked at
COLUMNS = ["request_id", "user_id", "answer", "input", "prediction", "candidates"]


def feedback_evidence(
    task: Task, champion: str, challenger: str, *, data: Path, registry: Registry, cache: Path
) -> list[Reason]:
    """`evaluation.feedback.judge_feedback` on the newest final answers; [] where there are too few. It refuses nothing,
    and stops nothing: what keeps it from being told stands in the reason."""
    try:
        said = standing_feedback(stored_feedback(data, task, COLUMNS))
        has_candidates = said["candidates"].map(bool).astype(bool)
        said = said[said["answer"].notna() & has_candidates].tail(NEWEST).reset_index(drop=True)
        if len(said) < ENOUGH:
            return []
        chosen = [
            _chosen(said, task, open_release(registry, task, version, cache), data)
            for version in (champion, challenger)
        ]
    except HydraError as error:
        return [Reason("feedback", True, f"cannot be told: {str(error).partition(chr(10))[0]}")]
    return judge_feedback(said["answer"].tolist(), said["prediction"].tolist(), *chosen)


def _chosen(said: pd.DataFrame, task: Task, release: OpenRelease, data: Path) -> list[str | None]:
    """What the release's adapter would choose among each request's kept candidates; None where it can choose none."""
    stored = stored_records(data, task, said["user_id"])
    keys = list(zip(said["request_id"], said["user_id"], strict=True))
    asked = [Request("\x1f".join(key), key[1], input, 1, None) for key, input in zip(keys, said["input"], strict=True)]
    profiles, records = give_profiles(asked, stored, task, limit=release.params.prepare.history)
    seen = dict(zip(keys, profiles["profile"], strict=True))
    with torch_threads(1):
        rows, evidence = kept_candidates(said, seen, records, task, release.texts.encode)
        user_ids = rows["user_id"].to_numpy(dtype=str)
        personal, _ = release.adapter.score(rows["a"].tolist(), rows["b"].tolist(), evidence, user_ids)
    best = choose_best(rows, personal, task).set_index("query_id")["answer"]
    return [best.get(f"{user_id}\x1f{request_id}") for request_id, user_id in keys]
