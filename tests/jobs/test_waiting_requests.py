"""Request files wait until their content is scored, each for the tasks it is meant for."""

from __future__ import annotations

import json
import os
import shutil
import time

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from hydra_ml.jobs.batch_score import score_requests
from hydra_ml.jobs.waiting_requests import look_into, unreadable, waiting_requests
from hydra_ml.tasks import get_task


def write(path, *tasks):
    path.parent.mkdir(parents=True, exist_ok=True)
    movies = get_task("LaMP_2")
    rows = [
        {"request_id": f"r{i}", "user_id": "nobody", "task": task, "input": movies.instruction + " a film"}
        for i, task in enumerate(tasks)
    ]
    if path.suffix == ".parquet":
        pd.DataFrame(rows).to_parquet(path)
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def names(task, data, settle_s=0.0):
    return [path.name for path in waiting_requests(get_task(task), data=data, settle_s=settle_s)]


def test_a_file_waits_for_the_tasks_it_is_meant_for(tmp_path):
    write(tmp_path / "requests/LaMP_2/own.jsonl", "LaMP-2")
    write(tmp_path / "requests/mixed.jsonl", "LaMP-2", "LaMP-3")
    write(tmp_path / "requests/table.parquet", "LaMP-3")
    (tmp_path / "requests/notes.txt").write_text("no requests")
    (tmp_path / "requests/.half.jsonl").write_text("being written")
    (tmp_path / "requests/broken.parquet").write_text("no parquet")
    assert names("LaMP_2", tmp_path) == ["own.jsonl", "broken.parquet", "mixed.jsonl"]
    assert names("LaMP_3", tmp_path) == ["broken.parquet", "mixed.jsonl", "table.parquet"]
    assert names("LaMP_2", tmp_path / "elsewhere") == []


def test_folders_and_other_formats_wait_too(tmp_path):
    folder = tmp_path / "requests"
    write(folder / "2026-11/day.JSONL", "LaMP-2")
    write(folder / "LaMP_2/2026-11/own.jsonl", "LaMP-2")
    write(folder / "spark.parquet/part-0.parquet", "LaMP-3")
    (folder / "table.csv").write_text("request_id,user_id,task,input\nr,041,LaMP-2,a film\n")
    (folder / "empty.jsonl").write_text("")
    (folder / "notes.docx").write_text("")
    write(folder / "half.jsonl.x8Hq2", "LaMP-2")
    assert names("LaMP_2", tmp_path) == ["own.jsonl", "day.JSONL", "empty.jsonl", "table.csv"]
    assert names("LaMP_3", tmp_path) == ["empty.jsonl", "spark.parquet"]
    assert unreadable(folder / "empty.jsonl") == "it holds no row"
    assert unreadable(folder / "spark.parquet") == ""
    found = look_into(tmp_path)
    assert [path.name for path in found.left] == ["notes.docx"]
    assert [path.name for path in found.growing] == ["half.jsonl.x8Hq2"]


def test_a_file_that_may_still_grow_is_left_out(tmp_path):
    for name in ("old", "young"):
        write(tmp_path / f"requests/LaMP_2/{name}.jsonl", "LaMP-2")
    os.utime(tmp_path / "requests/LaMP_2/old.jsonl", (time.time() - 86400,) * 2)
    assert names("LaMP_2", tmp_path, settle_s=3600) == ["old.jsonl"]
    assert names("LaMP_2", tmp_path) == ["old.jsonl", "young.jsonl"]


def test_a_file_that_nobody_can_read_hides_no_other(tmp_path):
    write(tmp_path / "requests/good.jsonl", "LaMP-2")
    (tmp_path / "requests/bad.jsonl").symlink_to("/proc/self/mem")  # its first byte cannot be read, by root neither
    (tmp_path / "requests/deep.jsonl").write_text("[" * 100_000)
    assert names("LaMP_2", tmp_path) == ["bad.jsonl", "deep.jsonl", "good.jsonl"]


def test_a_file_that_names_no_task_is_passed_over_by_nobody(tmp_path):
    write(tmp_path / "requests/lost.jsonl", "no task of ours")
    far = pa.array([9_000_000_000_000_000_000], pa.int64()).cast(pa.timestamp("us"))  # beyond what Python's dates reach
    pq.write_table(pa.table({"request_id": ["r"], "task": far}), tmp_path / "requests/far.parquet")
    for task in ("LaMP_2", "LaMP_3"):
        assert names(task, tmp_path) == ["far.parquet", "lost.jsonl"]


def test_what_is_scored_waits_no_more_under_any_name(own_project):
    project = own_project
    path = write(project.data / "requests/LaMP_2/monday.jsonl", "LaMP-2")
    assert names("LaMP_2", project.data) == ["monday.jsonl"]
    options = {"data": project.data, "registry": project.registry, "cache": project.cache}
    report = score_requests(path, project.task, project.params, **options)
    assert report.scored == 1
    shutil.copy(path, path.with_name("tuesday.jsonl"))
    parts = write(project.data / "requests/spark.parquet/part-0.parquet", "LaMP-2").parent
    assert names("LaMP_2", project.data) == ["spark.parquet"]
    assert score_requests(parts, project.task, project.params, **options).scored == 1
    assert names("LaMP_2", project.data) == []
    path.write_text(path.read_text().replace("nobody", "somebody"))
    assert names("LaMP_2", project.data) == ["monday.jsonl"]
