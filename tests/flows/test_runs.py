"""What flows share: names, one task's failure, runners, one writer at a time."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from prefect import flow, task
from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_URL, temporary_settings
from prefect.task_runners import ThreadPoolTaskRunner

from flows.policy import TRY_AGAIN, worth_another_try
from flows.runs import FlowFailed, artifact_key, for_each_task, one_writer, over_shards, run_name, stamp_of, task_runner
from hydra_ml.errors import (
    ArtifactError,
    BudgetExceeded,
    DataError,
    LLMError,
    ParamsError,
    StageError,
    StoreError,
    VersionsError,
)

pytestmark = pytest.mark.timeout(600)


@pytest.fixture
def server(product):
    """This process talks to the product's Prefect server."""
    with temporary_settings(asking(product)):
        yield product


def asking(product) -> dict[Any, str]:
    """The settings of a process that may ask the product's Prefect server."""
    return {PREFECT_API_URL: f"{product.stack.prefect_url}/api", PREFECT_API_AUTH_STRING: product.stack.auth}


def test_names_say_job_task_and_scheduled_time_in_utc():
    late = datetime(2026, 11, 20, 23, 30, tzinfo=timezone(-timedelta(hours=2)))
    assert run_name("batch-score", "LaMP_2", stamp_of(late)) == "batch-score-LaMP-2-2026-11-21T01-30"
    assert stamp_of(datetime(2026, 11, 20, 2, tzinfo=UTC)) == "2026-11-20T02-00"
    assert artifact_key("stage-train_reranker", "LaMP_2N") == "stage-train-reranker-lamp-2n"


def test_a_failing_task_does_not_stop_the_others(server):
    done = []

    def work(task):
        if task == "LaMP_3":
            raise DataError("unfit")
        done.append(task)
        return task

    @flow(name="three_tasks")
    def three():
        return for_each_task(["LaMP_2", "LaMP_3", "LaMP_4", "LaMP_2"], work)

    with pytest.raises(FlowFailed, match=r"^1 of 3 tasks failed. LaMP_3: unfit$"):
        three()
    assert done == ["LaMP_2", "LaMP_4"]


def test_only_what_may_pass_by_itself_is_tried_again(server):
    tries = {}

    def fail(error):
        tries[type(error)] = tries.get(type(error), 0) + 1
        raise error

    patient = {**TRY_AGAIN, "retries": 1, "retry_delay_seconds": 0, "retry_jitter_factor": 0}
    once = task(name="fails", **patient)(fail)

    @flow(name="retries")
    def attempt(index):
        once(errors[index])

    errors = [
        DataError("x"),
        ParamsError("x"),
        BudgetExceeded("x"),
        TypeError("x"),
        ArtifactError("x"),
        StageError("x"),
    ]
    errors += [LLMError("x"), StoreError("x"), VersionsError("x")]
    for index, error in enumerate(errors):
        with pytest.raises(type(error)):
            attempt(index)
    assert [tries[type(error)] for error in errors] == [1, 1, 1, 1, 1, 1, 2, 2, 2]
    assert TRY_AGAIN["retry_condition_fn"] is worth_another_try


def test_a_shard_that_fails_does_not_stop_the_others(server):
    done = set()

    @task(name="shard")
    def work(plan, shard):
        if shard == 1:
            raise LLMError("out of reach")
        done.add(shard)
        return plan + shard

    @flow(name="shards", task_runner=ThreadPoolTaskRunner(max_workers=2))
    def shards(which):
        return over_shards(work, 10, which, key="test-shards")

    assert shards([3, 0, 2]) == [13, 10, 12]
    assert shards([]) == []
    done.clear()
    with pytest.raises(FlowFailed, match="1 of 3 shards failed"):
        shards([0, 1, 2])
    assert done == {0, 2}


def test_writers_of_one_task_take_turns(server):
    inside, most, done = 0, 0, 0

    def write():
        nonlocal inside, most, done
        with temporary_settings(asking(server)), one_writer("test", "LaMP_2"):
            inside += 1
            most = max(most, inside)
            time.sleep(0.3)
            inside -= 1
            done += 1

    writers = [threading.Thread(target=write) for _ in range(2)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert (most, done) == (1, 2)


def test_dask_without_the_extra_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "prefect_dask.task_runners", None)
    with pytest.raises(FlowFailed, match=r"pip install 'hydra-ml\[dask\]'"):
        task_runner("dask", 2, None)
    assert isinstance(task_runner("threads", 3, None), ThreadPoolTaskRunner)
