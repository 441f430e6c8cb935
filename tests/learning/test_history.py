"""Pooling, drawing, cohorts, and the rules of what is held out."""

from __future__ import annotations

import numpy as np
import pytest

from hydra_ml.io.lamp.files import Question
from hydra_ml.learning.history import (
    Cohorts,
    choose_cohorts,
    draw,
    evaluated_content,
    held_out,
    pool_history,
    question_asks,
    read_record,
    strictly_earlier,
    too_late,
)
from hydra_ml.params import Prepare
from hydra_ml.tasks import get_task

MOVIES = get_task("LaMP_2")
PAPERS = get_task("LaMP_5")
CITATIONS = get_task("LaMP_1")


def movie(description: str, tag: str = "comedy", date: str = "") -> dict[str, str]:
    return {"id": "any", "description": description, "tag": tag} | ({"date": date} if date else {})


def asks(question_id: str, description: str, *items: dict[str, str], date: str = "") -> Question:
    return Question(question_id, MOVIES.templated(description), items, "ann", date)


def texts(history) -> list[str]:
    return [record.text for record in history.records]


def test_draw_depends_on_seed_and_names_alone() -> None:
    users = [f"u{i}" for i in range(50)]
    drawn = draw(users, 10, seed=1, purpose="train")
    assert drawn == draw(users[::-1], 10, seed=1, purpose="train")
    assert drawn != draw(users, 10, seed=2, purpose="train")
    assert drawn != draw(users, 10, seed=1, purpose="new")
    assert drawn[:5] == draw(users, 5, seed=1, purpose="train")
    without_first = [user for user in users if user != drawn[0]]
    assert draw(without_first, 9, seed=1, purpose="train") == drawn[1:]
    assert set(draw(users, None, seed=1, purpose="train")) == set(users)


def test_undated_cohorts_follow_the_splits() -> None:
    params = Prepare(train_users=2, evaluate_users=3, new_user_share=0.5)
    cohorts = choose_cohorts(list("abcd"), list("wxyz"), params, dated=False, seed=0)
    assert len(cohorts.known) == 2
    assert cohorts.known < set("abcd")
    assert len(cohorts.evaluated) == 3
    assert {cohorts.of(user) for user in cohorts.evaluated} == {"new"}
    assert {cohorts.of(user) for user in cohorts.known} == {"known"}


def test_dated_cohorts_keep_a_share_of_evaluated_users_new() -> None:
    users = [f"u{i}" for i in range(40)]
    cohorts = choose_cohorts(users, users, Prepare(new_user_share=0.25), dated=True, seed=3)
    assert cohorts.evaluated == set(users)
    assert len(cohorts.known) == 30
    assert cohorts == choose_cohorts(users[::-1], users[::-1], Prepare(new_user_share=0.25), dated=True, seed=3)


def test_dated_caps_give_known_places_to_evaluated_users_first() -> None:
    users = [f"u{i}" for i in range(40)]
    params = Prepare(train_users=12, evaluate_users=8, new_user_share=0.25)
    cohorts = choose_cohorts(users, users, params, dated=True, seed=3)
    assert len(cohorts.evaluated) == 8
    assert len(cohorts.evaluated & cohorts.known) == 6  # 8 less a quarter
    assert len(cohorts.known) == 12
    few = choose_cohorts(users, users, Prepare(train_users=2, evaluate_users=8), dated=True, seed=3)
    assert len(few.known) == 2
    assert few.known < few.evaluated


def test_pooling_takes_each_item_once_oldest_first() -> None:
    first = asks("q1", "x", movie("b", date="2020-02-01"), movie("a", date="2020-01-01"))
    second = asks(
        "q2", "y", movie("A ", date="2020-01-01"), movie("c", date="2020-03-01"), movie("a", date="2021-01-01")
    )
    history = pool_history(MOVIES, "ann", [first, second], chosen=[second], limit=9)
    assert texts(history) == ["a", "b", "c", "a"]  # "A " is "a" of the same day; "a" of another day is another record
    assert history.profiles["q1"].tolist() == [0, 1]
    assert history.profiles["q2"].tolist() == [0, 2, 3]
    assert len({record.record_id for record in history.records}) == 4


def test_pooling_keeps_the_newest_of_user_and_of_each_evaluated_profile() -> None:
    items = [movie(f"m{i}", date=f"2020-01-{i:02d}") for i in range(1, 8)]
    early, late, train = asks("early", "x", *items[:4]), asks("late", "y", *items), asks("train", "z", *items[:2])
    history = pool_history(MOVIES, "ann", [train, early, late], chosen=[early, late], limit=2)
    assert texts(history) == ["m3", "m4", "m6", "m7"]
    assert history.profiles["early"].tolist() == [0, 1]
    assert history.profiles["train"].tolist() == []
    assert texts(pool_history(MOVIES, "ann", [train, early, late], chosen=[late], limit=2)) == ["m6", "m7"]


