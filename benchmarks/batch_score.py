"""Batch scoring end to end, the LLM's time left out: an opened release beside the pipeline most people would write.

Records are in the feature cache, as those of known users are; every turn asks new questions, which nobody has encoded.
Base and heads have random numbers, the encoder its own: the work is that of a trained release, the scores mean nothing.
"""

from __future__ import annotations

import os
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial, wraps
from importlib.metadata import version
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from rank_bm25 import BM25Okapi

from benchmarks.compare import Row, Side, compare
from hydra_ml.answering import adapter, reranker
from hydra_ml.answering import score_requests as scoring
from hydra_ml.io.encoders import find_encoder, open_encoder
from hydra_ml.io.feature_cache import CachedEncoder
from hydra_ml.io.head_bank import HeadBank, save_heads
from hydra_ml.io.task_files import get_task
from hydra_ml.io.weights import save_base
from hydra_ml.llm.chat import Ask, Reply
from hydra_ml.model.encoder import TextEncoder
from hydra_ml.model.fit_base import SharedPart
from hydra_ml.model.heads import Heads, n_parameters
from hydra_ml.params import Params, Retrieve
from hydra_ml.records import RECORD_COLUMNS, Record
from hydra_ml.release import Release
from hydra_ml.sample import generate
from hydra_ml.serving.component import Component, torch_threads
from hydra_ml.serving.open_release import OpenRelease
from hydra_ml.serving.pair_reader import PairReader

TASK = get_task("LaMP_2")
RECORDS = 30  # of each user
CANDIDATES = 20  # reranked for each request, by both sides
SHOWN = 4


def rows(*, quick: bool) -> list[Row]:
    """Requests per second of a shard, beside the plain pipeline in fp32 and in bf16."""
    n_requests, n_users, n_plain = (32, 12, 2) if quick else (256, 100, 8)
    users, records = made_up_histories(n_users)
    with tempfile.TemporaryDirectory() as folder:
        release = opened(Path(folder), users)
        turn = count()

        def ours() -> pd.DataFrame:
            return release.score(asked(users, records, n_requests, next(turn)), records, Replayed())

        plain = {name: Plain(records, dtype) for name, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16))}

        def theirs(name: str) -> list[str]:
            return plain[name].score(asked(users, records, n_plain, next(turn)))

        ours()  # known users: their records' vectors are there before anything is measured
        clock = Clock()
        with clock.running():
            ours()
        return compare(
            "batch score, LLM excluded",
            "requests/s",
            Side("score_requests", ours, n_requests),
            {
                f"BM25 + CrossEncoder {name}": (
                    Side(name, partial(theirs, name), n_plain),
                    20.0 if name == "fp32" else None,
                )
                for name in plain
            },
            repeats=1 if quick else 5,
            notes=notes(n_requests, n_users, n_plain, clock, plain),
        )


def notes(n_requests: int, n_users: int, n_plain: int, clock: Clock, plain: dict[str, Plain]) -> dict[str, Any]:
    """Sizes, and where our time goes."""
    return {
        "requests": n_requests,
        "requests_of_peer": n_plain,
        "users": n_users,
        "records_per_user": RECORDS,
        "reranked": CANDIDATES,
        "threads": "ours 1 (OpenRelease.score), peer the faster of 1 and all: "
        + ", ".join(f"{name} {one.threads}" for name, one in plain.items()),
        "load_average": os.getloadavg()[0],
        "precision": f"ours {find_encoder(Params().encoder).precision}",
        "answers": "ours 2 prompts x (1 greedy + 8 samples), peer 1 prompt x 9; both given at once",
        "seconds": round(clock.total(), 3),
        "share": {name: round(share, 3) for name, share in clock.shares().items()},
        "sentence_transformers": version("sentence-transformers"),
        "rank_bm25": version("rank_bm25"),
    }


