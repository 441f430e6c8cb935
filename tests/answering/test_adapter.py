"""Candidates, votes, labels and the choice, by hand."""

import numpy as np
import pandas as pd
import pytest

from hydra_ml.answering.adapter import (
    EVIDENCE,
    NO_VOTES,
    RATING_EVIDENCE,
    candidate_evidence,
    choose_best,
    distinct_candidates,
    every_choice,
)
from hydra_ml.tasks import get_task

NEWS, HEADLINE, RATING = get_task("LaMP_2N"), get_task("LaMP_4"), get_task("LaMP_3")


def answers(rows, arm="rag_k4"):
    return pd.DataFrame(rows, columns=["query_id", "sample_idx", "answer"]).assign(arm=arm, prompt=arm)


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
        ["q", "politics", 0, 1.0, True, 3],
        ["q", "sports", 2, 0.0, False, 3],
        ["q", "travel", 1, 0.0, False, 3],
        ["r", "crime", 1, 1.0, True, 1],
    ]
    assert table.columns.tolist() == ["query_id", "answer", "votes", "greedy_share", "is_plain", "n_samples"]


def test_of_pooled_prompts_only_plain_rags_greedy_answer_is_plain():
    rows = answers([("q", 0, "sports"), ("q", 1, "crime")], arm="hydra")
    table = distinct_candidates(pd.concat([rows, answers([("q", 0, "travel"), ("q", 1, "sports")])]))
    assert table.set_index("answer")["is_plain"].to_dict() == {"crime": False, "sports": False, "travel": True}


def test_arms_that_share_a_prompt_count_once():
    rows = answers([("q", 0, "sports"), ("q", 1, "crime")])
    table = distinct_candidates(pd.concat([rows.assign(arm="hydra"), rows]))
    pd.testing.assert_frame_equal(table, distinct_candidates(rows))


def encode(texts):
    return np.array([[1.0, 0.0] if text == "storm" else [0.6, 0.8] for text in texts], dtype=np.float32).reshape(-1, 2)


def test_vote_evidence_is_finite_for_a_greedy_answer_nobody_voted_for_and_knows_the_cosine():
    table = distinct_candidates(
        answers([("q", 0, "politics"), ("q", 1, "sports"), ("q", 2, "sports"), ("q", 3, "sports")])
    ).assign(a="storm", b=["storm", "vote"])
    evidence = candidate_evidence(table, np.array([-1.0, -2.0]), NEWS, encode)
    assert evidence.shape == (2, len(EVIDENCE))
    np.testing.assert_allclose(evidence, [[np.log(NO_VOTES), 1, -1, 1], [np.log(1 + NO_VOTES), 0, -2, 0.6]], rtol=1e-6)


def test_evidence_means_the_same_for_any_number_of_samples():
    few = [("q", 0, "a"), ("q", 1, "a"), ("q", 2, "b")]
    many = [("q", 0, "a"), *[("q", i, "ab"[i % 2]) for i in range(1, 9)]]
    tables = [distinct_candidates(answers(rows)).assign(a="storm", b="vote") for rows in (few, many)]
    found = [candidate_evidence(table, np.zeros(len(table)), HEADLINE, encode) for table in tables]
    np.testing.assert_array_equal(found[0], found[1])


def test_a_rating_is_the_better_supported_the_nearer_it_is():
    table = pd.DataFrame(
        {"query_id": "q", "answer": list("12345"), "votes": [0, 0, 0, 1, 3], "n_samples": 4, "greedy_share": 0.0}
    ).assign(a="storm", b="vote")
    evidence = candidate_evidence(table, np.log(np.array([1, 0, 0, 0, 1]) + 1e-9), RATING, encode)
    assert evidence.shape == (5, len(EVIDENCE) + len(RATING_EVIDENCE))
    votes, greedy, history = evidence[:, len(EVIDENCE) :].T
    np.testing.assert_allclose(votes, [-3.75, -2.75, -1.75, -0.75, -0.25], rtol=1e-5)  # the mean vote is 4.75
    assert not greedy.any()  # no greedy answer: nothing to be near
    np.testing.assert_allclose(history, [-2, -1, 0, -1, -2], atol=1e-5)
    assert not candidate_evidence(table, np.zeros(5), RATING, encode)[:, -1].any()  # no history: nothing to be near


def test_two_prompts_pool_their_votes_and_share_the_greedy_place():
    pooled = [("q", 0, "a"), ("q", 1, "a"), ("q", 2, "b"), ("q", 0, "b"), ("q", 1, "b"), ("q", 2, "b")]
    both = pd.concat([answers(pooled[:3], arm="hydra"), answers(pooled[3:])])
    table = distinct_candidates(both).set_index("answer")
    assert table["votes"].to_dict() == {"a": 1, "b": 3}
    assert table["greedy_share"].to_dict() == {"a": 0.5, "b": 0.5}
    assert set(table["n_samples"]) == {4}


