"""low_rank_head (FedPGP, LoRA-SB, RecLoRA): what is personal lies in a small space that all users share.

Those papers fit low-rank adapters inside a network. Here the adapter is a head on what a candidate says, beside
HYDRA's shared score: a basis of k directions, learned from known users' heads, and k numbers a user, fitted exactly.
"""

from __future__ import annotations

from hydra_ml.evaluation.rival import Choose, rival
from hydra_ml.evaluation.rival_heads import (
    Basis,
    choose_along,
    cross_fitted,
    head_inputs,
    own_heads,
    principal,
    retrained,
)
from hydra_ml.evaluation.rival_pool import Lesson

RANKS = (1, 2, 4, 8)
RIDGES = (1.0, 3.0, 10.0, 30.0, 100.0)  # of the k numbers, each in units of its spread among known users
FULL_RIDGE = 10.0  # of the whole heads that the basis starts from
STEPS = 350  # of training basis and numbers together


def fit(lesson: Lesson, seed: int) -> Choose:
    """The basis from known users, then everybody's numbers."""
    inputs = head_inputs(lesson)

    def learn(taught: Lesson, rank: int) -> Basis:
        """The leading directions of whole heads, then trained together with the numbers along them."""
        x = inputs(taught)
        start = principal(own_heads(x, taught, ridge=FULL_RIDGE).table, rank)
        low = x @ start.directions.T
        codes = own_heads(low, taught, ridge=1.0, prior=start.variance, middle=start.middle).table
        return retrained(x, taught, start, codes, steps=STEPS, seed=seed)

    def finish(basis: Basis, own: Lesson, ridge: float) -> Choose:
        """The users' own numbers, exact."""
        x = inputs(own) @ basis.directions.T
        heads = own_heads(x, own, ridge=ridge, prior=basis.variance, middle=basis.middle)
        return choose_along(basis, heads, inputs)

    rank, ridge = cross_fitted(lesson, RANKS, RIDGES, learn, finish)
    return finish(learn(lesson.take(lesson.is_known), rank), lesson, ridge)


METHOD = rival(
    "low_rank_head",
    fit,
    "a few numbers a user in a basis of heads that all users share",
    paper="FedPGP; LoRA-SB; RecLoRA",
)
