"""Anytime-valid: no more false alarms than promised, however long one looks; and planted changes are found."""

from __future__ import annotations

import numpy as np
import pytest

from hydra_ml.evaluation.drift import (
    NOTHING,
    STAKES,
    EProcess,
    Probed,
    UserLosses,
    bet,
    choice_loss,
    difference_factors,
    e_bh,
    has_drifted,
    label_p,
    log_wealth,
    p_factors,
    vector_p,
)

ALPHA = 0.05


def highest(differences: np.ndarray) -> np.ndarray:
    """The most wealth ever, in logs, of each row of differences [paths, T]."""
    logs = np.full((len(differences), len(STAKES)), NOTHING)
    most = np.zeros(len(differences))
    for t in range(1, differences.shape[1] + 1):
        logs = bet(logs, t, difference_factors(differences[:, t - 1]))
        most = np.maximum(most, log_wealth(logs, t))
    return most


def false_alarms(n_paths: int, n_rounds: int) -> list[float]:
    """Shares of paths with an alarm where there is none to give: coins, skewed stakes, and a mean that is 0 only given
    the past."""
    rng = np.random.default_rng(7)
    coins = rng.choice([-1.0, 1.0], (n_paths, n_rounds))
    skewed = np.where(rng.random((n_paths, n_rounds)) < 0.1, 0.9, -0.1)
    swelling = np.where(np.cumsum(coins, axis=1) > 0, 1.0, 0.05) * rng.choice([-1.0, 1.0], (n_paths, n_rounds))
    return [float((highest(paths) >= -np.log(ALPHA)).mean()) for paths in (coins, skewed, swelling)]


def test_heads_that_do_no_harm_raise_few_alarms():
    assert max(false_alarms(400, 600)) <= ALPHA


@pytest.mark.slow
def test_heads_that_do_no_harm_raise_few_alarms_however_long_one_looks():
    shares = false_alarms(4000, 10_000)
    assert max(shares) <= ALPHA
    assert max(shares) > 0  # the test is not mute


def test_harm_that_begins_late_is_found_soon():
    rng = np.random.default_rng(1)
    for seed in range(10):
        good = rng.choice([-0.4, 0.2], 800)
        bad = rng.choice([-0.2, 0.5], 400)
        losses, found = UserLosses(), None
        for step, difference in enumerate(np.concatenate([good, bad])):
            losses = losses.after(max(difference, 0.0), max(-difference, 0.0))
            if found is None and has_drifted(losses.process, ALPHA):
                found = step
        assert found is not None, seed
        assert 800 < found < 1100
    assert losses.n == 1200
    assert "personal loss" in losses.told


def test_the_wealth_is_a_fair_game_by_hand():
    once = EProcess().after(difference_factors(1.0).tolist())
    gains = [1 + stake for stake in STAKES]
    assert np.exp(once.log_e) == pytest.approx(np.mean(gains) / 2 + 1 / 2)
    lost = EProcess().after(difference_factors(-1.0).tolist())
    assert (np.exp(once.log_e) + np.exp(lost.log_e)) / 2 == pytest.approx(1.0)
    assert EProcess().log_e == pytest.approx(0.0)
    twice = once.after(difference_factors(-1.0).tolist())
    both = (np.exp(twice.log_e) + np.exp(once.after(difference_factors(1.0).tolist()).log_e)) / 2
    assert both == pytest.approx(np.exp(once.log_e))
    assert EProcess(once.n, tuple(once.logs)) == once  # its state is all of it


def draw(weights: np.ndarray, rng: np.random.Generator) -> str:
    return str(rng.choice(len(weights), p=weights))


def probe(nights: list[np.ndarray], rng: np.random.Generator, n_samples: int = 2) -> Probed:
    """Nights of answers to prompts whose distributions are the rows of each night's table."""
    probed = Probed("digest", answers=((),) * len(nights[0]))
    for night, table in enumerate(nights):
        heard = [list(of_prompt) for of_prompt in probed.answers]
        p_values = []
        for row, weights in enumerate(table):
            for _ in range(n_samples):
                heard[row].append(draw(weights, rng))
                p_values.append(label_p(heard[row], rng.random()))
        probed = probed.after(f"night {night}", p_values, heard, ALPHA)
    return probed


def alarms_of_a_steady_llm(n_runs: int, n_nights: int, n_prompts: int) -> float:
    rng = np.random.default_rng(3)
    found = 0
    for _ in range(n_runs):
        table = rng.dirichlet(np.full(6, 0.3), n_prompts)
        found += bool(probe([table] * n_nights, rng).since)
    return found / n_runs


def test_a_steady_llm_raises_few_alarms():
    assert alarms_of_a_steady_llm(40, 15, 12) <= ALPHA


@pytest.mark.slow
def test_a_steady_llm_raises_few_alarms_over_many_nights():
    assert alarms_of_a_steady_llm(200, 120, 50) <= ALPHA


def test_another_llm_behind_the_name_is_found_the_night_it_comes():
    rng = np.random.default_rng(5)
    for _ in range(3):
        table = rng.dirichlet(np.full(6, 0.2), 50)
        other = np.where(rng.random((50, 1)) < 0.5, rng.dirichlet(np.full(6, 0.2), 50), table)  # half of the prompts
        found = probe([table] * 8 + [other] * 2, rng)
        assert found.since in ("night 8", "night 9")
        assert len(found.nights) == 10


def test_p_values_of_answers_drawn_alike_are_uniform():
    rng = np.random.default_rng(11)
    weights = np.array([0.7, 0.2, 0.1])
    found = []
    for _ in range(400):
        answers = [draw(weights, rng) for _ in range(6)]
        found.append(label_p(answers, rng.random()))
    assert np.mean(np.array(found) <= 0.1) < 0.16
    assert np.mean(found) == pytest.approx(0.5, abs=0.05)
    vectors = [vector_p(rng.normal(0, 1, (6, 3)), rng.random()) for _ in range(400)]
    assert np.mean(vectors) == pytest.approx(0.5, abs=0.05)


def test_p_values_by_hand():
    assert label_p(["a", "a", "a", "b"], 0.5) == pytest.approx(0.5 / 4)
    assert label_p(["a", "b", "a", "a"], 0.5) == pytest.approx((1 + 0.5 * 3) / 4)
    assert label_p(["a"], 0.25) == 0.25
    far = np.array([[0.0, 0.0], [0.0, 0.1], [0.1, 0.0], [9.0, 9.0]])
    assert vector_p(far, 0.5) == pytest.approx(0.5 / 4)
    assert p_factors([1.0]).max() == pytest.approx(np.log(0.9))


def test_of_many_users_those_that_stand_out_are_named():
    assert e_bh({"ann": np.log(1000.0), "bob": 0.0, "cy": np.log(39.9)}, ALPHA) == ["ann", "cy"]
    assert e_bh({"ann": np.log(19.0)}, ALPHA) == []
    assert e_bh({}, ALPHA) == []


def test_a_loss_is_what_softmax_leaves_to_others():
    assert choice_loss([0.0, 0.0], 1) == pytest.approx(0.5)
    assert choice_loss([50.0, 0.0], 0) == pytest.approx(0.0, abs=1e-9)
