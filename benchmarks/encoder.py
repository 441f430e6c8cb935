"""Texts into vectors, and candidate records scored for queries, beside sentence-transformers on the same weights."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Sequence
from importlib.metadata import version
from itertools import count
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import torch
from sentence_transformers import CrossEncoder, SentenceTransformer

from benchmarks.compare import Row, Side, Spread, compare, share_of_limit
from benchmarks.machine import describe, matmul_gflops
from hydra_ml.io.encoders import EncoderFiles, find_encoder, load_text_encoder, open_encoder
from hydra_ml.io.feature_cache import CachedEncoder
from hydra_ml.io.head_bank import save_heads
from hydra_ml.io.task_files import get_task
from hydra_ml.io.weights import save_base
from hydra_ml.model.encoder import TextEncoder
from hydra_ml.model.fit_base import SharedPart
from hydra_ml.model.heads import Heads, n_parameters
from hydra_ml.params import Encoder, Train
from hydra_ml.sample import DOMAINS, generate
from hydra_ml.serving.component import Component
from hydra_ml.serving.pair_reader import PairReader

SEED = 11
CANDIDATES = 20  # records scored per query
GOAL_MATRIX_UNITS, GOAL = 2.5, 1.2  # in bf16 on a processor with matrix units for it; in any other case
GOAL_PAIRS = 30.0
DTYPES = {"bf16": torch.bfloat16, "fp32": torch.float32}


def rows(*, quick: bool) -> list[Row]:
    """Encoding in the precision that "auto" picks, in fp32 if that is another, then scoring."""
    best, texts = find_encoder(Encoder()).precision, sample_texts(96 if quick else 512)
    found = encode_rows(texts, Encoder(precision=best), repeats=2 if quick else 5)
    if best != "fp32":
        found += encode_rows(texts[: len(texts) // 2], Encoder(precision="fp32"), repeats=2 if quick else 3)
    return found + score_rows(40 if quick else 1000, n_peer_pairs=32 if quick else 192, repeats=2 if quick else 5)


def sample_texts(n: int) -> list[str]:
    """Record texts of every task of the bundled sample, shuffled, no two alike."""
    texts: dict[str, None] = {}
    for folder in DOMAINS:
        task = get_task(folder)
        for questions in generate(folder, seed=SEED, n_users=8).questions.values():
            texts.update((task.record_text(item), None) for entry in questions for item in entry["profile"])
    return Random(SEED).sample(list(texts), n)


def encode_rows(texts: list[str], params: Encoder, *, repeats: int) -> list[Row]:
    """`TextEncoder.encode` beside `SentenceTransformer.encode` with its defaults: fp32, batches of 32."""
    files, ours = find_encoder(params), load_text_encoder(params)
    theirs = SentenceTransformer(str(files.folder), device="cpu")
    assert theirs.max_seq_length == ours.max_tokens, "the texts must be cut alike"
    flops, n_tokens = work_in(ours, texts)
    return compare(
        f"encode new texts, {files.precision}",
        "texts/s",
        Side("hydra_ml", lambda: ours.encode(texts), len(texts)),
        {
            "SentenceTransformer.encode, fp32": (
                Side("peer", lambda: theirs.encode(texts, show_progress_bar=False), len(texts)),
                GOAL_MATRIX_UNITS if files.precision == "bf16" and describe()["amx_bf16"] else GOAL,
            )
        },
        repeats=repeats,
        limit=lambda speed: of_matmul_peak(files, speed, flops / len(texts)),
        notes={
            **about(files),
            "texts": len(texts),
            "mean_tokens": round(n_tokens / len(texts), 1),
            **agreement(ours.encode(texts), theirs.encode(texts, show_progress_bar=False)),
        },
    )


def score_rows(n_users: int, *, n_peer_pairs: int, repeats: int) -> list[Row]:
    """`Component.score`, a query per user and turn whose text is new, beside `CrossEncoder.predict` on the same pairs.

    The cross encoder has to read every pair whole; it gets a random sample of them, and speeds are per pair.
    """
    files = find_encoder(Encoder())
    records, queries = histories(n_users, turns=repeats + 1)
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        remember_at_random(files, folder, [text for texts in records.values() for text in texts])
        component, text_encoder = stored_component(folder, list(records))
        stack.enter_context(text_encoder)
        user_ids = np.repeat(list(records), CANDIDATES)
        b = [text for texts in records.values() for text in texts]
        evidence = np.random.default_rng(SEED).normal(size=(len(b), 1)).astype(np.float32)
        turn = count()

        def score() -> object:
            return component.score(np.repeat(queries[next(turn)], CANDIDATES).tolist(), b, evidence, user_ids)

        sampled = Random(SEED).sample(range(len(b)), n_peer_pairs)
        pairs = [(queries[0][i // CANDIDATES], b[i]) for i in sampled]
        flops, n_tokens = work_in(load_text_encoder(Encoder()), queries[0])
        return compare(
            f"score {CANDIDATES} records x {n_users:,} queries of known users (records seen before)",
            "pairs/s",
            Side("hydra_ml", score, len(b)),
            {
                f"CrossEncoder.predict, {precision}": (cross_side(files, precision, pairs), goal)
                for precision, goal in dict.fromkeys([(files.precision, GOAL_PAIRS), *extra_precision(files)])
            },
            repeats=repeats,
            limit=lambda speed: of_matmul_peak(files, speed, flops / len(b)),
            notes={
                **about(files),
                "pairs": len(b),
                "peer_pairs": f"a random sample of {n_peer_pairs}; speeds are per pair",
                "heads": n_users,
                "mean_tokens_of_a_query": round(n_tokens / n_users, 1),
                "set_up": "random weights; the records' cached vectors are random too, which changes no work; every "
                "turn asks queries that the cache does not hold",
            },
        )


def extra_precision(files: EncoderFiles) -> list[tuple[str, None]]:
    """The peer's default beside ours, where ours is another; no goal."""
    return [] if files.precision == "fp32" else [("fp32", None)]


