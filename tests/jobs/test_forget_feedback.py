"""Forgetting where users said something of their answers, and where user ids are hard to tell apart."""

from __future__ import annotations

import json
from pathlib import Path
from unicodedata import normalize

import pandas as pd
import pytest

from hydra_ml.evaluation.drift import UserLosses
from hydra_ml.evaluation.explanation import Explanation
from hydra_ml.io.drift import DriftFolder, Losses
from hydra_ml.io.feedback import waiting_rows
from hydra_ml.io.feedback_store import stored_feedback
from hydra_ml.io.forgotten import ALL
from hydra_ml.io.history_store import records_of
from hydra_ml.io.mlflow.registry import Registry
from hydra_ml.io.page.why_page import save_why_page
from hydra_ml.io.tables import save_table
from hydra_ml.jobs import forget as job
from hydra_ml.jobs.feedback import take_waiting
from hydra_ml.jobs.forget_stores import Place
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
        {
            "query_id": f"{user}/{record}",
            "answer": tag,
            "votes": 1,
            "greedy_share": 0.5,
            "n_samples": 2,
            "is_shown": True,
        }
        for user, record in keys
        for tag in ("comedy", "action")
    ]
    path = world.data / CHOICES
    path.parent.mkdir(parents=True, exist_ok=True)
    save_table(pd.DataFrame(rows)[list(CHOICE_COLUMNS)], path)


def said_by(world: FeedbackWorld) -> dict[str, list[str]]:
    rows = stored_feedback(world.data, MOVIES)
    return {str(user): sorted(of["request_id"]) for user, of in rows.groupby("user_id")}


@pytest.mark.slow
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
        told = Explanation(f"r{i}", one, "LaMP-2", "news", None, 7.0, "", 7, "7 calls", "", {}, ())
        save_why_page(told, world.data / f"reports/why/LaMP_2-{i}.html")
    halves = [json.dumps({"user_id": one})[:-1] + ", half 7 news" for one in HARD]
    lines = [{"row": i, "reasons": [], "value": half} for i, half in enumerate(halves)]
    write(world.data / "quarantine/1/LaMP_2.jsonl", lines)
    loss, counted = DriftFolder(world.data, MOVIES), [f"{one}\x1fr{i}" for i, one in enumerate(HARD)]
    loss.keep_losses(Losses(users={one: UserLosses() for one in HARD}, requests=counted))

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
    assert not (world.data / f"reports/why/LaMP_2-{place}.html").exists()
    assert len([*(world.data / "reports/why").iterdir()]) == len(others)
    values = [json.loads(line)["row"] for line in (world.data / "quarantine/1/LaMP_2.jsonl").read_text().splitlines()]
    assert values == [i for i in range(len(HARD)) if i != place]
    losses = loss.losses()
    assert {*losses.users} == {*others}
    assert losses.requests == [one for i, one in enumerate(counted) if i != place]
    assert job.verify(receipt, place_of(world), user).is_good

    # Rows that somebody brings back are found, by digests alone, whatever record they are of.
    plant_choices(world, [(user, "0123456789abcdef"), *((one, record) for one, record in keys if one != user)])
    assert [*job.verify(receipt, place_of(world)).found] == ["data/prepare"]


def test_what_is_said_of_a_forgotten_users_answers_is_taken_nowhere(world):
    """Feedback names a request and often nobody: whose it is, the prediction tells."""
    world.answer({"r1": "ann", "r2": "bob"})
    world.take({"request_id": "r1", "accepted": True}, {"request_id": "r2", "accepted": True})
    forget(world, "ann")
    world.take({"request_id": "r4", "edited": "sci-fi"}, name="early.jsonl")
    assert len(waiting_rows(world.data)) == 1
    world.answer({"r3": "ann", "r4": "ann", "r5": "bob", "7": "ann"}, name="tuesday")  # asked again, by the shared head
    assert take_waiting(data=world.data, params=QUIET) is None
    assert not waiting_rows(world.data)
    report = world.take(
        {"request_id": "r3", "chosen": "romance"},
        {"request_id": 7, "edited": "a violoncello"},  # bad: no tag; it would lie in quarantine
        {"request_id": "r5", "chosen": "romance"},
        name="later.jsonl",
    )
    assert (report.forgotten, report.tasks["LaMP_2"].taken, report.tasks["LaMP_2"].quarantined) == (2, 1, 0)
    assert said_by(world) == {"bob": ["r2", "r5"]}
    assert not world.history("ann")
    for path in (world.data / "feedback/done").glob("*later.jsonl"):
        assert [json.loads(line)["request_id"] for line in path.read_text().splitlines()] == ["r5"]
    assert not list((world.data / "quarantine").glob("*/*.jsonl"))
    alone = world.take({"request_id": "r3", "chosen": "romance"}, name="alone.jsonl")
    assert "users who were forgotten" in alone.refused


