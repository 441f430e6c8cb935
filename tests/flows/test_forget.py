"""A user forgotten through Prefect: what the run was asked stands nowhere afterwards, not in the server's own files."""

from __future__ import annotations

import json

import pytest

from hydra_ml.io.files import load_json
from hydra_ml.tasks import get_task
from tests.jobs.forget_world import World

pytestmark = [pytest.mark.timeout(900), pytest.mark.slow]
USER, PHRASE = "dora-forgotten", "quixotic violoncello"


def test_a_run_forgets_a_user_and_nothing_of_the_server_tells_whom(product, night, chain):
    assert night.champion
    rows = [
        {
            "task": chain.task,
            "user_id": user,
            "date": f"2026-01-{day:02d}",
            "description": f"{told} {day}",
            "tag": "comedy",
        }
        for user, told in ((USER, PHRASE), ("user-001", "a plain film"))
        for day in (1, 2, 3)
    ]
    path = product.root / "data/incoming/films.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    (product.root / "data/incoming/.wait").unlink(missing_ok=True)
    assert product.command("hydra_ml", "ingest").returncode == 0
    world = World(product.root, product.registry, get_task(chain.task), None, night.champion)
    assert world.lives_in(USER, PHRASE)

    run = product.finish(product.start("forget/forget", user=USER))
    assert run["state_type"] == "COMPLETED", product.words("worker")
    assert product.ask(f"/flow_runs/{run['id']}")["parameters"] == {}
    assert not world.lives_in(USER, PHRASE)
    (receipt,) = (product.root / ".forget").glob("*.json")
    assert load_json(receipt)["base"][chain.task]["champion"] == night.champion
    (page,) = product.artifacts("forget-receipt")
    assert "data/history" in page["data"]
    checked = product.command("hydra_ml", "forget", "--verify", str(receipt))
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert product.command("dvc", "pull").returncode == 0

    unknown = product.finish(product.start("forget/forget", user="nobody-at-all"))
    assert unknown["state_type"] == "FAILED"
    assert "nobody-at-all" not in json.dumps(unknown)
    assert product.ask(f"/flow_runs/{unknown['id']}")["parameters"] == {}
