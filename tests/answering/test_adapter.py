"""Candidates, votes, labels and the choice, by hand."""

import numpy as np
import pandas as pd
import pytest

from hydra_ml.answering.adapter import candidate_evidence, choose_best, distinct_candidates, training_candidates
from hydra_ml.tasks import get_task

NEWS, HEADLINE = get_task("LaMP_2N"), get_task("LaMP_4")


def answers(rows):
    return pd.DataFrame(rows, columns=["query_id", "sample_idx", "answer"])


def test_samples_become_distinct_candidates_with_votes_and_the_greedy_answer_is_always_there():
    table = distinct_candidates(
        answers(
            [
                ("q", 0, "politics"),
                ("q", 1, "sports"),
                ("q", 2, "sports"),
                ("q", 3, "travel"),
                ("r", 0, "crime"),
                ("r", 1, "crime"),
            ]
        )
    )
    assert table.values.tolist() == [
        ["q", "politics", 0, 1.0, 3],
        ["q", "sports", 2, 0.0, 3],
        ["q", "travel", 1, 0.0, 3],
        ["r", "crime", 1, 1.0, 1],
    ]
    assert table.columns.tolist() == ["query_id", "answer", "votes", "greedy_share", "n_samples"]


def test_vote_evidence_is_finite_for_a_greedy_answer_nobody_voted_for():
    table = distinct_candidates(
        answers([("q", 0, "politics"), ("q", 1, "sports"), ("q", 2, "sports"), ("q", 3, "sports")])
    )
    evidence = candidate_evidence(table, np.array([-1.0, -2.0]))
    np.testing.assert_allclose(evidence, [[np.log(0.5 / 4), 1, -1], [np.log(3.5 / 4), 0, -2]], rtol=1e-6)


def test_two_prompts_pool_their_votes_and_share_the_greedy_place():
    pooled = [("q", 0, "a"), ("q", 1, "a"), ("q", 2, "b"), ("q", 0, "b"), ("q", 1, "b"), ("q", 2, "b")]
    table = distinct_candidates(answers(pooled)).set_index("answer")
    assert table["votes"].to_dict() == {"a": 1, "b": 3}
    assert table["greedy_share"].to_dict() == {"a": 0.5, "b": 0.5}
    assert set(table["n_samples"]) == {4}


def test_row_order_cannot_shift_a_candidate():
    rows = [("q", 0, "a b"), ("q", 1, "c d"), ("q", 2, "a b"), ("r", 0, "x y"), ("r", 1, "a b")]
    pd.testing.assert_frame_equal(distinct_candidates(answers(rows)), distinct_candidates(answers(rows[::-1])))


def candidates(rows):
    return pd.DataFrame(rows, columns=["query_id", "answer", "votes", "n_samples", "greedy_share", "gold"])


def test_closed_answers_are_positive_when_right_and_every_label_is_learned_from():
    table = candidates(
        [
            ("q", "politics", 3, 4, True, "sports"),
            ("q", "sports", 1, 4, False, "sports"),
            ("r", "crime", 4, 4, True, "travel"),
        ]
    )
    kept, labels = training_candidates(table, NEWS, "above_mean")
    assert labels[:3].tolist() == [0, 1, 0]
    assert len(kept) == 2 * 15  # and every label the LLM did not propose, with no votes
    added = kept.iloc[3:]
    assert (added["votes"] == 0).all()
    assert not added["greedy_share"].any()
    right = kept[labels > 0.5][["query_id", "answer"]].values.tolist()
    assert right == [["q", "sports"], ["r", "travel"]]  # the LLM missed r's answer; training still learns it


def test_free_text_is_judged_within_its_own_query():
    table = candidates(
        [
            ("easy", "the cat sat", 1, 2, True, "the cat sat"),
            ("easy", "the cat stood", 1, 2, False, "the cat sat"),
            ("hard", "one two three", 1, 2, True, "one dog ran"),
            ("hard", "nothing at all", 1, 2, False, "one dog ran"),
        ]
    )
    kept, labels = training_candidates(table, HEADLINE, "above_mean")
    assert labels.tolist() == [1, 0, 1, 0]  # over all rows' mean, "one two three" would count as bad
    assert len(kept) == 4


def test_gold_mode_adds_the_users_text_as_the_only_positive():
    table = candidates([("q", "the cat sat", 2, 2, True, "a cat sat down"), ("r", "dogs run", 2, 2, True, "dogs run")])
    kept, labels = training_candidates(table, HEADLINE, "gold")
    assert kept["answer"].tolist() == ["the cat sat", "a cat sat down", "dogs run"]
    assert labels.tolist() == [0, 1, 1]
    assert kept["votes"].tolist() == [2, 0, 0]


def test_choice_is_the_best_score_and_ties_fall_back_to_the_greedy_answer():
    table = candidates(
        [
            ("q", "b", 1, 4, False, ""),
            ("q", "a", 3, 4, True, ""),
            ("r", "c", 0, 4, True, ""),
            ("r", "d", 4, 4, False, ""),
        ]
    )
    best = choose_best(table, np.array([0.5, 0.5, -1.0, 2.0], dtype=np.float32))
    assert best["answer"].tolist() == ["a", "d"]
    assert best["score"].tolist() == pytest.approx([0.5, 2.0])


def test_an_answer_that_failed_is_no_candidate_and_a_failed_greedy_one_leaves_numbers():
    table = distinct_candidates(answers([("q", 0, ""), ("q", 1, "a"), ("q", 2, ""), ("r", 0, ""), ("r", 1, "")]))
    assert table.values.tolist() == [["q", "a", 1, 0.0, 1]]
    assert np.isfinite(candidate_evidence(table, np.array([0.0]))).all()
