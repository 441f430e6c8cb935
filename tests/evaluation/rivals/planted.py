"""Users with a taste that was planted: which candidates they like, and what their history answers, follows from it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hydra_ml.evaluation.rival import Choose
from hydra_ml.evaluation.rival_pool import Lesson, Pool, RecordBook

DIM, CANDIDATES, RECORDS = 16, 6, 8


@dataclass(frozen=True)
class Planted:
    """Training queries and others of the same users, and which row of each other query its user likes best."""

    lesson: Lesson
    pool: Pool
    best: np.ndarray  # int64 [Q of pool], positions of rows

    def share_right(self, choose: Choose, *, swapped: bool = False) -> float:
        """How often the best row gets its query's highest score; swapped: each user under the next one's part."""
        users = sorted(set(self.pool.user_ids.tolist()))
        stranger_of = dict(zip(users, users[1:] + users[:1], strict=True))
        scores = choose(self.pool.as_strangers(stranger_of) if swapped else self.pool)
        assert scores.shape == self.pool.query.shape
        assert np.isfinite(scores).all()
        chosen = [
            np.flatnonzero(self.pool.query == q)[scores[self.pool.query == q].argmax()] for q in range(len(self.best))
        ]
        return float((np.array(chosen) == self.best).mean())


def planted(
    n_users: int = 12, queries_per_user: int = 12, *, groups: int = 3, strength: float = 1.0, seed: int = 0
) -> Planted:
    """Users of some groups, each group with a direction it likes; a share of users is new. strength 0: no taste at
    all, and nothing to be found. Queries that are not trained on are as many as those that are."""
    random = np.random.default_rng(seed)
    directions = np.linalg.qr(random.normal(size=(DIM, groups)))[0].T  # [G, D]
    names = [f"u{i:02d}" for i in range(n_users)]
    tastes = [directions[i % groups] for i in range(n_users)]
    records = [unit(random.normal(size=(RECORDS, DIM)) + 4 * strength * taste) for taste in tastes]
    book = RecordBook(
        unit(random.normal(size=(n_users * RECORDS, DIM))), np.concatenate(records), np.full(n_users * RECORDS, "x")
    )

    def queries_of_all() -> tuple[dict[str, object], np.ndarray]:
        owner = np.repeat(np.arange(n_users), queries_per_user)  # [Q]
        query = np.repeat(np.arange(len(owner)), CANDIDATES)  # [N]
        said = unit(random.normal(size=(len(query), DIM)))
        liking = strength * (said * np.array(tastes)[owner[query]]).sum(axis=1) + 1e-3 * random.normal(size=len(query))
        evidence = random.normal(size=(len(query), 4)).astype(np.float32)
        found = {
            "user_ids": np.array(names)[owner],
            "query": query,
            "answers": np.array([f"answer {i}" for i in range(len(query))]),
            "evidence": evidence,
            "features": np.concatenate([said, evidence], axis=1, dtype=np.float32),
            "shared": np.zeros(len(query), dtype=np.float32),
            "personal": np.zeros(len(query), dtype=np.float32),
            "asked": unit(random.normal(size=(len(owner), DIM))),
            "said": said,
            "history": tuple(np.arange(RECORDS) + u * RECORDS for u in owner),
            "book": book,
            "greedy": {"zero_shot": unit(random.normal(size=(len(owner), DIM)))},
        }
        return found, liking

    taught, liking = queries_of_all()
    query = np.asarray(taught["query"])
    best = _best_rows(liking, query)
    targets = np.zeros(len(query), dtype=np.float32)
    targets[best] = 1.0
    rewards = ((liking - liking.min()) / (liking.max() - liking.min())).astype(np.float32)
    is_known = np.repeat(np.arange(n_users) % 4 != 3, queries_per_user)
    lesson = Lesson(
        **taught, targets=targets, rewards=rewards, is_known=is_known, unseen=np.zeros(len(query), dtype=np.float32)
    )  # type: ignore[arg-type]
    asked, liking = queries_of_all()
    pool = Pool(**asked)  # type: ignore[arg-type]
    return Planted(lesson, pool, _best_rows(liking, pool.query))


def unit(vectors: np.ndarray) -> np.ndarray:
    """Rows of unit length, float32."""
    found: np.ndarray = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    return found


def _best_rows(liking: np.ndarray, query: np.ndarray) -> np.ndarray:
    table = liking.reshape(-1, CANDIDATES)  # [Q, candidates]: every query has as many
    found: np.ndarray = table.argmax(axis=1) + np.arange(len(table)) * CANDIDATES
    return found
