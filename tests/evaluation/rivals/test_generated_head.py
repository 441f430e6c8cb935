"""generated_head finds a taste that was planted, and none where there is none; its formulas by hand."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np

from hydra_ml.evaluation.rival import Choose
from hydra_ml.evaluation.rivals.generated_head import METHOD, TEMPERATURE, fit, guidance
from tests.evaluation.rivals.planted import CANDIDATES, Planted, planted


@cache
def learned() -> tuple[Planted, Choose]:
    given = planted()
    return given, fit(given.lesson, 0)


def test_it_finds_the_planted_taste_and_loses_it_under_a_strangers_part() -> None:
    given, choose = learned()
    own, strange = given.share_right(choose), given.share_right(choose, swapped=True)
    assert own > 0.5 > strange
    again = fit(given.lesson, 0)
    assert (again(given.pool) == choose(given.pool)).all()  # same seed, same bits


def test_it_finds_nothing_where_there_is_nothing() -> None:
    given = planted(strength=0.0)
    assert abs(given.share_right(fit(given.lesson, 0)) - 1 / CANDIDATES) < 0.12


def test_guidance_by_hand() -> None:
    known = np.array([[1.0, 0.0], [0.0, 2.0]])
    found = guidance(np.array([[3.0, 0.0]]), known, None)
    away = np.exp(-1 / TEMPERATURE)  # likeness 1 and 0
    assert np.allclose(found, [[1 / (1 + away), away / (1 + away)]])
    assert guidance(np.array([[3.0, 0.0]]), known, np.array([0])).tolist() == [[0.0, 1.0]]  # not by oneself
    assert guidance(known[:1], known[:1], np.array([0])).tolist() == [[0.0]]  # nobody else is there


def test_only_the_nearest_guide() -> None:
    angles = np.linspace(0, 1, 9)
    known = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    assert (guidance(known[:1], known, None) > 0).tolist() == [[True] * 5 + [False] * 4]


def test_without_history_the_shared_score_stands() -> None:
    given = planted()
    nothing = np.zeros(0, dtype=np.int64)
    bare = replace(given.pool, history=tuple(nothing for _ in given.pool.history))
    assert (fit(given.lesson, 0)(bare) == given.pool.shared).all()


def test_nothing_is_fitted_to_the_user_who_is_served() -> None:
    given, choose = learned()
    renamed = replace(given.pool, user_ids=np.array([f"not {user_id}" for user_id in given.pool.user_ids]))
    assert (choose(renamed) == choose(given.pool)).all()


def test_it_says_where_it_comes_from() -> None:
    assert METHOD.paper == "SG-LoRA"
