"""nightly, as the worker runs it: DVC's stages in DVC's order, a release, the gate, a champion."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from hydra_ml.io.dvc import stage_order
from hydra_ml.tasks import get_task

pytestmark = pytest.mark.timeout(600)


def test_a_night_ends_with_a_champion(night, registry, chain):
    assert night.run["state_type"] == "COMPLETED", night.run["state"]["message"]
    assert night.champion == "1"
    _, release = registry.release(get_task(chain.task), "1")
    assert release.made_by == "nightly"
    assert release.validated


def test_runs_are_named_for_their_task_and_scheduled_date(night, product, registry):
    (one,) = product.subflows(night.run["id"])
    due = datetime.fromisoformat(night.run["expected_start_time"]).astimezone(UTC)
    assert night.run["name"] == f"nightly-{due:%Y-%m-%dT%H-%M}"
    assert one["name"] == f"nightly-LaMP-2-{due:%Y-%m-%dT%H-%M}"


def test_stages_run_as_tasks_of_their_names_in_the_order_that_dvc_gives(night, product, chain):
    (one,) = product.subflows(night.run["id"])
    names = [task["name"] for task in product.tasks(one["id"])]
    stages = stage_order(get_task(chain.task), product.root)
    assert names[: len(stages) + 2] == ["watch_drift", *stages, "register_chain"]
    assert names[-1] == "push_versions"


def test_what_was_decided_is_an_artifact_and_an_event(night, product):
    assert any(
        "release 1 passes the gate with no champion" in page["data"] for page in product.artifacts("gate-lamp-2")
    )
    told = [event["payload"] for event in product.events("hydra_ml.release.promoted")]
    assert {"task": "LaMP_2", "version": "1", "before": None} in told
    (results,) = product.artifacts("stage-evaluate-lamp-2")
    methods = {row["method"]: row for row in json.loads(results["data"])}
    assert 0 < methods["hydra"]["accuracy"] <= 1


def test_what_was_watched_for_drift_is_an_artifact(night, product):
    (page,) = product.artifacts("drift-lamp-2")
    assert "answers as before, as far as sampling tells" in page["data"]
    assert "DRIFT" not in page["data"]


def test_the_morning_report_says_what_the_night_did(night, product):
    (page,) = product.artifacts("morning-report")
    text = page["data"]
    assert "All tasks are done." in text
    assert "release 1 passed the gate, the first one" in text
    assert "live is release 1" in text
    assert "| hydra |" in text
    assert f"{product.stack.mlflow_url}/#/models" in text
    (file,) = (product.root / "data/reports").glob("nightly-*.md")
    assert file.read_text() == text


def test_a_cron_deployment_gets_its_runs_soon_and_one_fires(night):
    assert night.scheduled_after < 60  # 3 to 10 s on a quiet machine
    assert night.ingests  # completed ones that nobody but the schedule asked for
