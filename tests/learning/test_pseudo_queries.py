"""What training and evaluation rows may see: every leakage rule, on hand-made histories."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from hydra_ml.io.lamp.files import Question
from hydra_ml.learning.draws import draw_per_user
from hydra_ml.learning.history import Cohorts, read_record
from hydra_ml.learning.preparation import Asked, Preparation, PreparedUser, query_table
from hydra_ml.learning.pseudo_queries import PreparedQuery, pseudo_queries
from hydra_ml.records import Record, normalized
from hydra_ml.tasks import get_task

MOVIES = get_task("LaMP_2")
CITATIONS = get_task("LaMP_1")
ALL = np.ones(9, dtype=bool)


def movie(description: str, day: int | None = None, tag: str = "comedy") -> dict[str, str]:
    date = {} if day is None else {"date": f"2020-01-{day:02d}"}
    return {"id": f"{description}{day}", "description": description, "tag": tag, **date}


def records(*items: dict[str, str]) -> list[Record]:
    return [read_record(MOVIES, "ann", item) for item in items]


def ask(question_id: str, description: str, *items: dict[str, str], user: str | None = "ann", day: int = 0) -> Question:
    date = f"2020-01-{day:02d}" if day else ""
    return Question(question_id, MOVIES.templated(description), items, user, date)


def seen_texts(row: PreparedQuery, known: list[Record]) -> list[str]:
    by_id = {record.record_id: record.text for record in known}
    return [by_id[record_id] for record_id in row.profile]


def made_from(known: list[Record], usable: np.ndarray, *, dated: bool) -> tuple[dict[str, list[str]], Counter[str]]:
    """What each pseudo-query's text may see, and what was dropped."""
    dropped: Counter[str] = Counter()
    rows = pseudo_queries(MOVIES, known, usable, dated=dated, cohort="known", dropped=dropped)
    return {row.query.text: seen_texts(row, known) for row in rows}, dropped


def prepare(
    train: dict[str, list[Question]], evaluate: dict[str, list[Question]], user: str, *, dated: bool, known: bool = True
) -> tuple[PreparedUser, Counter[str]]:
    golds = {q.question_id: "comedy" for asked in (*train.values(), *evaluate.values()) for q in asked}
    cohorts = Cohorts(frozenset(train) if known else frozenset(), frozenset(evaluate))
    preparation = Preparation(MOVIES, Asked(dated, train, evaluate, golds), cohorts, seed=42, history=50, limit=32)
    return preparation.user(user), preparation.dropped


def test_undated_pseudo_queries_see_all_others() -> None:
    seen, dropped = made_from(records(movie("a"), movie("b"), movie("c")), ALL[:3], dated=False)
    assert seen == {"a": ["b", "c"], "b": ["a", "c"], "c": ["a", "b"]}
    assert not dropped


def test_dated_pseudo_queries_see_strictly_earlier_records_only() -> None:
    known = records(movie("a", 1), movie("b", 2), movie("c", 2), movie("d", 3))
    seen, dropped = made_from(known, ALL[:4], dated=True)
    assert seen == {"b": ["a"], "c": ["a"], "d": ["a", "b", "c"]}
    assert dropped == {"records with nothing to see as a pseudo-query": 1}


def test_shorter_dates_are_earlier_only_when_surely_so() -> None:
    known = [
        replace(record, date=date)
        for record, date in zip(records(movie("a"), movie("b")), ("2020", "2020-05"), strict=True)
    ]
    assert made_from(known, ALL[:2], dated=True)[0] == {}
    known[0] = replace(known[0], date="2019")
    assert made_from(known, ALL[:2], dated=True)[0] == {"b": ["a"]}


def test_equal_texts_never_see_each_other() -> None:
    known = records(movie("Same  words", tag="comedy"), movie("same words", tag="action"), movie("b"))
    rows = pseudo_queries(MOVIES, known, ALL[:3], dated=False, cohort="new", dropped=Counter())
    assert [seen_texts(row, known) for row in rows] == [["b"], ["b"], ["Same  words", "same words"]]


def test_unusable_records_are_neither_query_nor_profile() -> None:
    seen, _ = made_from(records(movie("a"), movie("b"), movie("c")), np.array([True, False, True]), dated=False)
    assert seen == {"a": ["c"], "c": ["a"]}
    assert made_from(records(movie("a"), movie("b")), np.array([True, False]), dated=False)[0] == {}
    assert pseudo_queries(MOVIES, [], ALL[:0], dated=True, cohort="new", dropped=Counter()) == []


def test_pseudo_query_fields() -> None:
    known = records(movie("a", 1), movie("b", 2, tag="action"))
    (row,) = pseudo_queries(MOVIES, known, ALL[:2], dated=True, cohort="new", dropped=Counter())
    assert row.query.query_id == f"ann/{known[1].record_id}"
    assert row.source_record_id == known[1].record_id
    assert (row.role, row.cohort, row.query.gold, row.query.date) == ("train", "new", "action", "2020-01-02")
    assert (row.query.text, row.query.input) == ("b", MOVIES.templated("b"))


