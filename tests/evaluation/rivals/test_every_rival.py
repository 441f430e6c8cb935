"""Every rival finds a taste that was planted, loses it under a stranger's part, and finds none where there is none."""

from __future__ import annotations

import importlib
import pkgutil
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from hydra_ml.evaluation import rival_network, rivals
from hydra_ml.evaluation.rival import Fit
from tests.evaluation.rivals.planted import CANDIDATES, planted

EVERY = [module.name for module in pkgutil.iter_modules(rivals.__path__)]
# Those without a fit, and rspg, have a user's part in the prompts; hydra_auto in whom it takes. Tests of their own.
MODULES = {name: importlib.import_module(f"{rivals.__name__}.{name}") for name in EVERY}
PERSONAL = [name for name in EVERY if hasattr(MODULES[name], "fit") and name not in ("rspg", "hydra_auto")]
ENOUGH: dict[str, dict[str, Any]] = {  # what those are planted that need more users, or more labels, than the others
    "few_shot_meta": {"n_users": 36, "queries_per_user": 8},
    "history_masked": {"n_users": 36, "queries_per_user": 8},
    "mof": {"n_users": 36, "queries_per_user": 8},
    "persona_plug": {"n_users": 24, "queries_per_user": 8},
    "self_training": {"n_users": 9, "queries_per_user": 60, "strength": 3.0},
}
SHARE = {"mof": 2 / CANDIDATES, "self_training": 1.5 / CANDIDATES}  # of questions answered right, at the least


def fit_of(name: str) -> Fit:
    fit: Fit = MODULES[name].fit
    return fit


@pytest.mark.parametrize("name", PERSONAL)
def test_it_finds_the_planted_taste_and_loses_it_under_a_strangers_part(name: str) -> None:
    given = planted(**ENOUGH.get(name, {}))
    choose = fit_of(name)(given.lesson, 0)
    own, strange = given.share_right(choose), given.share_right(choose, swapped=True)
    assert own > SHARE.get(name, 0.5)
    assert strange < min(own - 0.1, 0.5)


@pytest.mark.parametrize("name", PERSONAL)
def test_it_finds_nothing_where_there_is_nothing(name: str) -> None:
    given = planted(strength=0.0)
    assert abs(given.share_right(fit_of(name)(given.lesson, 0)) - 1 / CANDIDATES) < 0.12


@pytest.mark.parametrize("name", [*PERSONAL, "rspg"])  # hydra_auto draws nothing but what these do
def test_same_seed_same_bits(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rival_network, "STEPS", 24)
    given = planted(4, 4)
    first, again = (fit_of(name)(given.lesson, 0)(given.pool) for _ in range(2))
    assert (first == again).all()


@pytest.mark.parametrize("name", ["lore", "low_rank_head", "pref"])
def test_a_user_who_has_told_nothing_is_answered_by_the_average_known_one(name: str) -> None:
    given = planted(6, 6)
    choose = fit_of(name)(given.lesson, 0)
    found = choose(replace(given.pool, user_ids=np.array(["nobody"] * len(given.pool.user_ids))))
    assert np.isfinite(found).all()
    assert not np.allclose(found, choose(given.pool))


@pytest.mark.parametrize("name", EVERY)
def test_it_is_called_as_its_file_and_says_where_it_comes_from(name: str) -> None:
    method = MODULES[name].METHOD
    assert method.name == name
    assert method.paper
