"""How rivals that need gradients learn: AdamW over whole queries, the loss within the query. One way for all of them.

A rival brings a torch module that maps rows to scores, and its loss where the paper's is another one.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import nn

QUERIES_PER_BATCH = 32
Loss = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]  # scores [B], goal [B], query [B] -> []


def choice_loss(scores: torch.Tensor, targets: torch.Tensor, query: torch.Tensor) -> torch.Tensor:
    """Cross-entropy of softmax(scores) within each query, its mean over queries. All [B]; targets add up to 1 in a
    query; queries are numbered from 0 in ascending order."""
    n = int(query[-1]) + 1
    highest = torch.full((n,), -torch.inf).scatter_reduce(0, query, scores.detach(), "amax")
    mass = torch.zeros(n).index_add(0, query, torch.exp(scores - highest[query]))
    return -(targets * (scores - (highest + torch.log(mass))[query])).sum() / n


def standardised(values: np.ndarray, query: np.ndarray) -> np.ndarray:
    """Less the query's mean, by the query's standard deviation, float32 [N]; 0 where all are alike."""
    n = np.bincount(query)
    mean = np.bincount(query, values) / n
    centred = values - mean[query]
    spread = np.sqrt(np.bincount(query, centred**2) / n)[query]
    found: np.ndarray = np.where(spread > 1e-9, centred / np.maximum(spread, 1e-9), 0.0)
    return found.astype(np.float32)


def train(
    network: nn.Module,
    score: Callable[[np.ndarray], torch.Tensor],
    goal: np.ndarray,
    query: np.ndarray,
    *,
    epochs: int,
    seed: int,
    learning_rate: float = 3e-3,
    weight_decay: float = 0.01,
    loss: Loss = choice_loss,
    penalty: Callable[[], torch.Tensor] | None = None,
    after_epoch: Callable[[int], bool] | None = None,
) -> None:
    """Train the network in place. score: positions of rows, a query's together, to their scores [B], by the network;
    goal float32 [N] is what the loss compares them with; query int64 [N], ascending. Same seed, same bits.

    penalty: added to each batch's loss. after_epoch: called with the epochs done, the network in evaluation; training
    goes on while it says so. No rows leave the network as it is."""
    if not len(query):
        return
    rows_of = np.split(np.arange(len(query)), np.flatnonzero(np.diff(query)) + 1)
    n_batches = -(-len(rows_of) // QUERIES_PER_BATCH)
    optimizer = torch.optim.AdamW(network.parameters(), lr=learning_rate, weight_decay=weight_decay)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.05, total_iters=epochs * n_batches)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for epoch in range(1, epochs + 1):
            network.train()
            for batch in np.array_split(torch.randperm(len(rows_of)).numpy(), n_batches):
                rows = np.concatenate([rows_of[i] for i in batch])
                own = torch.from_numpy(np.repeat(np.arange(len(batch)), [len(rows_of[i]) for i in batch]))
                total = loss(score(rows), torch.from_numpy(goal[rows]), own)
                total = total if penalty is None else total + penalty()
                optimizer.zero_grad()
                total.backward()  # type: ignore[no-untyped-call]
                nn.utils.clip_grad_norm_(network.parameters(), 1.0)
                optimizer.step()
                schedule.step()
            network.eval()
            if after_epoch is not None and not after_epoch(epoch):
                break
    network.eval()