def test_evaluated_query_sees_its_own_profile_less_its_own_text() -> None:
    question = ask("q", "x", movie("a", 1), movie("X ", 2), movie("b", 3), day=9)
    other = ask("other", "y", movie("c", 4), day=9)
    user, dropped = prepare({}, {"ann": [question, other]}, "ann", dated=True)
    rows = {row.query.query_id: row for row in user.rows if row.role == "evaluate"}
    assert seen_texts(rows["q"], list(user.records)) == ["a", "b"]
    assert seen_texts(rows["other"], list(user.records)) == ["c"]
    assert dropped["profile records that ask the question's own text"] == 1


def test_evaluated_query_never_sees_a_record_of_its_own_day() -> None:
    user, dropped = prepare({}, {"ann": [ask("q", "x", movie("a", 1), movie("b", 5), day=5)]}, "ann", dated=True)
    (row,) = [row for row in user.rows if row.role == "evaluate"]
    assert seen_texts(row, list(user.records)) == ["a"]
    assert dropped["profile records not earlier than their question"] == 1


def test_evaluated_query_with_empty_profile_is_kept() -> None:
    user, _ = prepare({}, {"q": [ask("q", "x", user=None)]}, "q", dated=False)
    assert [(row.query.query_id, row.profile) for row in user.rows] == [("q", [])]


def test_what_anyone_is_asked_in_evaluation_is_never_learned() -> None:
    """A co-author's history holds the evaluated query, with its answer."""
    ann = [ask("qa", "shared paper", movie("a", 1), day=9)]
    bob = [ask("qb", "z", movie("b", 1), movie("Shared paper", 2), movie("c", 3), user="bob", day=9)]
    user, _ = prepare({"bob": []}, {"ann": ann, "bob": bob}, "bob", dated=True)
    assert user.held_out.tolist() == [False, True, False]
    train = [row for row in user.rows if row.role == "train"]
    assert [row.query.text for row in train] == ["c"]
    assert seen_texts(train[0], list(user.records)) == ["b"]
    (evaluated,) = [row for row in user.rows if row.role == "evaluate"]
    assert seen_texts(evaluated, list(user.records)) == ["b", "Shared paper", "c"]  # bob's own past all the same


def test_the_guard_covers_evaluated_questions_that_were_not_drawn() -> None:
    evaluate = {
        "ann": [ask("qa", "secret", user=None)],
        "bob": [ask("qb", "z", movie("secret"), movie("b"), movie("c"), user=None)],
    }
    golds = {"qa": "comedy", "qb": "comedy"}
    cohorts = Cohorts(frozenset(), frozenset({"bob"}))
    user = Preparation(MOVIES, Asked(False, {}, evaluate, golds), cohorts, seed=42, history=64, limit=32).user("bob")
    assert "secret" not in {row.query.text for row in user.rows}


def test_nothing_after_the_first_evaluated_question_is_learned() -> None:
    early = ask("early", "x", movie("a", 1), movie("b", 2), day=4)
    late = ask("late", "y", movie("a", 1), movie("b", 2), movie("c", 5), movie("d", 6), day=9)
    user, _ = prepare({"ann": []}, {"ann": [early, late]}, "ann", dated=True)
    assert user.held_out.tolist() == [False, False, True, True]
    assert [row.query.text for row in user.rows if row.role == "train"] == ["b"]


def test_train_questions_are_for_known_users_alone() -> None:
    train = {"ann": [ask("t", "asked once", movie("a", 1), movie("b", 2), day=3)]}
    evaluate = {"ann": [ask("e", "x", movie("a", 1), movie("b", 2), day=9)]}
    rows = {row.query.query_id: row for row in prepare(train, evaluate, "ann", dated=True)[0].rows}
    assert rows["t"].role == "train"
    assert rows["t"].source_record_id == ""
    assert len(rows["t"].profile) == 2
    new, _ = prepare(train, evaluate, "ann", dated=True, known=False)
    assert "t" not in {row.query.query_id for row in new.rows}
    assert {row.cohort for row in new.rows} == {"new"}
    assert any(row.role == "train" for row in new.rows)  # their own past still fits their head


def test_train_questions_see_nothing_held_out() -> None:
    profile = (movie("secret", 1), movie("b", 2))
    train = {"ann": [ask("t", "asked once", *profile, day=3), ask("blind", "twice", profile[0], day=3)]}
    evaluate = {"ann": [ask("e", "x", *profile, day=9)], "bob": [ask("f", "secret", user="bob", day=9)]}
    user, _ = prepare(train, evaluate, "ann", dated=True)
    rows = {row.query.query_id: row for row in user.rows}
    assert seen_texts(rows["t"], list(user.records)) == ["b"]
    assert "blind" not in rows  # nothing is left for it to see


@pytest.mark.parametrize(
    ("question", "reason"),
    [
        (ask("t", "X", movie("a", 1), day=3), "train questions that an evaluated question repeats"),
        (ask("t", "n", movie("a", 1), day=9), "train questions not earlier than the user's evaluated ones"),
        (ask("t", "B ", movie("a", 1), day=3), "train questions that a record of the user already asks"),
    ],
)
def test_train_questions_that_are_left_out(question: Question, reason: str) -> None:
    evaluate = {"ann": [ask("e", "x", movie("a", 1), movie("b", 2), day=9)]}
    user, dropped = prepare({"ann": [question]}, evaluate, "ann", dated=True)
    assert "t" not in {row.query.query_id for row in user.rows}
    assert dropped[reason] == 1


