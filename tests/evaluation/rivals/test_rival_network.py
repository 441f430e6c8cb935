"""What networks of rivals share: tensors of a pool, and for how many epochs they learn."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

from hydra_ml.evaluation.rival_network import Recipe, Tensors, evidence_weights, fit_network, tensors_of
from tests.evaluation.rivals.planted import CANDIDATES, DIM, planted


class Misled(nn.Module):
    """Scores by a weight that learning makes worse for everybody else: each user's own mark is all it reads."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(10_000))

    def forward(self, given: Tensors, rows: torch.Tensor) -> torch.Tensor:
        return self.weight[(given.said[rows, 0].abs() * 1e6).long() % 10_000] * 10


def test_the_loss_on_other_users_is_watched_from_the_start_and_given_up_when_it_long_rises() -> None:
    lesson = planted(6, 6, strength=0.0).lesson
    halves = [lesson.take(np.isin(lesson.user_ids, users)) for users in (["u00", "u01"], ["u02", "u04"])]
    found = Recipe(partial(tensors_of, newest=4), lambda taught: Misled(), 0).held_back_losses(*halves, 40)
    assert len(found) == 41
    assert found[0] == pytest.approx(np.log(CANDIDATES))
    assert np.isfinite(found[: min(int(found.argmin()) + 20, 40)]).all()


def test_no_known_user_leaves_the_network_as_it_was_made() -> None:
    lesson = planted(2, 2).lesson.take(np.zeros(4, dtype=bool))
    assert evidence_weights(lesson).tolist() == [0.0] * 4
    network = fit_network(Recipe(partial(tensors_of, newest=4), lambda taught: Misled(), 0), lesson)
    assert network.weight.abs().sum() == 0


def test_learning_stops_when_it_is_told_to() -> None:
    seen: list[int] = []
    recipe = Recipe(partial(tensors_of, newest=4), lambda taught: Misled(), 0)
    recipe.learned(planted(2, 2).lesson, 9, lambda epoch, _: bool(seen.append(epoch)) or epoch < 3)
    assert seen == [0, 1, 2, 3]


def test_a_query_has_its_newest_records_and_no_padding_counts() -> None:
    pool = planted(2, 1).pool
    short = type(pool)(**{**vars(pool), "history": (np.array([3, 4, 5]), np.array([9]))})
    found = tensors_of(short, newest=2)
    assert found.seen.tolist() == [[4, 5], [9, 0]]
    assert found.is_seen.tolist() == [[True, True], [True, False]]
    assert found.said[:, :DIM].numpy() == pytest.approx(pool.said)
    assert found.asked[:, DIM:].abs().sum() == 0
