"""The same bits from threads and Dask processes: predictions, also when a worker is killed in mid-run, and heads."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path

import pandas as pd
import pytest

from hydra_ml.io.files import load_json
from hydra_ml.io.history_store import append_drop
from hydra_ml.records import RECORD_COLUMNS
from hydra_ml.tasks import get_task

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


def refitted(product, night, runner):
    """The digests of the head banks' shards that update_heads makes of the first night's release by this runner."""
    task = get_task("LaMP_2")
    product.registry.point(task, {"champion": night.champion})
    shutil.rmtree(product.root / ".cache/update_heads", ignore_errors=True)  # nothing to go on from
    run_id = product.start("update_heads/update-heads", tasks=["LaMP_2"], runner=runner, workers=2)
    run = product.finish(run_id, within=500)
    assert run["state_type"] == "COMPLETED", f"{run['state']['message']}\n{product.words('worker')}"
    (done,) = product.root.glob(".cache/update_heads/LaMP_2/*/done.json")
    return heads_digests(product, load_json(done)["release"])  # an equal release is not registered twice


def heads_digests(product, version):
    task = get_task("LaMP_2")
    _, release = product.registry.release(task, version)
    folders = [product.registry.fetch(task, release.components[f"{name}.heads"]) for name in ("reranker", "adapter")]
    return [[shard["digest"] for shard in load_json(folder / "manifest.json")["shards"]] for folder in folders]


def test_dask_processes_refit_heads_as_threads_do(product, night):
    task = get_task("LaMP_2")
    live = product.registry.aliases(task)["champion"]
    records = pd.read_parquet(product.root / "data/prepare/LaMP_2/records.parquet")[list(RECORD_COLUMNS)]
    users = sorted(records["user_id"].unique())[:3]
    later = pd.concat([records[records["user_id"] != user].head(12).assign(user_id=user) for user in users])
    dates = [f"2031-{1 + i // 28:02d}-{1 + i % 28:02d}" for i in range(len(later))]
    names = [f"dask{i:012d}" for i in range(len(later))]
    append_drop(product.root / "data/history/LaMP_2", later.assign(date=dates, record_id=names))
    try:
        by_threads = refitted(product, night, "threads")
        assert by_threads != heads_digests(product, night.champion)
        assert refitted(product, night, "dask") == by_threads
    finally:
        product.registry.point(task, {"champion": live})
