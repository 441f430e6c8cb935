"""Texts written of users: in rounds, from their own earlier records alone, by whoever is asked."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from hydra_ml.answering.arms import Arm, with_texts
from hydra_ml.answering.written import Rounds, Writing, brief_record, readable_records, write_texts, writing_bill
from hydra_ml.llm.chat import Ask, Reply
from hydra_ml.records import GREEDY, Record
from hydra_ml.tasks import get_task
from hydra_ml.tasks.task import Task

TASK = get_task("LaMP_3")


def record(record_id: str, user_id: str = "ann", answer: str = "5") -> Record:
    return Record(record_id, user_id, "text", TASK.templated(f"one two three {record_id}"), answer, "2020")


def counted(task: Task, records: Sequence[Record], seed: int) -> Rounds:
    """Asks of each record, then of all replies together."""
    first = yield [record.record_id for record in records]
    [last] = yield ["+".join(first)]
    return last


WRITING = Writing("counted", counted, reply_tokens=7, longest=20)
READABLE = {"ann": [record("a"), record("b")], "bob": [record("c", "bob")], "new": []}


def test_all_users_of_a_round_are_asked_together_and_each_hears_its_own_replies() -> None:
    asked = []

    def ask(asks: list[Ask], writing: Writing) -> list[Reply]:
        assert {ask.max_tokens for ask in asks} == {7}
        asked.append([ask.messages[0]["content"] for ask in asks])
        return [Reply((f" <{ask.messages[0]['content']}> ",), 10, 2, cached=False) for ask in asks]

    table = write_texts([WRITING], READABLE, TASK, ask, seed=1).set_index("user_id")
    assert asked == [["a", "b", "c"], ["<a>+<b>", "<c>"]]
    assert table["text"].to_dict() == {"ann": "<<a>+<b>>", "bob": "<<c>>", "new": ""}
    assert table["read"].to_dict() == {"ann": ["a", "b"], "bob": ["c"], "new": []}
    assert table["tokens_in"].to_dict() == {"ann": 30, "bob": 20, "new": 0}


def test_a_reply_that_failed_is_heard_as_nothing_and_a_text_is_cut() -> None:
    def ask(asks: list[Ask], writing: Writing) -> list[Reply]:
        failed = Reply(("",), 0, 0, cached=False, error="down")
        return [failed if ask.messages[0]["content"] == "a" else Reply(("x" * 30,), 1, 1, cached=True) for ask in asks]

    table = write_texts([WRITING], READABLE, TASK, ask, seed=1).set_index("user_id")
    assert table["text"].to_dict() == {"ann": "x" * 20, "bob": "x" * 20, "new": ""}
    assert table["n_failed"].to_dict() == {"ann": 1, "bob": 0, "new": 0}


def test_a_text_is_written_from_what_every_evaluated_question_may_see() -> None:
    queries = pd.DataFrame(
        {
            "role": ["evaluate", "evaluate", "train", "evaluate"],
            "user_id": ["ann", "ann", "ann", "bob"],
            "profile": [["a", "b"], ["b", "c"], ["late"], []],
        }
    )
    rows = [("ann", record_id) for record_id in ("a", "b", "c", "late")] + [("bob", "b")]
    records = pd.DataFrame(rows, columns=["user_id", "record_id"]).assign(text="", input="", answer="", date="")
    found = readable_records(queries, records)
    assert {user: [r.record_id for r in some] for user, some in found.items()} == {"ann": ["b"], "bob": []}


def test_a_record_is_told_in_a_line_as_long_as_it_may_be() -> None:
    assert brief_record(record("a"), TASK, 2) == '"one two" => 5'
    assert brief_record(record("a", answer=""), TASK, 9) == '"one two three a"'


def test_a_prompt_has_its_users_text_and_a_controls_a_strangers() -> None:
    written = pd.DataFrame(
        {"writing": "counted", "user_id": ["ann", "bob"], "text": ["of ann", "of bob"], "read": [["a"], ["c"]]}
    )
    arms = [Arm("own", None, writing=WRITING), Arm("strange", None, writing=WRITING, of_stranger=True), Arm("no", None)]
    asked = pd.DataFrame({"arm": ["own", "strange", "no", "own"], "user_id": ["ann", "ann", "ann", "new"]})
    found = with_texts(asked, arms, written, {"ann": "bob", "bob": "ann"})
    assert found["written"].tolist() == ["of ann", "of bob", "", ""]
    assert found["read"].tolist() == [["a"], [], [], []]


def test_writing_is_billed_once_a_user_under_each_arm_that_shows_it() -> None:
    facts = {"writing": "counted", "user_id": ["ann", "new"], "tokens_in": [30, 0], "tokens_out": [4, 0]}
    queries = pd.DataFrame({"query_id": ["q1", "q2", "n1"], "user_id": ["ann", "ann", "new"]})
    bill = writing_bill(pd.DataFrame(facts), queries, {"pag": "counted", "pag_k0": "counted", "other": "else"})
    assert bill[["query_id", "arm", "sample_idx", "tokens_in", "tokens_out"]].to_numpy().tolist() == [
        ["q1", "pag", GREEDY, 30, 4],
        ["q1", "pag_k0", GREEDY, 30, 4],
    ]
