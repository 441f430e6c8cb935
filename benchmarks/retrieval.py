"""BM25 over each user's own history: many users with short histories, few with long ones.

Peers hold one index per user: rank_bm25's BM25Okapi, which defines LaMP's retrieval, and bm25s. All sides split at
white space, score all of the user's records and give the 20 best, on one thread each: their best setting.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import bm25s
import numpy as np
from rank_bm25 import BM25Okapi

from benchmarks import machine
from benchmarks.compare import Row, Side, Spread, compare, share_of_limit
from hydra_ml.answering.retrieval import Bm25Index, best_visible, rank_bm25

N_BEST = 20
N_WORDS, MEAN_WORDS = 30_000, 60  # vocabulary, drawn by Zipf's law; mean length of a text
POSTING_BYTES = 16  # a record's number and a count: what a posting of ours must at least be read for


@dataclass(frozen=True)
class User:
    """One user's records, and what is asked over them."""

    texts: list[str]
    queries: list[str]

    def asking(self, n: int) -> User:
        """The same user with the first n queries alone."""
        return User(self.texts, self.queries[:n])


@dataclass(frozen=True)
class Shape:
    """A kind of user. Users and queries are alike and worked on one by one, so speeds of a sample hold for all."""

    name: str
    n_records: int
    n_queries: int
    n_users: int  # ours works on these
    n_built: int  # of them, for all sides where an index is built
    okapi_queries: int  # of a user's, answered by rank_bm25
    goal: float


def rows(*, quick: bool) -> list[Row]:
    """Asking, building and both, for short and for long histories; then queries that see a history of their own."""
    short = Shape("10,000 users x 100 records", 100, 4, *((30, 30) if quick else (300, 300)), 4, 4.0)
    long = Shape("20 users x 5,000 records", 5000, 50, *((2, 1) if quick else (20, 2)), 4, 100.0)
    repeats = 2 if quick else 4
    found: list[Row] = []
    for shape in (short, long):
        users = draw_users(shape)
        found += asked(shape, users, repeats)
        found += built(shape, users[: shape.n_built], repeats)
        found += built_and_asked(shape, users[: shape.n_built], repeats)
        if shape is short:
            found += masked(shape, users[: 5 if quick else 50], repeats)
    return found


def asked(shape: Shape, users: Sequence[User], repeats: int) -> list[Row]:
    """Queries to indices that are there."""
    few = [user.asking(shape.okapi_queries) for user in users[: shape.n_built]]
    ours, okapi, other = (
        [(build(user.texts), user) for user in some]
        for build, some in ((Bm25Index, users), (build_okapi, few), (build_bm25s, users))
    )
    check(*ours[0], okapi[0][0])
    n_queries = len(users) * shape.n_queries
    postings = sum(n_postings(index, query) for index, user in ours for query in user.queries) / n_queries

    def limit(reached: Spread) -> dict[str, Any]:
        read = reached.median * postings * POSTING_BYTES / 1e9
        return share_of_limit("memory copy; postings of the queries' words", "GB/s", machine.memory_gb_s(), read)

    return compare(
        f"BM25 queries, {shape.name}",
        "queries/s",
        Side("Bm25Index", lambda: [ask_ours(index, user) for index, user in ours], n_queries),
        {
            "rank_bm25": (
                Side(
                    "rank_bm25",
                    lambda: [ask_okapi(index, user) for index, user in okapi],
                    len(few) * shape.okapi_queries,
                ),
                shape.goal,
            ),
            "bm25s": (Side("bm25s", lambda: [ask_bm25s(index, user) for index, user in other], n_queries), None),
        },
        repeats=repeats,
        limit=limit,
        notes={**notes(shape), "postings per query": round(postings)},
    )


def built(shape: Shape, users: Sequence[User], repeats: int) -> list[Row]:
    """Indices from texts."""

    def side(name: str, build: Callable[[Sequence[str]], object]) -> Side:
        return Side(name, lambda: [build(user.texts) for user in users], len(users))

    return compare(
        f"BM25 indices built, {shape.name}",
        "users/s",
        side("Bm25Index", Bm25Index),
        {"rank_bm25": (side("rank_bm25", build_okapi), 1.0), "bm25s": (side("bm25s", build_bm25s), None)},
        repeats=repeats,
        notes=notes(shape),
    )


