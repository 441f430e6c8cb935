"""Prompts hold the query's own user's records, best first, and nothing else."""

from dataclasses import replace

import pandas as pd
import pytest

from hydra_ml.answering.prompts import answer_table, build_asks, build_prompts, parse_answers, record_book, top_records
from hydra_ml.llm.chat import Reply
from hydra_ml.params import Generate
from hydra_ml.records import GREEDY
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
    [chat] = build_prompts(queries, [["2", "1"]], record_book(RECORDS), TASK, "lamp")
    assert [turn["content"] for turn in chat] == ["rate: bad", "1", "rate: good", "5", "rate: fair"]
    assert [turn["role"] for turn in chat] == ["user", "assistant", "user", "assistant", "user"]


def test_a_text_stands_before_it_all_and_every_pair_behind_it_counts_as_a_demo():
    queries = pd.DataFrame({"user_id": ["ann", "ann"], "input": ["x", "y"]})
    chats = build_prompts(queries, [["1", "2"], []], record_book(RECORDS), TASK, "lamp", ["likes it", ""])
    assert [turn["role"] for turn in chats[0]] == ["system", "user", "assistant", "user", "assistant", "user"]
    assert chats[0][0]["content"] == "likes it"
    assert [turn["role"] for turn in chats[1]] == ["user"]
    asks, _ = build_asks(chats, [False, False], TASK, Generate(), seed=0, user_ids=["u", "v"])
    assert [ask.demos for ask in asks] == [2, 0]
    assert [turn["content"] for turn in asks[0].shorter().messages] == ["likes it", "rate: good", "5", "x"]
    own = replace(TASK, system="be brief")
    [chat] = build_prompts(queries.iloc[:1], [[]], record_book(RECORDS), own, "lamp", ["likes it"])
    assert [turn["content"] for turn in chat] == ["likes it\n\nbe brief", "x"]


def test_a_record_id_reaches_its_own_users_record_only():
    queries = pd.DataFrame({"user_id": ["ann", "bob"], "input": ["x", "y"]})
    chats = build_prompts(queries, [["1"], ["1"]], record_book(RECORDS), TASK, "lamp")
    assert "secret" not in str(chats[0])
    assert "secret" in str(chats[1])
    with pytest.raises(KeyError):
        build_prompts(queries, [["2"], ["2"]], record_book(RECORDS), TASK, "lamp")  # bob has no record 2


def test_top_records_follow_rank_not_row_order():
    ranking = pd.DataFrame({"query_id": ["q", "q", "q"], "rank": [2, 0, 1], "record_id": ["c", "a", "b"]})
    assert top_records(ranking, 2) == {"q": ["a", "b"]}


def test_unparsable_answers_are_kept_as_they_came():
    assert parse_answers([" 4 ", "great!", ""], ["x", "x", "x"], TASK, "strict") == (
        ["4", "great!", ""],
        [True, False, False],
    )


def test_every_prompt_is_asked_once_greedily_and_sampled_ones_again():
    queries = pd.DataFrame({"user_id": ["ann", "bob"], "input": ["x", "y"]})
    chats = build_prompts(queries, [["1"], []], record_book(RECORDS), TASK, "lamp")
    asks, owners = build_asks(
        chats, [False, True], TASK, Generate(n_samples=3, temperature=0.7, max_tokens=9), seed=5, user_ids=["u", "v"]
    )
    assert owners == [0, 1, 1]
    assert [(ask.n, ask.temperature, ask.max_tokens, ask.seed) for ask in asks] == [
        (1, 0.0, 9, 5),
        (1, 0.0, 9, 5),
        (3, 0.7, 9, 5),
    ]
    assert list(asks[2].messages) == chats[1]
    asks, _ = build_asks(chats, [False, True], TASK, Generate(), seed=5, user_ids=["u", "v"])
    assert [ask.max_tokens for ask in asks] == [17] * 3, "a rating needs no more"


def test_replies_become_one_row_per_answer():
    asked = pd.DataFrame({"query_id": ["q", "q"], "arm": ["hydra", "hydra"], "input": ["x", "x"]})
    asks, _ = build_asks(
        [[{"role": "user", "content": "x"}]], [True], TASK, Generate(n_samples=2), seed=1, user_ids=["u"]
    )
    replies = [Reply(("4.0",), 1, 1, cached=True), Reply(("5", ""), 1, 1, cached=True, error="ill")]
    table = answer_table(asked, asks, replies, TASK, "strict")
    assert table["sample_idx"].tolist() == [GREEDY, 1, 2]
    assert table["answer"].tolist() == ["4", "5", ""]
    assert table["is_parsed"].tolist() == [True, True, False]
    assert table["error"].tolist() == ["", "ill", "ill"]
