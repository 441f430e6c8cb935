"""why: told from the predictions of a real batch, texts read from data/ for the terminal alone."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pandas as pd
import pytest

from hydra_ml.errors import DataError
from hydra_ml.io.feedback_store import Kept, append_feedback
from hydra_ml.io.history_store import append_drop
from hydra_ml.io.layout import task_folder
from hydra_ml.io.predictions import load_predictions, save_predictions
from hydra_ml.jobs.batch_score import score_requests
from hydra_ml.jobs.why import why, why_text
from hydra_ml.jobs.why_text import text_of
from hydra_ml.learning.feedback import Feedback
from hydra_ml.records import RECORD_COLUMNS


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
    (root / "elsewhere").mkdir()
    path = root / "elsewhere/asked.jsonl"
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


@pytest.fixture
def asked(batch, project, tmp_path) -> Path:
    """The batch in a place of its own, its requests where the flow finds them."""
    home = batch.parents[3]
    shutil.copytree(home / "data", tmp_path / "data")
    (tmp_path / "data/requests").mkdir()
    shutil.copy(home / "elsewhere/asked.jsonl", tmp_path / "data/requests")
    return tmp_path / batch.relative_to(home)


def explained(asked: Path, request_id: str, project, **more):
    return why(
        asked,
        request_id,
        asked.parents[2],
        registry=project.registry,
        cache=project.cache,
        llm=project.params.llm,
        **more,
    )


def test_parts_add_up_to_the_score_that_the_prediction_keeps(asked, project):
    table = load_predictions(asked)
    assert len(table) == 5
    for row in table.to_dict("records"):
        told = explained(asked, row["request_id"], project)
        assert not told.missing
        own, *leads = told.breakdowns
        assert sum(term.both for term in own.terms) + own.rounding == pytest.approx(row["score"], abs=1e-6)
        assert abs(own.rounding) < 1e-4
        kept = {one["answer"]: one["personal"] for one in row["candidates"]}
        for lead in leads:
            total = sum(term.both for term in lead.terms) + lead.rounding
            assert total == pytest.approx(lead.stored, abs=1e-6)
            if lead.over in kept:
                assert lead.stored == pytest.approx(kept[row["prediction"]] - kept[lead.over], abs=1e-6)
            history = next(term.both for term in lead.terms if term.name == "history_support")
            assert sum(lead.records.values()) == pytest.approx(history, abs=1e-5)
        has_head = row["personalization"] == "personal"
        assert any(term.own for term in own.terms) == has_head


def test_records_a_strangers_answer_and_the_release_are_told(asked, project):
    row = load_predictions(asked).iloc[0]
    told = explained(asked, row["request_id"], project)
    queries = pd.read_parquet(project.data / "prepare/LaMP_2/queries.parquet")
    question = queries.set_index("query_id").loc[row["request_id"], "text"]
    assert told.question == question
    assert told.stranger in project.task.labels
    text = text_of(told)
    others = set(queries["user_id"]) - {row["user_id"]}
    assert not any(other in text for other in others)  # whose head it is stays untold
    _, release = project.registry.release(project.task, project.champion)
    assert release.data_version in text
    assert "LLM offline-minilm" in text
    shown = [one.record_id for one in told.records if "hydra" in one.prompts]
    assert shown == row["chosen_record_ids"]
    assert all(one.if_same_said in project.task.labels for one in told.records)


def test_what_is_not_kept_is_asked_only_if_wanted(asked, project, tmp_path):
    row = load_predictions(asked).iloc[0]
    cache = tmp_path / "cache"
    shutil.copytree(project.cache, cache)
    where = {"registry": project.registry, "cache": cache, "llm": project.params.llm}
    told = why(asked, row["request_id"], asked.parents[2], **where)
    open_ones = [one for one in told.records if one.without is None]
    assert open_ones
    assert told.n_calls == sum(one.n_calls for one in open_ones) > 0
    assert f"--ask would cost {told.n_calls} calls at most" in text_of(told)
    bought = why(asked, row["request_id"], asked.parents[2], ask=True, **where)
    assert bought.n_calls == 0
    assert all(one.without in project.task.labels for one in bought.records)
    again = why(asked, row["request_id"], asked.parents[2], **where)
    assert again == bought  # answers bought are kept
    (cache / "responses.sqlite").unlink()
    lost = why(asked, row["request_id"], asked.parents[2], **where)
    assert not lost.breakdowns
    assert "the LLM's answers are not kept any more; --ask would cost" in lost.missing[0]


def test_without_its_text_the_rest_is_told_and_the_file_may_be_named(asked, project):
    row = load_predictions(asked).iloc[0]
    lying = asked.parents[2] / "requests/asked.jsonl"
    elsewhere = asked.parents[3] / "kept.jsonl"
    lying.rename(elsewhere)
    told = explained(asked, row["request_id"], project)
    assert "--requests" in told.missing[0]
    assert told.prediction == row["prediction"]
    assert [one.record_id for one in told.records] == row["chosen_record_ids"]
    named = explained(asked, row["request_id"], project, files=[elsewhere])
    assert named.breakdowns
    assert not named.missing
    with pytest.raises(DataError, match="no such file"):
        explained(asked, row["request_id"], project, files=[elsewhere.with_name("nowhere.jsonl")])
    sent = explained(asked, "sent", project, files=[elsewhere])
    assert "A clown and a judge." in text_of(sent)  # the history came with the request, and is in the file


def test_records_that_came_since_do_not_change_what_was(asked, project, tmp_path):
    row = load_predictions(asked).iloc[0]
    before = explained(asked, row["request_id"], project)
    record = {"user_id": row["user_id"], "record_id": "late", "text": before.question, "input": "x", "answer": "action"}
    late = pd.DataFrame([{**record, "date": "2030-01-01"}])[list(RECORD_COLUMNS)]
    append_drop(task_folder(asked.parents[2], "history", project.task), late)
    after = explained(asked, row["request_id"], project)
    assert after.breakdowns == before.breakdowns
    assert not after.missing
    for path in task_folder(asked.parents[2], "history", project.task).glob("*.parquet"):
        os.utime(path, (0, 0))  # as after a checkout: nobody can tell any more that it is younger
    untold = explained(asked, row["request_id"], project)
    assert "the user's records have changed since; --ask would cost" in untold.missing[-1]
    assert not untold.breakdowns
    shutil.copytree(project.cache, tmp_path / "cache")
    where = {"registry": project.registry, "cache": tmp_path / "cache", "llm": project.params.llm}
    now = why(asked, row["request_id"], asked.parents[2], ask=True, **where)
    assert now.breakdowns
    assert "worked out again it differs" in now.missing[-1]


def test_a_release_that_is_gone_is_told_as_missing(asked, project, tmp_path):
    row = load_predictions(asked).iloc[0]
    table = load_predictions(asked).assign(release="99")
    save_predictions(table, asked)
    told = explained(asked, row["request_id"], project)
    assert told.prediction == row["prediction"]
    assert any("release 99" in line for line in told.missing)
    assert not told.breakdowns


def test_feedback_is_told_and_keeps_the_question(asked, project):
    row = load_predictions(asked).iloc[0]
    question = explained(asked, row["request_id"], project).question
    queries = pd.read_parquet(project.data / "prepare/LaMP_2/queries.parquet").set_index("query_id")
    said = Feedback(
        request_id=row["request_id"],
        user_id=row["user_id"],
        verdict="edited",
        is_rating=False,
        answer="action",
        date="2026-11-28",
        input=queries.loc[row["request_id"], "input"],
        release=row["release"],
        prediction=row["prediction"],
        generic_prediction=row["generic_prediction"],
        personalization=row["personalization"],
        chosen_record_ids=row["chosen_record_ids"],
        candidates=[],
    )
    append_feedback(asked.parents[2], project.task, [Kept(said, "", False)], "2026-11-28T00:00:00+00:00")
    (asked.parents[2] / "requests/asked.jsonl").unlink()
    told = explained(asked, row["request_id"], project)
    assert told.feedback == (f"2026-11-28  edited: action, of release {row['release']}",)
    assert told.question == question
    assert told.breakdowns