def built_and_asked(shape: Shape, users: Sequence[User], repeats: int) -> list[Row]:
    """As a nightly run does it: build, ask all of the user's queries, forget."""
    few = users if shape.n_records < 1000 else users[:1]  # rank_bm25 needs seconds for one long history

    def okapi() -> None:
        for user in few:
            ask_okapi(build_okapi(user.texts), user)

    return compare(
        f"BM25 index built, then {shape.n_queries} queries, {shape.name}",
        "users/s",
        Side("Bm25Index", lambda: [ask_ours(Bm25Index(user.texts), user) for user in users], len(users)),
        {
            "rank_bm25": (Side("rank_bm25", okapi, len(few)), None),
            "bm25s": (
                Side("bm25s", lambda: [ask_bm25s(build_bm25s(user.texts), user) for user in users], len(users)),
                None,
            ),
        },
        repeats=repeats if few is users else min(repeats, 2),
        notes=notes(shape),
    )


def masked(shape: Shape, users: Sequence[User], repeats: int) -> list[Row]:
    """Training queries, each of which sees the records before it alone: for rank_bm25, an index per query."""
    places = np.linspace(shape.n_records // 2, shape.n_records, shape.n_queries).astype(int)
    visible = np.arange(shape.n_records) < places[:, None]  # [Q, R]

    def okapi() -> None:
        for user in users:
            for query, place in zip(user.queries, places, strict=True):
                ask_okapi(build_okapi(user.texts[:place]), User([], [query]))

    n_queries = len(users) * shape.n_queries
    return compare(
        f"BM25 built and asked, each query sees earlier records alone, {shape.name}",
        "queries/s",
        Side("rank_bm25()", lambda: [rank_bm25(u.texts, u.queries, visible, N_BEST) for u in users], n_queries),
        {"rank_bm25, an index per query": (Side("peer", okapi, n_queries), None)},
        repeats=repeats,
        notes=notes(shape),
    )


def ask_ours(index: Bm25Index, user: User) -> object:
    """As `rank_user` asks in serving: every record may be seen."""
    visible = np.ones((len(user.queries), len(user.texts)), dtype=bool)
    return best_visible(index.scores(user.queries, visible), visible, N_BEST)


def build_okapi(texts: Sequence[str]) -> BM25Okapi:
    """rank_bm25 as its documentation has it."""
    return BM25Okapi([text.split() for text in texts])


def ask_okapi(index: BM25Okapi, user: User) -> object:
    """What its get_top_n does, for numbers of records instead of the texts."""
    return [np.argsort(index.get_scores(query.split()))[::-1][:N_BEST] for query in user.queries]


def build_bm25s(texts: Sequence[str]) -> bm25s.BM25:
    """bm25s as its documentation has it, with the same words as the others."""
    index = bm25s.BM25()
    index.index([text.split() for text in texts], show_progress=False)
    return index


def ask_bm25s(index: bm25s.BM25, user: User) -> object:
    """All of the user's queries in one call."""
    return index.retrieve([query.split() for query in user.queries], k=N_BEST, show_progress=False)


def check(index: Bm25Index, user: User, okapi: BM25Okapi) -> None:
    """Raises AssertionError unless both score alike."""
    query = user.queries[0]
    scores = index.scores([query], np.ones((1, len(user.texts)), dtype=bool))[0]
    np.testing.assert_allclose(scores, okapi.get_scores(query.split()), rtol=1e-9, atol=1e-9)


def n_postings(index: Bm25Index, query: str) -> int:
    """Pairs of a word of the query and a record that has it."""
    return int(index.n_holders[[index.word_idx[word] for word in set(query.split()) if word in index.word_idx]].sum())


def draw_users(shape: Shape) -> list[User]:
    """Users with texts of about MEAN_WORDS words; the same on every call."""
    random = np.random.default_rng(0)
    rising = np.cumsum(1 / np.arange(1, N_WORDS + 1))  # Zipf's law

    def text() -> str:
        drawn = random.random(random.integers(MEAN_WORDS // 2, MEAN_WORDS * 3 // 2)) * rising[-1]
        return " ".join(f"word{i}" for i in np.searchsorted(rising, drawn))

    return [
        User([text() for _ in range(shape.n_records)], [text() for _ in range(shape.n_queries)])
        for _ in range(shape.n_users)
    ]


def notes(shape: Shape) -> Mapping[str, Any]:
    """What a reader must know."""
    return {
        "sample": f"users: ours and bm25s {shape.n_users} for queries, all sides {shape.n_built} for building; "
        f"rank_bm25's queries: {shape.okapi_queries} of {shape.n_queries} of each of {shape.n_built}",
        "texts": f"Zipf words of {N_WORDS}, about {MEAN_WORDS} a text; {shape.n_queries} queries a user, {N_BEST} best",
        "threads": 1,
        "versions": {name: version(name) for name in ("rank-bm25", "bm25s", "numpy")},
    }
