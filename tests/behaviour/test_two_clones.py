"""Another clone that pulls the data and runs the chain ends with the same digests, stage by stage."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from ruamel.yaml import YAML

from hydra_ml.io import dvc as versions
from hydra_ml.io.lamp.files import Question, write_split
from hydra_ml.jobs.ingest import ingest_drop
from hydra_ml.params import Ingest, Params, parse_params
from hydra_ml.sample import generate
from hydra_ml.tasks import get_task

ROOT = Path(__file__).parents[2]
MOVIES = get_task("LaMP_2")


def git(root: Path, *arguments: str) -> None:
    subprocess.run(["git", *arguments], cwd=root, check=True, capture_output=True)


def small_project(root: Path) -> Params:
    """The project of `root` with its code and settings that run in a minute; one task, six users, one drop merged."""
    shutil.copytree(ROOT / "hydra_ml", root / "hydra_ml", ignore=shutil.ignore_patterns("__pycache__"))
    document = Params(tasks=["LaMP_2"], ingest=Ingest(commit=True)).model_dump(by_alias=True)
    document["annotate"]["queries_per_user"] = 6
    document["generate"].update(queries_per_user=4, n_samples=2)
    for section in ("train_reranker", "train_adapter"):
        document[section].update(epochs=1, width=4, ridge=[10.0])
    document["evaluate"]["resamples"] = 100
    with (root / "params.yaml").open("w") as file:
        YAML().dump(document, file)
    sample = generate("LaMP_2", seed=3, n_users=6)
    for split, entries in sample.questions.items():
        questions = [Question(e["id"], e["input"], tuple(e["profile"]), e["user_id"], e["date"]) for e in entries]
        write_split(root / "data/raw/LaMP_2", split, MOVIES, questions, sample.golds[split])
    git(root, "add", ".")
    git(root, "commit", "-qm", "a small project")
    return parse_params(document, "params.yaml")


def repro_all(root: Path) -> dict:
    for stage in versions.stage_order(MOVIES, root):
        versions.repro(stage, MOVIES, root=root)
    return YAML(typ="safe").load((root / "dvc.lock").read_text())


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_clone_that_pulls_ends_with_the_same_digests(versioned: Path, tmp_path: Path) -> None:
    params = small_project(versioned)
    path = versioned / "data/incoming/new.parquet"
    path.parent.mkdir()
    rows = [("a newcomer", f"2020-01-{day:02d}", f"A film of day {day}", "comedy") for day in range(1, 9)]
    table = pd.DataFrame(rows, columns=["user_id", "date", "description", "tag"]).assign(task="LaMP-2")
    table.to_parquet(path)
    report = ingest_drop(path, data=versioned / "data", params=params)
    assert report.not_published == ""
    assert report.tasks["LaMP_2"].accepted == 8

    clone = tmp_path / "clone"
    git(tmp_path, "clone", "-q", str(versioned), str(clone))
    remote = ["remote", "modify", "--local", "local", "url", str(versioned / ".dvc-remote")]
    subprocess.run([sys.executable, "-m", "dvc", *remote], cwd=clone, check=True, capture_output=True)
    versions.pull([Path("data/raw/LaMP_2.dvc"), Path("data/history/LaMP_2.dvc")], clone)
    assert versions.content_version(clone / "data/raw" / MOVIES.folder, clone) == versions.content_version(
        versioned / "data/raw" / MOVIES.folder, versioned
    )

    lock = repro_all(versioned)
    assert repro_all(clone) == lock
    assert len(lock["stages"]) == 9
    queries = pd.read_parquet(clone / "data/prepare/LaMP_2/queries.parquet")
    assert "a newcomer" in set(queries["user_id"])

    (versioned / "data/raw/LaMP_2/train/train_questions.json").touch()  # tracked data that is rewritten alike
    assert versions.repro("prepare", MOVIES, root=versioned) == {}
