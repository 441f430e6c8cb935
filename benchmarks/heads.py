"""Heads: fitting those of many users to equal loss, and scoring rows under the right ones.

Users have 60 to 140 rows (mean 100) of 67 normal features in queries of two, one chosen by a taste of their own. The
same objective everywhere: conditional log loss + ridge/2 |head|^2. Of two candidates that is a logistic regression on
their difference, which is what the peers are given: half as many rows as ours. Offsets are zero, since scikit-learn has
none.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import product
from time import perf_counter
from typing import Any, TypeVar

import joblib
import numpy as np
import sklearn
import torch
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits
from torch.nn.functional import binary_cross_entropy_with_logits, linear, one_hot

from benchmarks.compare import Row, Side, Spread, compare, share_of_limit
from benchmarks.machine import matmul_gflops
from hydra_ml.model.fit_heads import HeadRows, fit_heads
from hydra_ml.model.heads import Heads, score_rows

WIDTH = 67  # 64 of the base and 3 pieces of evidence
RIDGE = 10.0  # training tries 1, 3, 10 and on to 10,000: the lower, the more steps
PASSES = 27  # over a user's rows, there and back, that ours makes at this ridge: 21 in steps and 6 for gradients
BATCH, BATCHES = 4096, 10

T = TypeVar("T")
User = tuple[np.ndarray, np.ndarray]  # differences float64 [n / 2, WIDTH]; 1 where the first was chosen [n / 2]


def rows(*, quick: bool) -> list[Row]:
    """Fitting against scikit-learn and AdamW, routing against every user's head at once."""
    sizes = (200,) if quick else (1_000, 10_000)
    return [row for n_users in sizes for row in _fitting(n_users, quick=quick)] + _routing(quick=quick)


# Fitting


def _fitting(n_users: int, *, quick: bool) -> list[Row]:
    data = make_rows(n_users)
    users = _by_user(data, 50 if quick else 300)
    few = users[: 3 if quick else 10]
    table = fit_ours(data).table
    setting = _best_setting(users)
    adamw = partial(_adamw_all, few, *_adamw_setting(few, table))
    peak, flops = matmul_gflops(torch.float32, threads=1), _flops(n_users, len(data))
    excess = _excess(users, table, _sklearn_part(users))

    def limit(ours: Spread) -> dict[str, Any]:
        return share_of_limit("fp32 matrix product, 1 thread", "GFLOP/s", peak, ours.median * flops / 1e9)

    return compare(
        f"fit {n_users:,} heads",
        "users/s",
        Side("ours", lambda: _on_threads(1, lambda: fit_ours(data)), n_users),
        {
            "scikit-learn, user by user": (Side("sklearn", lambda: _sklearn(users, *setting), len(users)), 20.0),
            "torch AdamW, user by user": (Side("AdamW", adamw, len(few)), 1000.0),
        },
        repeats=2 if quick else 5 if n_users <= 1_000 else 3,
        limit=limit,
        notes={
            "users, rows, numbers a head": [n_users, len(data), WIDTH],
            "ridge": RIDGE,
            "ours": "1 thread, as the stages run it; steps float32, gradients float64",
            "ours at ridge 1 and 100, users/s": []
            if quick
            else [_on_threads(1, partial(_once, data, r)) for r in (1.0, 100.0)],
            "scikit-learn": f"{sklearn.__version__}, lbfgs, tol 1e-4, float64, {len(users)} users; the best of "
            f"(BLAS threads, processes) (1, 1), (2, 1), (1, 2): {setting}",
            "AdamW": f"float32, 1 thread (2 are slower), ridge in the loss, {len(few)} users, the fewest steps of a "
            f"grid that come within 1e-3: {adamw.args[1]} at rate {adamw.args[2]}",
            "our objective over scikit-learn's, less 1: mean, max": [float(excess.mean()), float(excess.max())],
            "flops": f"{flops / 1e6:.2f} M a user, in {PASSES} matrix-vector products there and back",
        },
    )


