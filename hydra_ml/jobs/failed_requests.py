"""What becomes of a shard whose LLM left answers out: it waits, but not for a request that the LLM fails on for good.

A request that fails in several runs of a batch, alone too, while the LLM answers others (`llm.alone`) is set aside as a
dead letter. In an outage nothing is counted against anyone.
"""

from __future__ import annotations

import logging
from pathlib import Path

import pandas as pd

from hydra_ml.answering.score_requests import UNREADABLE
from hydra_ml.errors import LLMError
from hydra_ml.io.batch_folder import BatchFolder
from hydra_ml.io.failed_requests import FailedRequests
from hydra_ml.jobs.batch_report import BatchPlan

log = logging.getLogger(__name__)


def failed_requests(folder: BatchFolder) -> FailedRequests:
    """The counts that a batch shares with others of the same requests."""
    return FailedRequests(folder.path.parent, folder.facts().content)


def settled(
    plan: BatchPlan,
    shard: int,
    table: pd.DataFrame,
    blame: pd.DataFrame,
    *,
    reason: str,
    model: str,
    max_failed_share: float,
) -> pd.DataFrame:
    """The shard's table, in which requests that are set aside have no prediction, and the reason as `error`.

    table, blame: as `score_and_blame` gives them; reason: why the LLM left the last of the asks unanswered. Raises
    LLMError if other requests lack answers for the LLM's sake: any without a prediction, or more asks than a share of
    the requests, though a label can be predicted without a single answer. The shard then counts as not scored; what was
    answered is kept and not asked again. Failed runs are counted before that.
    """
    if blame.empty:
        return table
    odd = blame.loc[blame["is_odd"], "request_id"].tolist()
    runs = failed_requests(BatchFolder(Path(plan.folder))).count(odd, run=plan.planned_at, model=model)
    hopeless = {name for name in blame["request_id"] if runs.get(name, 0) >= plan.set_aside_after}
    waiting = blame[~blame["request_id"].isin(hopeless)]
    short = table[table["request_id"].isin(waiting["request_id"])]
    without = short["prediction"].isna() & (short["error"] != UNREADABLE)
    unanswered = int(waiting["unanswered"].sum())
    if without.any() or unanswered > max_failed_share * len(table):
        told = f" It failed on {len(odd)} of them while it answered others: {_until(plan)}" if odd else ""
        raise LLMError(
            f"shard {shard}: the LLM left {unanswered} asks unanswered, and so {len(short)} of {len(table)} requests "
            f"without all their answers. {reason}{told} The batch waits: run the same again, and only what is missing "
            "will be asked."
        )
    return _set_aside(table, {name: runs[name] for name in hopeless}, shard)


def _until(plan: BatchPlan) -> str:
    """When a request is set aside."""
    return f"one that fails so in {plan.set_aside_after} runs (batch_score.set_aside_after) is set aside."


def _set_aside(table: pd.DataFrame, runs: dict[str, int], shard: int) -> pd.DataFrame:
    if not runs:
        return table
    log.warning("shard %d: the LLM fails on %d requests for good; they are set aside as dead letters", shard, len(runs))
    table = table.copy()
    rows = table["request_id"].isin(runs.keys())
    table.loc[rows, "prediction"] = None
    table.loc[rows, "error"] = [
        f"the LLM failed on this request in {runs[name]} runs while it answered others: {why}"
        for name, why in table.loc[rows, ["request_id", "error"]].itertuples(index=False)
    ]
    return table
