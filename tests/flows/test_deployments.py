"""prefect.yaml: every job has its deployment, and applying them all asks nothing and can be repeated."""

from __future__ import annotations

from pathlib import Path

import pytest
from ruamel.yaml import YAML

from flows.stack import up

pytestmark = pytest.mark.timeout(600)

ROOT = Path(__file__).parents[2]
DOCUMENT = YAML(typ="safe").load((ROOT / "prefect.yaml").read_text("utf-8"))
DEPLOYMENTS = {one["name"]: one for one in DOCUMENT["deployments"]}
JOBS = ["ingest", "nightly", "update_heads", "promote", "batch_score", "forget"]


def test_every_job_is_a_module_a_flow_a_deployment_and_a_test():
    assert sorted(DEPLOYMENTS) == sorted(job.replace("_", "-") for job in JOBS)
    for job in JOBS:
        assert DEPLOYMENTS[job.replace("_", "-")]["entrypoint"] == f"flows.{job}:{job}"
        for place in (f"hydra_ml/jobs/{job}.py", f"flows/{job}.py", f"tests/jobs/test_{job}.py"):
            assert (ROOT / place).is_file(), place


@pytest.mark.parametrize("name", sorted(DEPLOYMENTS))
def test_a_deployment_says_what_it_is_for_and_runs_one_at_a_time(name):
    one = DEPLOYMENTS[name]
    assert one["description"]
    assert one["tags"][0] == "hydra-ml"
    assert one["concurrency_limit"]["limit"] == 1
    assert all(schedule["timezone"] == "UTC" for schedule in one.get("schedules", []))


def test_make_up_again_changes_nothing(product):
    def everything():
        deployments = {row["name"]: row["id"] for row in product.ask("/deployments/filter", {})}
        automations = sorted(row["name"] for row in product.ask("/automations/filter", {}))
        servers = {pid for pid, line in product.processes().items() if " server " in line or "worker start" in line}
        return deployments, automations, servers, product.stack.supervisor()

    before = everything()
    assert sorted(before[0]) == sorted(DEPLOYMENTS)
    assert len(before[1]) == 3
    up(product.stack)
    assert everything() == before


def test_missed_runs_of_a_schedule_are_done_by_the_first(product):
    """Hours in which no worker was up, made by asking the scheduler for runs that are overdue at birth."""
    found = product.ask("/deployments/name/ingest/ingest")
    shipped = [{"schedule": one["schedule"], "active": True} for one in found["schedules"]]
    product.reschedule(found["id"], shipped)
    span = {"start_time": "2024-05-01T00:00:00Z", "end_time": "2024-05-01T02:00:00Z", "min_runs": 8, "max_runs": 8}
    product.ask(f"/deployments/{found['id']}/schedule", span)
    product.reschedule(found["id"], [{**one, "active": False} for one in shipped])
    then = {"before_": "2024-05-02T00:00:00Z"}

    def ended():
        runs = product.runs("ingest", expected_start_time=then)
        return runs if runs and all(run["end_time"] for run in runs) else None

    runs = product.until(ended, 90, "overdue runs to end")
    states = sorted(run["state_type"] for run in runs)
    assert len(runs) >= 8
    assert states == [*["CANCELLED"] * (len(runs) - 1), "COMPLETED"]
