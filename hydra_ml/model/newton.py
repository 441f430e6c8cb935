"""Conditional logit with offsets and a ridge for many users, each one's problem alone on its own rows; by numba.

    min over delta   -sum_q sum_i t_qi log softmax_i(o_i + x_i.delta) + ridge/2 |delta/reach|^2     i: q's candidates

Newton's method with steps found by conjugate gradients in single precision, no Hessian formed or factored, so that
work grows with rows x P alone. The Hessian of a query is the covariance of its candidates' features under p, so rows
are centred on their query's mean once a step. Gradients are in double precision: what the steps run into is the exact
solution. A user's rows are copied to one small place and stay in the nearest cache while they are worked on, four at a
time so that sums do not wait for each other. Users are solved one after another, so nobody's bits depend on their
company.
"""

from __future__ import annotations

import math

import numpy as np

from hydra_ml.model.compiled import compiled

ROWS, LANES = 4, 8  # rows and columns are padded to multiples of these, with zeros
TOLERANCE = 1e-6  # of the gradient, to the first one and to the ridge: no number is then off by more than this
FORCING = 0.3  # how far a step's equation is solved at first; by the square root of the gradient's fall further on
STEPS, PRODUCTS, HALVINGS = 60, 200, 40  # at most: of a user, of a step, of a step's length
PAST = 0.1  # of the first slope along a step, that may be there on the other side of the valley

float32 = np.float32  # by this name numba knows it


