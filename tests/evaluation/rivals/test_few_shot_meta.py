"""few_shot_meta: its surplus, and who is shown what, by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from hydra_ml.evaluation.rivals.few_shot_meta import FewShotMeta, shots_of, surpluses
from hydra_ml.model.base import SURFACE_DIM
from tests.evaluation.rivals.planted import CANDIDATES, DIM, planted

NOTHING = np.zeros(4, dtype=np.float32)


def test_a_surplus_is_what_was_preferred_less_what_the_evidence_would_choose() -> None:
    lesson = planted(1, 1).lesson
    evidence = np.zeros((CANDIDATES, 4), dtype=np.float32)
    evidence[0, 0] = np.log(CANDIDATES - 1)  # so that row 0 gets one half, each other one an equal share
    targets = np.eye(CANDIDATES, dtype=np.float32)[1]
    found = surpluses(replace(lesson, evidence=evidence, targets=targets), lesson.said, np.array([1.0, 0, 0, 0]))
    share = np.full(CANDIDATES, 0.5 / (CANDIDATES - 1))
    share[0] = 0.5
    assert found[0] == pytest.approx(lesson.said[1] - share @ lesson.said, abs=1e-6)


def test_a_training_query_is_shown_its_users_other_ones_and_an_evaluated_one_all() -> None:
    given = planted(2, 3)
    inside, outside = shots_of(given.lesson, given.lesson, NOTHING), shots_of(given.pool, given.lesson, NOTHING)
    assert inside.shown[4][inside.is_shown[4]].tolist() == [3, 5]
    assert outside.shown[4][outside.is_shown[4]].tolist() == [3, 4, 5]
    stranger = shots_of(given.pool.as_strangers({"u01": "u00"}), given.lesson, NOTHING)
    assert stranger.shown[4][stranger.is_shown[4]].tolist() == [0, 1, 2]


def test_heads_shrink_with_few_preferences_and_are_zero_without() -> None:
    given = planted(2, 3)
    torch.manual_seed(0)
    network = FewShotMeta(DIM, SURFACE_DIM, NOTHING).eval()
    shots = shots_of(given.pool, given.lesson, NOTHING)
    network.sharpness.data.zero_()
    _, plain = network.heads(shots, torch.tensor([0]))
    mean = shots.surplus[:3, :DIM].mean(dim=0)
    assert torch.allclose(plain[0], mean * 3 / (3 + np.e), atol=1e-6)
    nobody = shots_of(given.pool, given.lesson.take(given.lesson.user_ids != "u00"), NOTHING)
    head, plain = network.heads(nobody, torch.tensor([0]))
    assert head.abs().sum() == 0 == plain.abs().sum()
