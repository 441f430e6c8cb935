"""nightly for 200 users: our default configuration beside our own of the paper's kind, on the same data.

The paper's kind is a transformer fine-tuned on every pair (`encoder: cross`) with a dense head per user (`head: mlp`).
On two cores it takes too long for 200 users, so it runs on two smaller samples and is extended by the line through
them; ours runs on all three. Both ask the offline LLM the same number of questions.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

from tqdm import tqdm

from benchmarks import grown
from benchmarks.compare import Row, spread

USERS = 200
CROSS_USERS = (3, 6)  # few: on two cores a user costs the cross side some 20 seconds
FEWER = {  # than the defaults, on both sides: what is compared is the learning, and the LLM takes its time on both
    "annotate": {"queries_per_user": 4},
    "generate": {"queries_per_user": 3, "n_samples": 4},
}
# One epoch and one ridge where ours takes eight and chooses among eight: in the cross side's favour. The learning rate
# is that of fine-tuning whole transformers.
PAPER = {"encoder": "cross", "head": "mlp", "epochs": 1, "batch_size": 32, "learning_rate": 5e-5, "ridge": [10.0]}
LEARNING = ("train_reranker", "rerank", "train_adapter", "evaluate")
METHODS = ("rag_k4", "hydra_shared", "hydra")


def rows(*, quick: bool) -> list[Row]:
    """The one row."""
    n_users, some = (6, (3, 4)) if quick else (USERS, CROSS_USERS)
    os.environ["HF_HUB_OFFLINE"] = "1"
    logging.disable(logging.WARNING)
    ours, cross = {}, {}
    with tempfile.TemporaryDirectory() as work, tqdm(total=2 * len(some) + 1, desc="nightly", unit=" chains") as bar:
        run_chain(Path(work) / "warm", 4, {})  # loads every library
        for n in (*some, n_users):
            ours[n] = run_chain(Path(work) / f"ours-{n}", n, {})
            bar.update(1)
        for n in some:
            cross[n] = run_chain(Path(work) / f"cross-{n}", n, PAPER)
            bar.update(1)
    seconds = ours[n_users]["seconds"]["all"]
    expected = extended({n: found["seconds"]["all"] for n, found in cross.items()}, n_users)
    learning = extended({n: found["seconds"]["learning"] for n, found in cross.items()}, n_users)
    notes: dict[str, Any] = {
        "peer": f"measured with {some[0]} and {some[1]} users and extended by their line to {n_users}; not run there",
        "settings": {"both": FEWER, "peer": PAPER, "ours": "defaults"},
        "learning alone, times": learning / ours[n_users]["seconds"]["learning"],
        "measured alone, times": {n: cross[n]["seconds"]["all"] / ours[n]["seconds"]["all"] for n in some},
        "ours": ours,
        "cross": cross,
        "threads": "dual: 1, cross: all",
        "data": "bundled sample, LaMP-2; test questions",
        "repeats": 1,
    }
    speed, peer = n_users / seconds, n_users / expected
    return [
        Row(
            f"nightly, {n_users} users",
            "users/s",
            "cross encoder, mlp heads (ours, extrapolated)",
            spread([speed]),
            spread([peer]),
            spread([speed / peer]),
            notes=notes,
        )
    ]


def run_chain(root: Path, n_users: int, train: dict[str, Any]) -> dict[str, Any]:
    """Seconds of each stage, of all and of LEARNING alone; and how METHODS fared, with intervals."""
    from hydra_ml.io.files import load_json

    grown.save_params(root / "params.yaml", {**FEWER, "train_reranker": train, "train_adapter": train})
    grown.write_sample(root / "data/raw" / grown.TASK, n_users)
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stderr(nowhere):
        seconds = grown.run_stages(root, grown.STAGES)
    metrics = load_json(root / "data/evaluate" / grown.TASK / "metrics.json")
    accuracy = {method: metrics[method]["accuracy"] for method in METHODS if method in metrics}
    learning = sum(seconds[name] for name in LEARNING)
    return {"seconds": {**seconds, "all": sum(seconds.values()), "learning": learning}, "accuracy": accuracy}


def extended(measured: dict[int, float], n: int) -> float:
    """The value at n on the line through two measured points."""
    (a, at_a), (b, at_b) = sorted(measured.items())
    return at_b + (at_b - at_a) / (b - a) * (n - b)


if __name__ == "__main__":
    print(rows(quick="--quick" in sys.argv))
