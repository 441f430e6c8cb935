"""lore finds a taste that was planted, and none where there is none; its formulas by hand."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from hydra_ml.evaluation.rival import Choose
from hydra_ml.evaluation.rivals import lore
from hydra_ml.evaluation.rivals.lore import METHOD, fit, softmax_rows, user_weights
from tests.evaluation.rivals.planted import CANDIDATES, Planted, planted


@cache
def learned() -> tuple[Planted, Choose]:
    given = planted()
    return given, fit(given.lesson, 0)


def test_it_finds_the_planted_taste_and_loses_it_under_a_strangers_part() -> None:
    given, choose = learned()
    own, strange = given.share_right(choose), given.share_right(choose, swapped=True)
    assert own > 0.5 > strange


def test_same_seed_same_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lore, "SIZES", lore.SIZES[:1])
    monkeypatch.setattr(lore, "STEPS", 50)
    given = planted()
    first, again = fit(given.lesson, 0), fit(given.lesson, 0)
    assert (again(given.pool) == first(given.pool)).all()


def test_it_finds_nothing_where_there_is_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lore, "SIZES", lore.SIZES[:1])
    given = planted(strength=0.0)
    assert abs(given.share_right(fit(given.lesson, 0)) - 1 / CANDIDATES) < 0.12


def test_softmax_by_hand() -> None:
    assert np.allclose(softmax_rows(np.array([[0.0, np.log(3.0)]])), [[0.25, 0.75]])


def test_weights_go_to_the_reward_that_explains_the_user_and_add_up_to_one() -> None:
    lesson = planted(n_users=3).lesson
    owner = np.unique(lesson.owners, return_inverse=True)[1]
    base = np.stack([4 * lesson.targets, -4 * lesson.targets], axis=1).astype(np.float32)
    average = np.zeros(2, dtype=np.float32)
    free = user_weights(base, lesson, owner, average, pull=0.0)
    assert np.allclose(free.sum(axis=1), 1.0, atol=1e-6)
    assert (free[:, 0] > 0.95).all()
    held = user_weights(base, lesson, owner, average, pull=1e6)
    assert np.allclose(held, 0.5, atol=0.01)


def test_a_user_who_has_told_nothing_is_answered_by_the_average_known_one() -> None:
    given, choose = learned()
    nobody = replace(given.pool, user_ids=np.array(["nobody"] * len(given.pool.user_ids)))
    found = choose(nobody)
    assert np.isfinite(found).all()
    assert not np.allclose(found, choose(given.pool))


def test_it_says_where_it_comes_from() -> None:
    assert METHOD.paper == "arXiv 2504.14439"
