"""The batched fit against solvers that know nothing of batches, and the independence of users."""

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from sklearn.linear_model import LogisticRegression

from hydra_ml.model import fit_heads as fitting
from hydra_ml.model.fit_base import choice_losses
from hydra_ml.model.fit_heads import HeadRows, fit_heads, fit_shared
from hydra_ml.model.heads import n_parameters, no_heads, score_rows

WIDTH = 8


def make_rows(counts, seed=0, scale=1.0, n_candidates=3):
    """counts: queries of each user; the candidate with the most of the first feature tends to be chosen."""
    rng = np.random.default_rng(seed)
    n = sum(counts) * n_candidates
    x = rng.normal(size=(n, WIDTH)).astype(np.float32) * scale
    user_ids = np.repeat([f"u{i:03d}" for i in range(len(counts))], np.array(counts, dtype=int) * n_candidates)
    liking = 2 * np.clip(x[:, 0], -9, 9) + rng.gumbel(size=n)
    best = liking.reshape(-1, n_candidates).argmax(axis=1)
    targets = np.eye(n_candidates, dtype=np.float32)[best].reshape(-1)  # [Q, C] -> [N]
    queries = np.repeat(np.arange(n // n_candidates), n_candidates)
    return HeadRows(x, rng.normal(size=n).astype(np.float32) * 0.3, targets, queries, user_ids)


def fit(rows, ridge=1.0, kind="residual", prior=None):
    size = n_parameters(kind, WIDTH)
    prior = np.ones(size, dtype=np.float32) if prior is None else prior
    return fit_heads(rows, kind=kind, ridge=ridge, theta_0=np.zeros(size, dtype=np.float32), prior=prior)


def log_p(rows, delta):
    """Each row's log probability in its query, by definition."""
    scores = rows.shared_scores + rows.features.astype(float) @ delta
    out = np.empty(len(scores))
    for query in np.unique(rows.queries):
        mine = rows.queries == query
        out[mine] = scores[mine] - np.log(np.exp(scores[mine]).sum())
    return out


@pytest.mark.parametrize("ridge", [0.1, 1.0, 30.0])
def test_two_candidates_are_a_logistic_regression_on_their_difference(ridge):
    rows = make_rows([40, 7, 90, 2, 15], n_candidates=2)
    rows = HeadRows(rows.features, np.zeros_like(rows.shared_scores), rows.targets, rows.queries, rows.user_ids)
    heads = fit(rows, ridge)
    for i, user_id in enumerate(heads.user_ids):
        mine = rows.user_ids == user_id
        x, chosen = rows.features[mine].astype(float), rows.targets[mine]
        difference, first = x[::2] - x[1::2], chosen[::2]
        if len(np.unique(first)) < 2:
            continue
        reference = LogisticRegression(C=1 / ridge, fit_intercept=False, tol=1e-10, max_iter=5000)
        np.testing.assert_allclose(heads.table[i], reference.fit(difference, first).coef_[0], atol=1e-4)


def test_equals_a_general_minimizer_with_offsets_soft_targets_and_a_prior():
    rows = make_rows([30, 12], seed=3, n_candidates=5)
    soft = rows.targets * 0.7 + 0.3 / 5
    rows = HeadRows(rows.features, rows.shared_scores, soft.astype(np.float32), rows.queries, rows.user_ids)
    prior = np.array([4.0, 1, 1, 0.25, 1, 1, 1, 9], dtype=np.float32)
    heads = fit(rows, ridge=2.0, prior=prior)
    for i, user_id in enumerate(heads.user_ids):
        mine = rows.take(rows.user_ids == user_id)

        def loss(delta, mine=mine):
            return -(mine.targets * log_p(mine, delta)).sum() + (delta**2 / prior).sum()  # ridge / 2 = 1

        reference = minimize(loss, np.zeros(WIDTH), tol=1e-12)
        np.testing.assert_allclose(heads.table[i], reference.x, atol=1e-4)


def test_the_order_of_a_querys_rows_and_queries_of_one_candidate_do_not_matter():
    rows = make_rows([20], seed=12)
    alone = HeadRows(
        np.ones((1, WIDTH), np.float32),
        np.ones(1, np.float32),
        np.ones(1, np.float32),
        np.array([99]),
        np.array(["u000"]),
    )
    both = HeadRows(
        np.concatenate([rows.features, alone.features]),
        np.concatenate([rows.shared_scores, alone.shared_scores]),
        np.concatenate([rows.targets, alone.targets]),
        np.concatenate([rows.queries, alone.queries]),
        np.concatenate([rows.user_ids, alone.user_ids]),
    )
    np.testing.assert_allclose(fit(both).table, fit(rows).table, atol=1e-6)
    assert not fit(alone).table.any()  # one candidate: nothing to choose


def test_far_starts_and_separable_users_stay_finite_and_converge():
    rows = make_rows([50, 50], seed=4, scale=30.0)
    rows = HeadRows(rows.features, rows.shared_scores * 100, rows.targets, rows.queries, rows.user_ids)
    heads = fit(rows, ridge=0.1)
    assert np.isfinite(heads.table).all()


@pytest.mark.parametrize("kind", ["residual", "mlp"])
def test_row_order_and_other_users_do_not_matter(kind):
    rows = make_rows([12, 30, 5], seed=5)
    whole = fit(rows, kind=kind)
    shuffled = fit(rows.take(np.random.default_rng(9).permutation(len(rows))), kind=kind)
    np.testing.assert_allclose(whole.table, shuffled.table, atol=1e-6)
    alone = fit(rows.take(rows.user_ids == "u001"), kind=kind)
    np.testing.assert_allclose(whole.table[1], alone.table[0], atol=1e-6)


def test_another_users_data_cannot_move_this_users_head():
    rows = make_rows([20, 20], seed=6)
    changed = HeadRows(
        rows.features.copy(), rows.shared_scores, rows.targets.copy(), rows.queries.copy(), rows.user_ids.copy()
    )
    changed.features[60:] *= -3
    changed.targets[60:] = np.roll(changed.targets[60:], 1)
    before, after = fit(rows), fit(changed)
    np.testing.assert_allclose(before.table[0], after.table[0], atol=1e-7)
    assert np.abs(before.table[1] - after.table[1]).max() > 0.1


def test_less_history_means_less_deviation():
    few, many = fit(make_rows([4])), fit(make_rows([400]))
    assert np.abs(few.table).max() < np.abs(many.table).max()
    assert np.abs(fit(make_rows([40]), ridge=1e6).table).max() < 1e-3


def test_no_rows_give_an_empty_bank():
    heads = fit(make_rows([]))
    assert heads.user_ids == ()
    assert heads.table.shape == (0, WIDTH)


def test_mlp_heads_lower_the_loss():
    rows = make_rows([60], seed=7)
    size = n_parameters("mlp", WIDTH)
    theta_0 = np.random.default_rng(0).normal(size=size).astype(np.float32) * 0.3
    heads = fit_heads(rows, kind="mlp", ridge=0.01, theta_0=theta_0, prior=np.ones(size, dtype=np.float32))

    def loss(bank, idx):
        scores = score_rows(bank, theta_0, rows.features, np.full(len(rows), idx))
        return choice_losses(scores, rows.targets, rows.queries)[1].mean()

    assert loss(heads, 0) < 0.7 * loss(no_heads("mlp", WIDTH), -1)


@pytest.mark.parametrize("scale", [1.0, 30.0])
def test_a_users_head_has_the_same_bits_alone_and_in_any_company(scale):
    rows = make_rows([12, 30, 5, 17, 31, 90, 1, 300, 16], seed=8, scale=scale)
    whole = fit(rows, ridge=0.1)
    for i, user_id in enumerate(whole.user_ids):
        assert fit(rows.take(rows.user_ids == user_id), ridge=0.1).table[0].tobytes() == whole.table[i].tobytes()


@pytest.mark.parametrize("kind", ["residual", "mlp"])
def test_threads_change_no_bit(kind, monkeypatch):
    monkeypatch.setattr(fitting, "MLP_FLOATS_PER_GROUP", 1000)
    rows = make_rows([20] * 12 + [40] * 3, seed=9)
    before, tables = torch.get_num_threads(), []
    try:
        for n_threads in (1, 3):
            torch.set_num_threads(n_threads)
            tables.append(fit(rows, kind=kind).table.tobytes())
    finally:
        torch.set_num_threads(before)
    assert tables[0] == tables[1]


def test_rows_that_are_no_numbers_spoil_their_own_users_head_alone():
    rows = make_rows([20, 20, 18], seed=10)
    before = fit(rows)
    rows.features[60] = np.nan
    after = fit(rows)
    assert after.table[[0, 2]].tobytes() == before.table[[0, 2]].tobytes()
    assert np.isnan(after.table[1]).all()


def test_the_shared_fit_is_that_of_a_single_user():
    rows = make_rows([100, 100], seed=11)
    ours = fit_shared(rows.features, rows.targets, rows.queries, ridge=2.0)
    nothing = np.zeros(len(rows), dtype=np.float32)
    alone = HeadRows(rows.features, nothing, rows.targets, rows.queries, np.full(len(rows), "everybody"))
    np.testing.assert_array_equal(ours, fit(alone, ridge=2.0).table[0])


def test_rows_find_their_owners_in_any_order():
    user_ids = np.array(["b", "b", "a", "c", "b", "a", "a"])
    users, owner = fitting._owners(user_ids)
    assert users.tolist() == ["a", "b", "c"]
    assert users[owner].tolist() == user_ids.tolist()


def test_padded_lengths_follow_from_the_count_alone_and_waste_little():
    counts = np.array([1, 16, 17, 100, 255, 256, 257, 1000, 5000])
    padded = fitting._padded_lengths(counts)
    assert padded.tolist() == [16, 16, 32, 112, 256, 256, 288, 1024, 5120]
    assert (padded % 16 == 0).all()
