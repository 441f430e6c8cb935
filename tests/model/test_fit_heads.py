"""The batched fit against a solver that knows nothing of batches, and the independence of users."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from hydra_ml.model import fit_heads as fitting
from hydra_ml.model.fit_heads import HeadRows, fit_heads, fit_logistic
from hydra_ml.model.heads import n_parameters

WIDTH = 8


def make_rows(counts, seed=0, scale=1.0):
    rng = np.random.default_rng(seed)
    n = sum(counts)
    z = rng.normal(size=(n, WIDTH)).astype(np.float32) * scale
    user_ids = np.repeat([f"u{i:03d}" for i in range(len(counts))], counts)
    labels = (rng.random(n) < 1 / (1 + np.exp(-2 * np.clip(z[:, 0], -9, 9)))).astype(np.float32)
    return HeadRows(z, rng.normal(size=n).astype(np.float32) * 0.3, labels, user_ids)


def fit(rows, ridge=1.0, kind="residual"):
    theta_0 = np.zeros(n_parameters(kind, WIDTH), dtype=np.float32)
    return fit_heads(rows, kind=kind, ridge=ridge, theta_0=theta_0, evidence=rows.shared_logits)


@pytest.mark.parametrize("ridge", [0.1, 1.0, 30.0])
def test_equals_scikit_learn_per_user(ridge):
    rows = make_rows([40, 7, 90, 2, 15])
    rows = HeadRows(rows.z, np.zeros_like(rows.shared_logits), rows.labels, rows.user_ids)  # sklearn has no offsets
    heads = fit(rows, ridge)
    for i, user_id in enumerate(heads.user_ids):
        mine = rows.user_ids == user_id
        if len(np.unique(rows.labels[mine])) < 2:
            continue
        x = np.c_[rows.z[mine], np.ones(mine.sum())]
        reference = LogisticRegression(C=1 / ridge, fit_intercept=False, tol=1e-10, max_iter=5000).fit(
            x, rows.labels[mine]
        )
        np.testing.assert_allclose(heads.table[i], reference.coef_[0], atol=1e-4)


def test_gradient_is_zero_at_the_solution_with_offsets():
    rows = make_rows([30, 60], seed=3)
    heads = fit(rows, ridge=2.0)
    for i, user_id in enumerate(heads.user_ids):
        mine = rows.user_ids == user_id
        x = np.c_[rows.z[mine], np.ones(mine.sum())].astype(float)
        p = 1 / (1 + np.exp(-(rows.shared_logits[mine] + x @ heads.table[i])))
        gradient = x.T @ (p - rows.labels[mine]) + 2.0 * heads.table[i]
        assert np.abs(gradient).max() < 1e-4


def test_far_starts_and_separable_users_stay_finite_and_converge():
    rows = make_rows([50, 50], seed=4, scale=30.0)
    rows = HeadRows(rows.z, rows.shared_logits * 100, np.ones_like(rows.labels), rows.user_ids)
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
    changed = HeadRows(rows.z.copy(), rows.shared_logits, rows.labels.copy(), rows.user_ids)
    changed.z[20:] *= -3
    changed.labels[20:] = 1 - changed.labels[20:]
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
    assert heads.table.shape == (0, WIDTH + 1)


def test_mlp_heads_lower_the_loss():
    rows = make_rows([60], seed=7)
    theta_0 = np.random.default_rng(0).normal(size=n_parameters("mlp", WIDTH)).astype(np.float32) * 0.3
    heads = fit_heads(rows, kind="mlp", ridge=0.01, theta_0=theta_0, evidence=rows.shared_logits)
    from hydra_ml.model.heads import no_heads, score_rows

    def loss(bank, idx):
        logits = score_rows(bank, theta_0, rows.z, np.full(len(rows), idx)) + rows.shared_logits
        return np.mean(np.log1p(np.exp(-np.where(rows.labels > 0.5, logits, -logits))))

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
    rows.z[20] = np.nan
    after = fit(rows)
    assert after.table[[0, 2]].tobytes() == before.table[[0, 2]].tobytes()
    assert np.isnan(after.table[1]).all()


def test_one_regression_equals_scikit_learn():
    rows = make_rows([200], seed=11)
    ours = fit_logistic(rows.z, rows.labels, ridge=2.0)
    x = np.c_[rows.z, np.ones(len(rows))]
    reference = LogisticRegression(C=0.5, fit_intercept=False, tol=1e-10, max_iter=5000).fit(x, rows.labels)
    np.testing.assert_allclose(ours, reference.coef_[0], atol=1e-5)


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
