"""What is left when processes die: nothing half-done, nothing doubled, and the next run goes on."""

from __future__ import annotations

import os
import signal

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def kill(product, *signs):
    """kill -9 of every process of the stack whose command line holds one of the signs; their command lines."""
    found = {pid: line for pid, line in product.processes().items() if any(sign in line for sign in signs)}
    for pid in found:
        os.kill(pid, signal.SIGKILL)
    return list(found.values())


def shards(product, name):
    return {path.name: path.stat().st_mtime_ns for path in product.batch(name).glob("shard-*.parquet")}


def test_a_batch_whose_worker_was_killed_is_finished_by_the_next_run(product, night):
    n_requests = product.write_requests("killed.jsonl", mark=" again", repeat=8)
    first = product.start("batch_score/batch-score", workers=1)
    (product.root / "data/predictions/LaMP_2").mkdir(parents=True, exist_ok=True)
    folder = product.root / "data/predictions/LaMP_2"
    product.until(lambda: any(folder.glob("killed-*/shard-*.parquet")), 180, "a finished shard")
    assert kill(product, "prefect worker start", "prefect.engine")
    done = shards(product, "killed")
    sizes = len(list(product.batch("killed").glob("requests-*.parquet")))
    assert 0 < len(done) < sizes
    assert not product.batch("killed").with_suffix(".parquet").exists()

    second = product.finish(product.start("batch_score/batch-score", workers=1), within=420)
    assert second["state_type"] == "COMPLETED", second["state"]["message"]
    (one,) = product.subflows(second["id"])
    worked = [task["name"] for task in product.tasks(one["id"]) if task["name"].startswith("shard-")]
    assert len(worked) == sizes - len(done)
    table = product.predictions("killed")
    assert len(table) == n_requests == table["request_id"].nunique()
    assert product.finish(first)["state_type"] == "CRASHED"


def test_a_killed_server_comes_back_and_its_slots_with_it(product, night):
    product.write_requests("restart.jsonl", mark=" anew", repeat=2)
    run = product.start("batch_score/batch-score", workers=1)
    product.until(lambda: product.subflows(run), 120, "the run to start")
    assert kill(product, "prefect server start")
    assert product.finish(run, within=300)["state_type"] in {"COMPLETED", "CRASHED"}
    again = product.finish(product.start("batch_score/batch-score", workers=1), within=300)
    assert again["state_type"] == "COMPLETED", again["state"]["message"]
    assert product.predictions("restart")["request_id"].is_unique