def test_undated_questions_are_users_of_their_own() -> None:
    evaluate = {"e": [ask("e", "x", movie("a"), movie("b"), user=None)]}
    train = {"t": [ask("t", "y", movie("c"), movie("d"), movie("x"), user=None)]}
    known, _ = prepare(train, evaluate, "t", dated=False)
    assert {record.text for record in known.records} == {"c", "d", "x"}
    assert {row.query.text for row in known.rows} == {"c", "d", "y"}  # "x" is evaluated
    assert {(row.role, row.cohort) for row in known.rows} == {("train", "known")}
    new, _ = prepare(train, evaluate, "e", dated=False)
    assert {(row.role, row.cohort) for row in new.rows} == {("evaluate", "new"), ("train", "new")}


def test_citation_pseudo_queries_hide_the_right_reference() -> None:
    def paper(title: str) -> dict[str, str]:
        return {"id": title, "title": title, "abstract": "of no matter"}

    def pair(question_id: str, first: str, second: str, *titles: str) -> Question:
        input = CITATIONS.pair_input("Own", first, second)  # type: ignore[attr-defined]
        return Question(question_id, input, tuple(map(paper, titles)), None, "")

    mine = ("Deep parsing", "Deep parsing of trees", "Speech synthesis", "Parsing speech")
    train = {"t": [pair("t", "Cited A", "Cited B", *mine)], "u": [pair("u", "Cited C", "Cited D", "Something")]}
    evaluate = {"e": [pair("e", "Cited D", "Secret", "Another")]}
    cohorts = Cohorts(frozenset("tu"), frozenset("e"))
    golds = dict.fromkeys("tue", "[1]")
    preparation = Preparation(CITATIONS, Asked(False, train, evaluate, golds), cohorts, seed=42, history=64, limit=32)
    user = preparation.user("t")
    rows = [row for row in user.rows if row.source_record_id]
    assert len(rows) == 4
    by_id = {record.record_id: record.input for record in user.records}
    for row in rows:
        right = CITATIONS.answer_text(row.query.gold or "", row.query.input)
        wrong = CITATIONS.answer_text("[2]" if row.query.gold == "[1]" else "[1]", row.query.input)
        visible = {by_id[record_id] for record_id in row.profile}
        assert right in mine
        assert right not in visible
        assert by_id[row.source_record_id] not in visible
        assert wrong == "Cited C"  # not the user's own question's, not an evaluated one
        assert len(visible) == 2
        assert normalized(row.query.text) == normalized(CITATIONS.query_text(row.query.input))
    assert CITATIONS.answer_text(rows[0].query.gold or "", rows[0].query.input) == "Deep parsing of trees"


@pytest.mark.parametrize("first", [frozenset(), frozenset({2, 5})])
def test_a_limit_leaves_the_queries_that_a_draw_would_take(first: frozenset[int]) -> None:
    known = records(*(movie(f"film {i}", i + 1) for i in range(20)))
    usable = np.ones(20, dtype=bool)
    new = {known[i].record_id for i in first}

    def made(limit: int | None) -> list[PreparedQuery]:
        return pseudo_queries(
            MOVIES, known, usable, dated=True, cohort="new", dropped=Counter(), seed=3, limit=limit, first=new
        )

    table = query_table([PreparedUser(known, ~usable, made(None))])
    drawn = draw_per_user(table, 6, 3, first=table["source_record_id"].isin(new).to_numpy())
    assert {row.query.query_id for row in made(6)} == set(drawn["query_id"])
    assert [row for row in made(None) if row.query.query_id in set(drawn["query_id"])] == made(6)
    assert made(100) == made(None)


def test_a_limit_is_filled_from_records_that_see_something() -> None:
    known = records(*(movie(f"film {i}", 1) for i in range(5)), movie("late", 2), movie("later", 3))
    rows = pseudo_queries(MOVIES, known, ALL[:7], dated=True, cohort="new", dropped=Counter(), limit=2)
    assert {row.query.text for row in rows} == {"late", "later"}
    assert pseudo_queries(MOVIES, [], ALL[:0], dated=True, cohort="new", dropped=Counter(), limit=2) == []


def test_no_train_question_asks_what_a_record_beyond_the_limit_asks() -> None:
    films = [movie(f"film {i}", i + 1) for i in range(28)]
    train = {"ann": [ask("t1", "film 20", *films[:5], day=29), ask("t2", "unseen", *films, day=29)]}
    golds = {"t1": "comedy", "t2": "comedy"}
    asked = Asked(True, train, {}, golds)
    preparation = Preparation(MOVIES, asked, Cohorts(frozenset({"ann"}), frozenset()), seed=42, history=64, limit=2)
    rows = preparation.user("ann").rows
    assert [row.query.query_id for row in rows if not row.source_record_id] == ["t2"]
    assert len(rows) == 3