def test_row_order_cannot_shift_a_candidate():
    rows = [("q", 0, "a b"), ("q", 1, "c d"), ("q", 2, "a b"), ("r", 0, "x y"), ("r", 1, "a b")]
    pd.testing.assert_frame_equal(distinct_candidates(answers(rows)), distinct_candidates(answers(rows[::-1])))


def candidates(rows):
    return pd.DataFrame(rows, columns=["query_id", "answer", "votes", "n_samples", "greedy_share", "gold"])


def test_every_label_may_be_chosen_and_nothing_that_is_none():
    table = candidates(
        [
            ("q", "politics", 3, 4, True, "sports"),
            ("q", "who knows", 1, 4, False, "sports"),
            ("r", "crime", 4, 4, True, "travel"),
            ("s", "no idea", 4, 4, True, "travel"),
        ]
    )
    choices = every_choice(table, NEWS)
    assert set(choices["query_id"]) == {"q", "r"}  # of s the LLM said nothing that could be read
    assert choices.groupby("query_id")["answer"].agg(set).map(len).tolist() == [15, 15]
    assert choices["query_id"].is_monotonic_increasing
    assert choices.loc[choices["votes"] > 0, ["query_id", "answer", "votes"]].values.tolist() == [
        ["q", "politics", 3],
        ["r", "crime", 4],
    ]
    assert not choices.loc[choices["votes"] == 0, "greedy_share"].any()
    assert set(choices["n_samples"]) == {4}


def test_free_text_is_chosen_among_what_was_said():
    table = candidates([("q", "the cat sat", 1, 2, True, ""), ("q", "a dog", 1, 2, False, "")])
    pd.testing.assert_frame_equal(every_choice(table, HEADLINE), table)


def test_a_rating_is_decided_for_its_measures_not_by_the_likeliest():
    table = candidates([("q", str(i), 0, 4, False, "") for i in range(1, 6)])
    p = np.array([0.4, 0.0001, 0.25, 0.25, 0.1])  # 1 is likeliest, half of the mass lies at or below 3
    best = choose_best(table, np.log(p).astype(np.float32), RATING)
    assert best["answer"].tolist() == ["3"]
    assert best["score"].tolist() == pytest.approx([np.log(0.25)])
    assert choose_best(table, np.log(p).astype(np.float32), NEWS)["answer"].tolist() == ["1"]


def test_choice_is_the_best_score_and_ties_fall_back_to_the_greedy_answer():
    table = candidates(
        [
            ("q", "b", 1, 4, False, ""),
            ("q", "a", 3, 4, True, ""),
            ("r", "c", 0, 4, True, ""),
            ("r", "d", 4, 4, False, ""),
        ]
    )
    best = choose_best(table, np.array([0.5, 0.5, -1.0, 2.0], dtype=np.float32), HEADLINE)
    assert best["answer"].tolist() == ["a", "d"]
    assert best["score"].tolist() == pytest.approx([0.5, 2.0])


def test_an_answer_that_failed_is_no_candidate_and_a_failed_greedy_one_leaves_numbers():
    table = distinct_candidates(answers([("q", 0, ""), ("q", 1, "a"), ("q", 2, ""), ("r", 0, ""), ("r", 1, "")]))
    assert table.values.tolist() == [["q", "a", 1, 0.0, False, 1]]
    assert np.isfinite(candidate_evidence(table.assign(a="x", b="y"), np.array([0.0]), HEADLINE, encode)).all()


def test_plain_rags_answer_is_kept_unless_another_leads_it_by_the_margin():
    table = distinct_candidates(
        answers(
            [("q", 0, "a"), ("q", 1, "b"), ("r", 0, "a"), ("r", 1, "b"), ("s", 0, ""), ("s", 1, "b"), ("s", 2, "c")]
        )
    )
    assert table[["query_id", "answer"]].values.tolist() == [
        ["q", "a"],
        ["q", "b"],
        ["r", "a"],
        ["r", "b"],
        ["s", "b"],
        ["s", "c"],
    ]
    scores = np.array([0.0, 0.4, 0.0, 0.6, 0.2, 0.1], dtype=np.float32)
    chosen = {
        margin: choose_best(table, scores, HEADLINE, margin=margin).set_index("query_id") for margin in (None, 0.5)
    }
    assert chosen[None]["answer"].to_dict() == {"q": "b", "r": "b", "s": "b"}
    assert chosen[0.5]["answer"].to_dict() == {"q": "a", "r": "b", "s": "b"}  # s: plain RAG said nothing
    np.testing.assert_allclose(chosen[0.5]["score"], [0.0, 0.6, 0.2])
    assert chosen[0.5]["score"].dtype == np.float32
