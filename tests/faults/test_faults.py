"""Every job, struck at points all along its way: run again it ends as if nothing had been, and the champion loads.

`make test-faults` runs these and prints how many faults were tried, survived and lost.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from hydra_ml.io.history_store import append_drop, drop_names, records_of
from hydra_ml.io.mlflow.registry import Registry
from hydra_ml.io.predictions import load_dead_letters, load_predictions
from hydra_ml.jobs.waiting_requests import waiting_requests
from hydra_ml.records import RECORD_COLUMNS
from hydra_ml.serving.open_release import open_release
from hydra_ml.tasks import get_task
from tests.conftest import make_versioned
from tests.faults.run_job import JOBS
from tests.jobs.conftest import own_project, project  # noqa: F401
from tests.jobs.ingest_world import drop, movie

pytestmark = [pytest.mark.faults, pytest.mark.timeout(1800)]
ROOT, TASK = Path(__file__).parents[2], get_task("LaMP_2")
KILLS, FULL = 11, 3  # of each job


def start(job: str, root: Path, kind: str = "none", at: int = 0) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.faults.run_job", job, kind, str(at)]
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": path, "MLFLOW_TRACKING_URI": f"sqlite:///{root / '.mlflow/mlflow.db'}"}
    return subprocess.Popen(
        command, cwd=root, env=environment, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def run(job: str, root: Path, kind: str = "none", at: int = 0) -> tuple[int, str]:
    process = start(job, root, kind, at)
    _, told = process.communicate()
    return process.returncode, told


def with_something_to_do(job: str, root: Path) -> None:
    """What the job finds in the project."""
    known = pd.read_parquet(root / "data/prepare/LaMP_2/records.parquet")
    users = sorted(known["user_id"].unique())
    if job == "ingest":
        drop(root, "monday.jsonl", *(movie(i, "ann") for i in range(1, 5)), movie(5, tag="a dull film"))
        drop(root, "tuesday.jsonl", *(movie(i, "bob") for i in range(6, 9)))
    if job == "nightly":
        for name in ("reranker", "adapter"):  # other bytes, so that there is something to register
            manifest = root / f"data/train_{name}/LaMP_2/heads/manifest.json"
            manifest.write_text(manifest.read_text() + "\n")
    if job == "update_heads":
        rows = known[~known["held_out"]].drop_duplicates("text").head(8)[list(RECORD_COLUMNS)]
        rows = rows.assign(record_id=[f"{i:016d}" for i in range(8)], date=[f"2031-01-{i + 1:02d}" for i in range(8)])
        append_drop(root / "data/history/LaMP_2", rows.assign(user_id=[users[i % 2] for i in range(8)]))
    if job == "batch_score":
        asked = known.drop_duplicates("text").head(12).to_dict("records")
        lines = [
            {"request_id": f"r{i}", "user_id": users[i % len(users)], "task": "LaMP-2", "input": f"{row['input']} {i}"}
            for i, row in enumerate(asked)
        ]
        lines.append({"request_id": "bad", "user_id": users[0], "task": "LaMP-2"})
        path = root / "data/requests/LaMP_2/monday.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    if job == "promote":
        code, told = run("nightly", root)
        assert code == 0, told


def registry_of(root: Path) -> Registry:
    return Registry(f"sqlite:///{root / '.mlflow/mlflow.db'}", cache=root / ".cache")


def ended(root: Path) -> dict[str, Any]:
    """What a user would look at: nothing of it may be lost or be there twice."""
    data = root / "data"
    history = data / "history/LaMP_2"
    found: dict[str, Any] = {"drops": drop_names(history)}
    found["records"] = records_of(history, ["ann", "bob"]).to_dict("records") if found["drops"] else []
    found["incoming"] = sorted(path.name for path in (data / "incoming").glob("*") if path.is_file())
    found["aside"] = [line for path in sorted((data / "quarantine").glob("*/LaMP_2.jsonl")) for line in path.open()]
    files = sorted((data / "predictions/LaMP_2").glob("*.parquet"))
    found["predictions"] = [load_predictions(path).drop(columns="llm_calls").to_dict("records") for path in files]
    letters = sorted((data / "predictions/LaMP_2").glob("*/dead_letters.jsonl"))
    found["letters"] = [letter for path in letters for letter in load_dead_letters(path)]
    found["waiting"] = waiting_requests(TASK, data=data)
    registry = registry_of(root)
    releases = registry.versions(TASK, "release")
    found["releases"] = sorted((facts.version for facts in releases), key=int)
    found["aliases"] = registry.aliases(TASK)
    parts = registry.release(TASK, found["releases"][-1])[1].components
    found["parts"] = {name: (ref.version, ref.digest) for name, ref in parts.items()}
    opened = open_release(registry, TASK, "champion", root / ".cache")
    found["champion answers"] = opened.adapter is not None
    return found


def bought(root: Path) -> dict[Any, Any]:
    """Every answer in the cache, by its key, and when it was put there."""
    path = root / ".cache/responses.sqlite"
    if not path.exists():
        return {}
    with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as db:
        return {row[0]: row for row in db.execute("SELECT * FROM answers")}


@pytest.fixture(scope="module", params=sorted(JOBS))
def world(request, project, tmp_path_factory) -> tuple[str, Path, dict[str, Any], list[str]]:  # noqa: F811
    """A job, the project it works in, how it ends undisturbed, and every point where a file is changed on the way."""
    job, place = request.param, tmp_path_factory.mktemp(request.param)
    root = place / "start"
    shutil.copytree(project.root, root, ignore=shutil.ignore_patterns("artifacts"))
    make_versioned(root)
    with_something_to_do(job, root)
    whole = copied(root, place / "whole" / "project")
    code, told = run(job, whole)
    assert code == 0, told
    points = (whole.parent / "trace.txt").read_text().splitlines()
    return job, root, ended(whole), points


def copied(source: Path, target: Path) -> Path:
    shutil.copytree(source, target, symlinks=True)
    return target


def places_of(points: list[str], n: int) -> list[int]:
    """n of the points, from 1, spread over the whole way; every one if there are fewer."""
    return sorted({1 + round(i * (len(points) - 1) / max(1, n - 1)) for i in range(n)})


def same_again(job: str, root: Path, whole: dict[str, Any], what: str) -> None:
    """Run again, the job ends as it does undisturbed."""
    before = bought(root)
    code, told = run(job, root)
    assert code == 0, f"{what}: {told}"
    found = ended(root)
    assert found == whole, what
    after = bought(root)
    assert all(after[key] == row for key, row in before.items()), f"{what}: an answer that was there was bought again"


def test_a_kill_anywhere_loses_and_doubles_nothing(world, tmp_path, record_property, capsys):
    job, start_root, whole, points = world
    tried = places_of(points, KILLS)
    for at in tried:
        root = copied(start_root, tmp_path / f"kill-{at}" / "project")
        code, _ = run(job, root, "kill", at)
        assert code == -signal.SIGKILL, f"{job}: point {at} was not reached"
        same_again(job, root, whole, f"{job}, killed at {points[at - 1]}")
        shutil.rmtree(root.parent)
    told(capsys, f"{job}: killed at {len(tried)} of {len(points)} points, survived {len(tried)}, lost 0")


@pytest.mark.parametrize("kind", ["full", "readonly"])
def test_a_disk_that_takes_no_more_is_told_and_nothing_is_lost(world, tmp_path, kind, capsys):
    job, start_root, whole, points = world
    tried = places_of(points, FULL)
    for at in tried:
        root = copied(start_root, tmp_path / f"{kind}-{at}" / "project")
        code, said = run(job, root, kind, at)
        assert "Traceback" not in said, said[-3000:]
        assert code in (0, 1, 2), said[-3000:]
        assert code == 0 or said.strip(), f"{job}: failed without a word"
        same_again(job, root, whole, f"{job}, disk {kind} from {points[at - 1]}")
        shutil.rmtree(root.parent)
    told(capsys, f"{job}: disk {kind} at {len(tried)} points, survived {len(tried)}, lost 0")


def test_two_at_once_end_as_one(world, tmp_path, capsys):
    job, start_root, whole, _ = world
    root = copied(start_root, tmp_path / "two" / "project")
    both = [start(job, root), start(job, root)]
    said = [process.communicate()[1] for process in both]
    assert not any("Traceback" in words for words in said), said
    same_again(job, root, whole, f"{job}, two at once")
    told(capsys, f"{job}: two at once, one result")


def test_databases_locked_for_a_while_are_waited_for(world, tmp_path, capsys):
    job, start_root, whole, _ = world
    root = copied(start_root, tmp_path / "locked" / "project")
    held = [
        sqlite3.connect(root / name, isolation_level=None) for name in (".mlflow/mlflow.db", ".cache/responses.sqlite")
    ]
    for db in held:
        db.execute("BEGIN EXCLUSIVE")
    process = start(job, root)
    time.sleep(12)  # so long that the job has come to them
    for db in held:
        db.rollback()
        db.close()
    _, said = process.communicate()
    assert "Traceback" not in said, said[-3000:]
    same_again(job, root, whole, f"{job}, databases locked")
    told(capsys, f"{job}: databases locked for 12 s, {'waited' if process.returncode == 0 else 'told'}")


def told(capsys: Any, line: str) -> None:
    with capsys.disabled():
        print(f"\n{line}")
