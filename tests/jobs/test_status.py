"""What an operator is told: of a live release, of none, of one that was tampered with, and without a Prefect server."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from filelock import FileLock

from hydra_ml.io.history_store import append_drop
from hydra_ml.io.mlflow.registry import Registry
from hydra_ml.io.orchestrator import FlowRun
from hydra_ml.io.receipts import LOCK, save_private
from hydra_ml.jobs.batch_score import score_requests
from hydra_ml.jobs.hold import hold
from hydra_ml.jobs.promote import promote, rollback
from hydra_ml.jobs.status import Status, TaskStatus, WorkerStatus, collect_status
from hydra_ml.jobs.status_text import status_text
from hydra_ml.records import RECORD_COLUMNS

NOWHERE = "http://127.0.0.1:9/api"


def status_of(project) -> Status:
    return collect_status(project.params, data=project.data, connect=lambda: project.registry, api_url=NOWHERE)


def text_of(project) -> str:
    return status_text(status_of(project))


def told_of(project) -> TaskStatus:
    return next(task for task in status_of(project).tasks if task.task == project.task.folder)


@pytest.fixture
def live(own_project):
    """The first release, promoted by the gate, and no challenger."""
    project = own_project
    project.registry.point(project.task, {"champion": None})
    promote(project.task, project.params, data=project.data, registry=project.registry, cache=project.cache)
    return project


def test_what_is_live_since_when_and_from_what(live):
    found = told_of(live)
    _, release = live.registry.release(live.task, "champion")
    assert (found.release, found.made_by, found.data_version) == (live.champion, "nightly", release.data_version)
    assert found.since == live.registry.release_tags(live.task, live.champion)["promoted_at"]
    assert found.components == {part: ref.version for part, ref in release.components.items()}
    assert found.gate["passed"] == "true"
    text = text_of(live)
    for fact in (f"release {live.champion} since {found.since}", release.data_version, "nothing to compare with"):
        assert fact in text


def test_a_task_without_a_release_says_so_and_does_not_stop_the_others(live):
    without = next(task for task in status_of(live).tasks if task.task == "LaMP_3")
    assert without == TaskStatus("LaMP_3")
    assert "nothing: no release is champion" in text_of(live)


def test_drops_that_the_heads_have_not_learned_are_counted(live):
    record = dict.fromkeys(RECORD_COLUMNS, "x")
    name = append_drop(live.data / "history" / live.task.folder, pd.DataFrame([record]))
    found = told_of(live)
    assert (found.drops_learned, found.drops_not_learned) == (0, (name,))
    assert "0 learned, 1 not yet" in text_of(live)


def test_request_files_without_predictions_are_named(live):
    path = live.data / "requests" / "tonight.jsonl"
    path.parent.mkdir()
    path.write_text(json.dumps({"request_id": "r1", "user_id": "u", "task": "LaMP-2", "input": "?"}) + "\n")
    assert told_of(live).requests == ("requests/tonight.jsonl",)
    assert "1 waiting: requests/tonight.jsonl" in text_of(live)


def test_what_cannot_be_read_and_what_was_set_aside_is_named(live):
    folder = live.data / "requests" / live.task.folder
    folder.mkdir(parents=True)
    (folder / "torn.parquet").write_text("no parquet")
    film = {"user_id": "u", "task": "LaMP-2", "input": live.task.templated("A robot falls in love.")}
    rows = [{**film, "request_id": "good"}, {**film, "request_id": "un\u2028fit", "task": "none"}]
    rows.append({**film, "request_id": "deep", "history": "[" * 100_000})
    (folder / "mixed.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    options = {"data": live.data, "registry": live.registry, "cache": live.cache}
    report = score_requests(folder / "mixed.jsonl", live.task, live.params, **options)
    assert (report.scored, report.dead_letters) == (1, 2)
    text = text_of(live)
    assert "requests/LaMP_2/torn.parquet: " in text
    assert f"2 requests, why stands in {Path(report.dead_letters_file).relative_to(live.data)}" in text


def test_a_waiting_and_a_refused_challenger_and_the_way_back(live):
    registry, task = live.registry, live.task
    _, release = registry.release(task, "champion")
    run_id = registry.version(task, "release", live.champion).run_id
    params = json.loads(json.dumps(dict(release.params)))
    params["train_adapter"]["weight_decay"] *= 1.1  # another release, not the same parts again
    version = registry.register_release(task, replace(release, params=params), run_id=run_id)
    registry.point(task, {"challenger": version})
    assert f"release {version}, waits" in text_of(live)
    registry.tag_release(task, version, {"gate.refused_by": "users worse"})
    assert f"release {version}, refused by the gate: users worse" in text_of(live)

    options = {"data": live.data, "registry": registry, "cache": live.cache}
    decision = promote(task, live.params, **options)
    text = text_of(live)
    assert f"passed against release {live.champion}: accuracy +0.0000 (95 % sure above +0.0000)" in text
    assert f"release {live.champion}: `hydra-ml rollback` makes it live again" in text
    rollback(task, registry, cache=live.cache)
    assert told_of(live).since >= decision.promoted_at
    assert told_of(live).previous is None


def test_a_release_that_was_tampered_with_is_a_line_not_a_crash(live):
    live.registry.tag_release(live.task, live.champion, {"digest": "0" * 32})
    assert "not what was registered" in told_of(live).problem
    assert "cannot be told: " in text_of(live)


def test_without_a_prefect_server_the_rest_is_told(live):
    found = status_of(live)
    assert "no Prefect server answers there" in found.problem
    assert found.tasks[0].release == live.champion
    assert "no Prefect server answers there" in status_text(found).splitlines()[-1]


def test_it_is_json(live):
    document = json.loads(json.dumps(status_of(live).document(), allow_nan=False))
    assert document["tasks"][0]["release"] == live.champion


def test_runs_are_a_table():
    later = FlowRun("nightly", "nightly-2026-11-21", "Scheduled", "2026-11-21T02:00:00+00:00")
    failed = FlowRun("", "by-hand", "Failed", "2026-11-20T10:00:00.123+00:00", "MLflow is out of reach")
    lines = status_text(Status((), (later,), (failed,))).splitlines()
    assert "  2026-11-21T02:00:00  nightly  nightly-2026-11-21  Scheduled" in lines
    assert lines[-2:] == ["  2026-11-20T10:00:00  -  by-hand  Failed", "    MLflow is out of reach"]
    assert status_text(Status((), (), ())).splitlines()[-2:] == ["Next runs: none", "Last failures: none"]


def test_without_mlflow_the_rest_is_told(live):
    append_drop(live.data / "history" / live.task.folder, pd.DataFrame([dict.fromkeys(RECORD_COLUMNS, "x")]))

    def nobody_there() -> Registry:
        return Registry("http://bob:p@ss@127.0.0.1:9", cache=live.cache)

    found = collect_status(live.params, data=live.data, connect=nobody_there, api_url="http://bob:p@ss@127.0.0.1:9/api")
    text = status_text(found)
    assert "cannot be told: MLflow at http://127.0.0.1:9" in text
    assert "1 in all" in text
    assert "no Prefect server answers" in text
    assert "ss@" not in text


def test_trouble_comes_first_with_the_next_command():
    failed = FlowRun("batch-score", "batch-1", "Failed", "2026-11-20T10:00:00+00:00", "a.jsonl: the LLM is away")
    late = FlowRun("ingest", "ingest-1", "Late", "2026-11-20T10:15:00+00:00")
    worker = WorkerStatus(False, "2026-11-20T09:00:00+00:00", "PermissionError: [Errno 13] /tmp/x")
    status = Status((TaskStatus("LaMP_2"),), (late,), (failed,), worker, incoming_unknown={"notes.docx": "why"})
    lines = status_text(status).splitlines()
    assert lines[0] == "Look at"
    assert len(status.troubles()) == 5
    assert any("no worker is online: `make up`" in line for line in lines[1:6])
    assert any("PermissionError" in line for line in lines if line.startswith("Worker: NONE"))
    assert lines[-2:] == [
        "    a.jsonl: the LLM is away",
        "    when it is mended: prefect deployment run batch_score/batch-score",
    ]
    assert status_text(Status((), (), (), WorkerStatus(True, "now"))).startswith("All is well.")


def test_what_lies_in_incoming_is_told(live):
    folder = live.data / "incoming"
    folder.mkdir(exist_ok=True)
    for name in ("a.jsonl", "b.parquet.partial", "c.docx", ".hidden"):
        (folder / name).write_text("")
    found = status_of(live)
    assert (found.incoming, found.growing) == (("a.jsonl",), ("incoming/b.parquet.partial",))
    assert [*found.incoming_unknown] == ["c.docx"]
    assert any(
        line.startswith("data/incoming/c.docx is not taken: its name ends in .docx") for line in found.troubles()
    )
    (live.data / "requests").mkdir()
    (live.data / "requests/old.xls").write_text("")
    assert "  data/requests/old.xls is not taken: its name ends in .xls: save it as .csv" in text_of(live)
    assert "half written, by its name: incoming/b.parquet.partial" in text_of(live)


def test_a_hold_is_shown(live):
    hold(live.task, live.registry, "an audit")
    assert "HELD       since" in text_of(live)


def test_a_forget_that_was_cut_short_is_trouble_and_one_that_runs_is_none(own_project):
    journal = own_project.root / ".forget/0123456789abcdef.journal"
    save_private({"marks": {"user": "ann"}}, journal)
    (trouble,) = [line for line in status_of(own_project).troubles() if "forgetting was cut short" in line]
    assert "run the same `hydra-ml forget` again" in trouble
    assert journal.name in trouble
    assert "ann" not in trouble
    with FileLock(journal.with_name(LOCK)):
        assert not status_of(own_project).forget_cut_short
    journal.unlink()
    assert not status_of(own_project).forget_cut_short
