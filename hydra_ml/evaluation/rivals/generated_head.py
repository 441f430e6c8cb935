"""generated_head (SG-LoRA): a head is generated from a description, here of the user's history; nothing is fitted.

The paper has adapters of known tasks, finds those whose descriptions are nearest to a new one's, and a generator
conditioned on them makes its parameters. Here the adapters are known users' exact heads on what a candidate says, the
description is the history's mean vector, and the generator is a small network trained by the choices themselves
(the paper's is a variational autoencoder trained on many adapters, of which there are too few here).
"""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from hydra_ml.evaluation.rival import Choose, rival
from hydra_ml.evaluation.rival_heads import cross_fitted, head_inputs, own_heads
from hydra_ml.evaluation.rival_pool import Lesson, Pool
from hydra_ml.evaluation.rival_training import QUERIES_PER_BATCH, train
from hydra_ml.evaluation.rivals.user_clusters import history_vectors, user_vectors

STEPS = (100, 400)  # of training
STRENGTHS = (0.25, 0.5, 1.0)  # of the generated head
EXPERT_RIDGE = 10.0
NEAREST, TEMPERATURE = 5, 0.1  # known users whose heads guide, and how fast their weight falls with likeness
SEEN, WIDTH = 16, 32  # directions of a history that the network sees, and its hidden layer


class Generator(nn.Module):
    """A head [Q, F] from a history's view [Q, S] and its neighbours' head [Q, F]; at first half of the latter."""

    def __init__(self, seen: int, width: int) -> None:
        super().__init__()
        last = nn.Linear(WIDTH, width)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.network = nn.Sequential(nn.Linear(seen, WIDTH), nn.Tanh(), nn.Dropout(0.2), last)
        self.share = nn.Parameter(torch.full((width,), 0.5))

    def forward(self, view: torch.Tensor, guide: torch.Tensor) -> torch.Tensor:
        """The heads [Q, F]."""
        heads: torch.Tensor = self.network(view) + self.share * guide
        return heads


class Generated:
    """Known users' histories and heads, and the generator that learned from them."""

    def __init__(self, x: np.ndarray, taught: Lesson, steps: int, seed: int) -> None:
        self.described = user_vectors(taught)  # [U, 2 D]
        self.experts = own_heads(x, taught, ridge=EXPERT_RIDGE).table  # [U, F]
        self.middle = self.described.mean(axis=0)
        _, spread, directions = np.linalg.svd(self.described - self.middle, full_matrices=False)
        self.view = directions[:SEEN].T * (len(self.described) ** 0.5 / max(float(spread[0]), 1e-9))  # [2 D, S]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.generator = Generator(self.view.shape[1], x.shape[1])
        own = np.unique(taught.user_ids, return_inverse=True)[1]  # [Q]
        view, guide = self._read(history_vectors(taught), own)
        rows_x, offset, query = torch.from_numpy(x), torch.from_numpy(taught.shared), torch.from_numpy(taught.query)

        def score(rows: np.ndarray) -> torch.Tensor:
            of = query[rows]
            said: torch.Tensor = (self.generator(view[of], guide[of]) * rows_x[rows]).sum(dim=1)  # [Q] -> [B]
            return offset[rows] + said

        train(
            self.generator,
            score,
            taught.targets,
            taught.query,
            epochs=max(1, round(steps / -(-len(own) // QUERIES_PER_BATCH))),
            seed=seed,
        )

    def heads(self, pool: Pool) -> np.ndarray:
        """Each query's head, float32 [Q, F]: zeros without a history."""
        with torch.inference_mode():
            heads: np.ndarray = self.generator(*self._read(history_vectors(pool), None)).numpy().copy()
        heads[[not len(seen) for seen in pool.history]] = 0.0
        return heads

    def _read(self, described: np.ndarray, own: np.ndarray | None) -> tuple[torch.Tensor, torch.Tensor]:
        weights = guidance(described, self.described, own)
        view = ((described - self.middle) @ self.view).astype(np.float32)
        return torch.from_numpy(view), torch.from_numpy((weights @ self.experts).astype(np.float32))


def fit(lesson: Lesson, seed: int) -> Choose:
    """The generator, from known users."""
    inputs = head_inputs(lesson)

    def learn(taught: Lesson, steps: int) -> Generated:
        return Generated(inputs(taught), taught, steps, seed)

    def finish(generated: Generated, own: Lesson, strength: float) -> Choose:
        """Its heads, so much of them."""

        def choose(pool: Pool) -> np.ndarray:
            said = (generated.heads(pool)[pool.query] * inputs(pool)).sum(axis=1)  # [Q, F] -> [N, F]
            scores: np.ndarray = (pool.shared + strength * said).astype(np.float32)
            return scores

        return choose

    steps, strength = cross_fitted(lesson, STEPS, STRENGTHS, learn, finish)
    return finish(learn(lesson.take(lesson.is_known), steps), lesson, strength)


def guidance(described: np.ndarray, known: np.ndarray, own: np.ndarray | None) -> np.ndarray:
    """How much each known user [U, D] guides each history [Q, D], [Q, U]: softmax of the likeness of the nearest ones,
    0 for the others. own int64 [Q]: the known user whose history it is, who does not guide it; None: nobody's."""
    length = np.linalg.norm(known, axis=1) * np.linalg.norm(described, axis=1)[:, None]
    likeness = described @ known.T / np.maximum(length, 1e-9)  # [Q, U]
    if own is not None:
        likeness[np.arange(len(own)), own] = -np.inf
    least = np.sort(likeness, axis=1)[:, -min(NEAREST, likeness.shape[1])][:, None]
    raised = np.where(likeness >= least, np.exp((likeness - 1) / TEMPERATURE), 0.0)
    found: np.ndarray = raised / np.maximum(raised.sum(axis=1, keepdims=True), 1e-30)  # nobody else: no guide
    return found


METHOD = rival("generated_head", fit, "a head generated from the history's vector, nothing fitted", paper="SG-LoRA")