def cross_side(files: EncoderFiles, precision: str, pairs: list[tuple[str, str]]) -> Side:
    """The peer on the same encoder, with a random output layer of one label."""
    model = CrossEncoder(
        str(files.folder), num_labels=1, device="cpu", max_length=512, model_kwargs={"dtype": DTYPES[precision]}
    )
    return Side(precision, lambda: model.predict(pairs, show_progress_bar=False), len(pairs))


def histories(n_users: int, *, turns: int) -> tuple[dict[str, list[str]], list[list[str]]]:
    """Users' newest CANDIDATES record texts, and for each turn a query text of each user."""
    task, records, queries = get_task("LaMP_2"), {}, {}
    for entry in generate(task.folder, seed=SEED, n_users=n_users * 5 // 4).questions["test"]:
        texts = [task.record_text(item) for item in entry["profile"]][-CANDIDATES:]
        if len(texts) == CANDIDATES:
            records[entry["user_id"]] = texts
            queries.setdefault(entry["user_id"], []).append(task.query_text(entry["input"]))
    users = list(records)[:n_users]
    assert len(users) == n_users, f"{len(users)} users of the sample have {CANDIDATES} records, not {n_users}"
    return {user: records[user] for user in users}, [[queries[user][turn] for user in users] for turn in range(turns)]


def remember_at_random(files: EncoderFiles, cache: Path, texts: list[str]) -> None:
    """Fill the feature cache below `cache` with random unit vectors for the texts."""

    class RandomVectors:
        def encode(self, texts: Sequence[str], *, done: Any = None) -> np.ndarray:
            vectors = np.random.default_rng(len(texts)).normal(size=(len(texts), files.dim)).astype(np.float32)
            return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    with open_encoder(Encoder(), cache) as real:
        path = real.path
    with CachedEncoder(RandomVectors, path, dim=files.dim) as filled:  # type: ignore[arg-type]
        filled.encode(texts)


def stored_component(folder: Path, user_ids: list[str]) -> tuple[Component, CachedEncoder]:
    """A component with random weights and a random head for each user, saved below `folder` and opened."""
    text_encoder = open_encoder(Encoder(), folder, progress="")
    reader = PairReader(Train(), Encoder(), folder, seed=SEED, text_encoder=text_encoder)
    rng, width = np.random.default_rng(SEED), Train().width + 1  # and one piece of evidence
    size = n_parameters("residual", width)
    theta_0 = rng.normal(size=size).astype(np.float32)
    shared = SharedPart(reader.new_base(), "residual", width, theta_0, np.ones(size, dtype=np.float32))
    digest = save_base(shared, folder / "base", {})
    table = rng.normal(size=(len(user_ids), size)).astype(np.float32)
    save_heads(Heads("residual", width, tuple(user_ids), table), folder / "heads", {"base_digest": digest})
    return Component(folder / "base", folder / "heads", reader), text_encoder


def work_in(encoder: TextEncoder, texts: list[str]) -> tuple[float, int]:
    """Floating-point operations of linear layers and attention for the real tokens of the texts, and those tokens."""
    config: Any = encoder.transformer.config
    ids = encoder.tokenizer(texts, truncation=True, max_length=encoder.max_tokens)["input_ids"]
    lengths = np.array([len(row) for row in ids])
    dim, wide = config.hidden_size, config.intermediate_size
    linear = 2 * (4 * dim * dim + 2 * dim * wide) * lengths.sum()
    attention = 2 * 2 * dim * (lengths**2).sum()
    return float(config.num_hidden_layers * (linear + attention)), int(lengths.sum())


def of_matmul_peak(files: EncoderFiles, speed: Spread, flops_per_item: float) -> dict[str, Any]:
    """How much of the machine's matrix products the encoder's own arithmetic comes to."""
    peak = matmul_gflops(DTYPES[files.precision])
    name = f"matrix product 2048^3, {files.precision}"
    return share_of_limit(name, "GFLOP/s", peak, speed.median * flops_per_item / 1e9)


def agreement(ours: np.ndarray, theirs: np.ndarray, *, n_queries: int = 64) -> dict[str, float]:
    """How near our vectors are to the peer's, and how alike both rank all other texts for the first ones."""
    cosines = (ours * theirs).sum(axis=1)
    n = min(n_queries, len(ours) // 2)
    mine, other = ((vectors[:n] @ vectors[n:].T) for vectors in (ours, theirs))  # [n, N - n]
    order, order_of_other = np.argsort(-mine, axis=1), np.argsort(-other, axis=1)
    shared = [len(set(a[:4]) & set(b[:4])) / 4 for a, b in zip(order, order_of_other, strict=True)]
    ranks, ranks_of_other = order.argsort(axis=1), order_of_other.argsort(axis=1)
    spearman = [np.corrcoef(a, b)[0, 1] for a, b in zip(ranks, ranks_of_other, strict=True)]
    return {
        "cosine_min": round(float(cosines.min()), 5),
        "cosine_mean": round(float(cosines.mean()), 5),
        "top_4_agreement": round(float(np.mean(shared)), 4),
        "spearman": round(float(np.mean(spearman)), 5),
    }


def about(files: EncoderFiles) -> dict[str, Any]:
    """Versions, threads and precision, the same for both sides unless the row's name says otherwise."""
    versions = {name: version(name) for name in ("sentence-transformers", "transformers")}
    return {**versions, "threads": torch.get_num_threads(), "precision": files.precision, "weights": "all-MiniLM-L6-v2"}
