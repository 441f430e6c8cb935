"""Which rows a refit learns from, and which judge it."""

import numpy as np
import pandas as pd
import pytest

from hydra_ml.answering.fit_component import ComponentRows, refit_component, telling
from hydra_ml.model.fit_base import SharedPart
from hydra_ml.model.heads import Heads, no_heads
from hydra_ml.params import Train

WIDTH = 2
SETTINGS = Train(width=WIDTH, held_back=0.25)


class Base:
    width = WIDTH

    def eval(self):
        return self

    def __call__(self, z):
        return z


class Signs:
    """z_0 is 1 for the answer "good", -1 for "bad"."""

    def __init__(self, a, b):
        self.b = b

    def __len__(self):
        return len(self.b)

    def batch(self, rows):
        import torch

        return (torch.tensor([[1.0 if self.b[i] == "good" else -1.0, 0.0] for i in rows]).reshape(-1, WIDTH),)


def world(*queries):
    """Rows and queries of (user, day, is_new, role) each; every query has a good and a bad candidate."""
    table = pd.DataFrame(
        [
            {"query_id": f"{user}{day}", "user_id": user, "cohort": "known", "role": role, "date": f"2020-01-{day:02d}",
             "is_new": is_new}
            for user, day, is_new, role in queries
        ]
    )  # fmt: skip
    rows = table.loc[table.index.repeat(2), ["query_id"]].reset_index(drop=True)
    rows = rows.assign(a="query", b=["good", "bad"] * len(table))
    labels = np.tile([1.0, 0.0], len(table)).astype(np.float32)
    return ComponentRows(rows, np.zeros((len(rows), 1), dtype=np.float32), labels, labels), table


def refit(rows, queries, heads):
    shared = SharedPart(Base(), "residual", WIDTH + 1, np.zeros(WIDTH + 1, np.float32), np.ones(WIDTH + 1, np.float32))
    return refit_component(rows, queries, SETTINGS, shared=shared, present=heads, ridge=1.0, seed=0, make_pairs=Signs)


def heads_of(*users):
    return Heads("residual", WIDTH + 1, users, np.zeros((len(users), WIDTH + 1), dtype=np.float32))


def learned(user, days, *, new=()):
    return [(user, day, day in new, "train") for day in days]


def test_only_new_queries_judge_and_at_least_one_of_two_does():
    rows, queries = world(*learned("ann", range(1, 9), new=(7, 8)), *learned("bob", range(1, 13), new=range(5, 13)))
    found = refit(rows, queries, heads_of("ann", "bob"))
    assert found.n_judged.tolist() == [1, 2]  # a quarter of 2, but at least one; a quarter of 8
    assert found.n_rows.tolist() == [16, 24]


def test_who_has_nothing_new_is_left_alone():
    rows, queries = world(*learned("ann", range(1, 9)), *learned("bob", range(1, 5), new=(4,)))
    found = refit(rows, queries, heads_of("ann", "bob"))
    assert found.user_ids.tolist() == ["bob"]
    assert found.n_judged.tolist() == [0]  # a lone new query is learned from rather than judged by


def test_to_a_user_without_a_head_every_query_is_new():
    rows, queries = world(*learned("ann", range(1, 9)))
    found = refit(rows, queries, no_heads("residual", WIDTH + 1))
    assert found.user_ids.tolist() == ["ann"]
    assert found.n_judged.tolist() == [2]


def test_evaluated_queries_are_refused():
    rows, queries = world(("ann", 1, True, "evaluate"))
    with pytest.raises(ValueError, match="evaluated queries never enter a fit"):
        refit(rows, queries, heads_of("ann"))


def test_no_rows_give_no_heads():
    rows, queries = world(*learned("ann", range(1, 3), new=(2,)))
    assert refit(rows.take(np.zeros(0, dtype=int)), queries, heads_of("ann")).fitted.user_ids == ()


def test_queries_whose_candidates_all_fared_alike_tell_nothing_and_the_rest_stand_together():
    table = pd.DataFrame({"query_id": ["q", "r", "q", "r", "s", "t", "t"]})
    rewards = np.array([1, 1, 0, 1, 0, 0, 0.5], dtype=np.float32)
    targets = np.array([1, 0.5, 0, 0.5, 0, 0, 0], dtype=np.float32)  # of t no row should be chosen
    rows = ComponentRows(table, rewards[:, None], targets, rewards)
    rows = rows.take(telling(rows))
    assert rows.table["query_id"].tolist() == ["q", "q"]
    assert rows.evidence[:, 0].tolist() == rows.rewards.tolist() == [1, 0]
