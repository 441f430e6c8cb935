"""The compiled solver finds what scipy finds in double precision, from wherever it has to start."""

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import expit

from hydra_ml.model.newton import solve

USERS, ROWS, WIDTH = 5, 47, 10  # neither a multiple of what rows and columns are padded to


def problems(*, scale=1.0, far=0.0, seed=0):
    """z [U * n, H], offset and labels [U * n], and where each user's rows start."""
    random = np.random.default_rng(seed)
    z = (scale * random.standard_normal((USERS * ROWS, WIDTH))).astype(np.float32)
    labels = (random.random(len(z)) < expit(2 * z[:, 0] / scale)).astype(np.float32)
    offset = (far + random.standard_normal(len(z))).astype(np.float32)
    return z, offset, labels, np.arange(0, len(z) + 1, ROWS)


def solved(z, offset, labels, starts, ridge, order=None):
    found = np.full((len(starts) - 1, z.shape[1] + 1), np.nan, dtype=np.float32)
    solve(z, offset, labels, np.arange(len(z)) if order is None else order, starts, ridge, found)
    return found


def exact(z, offset, labels, ridge):
    """One user's solution by another method, in double precision throughout."""
    x = np.c_[z, np.ones(len(z))].astype(float)

    def loss(delta):
        s = offset + x @ delta
        return (np.logaddexp(0, s) - labels * s).sum() + ridge / 2 * delta @ delta

    def gradient(delta):
        return x.T @ (expit(offset + x @ delta) - labels) + ridge * delta

    def hessian(delta):
        p = expit(offset + x @ delta)
        return x.T @ ((p * (1 - p))[:, None] * x) + ridge * np.eye(x.shape[1])

    start = np.zeros(x.shape[1])
    return minimize(loss, start, jac=gradient, hess=hessian, method="trust-exact", options={"gtol": 1e-9}).x


@pytest.mark.parametrize("far", [0.0, 8.0, -200.0])  # of the start: at 200 no row tells anything of its curvature
@pytest.mark.parametrize("scale", [0.1, 1.0, 30.0])
@pytest.mark.parametrize("ridge", [0.01, 1.0, 1000.0])
def test_solutions_are_exact(scale, ridge, far):
    z, offset, labels, starts = problems(scale=scale, far=far)
    found = solved(z, offset, labels, starts, ridge)
    for u in range(USERS):
        mine = slice(starts[u], starts[u + 1])
        np.testing.assert_allclose(found[u], exact(z[mine], offset[mine], labels[mine], ridge), rtol=2e-5, atol=2e-5)


def test_rows_are_found_through_their_order():
    z, offset, labels, starts = problems()
    shuffled = np.random.default_rng(1).permutation(len(z))
    back = np.argsort(shuffled)
    found = solved(z[shuffled], offset[shuffled], labels[shuffled], starts, 1.0, order=back)
    assert found.tobytes() == solved(z, offset, labels, starts, 1.0).tobytes()


def test_who_is_at_the_solution_already_stays_there():
    z, offset, labels, starts = problems()
    offset[:ROWS], labels[:ROWS] = 0.0, 0.5  # as the offset says: the gradient is exactly zero
    found = solved(z, offset, labels, starts, 1.0)
    assert (found[0] == 0).all()
    assert np.isfinite(found).all()
