"""Flows called in this process, on a temporary Prefect server: what a bad file, or no remote, may not stop."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.testing.utilities import prefect_test_harness
from starlette.responses import JSONResponse

from flows import ingest as ingest_flow
from flows import nightly as nightly_flow
from flows.batch_score import batch_score_task
from flows.nightly import nightly, push_versions
from flows.runs import FlowFailed
from hydra_ml.errors import DataError, VersionsError
from hydra_ml.io.feedback_store import Kept, append_feedback
from hydra_ml.io.params_file import set_params
from tests.jobs.feedback_world import FeedbackWorld
from tests.jobs.test_drift import TAKEN, said

HOUR_S, DAY_S = 3600.0, 86400.0  # how long a file settles here, and how old one is that has: no delay reaches either


@pytest.fixture(scope="module")
def server() -> Iterator[None]:
    with prefect_test_harness(server_startup_timeout=120):
        yield


def written(path: Path, *rows: dict[str, Any], age_s: float = DAY_S) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    os.utime(path, (time.time() - age_s,) * 2)
    return path


def without_remote(root: Path) -> None:
    config = root / ".dvc/config"
    config.write_text(config.read_text().replace("../.dvc-remote", "../dvc.yaml/nowhere"))


def test_settled_drops_of_any_name_are_taken_and_told_though_the_remote_is_out_of_reach(
    server: None, versioned: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(versioned)
    set_params(Path("params.yaml"), {"ingest.settle_s": HOUR_S})
    without_remote(versioned)
    movie = {"task": "LaMP_2", "user_id": "ann", "date": "2020-01-01", "description": "A film", "tag": "comedy"}
    taken = written(versioned / "data/incoming/a{b}{0}.jsonl", movie)
    young = written(versioned / "data/incoming/young.jsonl", movie, age_s=10)
    told: list[dict[str, Any]] = []
    monkeypatch.setattr(ingest_flow, "emit_event", lambda *_, payload, **__: told.append(payload))
    monkeypatch.setattr(ingest_flow, "publish", ingest_flow.publish.with_options(retries=0))
    with pytest.raises(VersionsError, match="dvc push failed"):
        ingest_flow.ingest()
    assert (taken.exists(), young.exists()) == (False, True)
    assert told == [{"task": "LaMP_2"}]


def test_a_drops_name_is_no_markup_in_what_is_shown_of_it(
    server: None, versioned: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.chdir(versioned)
    set_params(Path("params.yaml"), {"ingest.push": False, "ingest.max_bad_share": 0.5})
    movie = {"task": "LaMP_2", "user_id": "ann", "date": "2020-01-01", "description": "A film", "tag": "comedy"}
    hostile = "<img src=x onerror=alert(1)>[a](b)\u202e\x1b.jsonl"
    written(versioned / "data/incoming" / hostile, movie, {**movie, "date": "<script>never</script>"})
    ingest_flow.ingest()
    with get_client(sync_client=True) as client:
        found = [f"{one.data} {one.description} {one.key}" for one in client.read_artifacts()]
        runs = [run.name for run in client.read_task_runs()]
    assert any("&#60;img src=x onerror=alert(1)&#62;&#91;a&#93;(b)&#92;u202e&#92;u001b.jsonl" in told for told in found)
    pages = [page.read_text("utf-8") for page in (versioned / "data/docs").rglob("*.html")]
    assert len(pages) > 1
    logged = [record.getMessage() for record in caplog.records]
    for text in (*found, *pages):
        assert "<img src=x" not in text
        assert "<script>never" not in text
        assert "[a](b)" not in text
    for text in (*found, *pages, *runs, *logged):
        assert "\u202e" not in text
        assert "\x1b.jsonl" not in text


def test_feedback_is_taken_along_and_told_to_update_heads(
    server: None, versioned: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(versioned)
    set_params(Path("params.yaml"), {"ingest.push": False})
    FeedbackWorld(versioned).answer({"a1": "ann", "a2": "ann"})
    said = written(versioned / "data/feedback/said.jsonl", {"request_id": "a1", "chosen": "action"})
    bad = written(versioned / "data/feedback/bad.jsonl", {"request_id": "a2"})
    told: list[dict[str, Any]] = []
    monkeypatch.setattr(ingest_flow, "emit_event", lambda *_, payload, **__: told.append(payload))
    with pytest.raises(FlowFailed, match=r"feedback bad\.jsonl: refused"):
        ingest_flow.ingest()
    assert (said.exists(), bad.exists()) == (False, False)
    assert told == [{"task": "LaMP_2"}]
    assert FeedbackWorld(versioned).history("ann") == {"film a1": "action"}


def test_a_bad_request_file_does_not_stop_the_others(server: None, own_project: Any) -> None:
    set_params(Path("params.yaml"), {"ingest.settle_s": HOUR_S})
    folder = own_project.data / "requests/LaMP_2"
    asked = {"request_id": "r", "user_id": "nobody", "task": "LaMP-2", "input": own_project.task.templated("A film.")}
    written(folder / "a.jsonl")
    written(folder / "b.parquet").write_text("PAR1")
    os.utime(folder / "b.parquet", (time.time() - DAY_S,) * 2)
    written(folder / "c.jsonl", asked)
    written(folder / "young.jsonl", {**asked, "request_id": "s"}, age_s=0)
    with pytest.raises(
        FlowFailed, match=r"2 of 3 request files .* LaMP_2/a.jsonl: .*no request .* LaMP_2/b.parquet: .*cannot be read"
    ):
        batch_score_task("LaMP_2", "now")
    assert [path.name[:2] for path in (own_project.data / "predictions/LaMP_2").glob("*.parquet")] == ["c-"]

    shutil.rmtree(folder)  # nothing waits any more
    (batch,) = (path.parent for path in (own_project.data / "predictions/LaMP_2").glob("*/batch.json"))
    left = batch / "requests-00000.parquet"  # as after a kill between the report and the clearing
    left.write_text("what somebody asked")
    assert batch_score_task("LaMP_2", "later") == 0
    assert not left.exists()


def test_nightly_pushes_if_params_say_so(versioned: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(versioned)
    without_remote(versioned)
    (versioned / "data/raw/LaMP_2").mkdir(parents=True)
    (versioned / "data/raw/LaMP_2/file").write_text("something to push")
    from hydra_ml.io.dvc import track

    track([Path("data/raw/LaMP_2")])
    with pytest.raises(VersionsError, match="dvc push failed"):
        push_versions.fn()
    set_params(Path("params.yaml"), {"nightly.push": False})
    push_versions.fn()


def test_a_failed_parent_says_in_its_first_line_what_stopped_each_task(
    server: None, versioned: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(versioned)
    set_params(Path("params.yaml"), {"drift.probe_prompts": 0})
    monkeypatch.setattr(nightly_flow, "run_stage", nightly_flow.run_stage.with_options(retries=0))
    (versioned / "data/raw/LaMP_3").mkdir(parents=True)
    with pytest.raises(DataError, match=r"no data of LaMP_2; there is LaMP_3\. Run `make run`"):
        nightly(["LaMP_2"])
    with pytest.raises(FlowFailed) as caught:
        nightly(["LaMP_3"])
    (line,) = str(caught.value).splitlines()
    assert line.startswith("1 of 1 tasks failed. LaMP_3: stage prepare@LaMP_3 failed (exit 255): failed to reproduce")


def test_drift_is_an_event_and_an_artifact_and_what_cannot_be_read_stops_no_night(
    server: None, own_project: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_params(Path("params.yaml"), {"drift.probe_prompts": 3})
    told: list[tuple[str, Any]] = []
    monkeypatch.setattr(nightly_flow, "emit_event", lambda name, *_, payload, **__: told.append((name, payload)))
    bad = [Kept(said("bob", i, personal_is_right=False), "", False) for i in range(40)]
    append_feedback(own_project.data, own_project.task, bad, TAKEN)

    @flow
    def one_night(stamp: str) -> None:
        nightly_flow.watch_drift("LaMP_2", stamp)

    one_night("tonight")
    assert [(name, payload["night"]) for name, payload in told] == [("hydra_ml.drift.losses", "tonight")]
    with get_client(sync_client=True) as client:
        pages = [page for page in client.read_artifacts() if page.key == "drift-lamp-2"]
    assert "**DRIFT** losses" in str(pages[0].data)
    assert "3 LLM calls" in str(pages[0].data)

    (own_project.data / "drift/LaMP_2/losses.json").write_text("{")
    one_night("tomorrow")
    assert len(told) == 1


def test_a_server_that_lists_no_models_stops_no_night(
    server: None, versioned: Path, monkeypatch: pytest.MonkeyPatch, start_server: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async def lists_nothing(scope: Any, receive: Any, send: Any) -> None:
        await JSONResponse({"error": "no such page"}, 404)(scope, receive, send)

    monkeypatch.chdir(versioned)
    set_params(Path("params.yaml"), {"llm.model": "some-model"})
    for name, value in {"BASE_URL": start_server(lists_nothing).address, "API_KEY": "k"}.items():
        monkeypatch.setenv(f"OPENAI_{name}", value)
    monkeypatch.setattr(nightly_flow.raw_data, "bring_data", lambda *_: False)

    @flow
    def evening() -> None:
        nightly_flow.begin_night.with_options(retries=0)(["LaMP_2"])

    evening()
    assert "lists no models: whether it knows 'some-model' shows when asked" in caplog.text
