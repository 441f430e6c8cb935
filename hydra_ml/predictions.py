"""The table of predictions: what batch scoring writes, a served release answers, and MLflow's signature says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

_CANDIDATE = pa.struct(
    [
        ("answer", pa.string()),
        ("votes", pa.int32()),
        ("personal", pa.float32()),
        ("shared", pa.float32()),
        ("greedy_share", pa.float32()),  # of the greedy answers; null in files from before it was kept
    ]
)
PREDICTIONS = pa.schema(
    [
        ("request_id", pa.string()),
        ("user_id", pa.string()),
        ("prediction", pa.string()),  # null where no answer came that the task could read; `error` then says why
        ("score", pa.float32()),  # of the answer; softmax over the candidates: how likely the user would choose each
        ("generic_prediction", pa.string()),  # what the shared heads alone would choose among the same candidates
        ("personalization", pa.string()),  # one of PERSONALIZATIONS
        ("n_history", pa.int32()),  # records the request could be answered from
        ("chosen_record_ids", pa.list_(pa.string())),  # those the reranker put into its prompt, most useful first
        ("candidates", pa.list_(_CANDIDATE)),  # greedy answers first, then by votes
        ("release", pa.string()),
        ("llm_calls", pa.int32()),  # requests sent now for prompts no earlier row had asked; 0 where all was cached
        ("tokens_in", pa.int64()),  # as bought, now or earlier, for the same prompts
        ("tokens_out", pa.int64()),
        ("error", pa.string()),  # "" or what went wrong, also where the other answers sufficed
    ]
)
PREDICTION_COLUMNS = tuple(PREDICTIONS.names)
PERSONALIZATIONS = ("personal", "shared", "none")  # a head of the user's own; history, no head; neither
_ALWAYS_KEPT = ("answer", "votes", "personal", "shared")


def whole_candidates(candidates: Sequence[Mapping[str, Any] | None] | None) -> list[Mapping[str, Any]]:
    """Of a prediction's candidates those with all that every version kept of them: a damaged file may hold others, one
    from before greedy shares were kept lacks these alone."""
    return [one for one in candidates or () if one is not None and all(one[name] is not None for name in _ALWAYS_KEPT)]