def test_a_forgotten_record_comes_back_neither_by_the_store_nor_by_the_same_words(world, monkeypatch):
    monkeypatch.setattr(job, "refit_heads", lambda *_: {})  # there is no release to fit one for
    world.answer({"r1": "ann", "r2": "ann", "r3": "bob"})
    world.take({"request_id": "r1", "chosen": "comedy"}, {"request_id": "r2", "chosen": "romance"}, name="one.jsonl")
    world.take({"request_id": "r1", "chosen": "romance"}, {"request_id": "r3", "chosen": "action"}, name="two.jsonl")
    store = world.data / "feedback/store/LaMP_2"
    before = {path: path.read_bytes() for path in store.iterdir()}
    rows = stored_feedback(world.data, MOVIES)
    gone = rows.set_index(["request_id", "answer"]).loc[("r1", "romance"), "record_id"]
    plant_choices(world, [("ann", gone), *(("ann", one) for one in rows["record_id"][rows["request_id"] == "r2"])])
    receipt = forget(world, "ann", record=gone)
    assert world.history("ann") == {"film r2": "romance"}, "nor does the record that this one had overruled"
    assert said_by(world) == {"ann": ["r2"], "bob": ["r3"]}
    assert not pd.read_parquet(world.data / CHOICES)["query_id"].str.endswith(gone).any()
    assert job.verify(receipt, place_of(world)).is_good

    for path, content in before.items():  # another clone's store
        path.write_bytes(content)
    assert "data/feedback" in job.verify(receipt, place_of(world)).found
    world.answer({"r1": "ann", "r9": "bob"}, name="tuesday")
    world.take({"request_id": "r9", "accepted": True}, name="three.jsonl")
    assert world.history("ann") == {"film r2": "romance"}
    again = world.take(
        {"request_id": "r1", "chosen": "romance", "date": "2026-11-27"},
        {"request_id": "r9", "chosen": "action"},
        name="four.jsonl",
    )
    assert (again.forgotten, again.tasks["LaMP_2"].taken) == (1, 1)
    assert world.history("ann") == {"film r2": "romance"}


def test_with_a_task_given_the_same_users_other_task_stays_as_it_is(world):
    world.answer({"r1": "ann", "r2": "bob"})
    other = world.answer({"s1": "ann", "s2": "ann"}, name="other")
    for path in (other, other.with_suffix("")):  # the same answers as another task's
        (world.data / "predictions/LaMP_2N").mkdir(exist_ok=True)
        path.rename(world.data / "predictions/LaMP_2N" / path.name)
    asked = world.data / "requests/LaMP_2/other.jsonl"
    write(world.data / "requests/LaMP_2N/other.jsonl", [asked.read_text().replace("LaMP-2", "LaMP-2N").rstrip()])
    asked.unlink()
    both = [{"task": task, "user_id": "ann", "text": f"of {task}"} for task in ("LaMP-2", "LaMP-2N")]
    write(world.data / "incoming/tomorrow.jsonl", both)
    world.take({"request_id": "s3", "user_id": "ann", "accepted": True}, name="early.jsonl")  # of which task?
    before = {path: path.read_bytes() for path in world.data.glob("*/LaMP_2N/*") if path.is_file()}
    assert before

    receipt = forget(world, "ann", task="LaMP_2")
    assert {path: path.read_bytes() for path in before} == before
    assert json.loads((world.data / "incoming/tomorrow.jsonl").read_text()) == both[1]
    assert len(waiting_rows(world.data)) == 1
    assert job.verify(receipt, place_of(world), "ann").is_good
    world.answer({"r9": "ann"}, name="late")
    report = world.take(
        {"request_id": "r9", "user_id": "ann", "accepted": True},
        {"request_id": "s1", "user_id": "ann", "rejected": True},
        name="late.jsonl",
    )
    assert (report.forgotten, [*report.tasks]) == (1, ["LaMP_2N"])
