"""The morning report says what a night did, with figures that stand elsewhere, also when half of it failed."""

from __future__ import annotations

import json
from dataclasses import replace

from hydra_ml.io.files import load_json, save_json
from hydra_ml.jobs.hold import hold
from hydra_ml.jobs.morning_report import TaskNight, morning_report, results_rows, save_report
from hydra_ml.jobs.promote import promote

STAGES = {
    "annotate": {"calls": 10, "paid_in": 1000, "paid_out": 20, "cached": 5, "failed": 1, "cost": 1.5, "seconds": 30.0}
}


def page(project, *nights, registry=True, links=None) -> str:
    known = project.registry if registry else None
    return morning_report(nights, "2026-11-26", data=project.data, registry=known, links=links or {})


def test_figures_gate_cost_and_what_came_in(own_project):
    project = own_project
    whole = {"digest": "d", "kind": "records"}
    for name, told in {
        "done/1-a.jsonl.report.json": {**whole, "drop": "a.jsonl", "refused": "", "tasks": {"LaMP_2": {"accepted": 7}}},
        "done/2-b.jsonl.report.json": {**whole, "drop": "b.jsonl", "refused": "too many bad rows", "tasks": {}},
        "done/3-c.jsonl.report.json": {"drop": "c.jsonl"},
    }.items():
        for counts in told.get("tasks", {}).values():
            counts["quarantined"] = 2
        save_json(told, project.data / "incoming" / name)
    text = page(project, TaskNight("LaMP_2", STAGES, project.champion), links={"runs": "http://127.0.0.1/x"})
    hydra = load_json(project.data / "evaluate/LaMP_2/metrics.json")["hydra"]["accuracy"]["value"]
    assert f"| hydra | {round(hydra, 4)} | [" in text
    assert "10 calls, 1,000 tokens in, 20 out, 1.50 in money, 5 answers kept from before, 1 without an answer" in text
    assert "- a.jsonl: 7 new, 2 bad rows put aside" in text
    assert "- b.jsonl: **refused**: too many bad rows" in text
    assert "its report cannot be read" in text
    assert "[runs](http://127.0.0.1/x)" in text
    kept = save_report(text, "2026-11-26", project.data)
    assert kept.read_text("utf-8") == text


def test_the_night_before_and_a_refusal_and_a_hold_are_told(own_project):
    project = own_project
    registry, task = project.registry, project.task
    _, release = registry.release(task, project.champion)
    params = json.loads(json.dumps(dict(release.params)))
    params["train_adapter"]["weight_decay"] *= 1.1
    run_id = registry.version(task, "release", project.champion).run_id
    version = registry.register_release(task, replace(release, params=params), run_id=run_id)
    hold(task, registry, "an audit")
    promote(task, project.params, data=project.data, registry=registry, cache=project.cache, version=version)
    text = page(project, TaskNight("LaMP_2", {}, version))
    assert "(+0.0000)" in text, "the same run measured both"
    assert f"**release {version} was refused by the gate**: not held" in text
    assert "**held** since" in text
    assert "every stage was up to date" in text


def test_a_failed_task_and_a_registry_out_of_reach_stop_no_report(own_project):
    failed = TaskNight("LaMP_3", failed="stage annotate@LaMP_3 failed (exit 255): annotate: the LLM is away")
    text = page(own_project, TaskNight("LaMP_2", STAGES, "1"), failed, registry=False)
    assert "1 of 2 tasks came to their end." in text
    assert "**Failed**: stage annotate@LaMP_3 failed" in text
    assert "| rag_k4 |" in text
    assert "No figures: " in page(own_project, TaskNight("LaMP_4", STAGES, "1"))


def test_results_are_a_row_a_method(own_project):
    rows = results_rows(own_project.task, own_project.data)
    assert {"zero_shot", "rag_k4", "hydra_shared", "hydra"} <= {row["method"] for row in rows}
