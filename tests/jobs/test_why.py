"""why: told from the predictions of a real batch, texts read from data/ for the terminal alone."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest

from hydra_ml.errors import DataError
from hydra_ml.io.predictions import load_predictions
from hydra_ml.jobs.batch_score import score_requests
from hydra_ml.jobs.why import why_text


@pytest.fixture(scope="module")
def batch(project, tmp_path_factory) -> Path:
    """Predictions for three stored questions, one from a stranger and one with a history of its own."""
    queries = pd.read_parquet(project.data / "prepare/LaMP_2/queries.parquet")
    queries = queries[queries["role"] == "evaluate"].iloc[:3]
    columns = (queries[name] for name in ("query_id", "user_id", "input"))
    asked = [dict(zip(("request_id", "user_id", "input"), row, strict=True)) for row in zip(*columns, strict=True)]
    sent = {"id": "1", "tag": "comedy", "description": "A clown and a judge."}
    asked += [{**asked[0], "request_id": "stranger", "user_id": "nobody"}]
    asked += [{**asked[0], "request_id": "sent", "user_id": "sender", "history": [sent]}]
    root = tmp_path_factory.mktemp("why")
    shutil.copytree(project.data / "prepare", root / "data/prepare")
    path = root / "asked.jsonl"
    lines = [json.dumps({"task": "LaMP-2", **request}) for request in asked]
    path.write_text("\n".join([*lines, json.dumps({"request_id": "half"})]) + "\n")
    where = {"data": root / "data", "registry": project.registry, "cache": project.cache}
    report = score_requests(path, project.task, project.params, **where)
    return Path(report.predictions)


def test_prediction_records_and_candidates_are_told(batch, project):
    row = load_predictions(batch).iloc[0]
    text = why_text(batch, row["request_id"], project.data)
    assert f"prediction  {row['prediction']}" in text
    assert f"generic     {row['generic_prediction']}" in text
    assert f"of user {row['user_id']}, LaMP-2, release {project.champion}" in text
    records = pd.read_parquet(project.data / "prepare/LaMP_2/records.parquet").set_index("record_id")
    assert len(row["chosen_record_ids"]) == 4
    for record_id in row["chosen_record_ids"]:
        line = next(line for line in text.splitlines() if record_id in line)
        assert records.loc[record_id, "text"][:40] in line
        assert records.loc[record_id, "date"] in line
    table = text.splitlines()[-len(row["candidates"]) :]
    best = max(row["candidates"], key=lambda candidate: candidate["personal"])
    assert table[0].split() == [
        "->",
        str(best["votes"]),
        f"{best['personal']:.3f}",
        f"{best['shared']:.3f}",
        *best["answer"].split(),
    ]


def test_who_has_no_history_or_sent_it_is_told_so(batch, project):
    assert "records shown to the LLM: none" in why_text(batch, "stranger", project.data)
    assert "nothing is known of this user" in why_text(batch, "stranger", project.data)
    sent = why_text(batch, "sent", project.data)
    assert "came with the request" in sent
    assert "clown" not in sent  # it was not kept


def test_an_id_that_has_no_prediction_is_explained(batch, project, tmp_path):
    with pytest.raises(DataError, match="'half' was not answered: lacks task"):
        why_text(batch, "half", project.data)
    with pytest.raises(DataError, match=r"holds no request 'absent'; it holds 5: .* \.\.\."):
        why_text(batch, "absent", project.data)
    with pytest.raises(DataError, match="lies in no task's folder"):
        why_text(tmp_path / "some.parquet", "absent", project.data)
    with pytest.raises(DataError, match="no such file"):
        why_text(batch.with_name("other.parquet"), "absent", project.data)
