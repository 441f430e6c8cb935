"""ingest, as the worker runs it, and what it sets going: records in, heads updated, a new champion."""

from __future__ import annotations

import json

import pytest

from hydra_ml.tasks import get_task

pytestmark = pytest.mark.timeout(600)


def movie(user, number, tag="comedy", **change):
    described = {"description": f"A clockmaker of village {number} finds a letter.", "tag": tag}
    return {"task": "LaMP_2", "user_id": user, "date": f"2021-02-{number:02d}", **described, **change}


def test_new_records_lead_to_new_heads_by_themselves(product, night, registry, chain):
    task = get_task(chain.task)
    user = json.loads((product.root / "data/raw/LaMP_2/train/train_questions.json").read_text())[0]["user_id"]
    rows = [movie(user, number) for number in range(1, 13)] + [movie(user, 13, tag="a dull film")]
    drop = product.root / "data/incoming/monday.jsonl"
    drop.parent.mkdir(parents=True, exist_ok=True)
    drop.write_text("".join(json.dumps(row) + "\n" for row in rows))
    before = registry.aliases(task)["champion"]

    def updates():
        runs = product.runs("update-heads")
        return [
            run for run in runs if run["parameters"].get("tasks") == ["LaMP_2"] and run["state_type"] != "SCHEDULED"
        ]

    run = product.finish(product.start("ingest/ingest"))
    assert run["state_type"] == "COMPLETED", run["state"]["message"]
    assert not drop.exists()
    (told,) = product.events("hydra_ml.learning.history.updated")
    assert told["payload"] == {"task": "LaMP_2"}
    (quarantined,) = (product.root / "data/quarantine").glob("*/LaMP_2.jsonl")
    assert len(quarantined.read_text().splitlines()) == 1

    started = product.until(updates, 60, "update_heads to be started by the event")
    update = product.finish(started[0]["id"])
    assert update["state_type"] == "COMPLETED", update["state"]["message"]
    # The hourly schedule may come in between and do the work: then the run that the event started has none left.
    assert any("heads updated on release" in page["data"] for page in product.artifacts("update-heads-lamp-2"))
    version, release = registry.release(task, "champion")
    assert version != before
    assert release.made_by == "update_heads"
    assert len(release.history) == 1
    assert registry.aliases(task)["previous"] == before


def test_a_refused_drop_is_told_and_put_aside(product, night):
    drop = product.root / "data/incoming/broken.jsonl"
    drop.parent.mkdir(parents=True, exist_ok=True)
    drop.write_text("".join(json.dumps(movie("ann", n, tag="a dull film")) + "\n" for n in range(1, 9)))
    run = product.finish(product.start("ingest/ingest"))
    assert run["state_type"] == "FAILED"
    assert "broken.jsonl: refused" in run["state"]["message"]
    assert not drop.exists()
    (told,) = product.events("hydra_ml.ingest.failed")
    assert told["payload"]["error"] == "FlowFailed"
