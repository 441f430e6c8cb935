"""The compiled solver finds what scipy finds in double precision, from wherever it has to start."""

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import softmax

from hydra_ml.model.newton import solve

USERS, QUERIES, CANDIDATES, WIDTH = 5, 9, 5, 10  # rows and columns are no multiples of what they are padded to
ROWS = QUERIES * CANDIDATES
QUERY_STARTS = np.arange(0, USERS * ROWS + 1, CANDIDATES)
USER_STARTS = np.arange(0, USERS * QUERIES + 1, QUERIES)


def problems(*, scale=1.0, far=0.0, seed=0):
    """x [N, F], offset and targets [N]; of each query the first row is the far one."""
    random = np.random.default_rng(seed)
    x = (scale * random.standard_normal((USERS * ROWS, WIDTH))).astype(np.float32)
    liking = (2 * x[:, 0] / scale + random.gumbel(size=len(x))).reshape(-1, CANDIDATES)
    targets = np.eye(CANDIDATES, dtype=np.float32)[liking.argmax(axis=1)].reshape(-1)  # [Q, C] -> [N]
    offset = random.standard_normal(len(x)).astype(np.float32)
    offset[::CANDIDATES] += far
    return x, offset, targets


def solved(x, offset, targets, ridge, order=None):
    found = np.full((USERS, WIDTH), np.nan, dtype=np.float32)
    order, alike = np.arange(len(x)) if order is None else order, np.ones(WIDTH, dtype=np.float32)
    solve(x, alike, offset, targets, order, QUERY_STARTS, USER_STARTS, ridge, found)
    return found


def exact(x, offset, targets, ridge):
    """One user's solution by another method, in double precision throughout."""
    x, t = x.astype(float).reshape(QUERIES, CANDIDATES, WIDTH), targets.reshape(QUERIES, CANDIDATES)
    o = offset.astype(float).reshape(QUERIES, CANDIDATES)

    def p_of(delta):
        return softmax(o + x @ delta, axis=1)

    def loss(delta):
        s = o + x @ delta
        highest = s.max(axis=1, keepdims=True)
        log_sum = highest[:, 0] + np.log(np.exp(s - highest).sum(axis=1))
        return (log_sum - (t * s).sum(axis=1)).sum() + ridge / 2 * delta @ delta

    def gradient(delta):
        return np.einsum("qc,qcf->f", p_of(delta) - t, x) + ridge * delta

    def hessian(delta):
        p = p_of(delta)
        centred = x - np.einsum("qc,qcf->qf", p, x)[:, None]
        return np.einsum("qc,qcf,qcg->fg", p, centred, centred) + ridge * np.eye(WIDTH)

    return minimize(loss, np.zeros(WIDTH), jac=gradient, hess=hessian, method="trust-exact", options={"gtol": 1e-9}).x


@pytest.mark.parametrize("far", [0.0, 8.0, -200.0])  # of the start: at 200 no query tells anything of its curvature
@pytest.mark.parametrize("scale", [0.1, 1.0, 30.0])
@pytest.mark.parametrize("ridge", [0.01, 1.0, 1000.0])
def test_solutions_are_exact(scale, ridge, far):
    x, offset, targets = problems(scale=scale, far=far)
    found = solved(x, offset, targets, ridge)
    for u in range(USERS):
        mine = slice(u * ROWS, (u + 1) * ROWS)
        by_scipy = exact(x[mine], offset[mine], targets[mine], ridge)
        np.testing.assert_allclose(found[u], by_scipy, rtol=2e-5, atol=2e-5)


def test_rows_are_found_through_their_order():
    x, offset, targets = problems()
    shuffled = np.random.default_rng(1).permutation(len(x))
    found = solved(x[shuffled], offset[shuffled], targets[shuffled], 1.0, order=np.argsort(shuffled))
    assert found.tobytes() == solved(x, offset, targets, 1.0).tobytes()


def test_who_is_at_the_solution_already_stays_there():
    x, offset, targets = problems()
    offset[:ROWS], targets[:ROWS] = 0.0, 1 / CANDIDATES  # as the offset says: the gradient is zero
    found = solved(x, offset, targets, 1.0)
    assert np.abs(found[0]).max() < 1e-6
    assert np.isfinite(found).all()