def test_undated_history_keeps_file_order() -> None:
    question = asks("q", "x", movie("z"), movie("a"), movie("m"))
    assert texts(pool_history(MOVIES, "q", [question], chosen=[question], limit=2)) == ["a", "m"]


def test_empty_profile_is_an_empty_history() -> None:
    history = pool_history(MOVIES, "ann", [asks("q", "x")], chosen=[], limit=4)
    assert list(history.records) == []
    assert history.profiles["q"].tolist() == []


def test_record_ids_name_content_and_user() -> None:
    record = read_record(MOVIES, "ann", movie("A robot  falls in love", "romance", "2020-01-01"))
    assert (
        record.record_id
        == read_record(MOVIES, "ann", movie("a robot falls in LOVE", "romance", "2020-01-01")).record_id
    )
    others = [
        read_record(MOVIES, "bob", movie("A robot falls in love", "romance", "2020-01-01")),
        read_record(MOVIES, "ann", movie("A robot falls in love", "comedy", "2020-01-01")),
        read_record(MOVIES, "ann", movie("A robot falls in love", "romance", "2020-01-02")),
    ]
    assert len({record.record_id, *(other.record_id for other in others)}) == 4
    assert record.input == MOVIES.templated("A robot  falls in love")


@pytest.mark.parametrize(
    ("date", "than", "earlier"),
    [
        ("2020-01-01", "2020-01-02", True),
        ("2020-01-02", "2020-01-02", False),
        ("2020-01-03", "2020-01-02", False),
        ("2019", "2020-01-02", True),
        ("2020", "2020-01-02", False),  # some day of 2020
        ("2020-01", "2020-01-02", False),
        ("2020-01-02", "2020", False),
        ("", "2020-01-02", False),
        ("2020-01-02", "", False),
    ],
)
def test_strictly_earlier(date: str, than: str, earlier: bool) -> None:
    assert strictly_earlier(date, than) is earlier


def test_held_out_by_equal_question_of_anyone() -> None:
    evaluated = evaluated_content(MOVIES, [asks("q", "A robot falls in love")], {"q": "romance"})
    records = [read_record(MOVIES, "bob", movie(text)) for text in ("a ROBOT falls  in love", "A robot", "romance")]
    assert held_out(MOVIES, records, evaluated).tolist() == [True, False, False]
    assert evaluated.answers == frozenset()  # an equal label is no equal item


def test_held_out_by_equal_free_text_answer() -> None:
    question = Question("q", PAPERS.templated("We study heads."), (), "ann", "")
    evaluated = evaluated_content(PAPERS, [question], {"q": "On Heads"})
    items = [
        {"id": "1", "title": "On heads", "abstract": "another wording"},
        {"id": "2", "title": "X", "abstract": "y"},
    ]
    records = [read_record(PAPERS, "bob", item) for item in items]
    assert held_out(PAPERS, records, evaluated).tolist() == [True, False]


def test_citation_question_asks_both_references() -> None:
    input = CITATIONS.pair_input("Mine", "First ref", "Second ref")  # type: ignore[attr-defined]
    assert question_asks(CITATIONS, input) == {"first ref", "second ref"}
    evaluated = evaluated_content(CITATIONS, [Question("q", input, (), None, "")], {"q": "[1]"})
    own = [read_record(CITATIONS, "q", {"id": "1", "title": title, "abstract": ""}) for title in ("Second Ref", "Mine")]
    assert held_out(CITATIONS, own, evaluated).tolist() == [True, False]


def test_too_late_is_measured_against_the_first_evaluated_question() -> None:
    items = [movie(f"m{i}", date=f"2020-01-{i:02d}") for i in range(1, 6)]
    records = [read_record(MOVIES, "ann", item) for item in items]
    dated = [asks("late", "x", date="2020-01-05"), asks("early", "y", date="2020-01-03")]
    assert too_late(records, dated).tolist() == [False, False, True, True, True]
    assert too_late(records, []).tolist() == [False] * 5
    undated = [asks("q", "x", *items[:2])]  # official files date records only
    assert too_late(records, undated).tolist() == [False, False, True, True, True]
    assert too_late(records, [asks("q", "x")]).all()
    assert isinstance(too_late(records, []), np.ndarray)


def test_cohort_of_a_stranger_is_new() -> None:
    assert Cohorts(frozenset({"ann"}), frozenset()).of("bob") == "new"