@compiled
def solve(
    features: np.ndarray,
    reach: np.ndarray,
    offset: np.ndarray,
    targets: np.ndarray,
    order: np.ndarray,
    query_starts: np.ndarray,
    user_starts: np.ndarray,
    ridge: float,
    solutions: np.ndarray,
) -> None:
    """Fills `solutions` float32 [U, F].

    features float32 [N, F], reach float32 [F] how far each number may go relative to the others (the root of `prior`),
    offset float32 [N], targets float32 [N], shares that add up to 1 in each query. The rows of query q are
    order[query_starts[q]:query_starts[q + 1]], the queries of user u user_starts[u] to user_starts[u + 1]; int64 [N],
    [Q + 1] and [U + 1]. Ridge is above 0.
    """
    n_most, width = 0, features.shape[1]
    for u in range(len(user_starts) - 1):
        n_most = max(n_most, query_starts[user_starts[u + 1]] - query_starts[user_starts[u]])
    x = np.zeros((-(-n_most // ROWS) * ROWS, -(-width // LANES) * LANES), dtype=float32)  # [n, P], as below
    centred = np.zeros_like(x)
    offsets, shares = np.empty(n_most), np.empty(n_most)
    delta = np.empty(x.shape[1])
    for u in range(len(user_starts) - 1):
        starts = query_starts[user_starts[u] : user_starts[u + 1] + 1] - query_starts[user_starts[u]]
        rows = order[query_starts[user_starts[u]] : query_starts[user_starts[u + 1]]]
        n = len(rows)
        for i in range(n):
            x[i, :width] = features[rows[i]] * reach  # in units of the prior one ridge does for all
            offsets[i], shares[i] = offset[rows[i]], targets[rows[i]]
        n_padded = -(-n // ROWS) * ROWS
        x[n:n_padded] = 0
        centred[n:n_padded] = 0
        _descend(x[:n_padded], centred[:n_padded], offsets[:n], shares[:n], starts, ridge, delta)
        solutions[u] = (delta[:width] * reach).astype(float32)


@compiled
def _descend(
    x: np.ndarray,
    centred: np.ndarray,
    offsets: np.ndarray,
    shares: np.ndarray,
    starts: np.ndarray,
    ridge: float,
    delta: np.ndarray,
) -> None:
    """The solution of one user into delta float64 [P]. x [n, P], centred [n, P] is room to work in; offsets and shares
    are of the rows before padding."""
    n_rows, size = x.shape
    p, residual = np.zeros(n_rows, dtype=float32), np.zeros(n_rows)
    step, gradient, trial = np.zeros(size, dtype=float32), np.zeros(size), np.zeros(size)
    delta[:] = 0
    _look(x, offsets, shares, starts, ridge, delta, p, residual, gradient)
    first = math.sqrt(_dot(gradient, gradient))
    enough = TOLERANCE * min(first, ridge)
    for _ in range(STEPS):
        length = math.sqrt(_dot(gradient, gradient))
        if length <= enough:
            break
        _centre(x, p, starts, centred)
        short_of = max(length * FORCING * min(1.0, math.sqrt(length / first)), 0.3 * enough)
        _newton_step(centred, p, gradient, ridge, short_of, step)
        slope, scale = _dot(gradient, step), 1.0
        for _ in range(HALVINGS):  # far starts overshoot: the loss is convex, so the slope tells when one did
            trial[:] = delta - scale * step
            _look(x, offsets, shares, starts, ridge, trial, p, residual, gradient)
            if _dot(gradient, step) >= -PAST * slope:
                break
            scale /= 2
        delta[:] = trial


@compiled
def _look(
    x: np.ndarray,
    offsets: np.ndarray,
    shares: np.ndarray,
    starts: np.ndarray,
    ridge: float,
    delta: np.ndarray,
    p: np.ndarray,
    residual: np.ndarray,
    gradient: np.ndarray,
) -> None:
    """Each row's probability in its query, p float32 [n], and the loss's gradient [P], at delta. residual [n] holds
    what is on the way there; both are 0 for padding."""
    for i in range(0, x.shape[0], ROWS):
        a, b, c, d = x[i], x[i + 1], x[i + 2], x[i + 3]
        of_a, of_b, of_c, of_d = 0.0, 0.0, 0.0, 0.0
        for j in range(x.shape[1]):
            of_a += a[j] * delta[j]
            of_b += b[j] * delta[j]
            of_c += c[j] * delta[j]
            of_d += d[j] * delta[j]
        residual[i], residual[i + 1], residual[i + 2], residual[i + 3] = of_a, of_b, of_c, of_d
    for q in range(len(starts) - 1):
        start, end = starts[q], starts[q + 1]
        highest, total = residual[start] + offsets[start], 0.0
        for i in range(start, end):
            residual[i] += offsets[i]
            highest = max(highest, residual[i])
        for i in range(start, end):
            residual[i] = math.exp(residual[i] - highest)
            total += residual[i]
        for i in range(start, end):
            residual[i] /= total
            p[i] = residual[i]
            residual[i] -= shares[i]
    for j in range(x.shape[1]):
        gradient[j] = ridge * delta[j]
    for i in range(0, x.shape[0], ROWS):
        a, b, c, d = x[i], x[i + 1], x[i + 2], x[i + 3]
        of_a, of_b, of_c, of_d = residual[i], residual[i + 1], residual[i + 2], residual[i + 3]
        for j in range(x.shape[1]):
            gradient[j] += of_a * a[j] + of_b * b[j] + of_c * c[j] + of_d * d[j]


@compiled
def _centre(x: np.ndarray, p: np.ndarray, starts: np.ndarray, centred: np.ndarray) -> None:
    """Each row less its query's mean under p, into centred [n, P]."""
    mean = np.empty(x.shape[1], dtype=float32)
    for q in range(len(starts) - 1):
        first, weight = x[starts[q]], p[starts[q]]
        for j in range(len(mean)):
            mean[j] = weight * first[j]
        for i in range(starts[q] + 1, starts[q + 1]):
            row, weight = x[i], p[i]
            for j in range(len(mean)):
                mean[j] += weight * row[j]
        for i in range(starts[q], starts[q + 1]):
            row, moved = x[i], centred[i]
            for j in range(len(mean)):
                moved[j] = row[j] - mean[j]


@compiled
def _newton_step(
    x: np.ndarray, p: np.ndarray, gradient: np.ndarray, ridge: float, short_of: float, step: np.ndarray
) -> None:
    """What the Hessian takes to the gradient but for a rest of norm short_of, into step float32 [P], by conjugate
    gradients."""
    rest, direction = gradient.astype(float32), gradient.astype(float32)
    product = np.empty(len(step), dtype=float32)
    bound, strength = float32(short_of * short_of), float32(ridge)
    step[:] = 0
    left = _dot(rest, rest)
    for _ in range(PRODUCTS):
        if left <= bound:
            break
        _hessian_product(x, p, strength, direction, product)
        reach = left / _dot(direction, product)
        for j in range(len(step)):
            step[j] += reach * direction[j]
            rest[j] -= reach * product[j]
        now = _dot(rest, rest)
        share = now / left
        for j in range(len(step)):
            direction[j] = rest[j] + share * direction[j]
        left = now


@compiled
def _hessian_product(x: np.ndarray, p: np.ndarray, ridge: float, direction: np.ndarray, product: np.ndarray) -> None:
    """(x' diag(p) x + ridge) direction, x centred, into product float32 [P]; p is 0 on padding."""
    for j in range(len(direction)):
        product[j] = ridge * direction[j]
    for i in range(0, x.shape[0], ROWS):
        a, b, c, d = x[i], x[i + 1], x[i + 2], x[i + 3]
        of_a, of_b, of_c, of_d = float32(0), float32(0), float32(0), float32(0)
        for j in range(len(direction)):
            of_a += a[j] * direction[j]
            of_b += b[j] * direction[j]
            of_c += c[j] * direction[j]
            of_d += d[j] * direction[j]
        of_a, of_b = of_a * p[i], of_b * p[i + 1]
        of_c, of_d = of_c * p[i + 2], of_d * p[i + 3]
        for j in range(len(direction)):
            product[j] += of_a * a[j] + of_b * b[j] + of_c * c[j] + of_d * d[j]


@compiled
def _dot(a: np.ndarray, b: np.ndarray) -> float:
    total: float = a[0] * b[0]
    for j in range(1, len(a)):
        total += a[j] * b[j]
    return total
