"""Heads: theta_u = theta_0 + delta_u, exact for unseen users, independent of batch mates."""

import numpy as np
import pytest
import torch

from hydra_ml.model.heads import Heads, head_scores, initial_head, n_parameters, no_heads, score_rows


@pytest.mark.parametrize("kind", ["residual", "mlp"])
def test_an_unseen_user_gets_exactly_the_shared_score(kind):
    rng = np.random.default_rng(0)
    width = 5
    heads = Heads(kind, width, ("ann",), rng.normal(size=(1, n_parameters(kind, width))).astype(np.float32))
    theta_0 = rng.normal(size=n_parameters(kind, width)).astype(np.float32)
    z = rng.normal(size=(4, width)).astype(np.float32)
    unseen = score_rows(heads, theta_0, z, heads.user_idx(np.array(["bob"] * 4)))
    shared = score_rows(no_heads(kind, width), theta_0, z, np.full(4, -1))
    assert unseen.tobytes() == shared.tobytes()
    assert not np.allclose(score_rows(heads, theta_0, z, np.zeros(4, dtype=int)), shared)


def test_residual_score_by_hand():
    theta = torch.tensor([1.0, -2.0])
    assert head_scores("residual", theta, torch.tensor([3.0, 1.0])).item() == pytest.approx(3 - 2)


def test_mlp_score_by_hand():
    # w = [3, 2], W1 = [[1, 0], [0, 2]], b1 = [0, 1], w2 = [1, -1]
    theta = torch.tensor([3.0, 2, 1, 0, 0, 2, 0, 1, 1, -1])
    expected = 3 * 0.5 - 2 * 1 + np.tanh(0.5) - np.tanh(2 * -1 + 1)
    assert head_scores("mlp", theta, torch.tensor([0.5, -1.0])).item() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("kind", ["residual", "mlp"])
def test_batched_gather_equals_a_loop_over_rows(kind):
    rng = np.random.default_rng(1)
    width, n_users = 6, 9
    table = rng.normal(size=(n_users, n_parameters(kind, width))).astype(np.float32)
    heads = Heads(kind, width, tuple(f"u{i}" for i in range(n_users)), table)
    theta_0 = rng.normal(size=table.shape[1]).astype(np.float32)
    z = rng.normal(size=(40, width)).astype(np.float32)
    user_idx = rng.integers(-1, n_users, size=40)
    batched = score_rows(heads, theta_0, z, user_idx)
    for row in range(40):
        alone = score_rows(heads, theta_0, z[row : row + 1], user_idx[row : row + 1])
        assert alone[0] == batched[row]
        theta = theta_0 + (table[user_idx[row]] if user_idx[row] >= 0 else 0)
        by_definition = head_scores(kind, torch.from_numpy(theta), torch.from_numpy(z[row])).item()
        assert batched[row] == pytest.approx(by_definition, abs=1e-5)


def test_mlp_starts_within_its_fan_in_bounds():
    width = 64
    linear = np.full(width, 7.0, dtype=np.float32)
    theta = initial_head("mlp", linear, torch.Generator().manual_seed(0))
    bound = 1 / width**0.5
    assert theta[:width].tolist() == linear.tolist()  # what the evidence alone says
    assert theta[width:].abs().max() <= bound
    assert theta[width : width + width * width].std() == pytest.approx(
        bound / 3**0.5, rel=0.05
    )  # uniform, not shrunk by a stacked axis


def test_a_table_of_the_wrong_shape_is_refused():
    with pytest.raises(AssertionError, match="head table"):
        Heads("residual", 4, ("a",), np.zeros((1, 5), dtype=np.float32))


def test_users_are_found_in_any_order_again_and_again_and_strangers_are_not():
    heads = Heads("residual", 2, ("bob", "ann"), np.zeros((2, 2), dtype=np.float32))
    for _ in range(2):
        assert heads.user_idx(np.array(["ann", "eve", "bob", "ann"])).tolist() == [1, -1, 0, 1]
    assert heads.user_idx(np.array(["ann", "bob"], dtype=object)).tolist() == [1, 0]
    assert heads.user_idx(np.array([], dtype=str)).tolist() == []
    assert no_heads("residual", 2).user_idx(np.array(["ann"])).tolist() == [-1]


def test_scoring_leaves_the_table_as_it_is():
    table = np.ones((2, 2), dtype=np.float32)
    heads = Heads("residual", 2, ("ann", "bob"), table)
    score_rows(heads, np.ones(2, dtype=np.float32), np.ones((3, 2), dtype=np.float32), np.array([0, -1, 1]))
    assert (table == 1).all()


def test_a_place_outside_the_table_is_not_read():
    heads = Heads("residual", 2, ("ann",), np.ones((1, 2), dtype=np.float32))
    z, theta_0 = np.ones((2, 2), dtype=np.float32), np.zeros(2, dtype=np.float32)
    with pytest.raises(AssertionError, match="place 1 of 1 heads"):
        score_rows(heads, theta_0, z, np.array([0, 1]))
    with pytest.raises(AssertionError, match="shared head"):
        score_rows(heads, theta_0[:1], z, np.array([0, 0]))
