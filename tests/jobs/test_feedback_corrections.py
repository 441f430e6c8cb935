"""What a user takes back goes, and nothing else with it: records that several answers brought, or that came again."""

from __future__ import annotations

import pytest

from hydra_ml.io.feedback import waiting_rows
from hydra_ml.jobs.feedback import take_waiting
from hydra_ml.jobs.ingest import ingest_drop
from tests.jobs.feedback_world import QUIET, FeedbackWorld, asked, write

FILM = {"task": "LaMP_2", "user_id": "ann", "date": "2026-11-20", "description": "film a1", "tag": "comedy"}
NO, YES = {"request_id": "a1", "rejected": True}, {"request_id": "a1", "accepted": True}


@pytest.fixture
def world(versioned) -> FeedbackWorld:
    found = FeedbackWorld(versioned)
    found.answer({"a1": "ann", "b1": "bob"})
    return found


def ingested(world: FeedbackWorld) -> None:
    ingest_drop(write(world.data / "incoming/films.jsonl", [FILM]), data=world.data, params=QUIET)


@pytest.mark.parametrize(("rows", "ends"), [((YES, NO, YES), {"film a1": "comedy"}), ((NO, YES, NO), {})])
def test_of_one_file_the_last_row_counts_though_it_was_said_before(world, rows, ends):
    report = world.take(*rows)
    assert (report.tasks["LaMP_2"].taken, report.tasks["LaMP_2"].overruled) == (2, 1)
    assert world.history("ann") == ends


def test_so_it_is_with_rows_that_wait(world):
    for name in ("early.jsonl", "again.jsonl"):
        world.take(*({**row, "request_id": "soon"} for row in (YES, NO, YES)), name=name)
    assert len(waiting_rows(world.data)) == 2
    world.answer({"soon": "cid"}, name="later")
    take_waiting(data=world.data, params=QUIET)
    assert world.history("cid") == {"film soon": "comedy"}


@pytest.mark.parametrize("at_once", [True, False])
def test_a_record_that_two_answers_brought_goes_with_the_second(world, at_once):
    world.answer({"c1": "ann", "c2": "ann"}, name="tuesday", texts=False)
    rows = [{"request_id": name, "chosen": "romance", "input": asked("one film")} for name in ("c1", "c2")]
    for number, some in enumerate([rows] if at_once else [rows[:1], rows[1:]]):
        world.take(*some, name=f"{number}.jsonl")
    world.take({"request_id": "c1", "rejected": True}, name="first.jsonl")
    assert world.history("ann") == {"one film": "romance"}
    world.take({"request_id": "c2", "rejected": True}, name="second.jsonl")
    assert world.history("ann") == {}


def test_a_record_that_is_ingested_after_it_was_taken_back_stays(world):
    world.take(YES)
    world.take(NO, name="no.jsonl")
    ingested(world)
    world.take({"request_id": "b1", "accepted": True}, name="of-another.jsonl")
    assert world.history("ann") == {"film a1": "comedy"}
    world.take({**YES, "date": "2026-11-20"}, {**NO, "date": "2026-11-22"}, name="later.jsonl")
    assert world.history("ann") == {"film a1": "comedy"}


def test_an_answer_that_the_task_has_no_more_becomes_no_record(world):
    world.answer({"o1": "ann", "o2": "ann"}, name="old", prediction="western")
    report = world.take({"request_id": "o1", "accepted": True}, {"request_id": "o2", "rejected": True})
    assert list(report.reasons) == ["expected: the answer is one of the task's, as it is defined now"]
    assert report.tasks["LaMP_2"].taken == 1
    assert world.history("ann") == {}
