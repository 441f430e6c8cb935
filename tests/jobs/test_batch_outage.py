"""batch_score with an LLM that fails most of the time: nothing that lacks answers counts as scored."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from httpx2 import ASGITransport, AsyncClient
from openai import AsyncOpenAI
from starlette.responses import JSONResponse

import hydra_ml.io.llm
from hydra_ml.errors import LLMError
from hydra_ml.io.predictions import load_predictions
from hydra_ml.jobs.batch_score import score_requests
from hydra_ml.offline.app import build_offline_app
from hydra_ml.params import BatchScore

ADDRESS = "http://offline-minilm/v1"


def failing(app: Any, share: float) -> Any:
    """The application, of whose answers so many are HTTP 500."""
    drawn = random.Random(3)

    async def answer(scope: Any, receive: Any, send: Any) -> None:
        if drawn.random() < share:
            app_now: Any = JSONResponse({"error": {"message": "overloaded"}}, 500)
        else:
            app_now = app
        await app_now(scope, receive, send)

    return answer


def test_a_batch_whose_llm_failed_waits_and_asks_again_only_for_what_is_missing(own_project, monkeypatch) -> None:
    queries = pd.read_parquet(own_project.data / "prepare/LaMP_2/queries.parquet").sample(24, random_state=1)
    path = Path("data/requests/LaMP_2/some.jsonl")
    path.parent.mkdir(parents=True)
    columns = (queries[name] for name in ("query_id", "user_id", "input"))
    rows = [
        {"request_id": query, "user_id": user, "task": "LaMP-2", "input": f"{input} Again."}
        for query, user, input in zip(*columns, strict=True)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    share = 0.5

    def unsteady(encode: Any) -> AsyncOpenAI:
        http = AsyncClient(transport=ASGITransport(app=failing(build_offline_app(encode), share)), base_url=ADDRESS)
        return AsyncOpenAI(base_url=ADDRESS, api_key="none", http_client=http)

    monkeypatch.setattr(hydra_ml.io.llm, "offline_client", unsteady)
    how = own_project.params.llm.model_copy(update={"max_attempts": 1, "max_wait_s": 0.01, "concurrency": 4})
    params = own_project.params.model_copy(update={"llm": how, "batch_score": BatchScore(requests_per_shard=24)})
    where = {"data": own_project.data, "registry": own_project.registry, "cache": own_project.cache}
    with pytest.raises(LLMError, match=r"asks unanswered, and so \d+ of 24 requests without all .* The batch waits"):
        score_requests(path, own_project.task, params, **where)
    share = 0.0
    report = score_requests(path, own_project.task, params, **where)
    assert (report.scored, report.dead_letters) == (24, 0)
    assert report.llm_cached > 0
    assert (load_predictions(Path(report.predictions))["error"] == "").all()
