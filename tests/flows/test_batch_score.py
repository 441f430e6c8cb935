"""batch_score, as the worker runs it: every waiting file once, with the champion release."""

from __future__ import annotations

import json
from typing import Any

import pandas as pd
import pytest

from hydra_ml.tasks import get_task

pytestmark = pytest.mark.timeout(600)


def test_waiting_requests_are_scored_once(product, night):
    n_requests = product.write_requests("monday.jsonl")
    run = product.finish(product.start("batch_score/batch-score"))
    assert run["state_type"] == "COMPLETED", run["state"]["message"]
    table = product.predictions("monday")
    assert len(table) == n_requests == table["request_id"].nunique()
    assert set(table["release"]) == {product.registry.aliases(get_task("LaMP_2"))["champion"]}
    (report,) = product.artifacts("batch-score-lamp-2")
    (row,) = json.loads(report["data"])
    assert row["scored"] == n_requests
    assert product.artifacts("batch-score-lamp-2-progress")[0]["data"] == 100.0
    assert product.subflows(run["id"])[0]["name"].startswith("batch-score-LaMP-2-20")

    again = product.finish(product.start("batch_score/batch-score"))
    assert again["state_type"] == "COMPLETED"
    assert [task["name"] for task in product.tasks(product.subflows(again["id"])[0]["id"])] == []


def test_no_text_of_a_user_reaches_prefect(product, night):
    queries = pd.read_parquet(product.root / "data/prepare/LaMP_2/queries.parquet")
    records = pd.read_parquet(product.root / "data/prepare/LaMP_2/records.parquet")
    logs: list[dict[str, Any]] = []
    while page := product.ask("/logs/filter", {"limit": 200, "offset": len(logs)}):
        logs += page
    assert any("batch-score" in line["message"] for line in logs)
    told = json.dumps([product.ask("/artifacts/filter", {}), logs])
    assert "LaMP" in told
    assert not [text for text in [*queries["text"], *records["text"]] if json.dumps(text[-60:])[1:-1] in told]
