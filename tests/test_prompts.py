"""Prompts hold the query's own user's records, best first, and nothing else."""

import pandas as pd
import pytest

from hydra_ml.prompts import build_prompts, parse_answers, record_book, top_records
from hydra_ml.tasks import get_task

TASK = get_task("LaMP_3")
RECORDS = pd.DataFrame(
    {
        "user_id": ["ann", "ann", "bob"],
        "record_id": ["1", "2", "1"],
        "text": ["good", "bad", "secret of bob"],
        "input": ["rate: good", "rate: bad", "rate: secret of bob"],
        "answer": ["5", "1", "3"],
        "date": ["", "", ""],
    }
)


def test_demos_are_turns_best_first_and_the_query_comes_last():
    queries = pd.DataFrame({"user_id": ["ann"], "input": ["rate: fair"]})
    [chat] = build_prompts(queries, [["2", "1"]], record_book(RECORDS), TASK)
    assert [turn["content"] for turn in chat] == ["rate: bad", "1", "rate: good", "5", "rate: fair"]
    assert [turn["role"] for turn in chat] == ["user", "assistant", "user", "assistant", "user"]


def test_a_record_id_reaches_its_own_users_record_only():
    queries = pd.DataFrame({"user_id": ["ann", "bob"], "input": ["x", "y"]})
    chats = build_prompts(queries, [["1"], ["1"]], record_book(RECORDS), TASK)
    assert "secret" not in str(chats[0])
    assert "secret" in str(chats[1])
    with pytest.raises(KeyError):
        build_prompts(queries, [["2"], ["2"]], record_book(RECORDS), TASK)  # bob has no record 2


def test_top_records_follow_rank_not_row_order():
    ranking = pd.DataFrame({"query_id": ["q", "q", "q"], "rank": [2, 0, 1], "record_id": ["c", "a", "b"]})
    assert top_records(ranking, 2) == {"q": ["a", "b"]}


def test_unparsable_answers_are_kept_as_they_came():
    assert parse_answers([" 4 ", "great!", ""], ["x", "x", "x"], TASK) == (["4", "great!", ""], [True, False, False])
