"""Forgetting where users said something of their answers, and where user ids are hard to tell apart."""

from __future__ import annotations

import json
from pathlib import Path
from unicodedata import normalize

import pandas as pd
import pytest

from hydra_ml.io.drift import DriftFolder, Losses
from hydra_ml.io.feedback import waiting_rows
from hydra_ml.io.feedback_store import stored_feedback
from hydra_ml.io.files import load_json
from hydra_ml.io.forgotten import ALL
from hydra_ml.io.history_store import records_of
from hydra_ml.io.mlflow.registry import Registry
from hydra_ml.io.tables import save_table
from hydra_ml.jobs import forget as job
from hydra_ml.jobs.feedback import take_waiting
from hydra_ml.jobs.forget_stores import Place, stores
from hydra_ml.learning.feedback import CHOICE_COLUMNS
from tests.jobs.feedback_world import MOVIES, QUIET, FeedbackWorld, write

HARD = ("u1", "u10", "u1/3", "7", "news", normalize("NFC", "Zoë"), 'o\'brien "x"/y', "two\nlines", "a@u10")
CHOICES = "prepare/LaMP_2/choices.parquet"


@pytest.fixture
def world(versioned, monkeypatch) -> FeedbackWorld:
    monkeypatch.chdir(versioned)
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    return FeedbackWorld(versioned)


def place_of(world: FeedbackWorld) -> Place:
    registry = Registry(f"sqlite:///{world.root / '.mlflow' / 'mlflow.db'}", cache=world.root / ".cache")
    return Place(world.root, world.data, world.root / ".cache", registry, [MOVIES])


def forget(world: FeedbackWorld, user: str, **options: str) -> Path:
    place = place_of(world)
    task = options.get("task", ALL)
    return job.forget(job.plan_forget(user, place, **options), place, QUIET, task=task)


def plant_choices(world: FeedbackWorld, keys: list[tuple[str, str]]) -> None:
    """Rows of choices, by (user, record), as `prepare` writes them."""
    rows = [
        {"query_id": f"{user}/{record}", "answer": tag, "votes": 1, "greedy_share": 0.5, "n_samples": 2, "is_shown": True}
        for user, record in keys
        for tag in ("comedy", "action")
    ]
    path = world.data / CHOICES
    path.parent.mkdir(parents=True, exist_ok=True)
    save_table(pd.DataFrame(rows)[list(CHOICE_COLUMNS)], path)


def said_by(world: FeedbackWorld) -> dict[str, list[str]]:
    rows = stored_feedback(world.data, MOVIES)
    return {str(user): sorted(of["request_id"]) for user, of in rows.groupby("user_id")}


@pytest.mark.parametrize("user", HARD)
def test_a_user_goes_whatever_the_id_and_everybody_else_stays_in_value(world, user):
    world.answer({f"r{i}": one for i, one in enumerate(HARD)})
    world.take(*({"request_id": f"r{i}", "chosen": "romance"} for i in range(len(HARD))))
    rows = stored_feedback(world.data, MOVIES)
    keys = list(zip(rows["user_id"], rows["record_id"], strict=True))
    plant_choices(world, keys)
    choices = pd.read_parquet(world.data / CHOICES)
    # What each of them is told in: a page, a line that is no JSON, the state of the watch for drift.
    for i, one in enumerate(HARD):
        shown = one.replace("\n", " ")
        told = f"<p>The news of room 7: nothing.</p><span>user {shown}</span>" if "\n" not in one else "<p>news 7</p>"
        write(world.data / f"reports/why/LaMP_2-{i}.html", [told])
    lines = [{"row": i, "reasons": [], "value": json.dumps({"user_id": one})[:-1] + ", half 7 news"} for i, one in enumerate(HARD)]
    write(world.data / "quarantine/1/LaMP_2.jsonl", lines)
    loss = DriftFolder(world.data, MOVIES)
    from hydra_ml.evaluation.drift import UserLosses

    loss.keep_losses(Losses(users={one: UserLosses() for one in HARD}, requests=[f"{one}\x1fr{i}" for i, one in enumerate(HARD)]))

    receipt = forget(world, normalize("NFD", user))
    others = [one for one in HARD if one != user]
    assert set(said_by(world)) == {*others}
    left = stored_feedback(world.data, MOVIES)
    pd.testing.assert_frame_equal(left, rows[rows["user_id"] != user].reset_index(drop=True))
    mine = {f"{one}/{record}" for one, record in keys if one == user}
    kept = choices[~choices["query_id"].isin(mine)].reset_index(drop=True)
    pd.testing.assert_frame_equal(pd.read_parquet(world.data / CHOICES), kept)
    assert set(records_of(world.data / "history/LaMP_2", list(HARD))["user_id"]) == {*others}
    place = HARD.index(user)
    left = {path.name for path in (world.data / "reports/why").iterdir()}
    gone = {f"LaMP_2-{i}.html" for i in range(len(HARD))} - left
    assert gone == ({f"LaMP_2-{place}.html"} if "\n" not in user else set())
    values = [json.loads(line)["row"] for line in (world.data / "quarantine/1/LaMP_2.jsonl").read_text().splitlines()]
    assert values == [i for i in range(len(HARD)) if i != place]
    losses = loss.losses()
    assert {*losses.users} == {*others}
    assert losses.requests == [f"{one}\x1fr{i}" for i, one in enumerate(HARD) if one != user]
    assert job.verify(receipt, place_of(world), user).is_good

    # Rows that somebody brings back are found, by digests alone, whatever record they are of.
    plant_choices(world, [(user, "0123456789abcdef"), *((one, record) for one, record in keys if one != user)])
    assert [*job.verify(receipt, place_of(world)).found] == ["data/prepare"]
