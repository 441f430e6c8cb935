"""The loop closed, with a real release: users click, heads learn it at the next update, later answers are liked."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import ttest_rel

from hydra_ml.answering.arms import SERVED
from hydra_ml.io.predictions import load_predictions
from hydra_ml.jobs.batch_score import score_requests
from hydra_ml.jobs.feedback import take_feedback
from hydra_ml.jobs.feedback_report import FeedbackReport
from hydra_ml.jobs.promote import judge
from hydra_ml.jobs.update_heads import plan_update, update_shard
from hydra_ml.jobs.update_release import finish_update
from hydra_ml.params import Ingest
from tests.jobs.feedback_world import write
from tests.jobs.update_world import ROOT, run_all

CLICKS, LATER = 20, 15


@pytest.fixture
def places(own_project, monkeypatch) -> dict:
    """Where the jobs work; DVC, which is not here, has nothing to track."""
    monkeypatch.setattr("hydra_ml.jobs.feedback.versions.track", lambda *_: [])
    return {"data": own_project.data, "registry": own_project.registry, "cache": own_project.cache}


def films(project, users, n: int, name: str) -> Path:
    """A file of requests, n of each user, of films that others wrote of."""
    records = pd.read_parquet(project.data / "prepare/LaMP_2/records.parquet").drop_duplicates("text")
    rows = []
    for place, user in enumerate(users):
        others = records[(records["user_id"] != user) & ~records["held_out"]]
        drawn = others.sample(n, random_state=place + 100 * len(name))
        rows += [
            {"request_id": f"{name} {user} {i}", "user_id": user, "task": "LaMP-2", "input": f"{text} ({name} {i})"}
            for i, text in enumerate(drawn["input"])
        ]
    return write(project.data / f"requests/LaMP_2/{name}.jsonl", rows)


def answered(project, file: Path, places, which: str = "champion") -> pd.DataFrame:
    report = score_requests(file, project.task, project.params, **places, which=which)
    return load_predictions(Path(report.predictions))


def clicked(project, table: pd.DataFrame, click) -> FeedbackReport:
    rows = [{"request_id": row["request_id"], "edited": click(row["user_id"])} for row in table.to_dict("records")]
    path = write(project.data / "feedback/clicks.jsonl", rows)
    quiet = project.params.model_copy(update={"ingest": Ingest(push=False)})
    return take_feedback(path, data=project.data, params=quiet)


def updated(project, places) -> str:
    plan = plan_update(project.task, project.params, **places, root=ROOT)
    return run_all(plan).release


def share_liked(table: pd.DataFrame, tastes) -> pd.Series:
    liked = [row["prediction"] == tastes[row["user_id"]] for row in table.to_dict("records")]
    return table.assign(liked=liked).groupby("user_id")["liked"].mean()


def test_clicks_by_a_taste_make_later_answers_better(own_project, places):
    project = own_project
    records = pd.read_parquet(project.data / "prepare/LaMP_2/records.parquet")
    users = sorted(records["user_id"].unique())[:6]
    used = records.groupby("user_id")["answer"].agg(set)
    tastes = {user: next(tag for tag in project.task.labels if tag not in used[user]) for user in users}
    before = answered(project, films(project, users, CLICKS, "clicks"), places)
    later = films(project, users, LATER, "later")
    unclicked = share_liked(answered(project, later, places), tastes)

    report = clicked(project, before, tastes.get)
    assert report.tasks["LaMP_2"].records == CLICKS * len(users)
    challenger = updated(project, places)
    assert challenger != project.champion
    renamed = later.rename(later.with_name("again.jsonl"))
    write(renamed, [line + " " for line in renamed.read_text().splitlines()])  # another batch of the same requests
    same_history = share_liked(answered(project, renamed, places), tastes)
    learned = share_liked(answered(project, renamed, places, challenger), tastes)
    print(f"liked: {unclicked.mean():.3f} before, {same_history.mean():.3f} with the records, {learned.mean():.3f}")
    assert learned.mean() > unclicked.mean() + 0.2
    assert ttest_rel(learned, unclicked, alternative="greater").pvalue < 0.01
    assert learned.mean() >= same_history.mean()

    decision = judge(project.task, project.params, **places, version=challenger)
    (told,) = [reason for reason in decision.reasons if reason.name == "feedback"]
    print(told.text)
    assert told.passed
    assert f"of {CLICKS * len(users)} requests" in told.text
    assert np.isfinite(learned).all()


def test_what_was_picked_from_a_list_is_learned_without_asking_the_llm(own_project, places):
    project = own_project
    records = pd.read_parquet(project.data / "prepare/LaMP_2/records.parquet")
    users = sorted(records["user_id"].unique())[:2]
    before = answered(project, films(project, users, 4, "lists"), places)
    lists = {row["request_id"]: [one["answer"] for one in row["candidates"]] for row in before.to_dict("records")}
    picked = {request_id: answers[-1] for request_id, answers in lists.items() if len(answers) > 1}
    assert len(picked) > 4
    rows = [{"request_id": request_id, "chosen": answer} for request_id, answer in picked.items()]
    quiet = project.params.model_copy(update={"ingest": Ingest(push=False)})
    report = take_feedback(write(project.data / "feedback/picks.jsonl", rows), data=project.data, params=quiet)
    assert report.tasks["LaMP_2"].choices == len(picked)

    plan = plan_update(project.task, project.params, **places, root=ROOT)
    shards = [update_shard(plan, shard) for shard in range(plan.n_shards)]
    n_queries = sum(shard.n_queries for shard in shards)
    assert sum(shard.stages["generate"]["prompts"] for shard in shards) == len(SERVED) * (n_queries - len(picked))
    assert finish_update(plan, shards, "update").release != project.champion