def made_up_histories(n_users: int) -> tuple[list[str], pd.DataFrame]:
    """User ids and RECORD_COLUMNS: the bundled sample's films, each text once."""
    sample = generate(TASK.folder, seed=3, n_users=8)
    films = [item for entry in sample.questions["test"] for item in entry["profile"]]
    users = [f"user-{i:04d}" for i in range(n_users)]
    found = []
    for i in range(n_users * RECORDS):
        film, user = films[i % len(films)], users[i // RECORDS]
        text = f"{film['description']} No. {i}."
        found.append((user, f"{i:016d}", text, TASK.templated(text), film["tag"], f"2020-{i % RECORDS:04d}"))
    return users, pd.DataFrame(found, columns=list(RECORD_COLUMNS))


def asked(users: list[str], records: pd.DataFrame, n: int, turn: int) -> pd.DataFrame:
    """REQUEST_COLUMNS: questions never asked before, users in turn, each seeing all of its own records."""
    profiles = records.groupby("user_id")["record_id"].agg(list)
    texts = records["text"].to_numpy()
    found = []
    for i in range(n):
        user, film = users[i % len(users)], texts[(i * 37 + 11) % len(texts)]
        found.append((f"{turn}-{i}", user, TASK.templated(f"{film} Asked {turn}-{i}."), profiles[user]))
    return pd.DataFrame(found, columns=list(scoring.REQUEST_COLUMNS))


def answers_to(content: str, n: int) -> tuple[str, ...]:
    """What an LLM might say, at once: of a few labels, each several times."""
    first = zlib.crc32(content.encode())
    return tuple(TASK.labels[(first + i * i % 4) % len(TASK.labels)] for i in range(n))


class Replayed:
    """In the LLM client's place."""

    def ask_all(self, asks: Sequence[Ask], *, label: str) -> list[Reply]:
        """A reply to each."""
        return [Reply(answers_to(ask.messages[-1]["content"], ask.n), 380, 2 * ask.n, cached=True) for ask in asks]


def opened(folder: Path, users: list[str]) -> OpenRelease:
    """A release as `serving.open_release` opens it, with heads of all users."""
    params = Params(tasks=[TASK.folder], retrieve=Retrieve(n_candidates=CANDIDATES))
    texts = open_encoder(params.encoder, folder, progress="")

    def component(name: str) -> Component:
        train = getattr(params, f"train_{name}")
        reader = PairReader(train, params.encoder, folder, seed=0, text_encoder=texts)
        width = train.width + len({"reranker": reranker, "adapter": adapter}[name].EVIDENCE)
        size, random = n_parameters(train.head, width), np.random.default_rng(0)
        theta_0 = random.normal(size=size).astype(np.float32)
        shared = SharedPart(reader.new_base(), train.head, width, theta_0, np.ones(size, dtype=np.float32))
        digest = save_base(shared, folder / name / "base", reader.describe())
        table = random.normal(size=(len(users), size)).astype(np.float32)
        save_heads(Heads(train.head, width, tuple(users), table), folder / name / "heads", {"base_digest": digest})
        return Component(folder / name / "base", HeadBank(folder / name / "heads", base_digest=digest), reader)

    release = Release(TASK.folder, {}, "", (), params.model_dump(by_alias=True), "", "benchmark", "", validated=False)
    return OpenRelease("1", release, params, TASK, component("reranker"), component("adapter"), texts, folder)


class Plain:
    """The pipeline most people would write: a loop over requests, cross encoder for records and answers."""

    def __init__(self, records: pd.DataFrame, dtype: torch.dtype) -> None:
        from sentence_transformers import CrossEncoder

        folder = str(find_encoder(Params().encoder).folder)
        self.encoder = CrossEncoder(folder, num_labels=1, max_length=512, model_kwargs={"dtype": dtype})
        self.records = {user: list(some.itertuples(index=False)) for user, some in records.groupby("user_id")}
        self.index = {user: BM25Okapi([one.text.split() for one in some]) for user, some in self.records.items()}
        # A neighbour on one core costs two threads several times what it costs one: take what is best now.
        trial = records["text"].tolist()[:CANDIDATES]
        self.seconds = {n: min(self._trial(n, trial) for _ in range(3)) for n in (1, torch.get_num_threads())}
        self.threads = min(self.seconds, key=lambda n: self.seconds[n])

    def _trial(self, threads: int, texts: list[str]) -> float:
        with torch_threads(threads):
            started = time.perf_counter()
            self._scores(texts[0], texts)
            return time.perf_counter() - started

    def score(self, requests: pd.DataFrame) -> list[str]:
        """The chosen answer of each request."""
        with torch_threads(self.threads):
            return [self._answer(row.user_id, row.input) for row in requests.itertuples(index=False)]

    def _answer(self, user_id: str, input: str) -> str:
        text = TASK.query_text(input)
        near = np.argsort(-self.index[user_id].get_scores(text.split()))[:CANDIDATES]
        records = [self.records[user_id][i] for i in near]
        useful = self._scores(text, [one.text for one in records])
        shown = [records[i] for i in np.argsort(-useful)[:SHOWN]]
        demos = [Record(one.record_id, user_id, one.text, one.input, one.answer) for one in shown]
        chat = TASK.messages(input, demos)
        candidates = list(dict.fromkeys(answers_to(chat[-1]["content"], 9)))
        return candidates[int(np.argmax(self._scores(text, candidates)))]

    def _scores(self, query: str, texts: list[str]) -> np.ndarray:
        return self.encoder.predict([(query, text) for text in texts], show_progress_bar=False)


class Clock:
    """Seconds spent in each part of `score_requests`, a part within another counted once, as the inner one."""

    PARTS = (
        ("encoder", TextEncoder, "encode"),
        ("feature cache", CachedEncoder, "encode"),
        ("bank", HeadBank, "heads_of"),
        ("heads and base", Component, "score"),
        ("retrieval", scoring, "rank_user"),
        ("evidence", scoring, "candidate_rows"),
        ("rest", OpenRelease, "score"),
    )

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._inner = [0.0]  # per open call, seconds of the calls within it

    @contextmanager
    def running(self) -> Iterator[None]:
        """Measure what is called meanwhile."""
        before = [getattr(owner, name) for _, owner, name in self.PARTS]
        for part, owner, name in self.PARTS:
            setattr(owner, name, self._timed(part, getattr(owner, name)))
        try:
            yield
        finally:
            for (_, owner, name), function in zip(self.PARTS, before, strict=True):
                setattr(owner, name, function)

    def total(self) -> float:
        """All seconds."""
        return sum(self.seconds.values())

    def shares(self) -> dict[str, float]:
        """Of the total, most first."""
        return {name: s / self.total() for name, s in sorted(self.seconds.items(), key=lambda item: -item[1])}

    def _timed(self, part: str, function: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(function)
        def timed(*args: Any, **named: Any) -> Any:
            self._inner.append(0.0)
            started = time.perf_counter()
            try:
                found = function(*args, **named)
                return list(found) if part == "retrieval" else found  # a generator: its work is in the walking
            finally:
                elapsed = time.perf_counter() - started
                self.seconds[part] = self.seconds.get(part, 0.0) + elapsed - self._inner.pop()
                self._inner[-1] += elapsed

        return timed
