"""low_rank_head finds a taste that was planted, and none where there is none; its formulas by hand."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np

from hydra_ml.evaluation.rival import Choose
from hydra_ml.evaluation.rivals.low_rank_head import METHOD, fit
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


def test_a_user_who_has_told_nothing_is_answered_by_the_average_known_one() -> None:
    given, choose = learned()
    nobody = replace(given.pool, user_ids=np.array(["nobody"] * len(given.pool.user_ids)))
    found = choose(nobody)
    assert np.isfinite(found).all()
    assert not np.allclose(found, choose(given.pool))


def test_it_says_where_it_comes_from() -> None:
    assert METHOD.paper == "FedPGP; LoRA-SB; RecLoRA"
