"""The same predictions, bit for bit, from threads, from Dask processes, and when a Dask worker is killed in mid-run."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path

import pytest

pytest.importorskip("prefect_dask", reason="needs the extra [dask]")
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]


def start(product, runner):
    path = "data/requests/LaMP_2/runners.jsonl"
    return product.start("batch_score/batch-score", requests=path, runner=runner, workers=2)


def predicted(product, run_id):
    """The run's predictions file, taken away with its batch so that the next run writes its own."""
    run = product.finish(run_id, within=500)
    assert run["state_type"] == "COMPLETED", f"{run['state']['message']}\n{product.words('worker')}"
    folder = product.batch("runners")
    predictions = folder.with_suffix(".parquet")
    written = predictions.read_bytes()
    predictions.unlink()
    shutil.rmtree(folder)
    return written


def dask_workers(product):
    """Process ids of the local cluster's workers, which a nanny each watches over."""
    found = product.processes()
    return [pid for pid, line in found.items() if "spawn_main" in line and parent_of(pid) in found]


def parent_of(pid):
    return int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[-1].split()[1])


@pytest.fixture(scope="module")
def by_threads(product, night):
    product.write_requests("runners.jsonl", mark=" once more", repeat=2)
    predicted(product, start(product, "threads"))  # buys the answers: what a request cost is part of its prediction
    return predicted(product, start(product, "threads"))


def test_dask_processes_predict_what_threads_do(product, by_threads):
    assert predicted(product, start(product, "dask")) == by_threads


def test_a_killed_dask_worker_changes_nothing(product, by_threads):
    run_id = start(product, "dask")
    folder = product.root / "data/predictions/LaMP_2"
    product.until(lambda: any(folder.glob("runners-*/shard-*.parquet")), 240, "a finished shard")
    workers = dask_workers(product)
    assert len(workers) == 2, "a local cluster of two worker processes"
    os.kill(workers[0], signal.SIGKILL)
    assert not product.batch("runners").with_suffix(".parquet").exists(), "killed too late to show anything"
    assert predicted(product, run_id) == by_threads
