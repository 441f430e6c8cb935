"""A refit takes heads that serve their users no worse, keeps the others, and treats each user as if alone."""

import numpy as np
import pytest

from hydra_ml.model.fit_base import SharedPart, TrainRows
from hydra_ml.model.fit_heads import HeadRows, fit_heads
from hydra_ml.model.heads import Heads, no_heads
from hydra_ml.model.refit import refit_heads

WIDTH, RIDGE = 4, 1.0
N_FEATURES = WIDTH + 1  # one piece of evidence beside z, always 0 here
SHARED = SharedPart(
    None, "residual", N_FEATURES, np.zeros(N_FEATURES, dtype=np.float32), np.ones(N_FEATURES, dtype=np.float32)
)


class Base:
    """z is what the pairs hold."""

    width = WIDTH

    def eval(self):
        return self

    def __call__(self, z):
        return z


class Features:
    def __init__(self, z):
        import torch

        self.z = torch.from_numpy(z)

    def __len__(self):
        return len(self.z)

    def batch(self, rows):
        return (self.z[rows],)


SHARED.base = Base()
LIKES = {"+": np.array([4.0, 0, 0, 0, 0]), "-": np.array([-4.0, 0, 0, 0, 0])}


def user_rows(user, n_queries, likes, *, n_back=0, seed=0, likes_back=None):
    """Queries of two candidates, one with z_0 = 1 and one with z_0 = -1; the one of the sign liked is positive."""
    rng = np.random.default_rng(seed)
    z, labels, queries, back = [], [], [], []
    for i in range(n_queries):
        is_back = i >= n_queries - n_back
        liked = (likes_back or likes) if is_back else likes
        for sign in "+-":
            z.append([1.0 if sign == "+" else -1.0, *rng.normal(size=WIDTH - 1) * 0.1])
            labels.append(float(sign == liked))
            queries.append(f"{user}/{i}")
            back.append(is_back)
    return z, labels, queries, back, [user] * len(z)


def rows_of(*users):
    z, labels, queries, back, owners = ([x for user in users for x in user[i]] for i in range(5))
    z = np.array(z, dtype=np.float32).reshape(-1, WIDTH)
    nothing = np.zeros((len(z), 1), dtype=np.float32)
    targets = np.array(labels, dtype=np.float32)
    _, codes = np.unique(np.array(queries, dtype=str), return_inverse=True)
    return TrainRows(
        Features(z),
        nothing,
        targets,
        targets,
        np.array(owners, dtype=str),
        codes,
        np.zeros(len(z), dtype=np.int64),
        np.array(back, dtype=bool),
    )


def present(**likes):
    table = np.array([LIKES[liked] for liked in likes.values()], dtype=np.float32).reshape(-1, N_FEATURES)
    return Heads("residual", N_FEATURES, tuple(likes), table)


def test_a_changed_taste_replaces_the_head_and_a_contradicted_one_keeps_it():
    rows = rows_of(
        user_rows("changed", 10, "+", n_back=2),
        user_rows("noisy", 10, "-", n_back=2, likes_back="+"),  # what was learned says "-", the newest says "+"
    )
    refit = refit_heads(SHARED, present(changed="-", noisy="+"), rows, ridge=RIDGE)
    assert refit.user_ids.tolist() == ["changed", "noisy"]
    assert refit.replaced.tolist() == [True, False]
    assert refit.new_loss[0] < refit.old_loss[0]
    assert refit.new_loss[1] > refit.old_loss[1]
    assert refit.n_judged.tolist() == [2, 2]
    assert refit.n_rows.tolist() == [20, 20]
    assert refit.fitted.user_ids == ("changed",)
    assert refit.fitted.table[0, 0] > 0.5  # now prefers "+"


def test_the_losses_are_those_of_a_hand_worked_choice():
    rows = rows_of(user_rows("ann", 1, "+", n_back=1))
    head = Heads("residual", N_FEATURES, ("ann",), np.array([[1.5, 0, 0, 0, 0]], dtype=np.float32))
    refit = refit_heads(SHARED, head, rows, ridge=RIDGE)
    assert refit.old_loss[0] == pytest.approx(np.log1p(np.exp(-3.0)), abs=1e-6)  # scores 1.5 and -1.5
    assert refit.new_loss[0] == pytest.approx(np.log(2.0), abs=1e-6)  # no older row: the trial is the shared head
    assert refit.replaced.tolist() == [False]


def test_the_new_head_is_fitted_on_all_rows():
    rows = rows_of(user_rows("ann", 10, "+", n_back=3))
    refit = refit_heads(SHARED, present(ann="-"), rows, ridge=RIDGE)
    x = np.concatenate([rows.pairs.z.numpy(), rows.evidence], axis=1)
    whole = fit_heads(
        HeadRows(x, np.zeros(len(x), dtype=np.float32), rows.targets, rows.queries, rows.user_ids),
        kind="residual",
        ridge=RIDGE,
        theta_0=SHARED.theta_0,
        prior=SHARED.prior,
    )
    np.testing.assert_array_equal(refit.fitted.table, whole.table)


def test_without_held_back_rows_the_new_head_is_taken_unjudged():
    refit = refit_heads(SHARED, present(ann="-"), rows_of(user_rows("ann", 3, "+")), ridge=RIDGE)
    assert refit.replaced.tolist() == [True]
    assert np.isnan([*refit.old_loss, *refit.new_loss]).all()
    assert refit.n_judged.tolist() == [0]


def test_a_user_without_a_head_is_judged_against_the_shared_one():
    refit = refit_heads(
        SHARED, no_heads("residual", N_FEATURES), rows_of(user_rows("new", 10, "+", n_back=2)), ridge=RIDGE
    )
    assert refit.old_loss[0] == pytest.approx(np.log(2.0), abs=1e-6)
    assert refit.replaced.tolist() == [True]


def test_no_rows_at_all():
    refit = refit_heads(SHARED, present(ann="-"), rows_of(), ridge=RIDGE)
    assert refit.user_ids.tolist() == []
    assert refit.fitted.user_ids == ()


def test_other_users_do_not_matter():
    ann = user_rows("ann", 10, "+", n_back=2, seed=1)
    alone = refit_heads(SHARED, present(ann="-"), rows_of(ann), ridge=RIDGE)
    many = [user_rows(f"u{i}", 3 + i, "-", n_back=1, seed=i) for i in range(9)]
    among = refit_heads(SHARED, present(ann="-"), rows_of(*many, ann), ridge=RIDGE)
    at = among.user_ids.tolist().index("ann")
    assert (among.old_loss[at], among.new_loss[at]) == pytest.approx((alone.old_loss[0], alone.new_loss[0]), abs=1e-6)
    fitted = among.fitted.table[among.fitted.user_ids.index("ann")]
    np.testing.assert_allclose(fitted, alone.fitted.table[0], atol=1e-6)