def make_rows(n_users: int) -> HeadRows:
    """Rows of users with a taste each, user by user."""
    random = np.random.default_rng(0)
    counts = 2 * random.integers(30, 71, n_users)
    owner = np.repeat(np.arange(n_users), counts)
    x = random.standard_normal((len(owner), WIDTH), dtype=np.float32)
    taste = random.standard_normal((n_users, WIDTH), dtype=np.float32) / WIDTH**0.5
    liking = np.einsum("nf,nf->n", x, taste[owner]) + random.gumbel(size=len(owner))
    first = liking[::2] > liking[1::2]
    targets = np.stack([first, ~first], axis=1).astype(np.float32).reshape(-1)  # [N / 2, 2] -> [N]
    user_ids = np.array([f"user-{i:07d}" for i in range(n_users)])[owner]
    return HeadRows(x, np.zeros(len(owner), dtype=np.float32), targets, np.arange(len(owner)) // 2, user_ids)


def fit_ours(data: HeadRows, ridge: float = RIDGE) -> Heads:
    nothing, alike = np.zeros(WIDTH, dtype=np.float32), np.ones(WIDTH, dtype=np.float32)
    return fit_heads(data, kind="residual", ridge=ridge, theta_0=nothing, prior=alike)


def _once(data: HeadRows, ridge: float) -> int:
    started = perf_counter()
    n_users = len(fit_ours(data, ridge).user_ids)
    return round(n_users / (perf_counter() - started))


def _flops(n_users: int, n_rows: int) -> float:
    """Of a user's matrix-vector products, on unpadded rows."""
    return PASSES * 4 * (n_rows / n_users) * WIDTH


def _by_user(data: HeadRows, n_users: int) -> list[User]:
    starts = np.unique(data.user_ids, return_index=True)[1][: n_users + 1]
    x, first = data.features.astype(float), data.targets.astype(float)
    stops = [*starts[1:], len(data)]
    return [(x[a:b:2] - x[a + 1 : b : 2], first[a:b:2]) for a, b in zip(starts, stops, strict=True)][:n_users]


def _excess(users: list[User], ours: np.ndarray, theirs: np.ndarray) -> np.ndarray:
    """By how much of the peer's objective ours is higher, per user."""
    pairs = [(_objective(u, a), _objective(u, b)) for u, a, b in zip(users, ours, theirs, strict=False)]
    return np.array([(a - b) / b for a, b in pairs])


def _objective(user: User, head: np.ndarray) -> float:
    x, first = user
    losses = np.logaddexp(0, (1 - 2 * first) * (x @ head.astype(float)))
    return float(losses.sum() + 0.5 * RIDGE * (head.astype(float) ** 2).sum())


# The peers of fitting


def _sklearn(users: list[User], threads: int, processes: int) -> None:
    with threadpool_limits(threads):
        if processes == 1:
            _sklearn_part(users)
        else:
            part = joblib.delayed(_sklearn_limited)
            joblib.Parallel(processes)(part(users[i::processes], threads) for i in range(processes))


def _sklearn_limited(users: list[User], threads: int) -> None:
    with threadpool_limits(threads):
        _sklearn_part(users)


def _sklearn_part(users: list[User]) -> np.ndarray:
    models = (LogisticRegression(C=1 / RIDGE, fit_intercept=False, max_iter=1000).fit(*user) for user in users)
    return np.array([model.coef_[0] for model in models])


def _best_setting(users: list[User]) -> tuple[int, int]:
    """(BLAS threads, processes) that is quickest here."""

    before = torch.get_num_threads()
    return min([(1, 1), (2, 1), (1, 2)], key=lambda setting: _seconds(partial(_sklearn, users, *setting), before))


def _adamw_all(users: list[User], n_steps: int, rate: float) -> np.ndarray:
    return _on_threads(1, lambda: np.array([_adamw(*user, n_steps, rate) for user in users]))


def _adamw(x: np.ndarray, labels: np.ndarray, n_steps: int, rate: float) -> np.ndarray:
    rows, targets = torch.from_numpy(x).float(), torch.from_numpy(labels).float()
    head = torch.zeros(rows.shape[1], requires_grad=True)
    optimizer = torch.optim.AdamW([head], lr=rate, weight_decay=0.0)
    for _ in range(n_steps):
        optimizer.zero_grad()
        loss = binary_cross_entropy_with_logits(rows @ head, targets, reduction="sum")
        (loss + 0.5 * RIDGE * (head * head).sum()).backward()
        optimizer.step()
    found: np.ndarray = head.detach().numpy()
    return found


def _adamw_setting(users: list[User], ours: np.ndarray) -> tuple[int, float]:
    """(steps, rate), the fewest steps that come within 1e-3 of our objective for the mean user."""
    for n_steps, rate in product((10, 20, 30, 50, 100, 200, 400), (0.1, 0.05, 0.02, 0.01)):
        if -_excess(users, ours, _adamw_all(users, n_steps, rate)).mean() <= 1e-3:
            return n_steps, rate
    return 800, 0.01


def _on_threads(n_threads: int, work: Callable[[], T]) -> T:
    """What the work returns, done on so many torch threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(n_threads)
    try:
        return work()
    finally:
        torch.set_num_threads(before)


def _seconds(work: Callable[[], object], n_threads: int) -> float:
    """The quickest of three, after one to warm up."""

    def once() -> float:
        started = perf_counter()
        work()
        return perf_counter() - started

    return _on_threads(n_threads, lambda: min([once() for _ in range(4)][1:]))


# Routing: a batch of rows, each under the head of its own user


def _routing(*, quick: bool) -> list[Row]:
    """From the users' places in the table, as the released code has them in its data; then from their ids."""
    n_users = 200 if quick else 1_000
    heads, z, user_ids = make_batch(n_users)
    places = heads.user_idx(user_ids)
    by_place = _route(heads, z, lambda: places, "places in the table to logits", quick=quick)
    return by_place + _route(heads, z, lambda: heads.user_idx(user_ids), "user ids to logits", quick=quick)


def _route(heads: Heads, z: np.ndarray, find: Callable[[], np.ndarray], work: str, *, quick: bool) -> list[Row]:
    n_users = len(heads.user_ids)
    table, features = torch.from_numpy(heads.table), torch.from_numpy(z)

    def ours() -> np.ndarray:
        return score_rows(heads, np.zeros(WIDTH, dtype=np.float32), z, find())

    def masked() -> torch.Tensor:
        everybodys = linear(features, table)  # [B, U]
        return (everybodys * one_hot(torch.from_numpy(find()), n_users)).sum(dim=1)

    def mixed() -> torch.Tensor:
        own = one_hot(torch.from_numpy(find()), n_users).float() @ table  # [B, U] @ [U, P] -> [B, P]
        return (own * features).sum(dim=1)

    best = {run: min((1, torch.get_num_threads()), key=partial(_seconds, run)) for run in (masked, mixed)}
    for other in (masked(), mixed()):
        np.testing.assert_allclose(ours(), other.numpy(), atol=1e-3)
    sizes = (100, 1_000) if quick else (100, 1_000, 10_000, 100_000, 1_000_000)
    n_rows = BATCH * BATCHES
    return compare(
        f"route {BATCH:,} rows over {n_users:,} heads: {work}",
        "rows/s",
        Side("ours", _batches(1, ours), n_rows),
        {
            "every head, then a one-hot mask": (Side("masked", _batches(best[masked], masked), n_rows), 50.0),
            "one-hot product mixing all heads": (Side("mixed", _batches(best[mixed], mixed), n_rows), 50.0),
        },
        repeats=5 if quick else 15,
        notes={
            "rows, users, numbers a head": [BATCH, n_users, WIDTH],
            "work": f"{BATCHES} batches a turn; all sides look users up in the same kept index",
            "threads": {"ours, as when serving": 1, "mask": best[masked], "product": best[mixed]},
            "precision": "float32",
            "ours from user ids, ms a batch by users in the table": {
                f"{n:,}": _on_threads(1, partial(_batch_ms, n)) for n in sizes
            },
        },
    )


def _batches(n_threads: int, once: Callable[[], object]) -> Callable[[], None]:
    """Several batches in a row, as serving has them: one alone is over before the processor's caches are its own."""

    def several() -> None:
        for _ in range(BATCHES):
            once()

    return lambda: _on_threads(n_threads, several)


def make_batch(n_users: int) -> tuple[Heads, np.ndarray, np.ndarray]:
    """Random heads, and a batch of rows z [B, WIDTH] of user_ids [B]."""
    random = np.random.default_rng(0)
    names = [f"user-{i:07d}" for i in range(n_users)]
    heads = Heads("residual", WIDTH, tuple(names), random.standard_normal((n_users, WIDTH), dtype=np.float32))
    z = random.standard_normal((BATCH, WIDTH), dtype=np.float32)
    return heads, z, np.array([names[i] for i in random.integers(0, n_users, BATCH)])


def score_ours(heads: Heads, z: np.ndarray, user_ids: np.ndarray) -> np.ndarray:
    return score_rows(heads, np.zeros(WIDTH, dtype=np.float32), z, heads.user_idx(user_ids))


def _batch_ms(n_users: int) -> float:
    """The middle of several batches of the same users' rows, after a first one that makes the index."""
    heads, z, user_ids = make_batch(n_users)
    taken = []
    for _ in range(12):
        started = perf_counter()
        score_ours(heads, z, user_ids)
        taken.append(perf_counter() - started)
    return round(1e3 * float(np.median(taken[1:])), 3)
