"""The margin that keeps harm below its bound, on rows whose harm is known by hand."""

import numpy as np
import pandas as pd
import pytest

from hydra_ml.answering.adapter import NEVER
from hydra_ml.answering.do_no_harm import find_caution
from hydra_ml.answering.fit_component import ComponentRows
from hydra_ml.tasks import get_task

HEADLINE = get_task("LaMP_4")


def two_answers(leads, gains, n_users=40):
    """One query each: plain RAG's answer of worth .5, and another that leads it and is worth so much more."""
    n = len(leads)
    table = pd.DataFrame(
        {
            "query_id": np.repeat([f"q{i:04d}" for i in range(n)], 2),
            "user_id": np.repeat([f"u{i % n_users}" for i in range(n)], 2),
            "answer": ["plain", "other"] * n,
            "greedy_share": [1.0, 0.0] * n,
            "votes": 1,
            "is_plain": [True, False] * n,
        }
    )
    rewards = np.stack([np.full(n, 0.5), 0.5 + np.asarray(gains)], axis=1).ravel().astype(np.float32)  # [2n]
    scores = np.stack([np.zeros(n), np.asarray(leads)], axis=1).ravel().astype(np.float32)
    return ComponentRows(table, np.zeros((2 * n, 1), dtype=np.float32), rewards, rewards), scores


def drawn(n=4000, seed=0):
    """The larger the lead, the rarer the harm: of a lead of l a share of exp(-2 l)/2 is worse than plain RAG."""
    rng = np.random.default_rng(seed)
    leads = rng.uniform(0.01, 3, n)
    return leads, np.where(rng.random(n) < np.exp(-2 * leads) / 2, -0.2, 0.2)


@pytest.mark.parametrize("bound", [0.02, 0.05])
def test_the_smallest_margin_whose_harm_is_surely_below_the_bound(bound):
    leads, gains = drawn()
    found = find_caution(*two_answers(leads, gains), task=HEADLINE, bound=bound)
    by_hand = np.mean((leads >= found.margin) & (gains < 0))
    assert found.harm == pytest.approx(by_hand)
    assert 0 < by_hand < bound
    looser = np.mean((leads >= found.margin - 0.05) & (gains < 0))
    assert looser + 1.645 * np.sqrt(looser * (1 - looser) / len(leads)) > bound * 0.95
    assert found.changed == pytest.approx(np.mean(leads >= found.margin))
    fresh_leads, fresh_gains = drawn(seed=1)
    assert np.mean((fresh_leads >= found.margin) & (fresh_gains < 0)) < bound


def test_harmless_choices_need_no_lead():
    found = find_caution(*two_answers([0.1, 0.5, 2.0], [0.1, 0.1, 0.0]), task=HEADLINE, bound=0.1)
    assert (found.margin, found.harm, found.n_judged) == (0.0, 0.0, 3)


def test_a_bound_that_no_lead_meets_keeps_plain_rag_for_all():
    rows = two_answers(np.full(200, 9.0), np.full(200, -0.2))
    found = find_caution(*rows, task=HEADLINE, bound=0.1)
    assert (found.margin, found.harm, found.changed, found.gain) == (NEVER, 0.0, 0.0, 0.0)


def test_queries_whose_answers_are_alike_do_no_harm_and_those_nobody_could_judge_are_left_out():
    rows, scores = two_answers([1.0, 1.0, 1.0, 1.0], [-0.2, 0.2, 0.0, 0.2])
    scores[4:] = np.nan  # the third query's answers are worth the same; the fourth was seen by every model
    found = find_caution(rows, scores, task=HEADLINE, bound=0.9)
    assert (found.n_judged, found.harm) == (3, pytest.approx(1 / 3))


def test_nothing_judged_is_nothing_known():
    rows, scores = two_answers([1.0], [0.2])
    assert find_caution(rows, np.full_like(scores, np.nan), task=HEADLINE, bound=0.1).n_judged == 0
