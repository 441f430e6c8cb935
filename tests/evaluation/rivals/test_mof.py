"""mof finds a taste by its router; routing weights, autoencoder and losses are checked by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from hydra_ml.evaluation import rival_network
from hydra_ml.evaluation.rival_network import tensors_of
from hydra_ml.evaluation.rivals.mof import METHOD, SPARSITY, MixtureOfFacets, SparseAutoencoder, bce_loss, fit, routed
from tests.evaluation.rivals.planted import CANDIDATES, DIM, planted


def test_it_finds_the_planted_taste_and_loses_it_under_a_strangers_history() -> None:
    given = planted(36, 8)
    choose = fit(given.lesson, 0)
    own, strange = given.share_right(choose), given.share_right(choose, swapped=True)
    assert own > 2 / CANDIDATES
    assert own > strange + 0.1


def test_same_seed_same_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rival_network, "STEPS", 24)
    given = planted(6, 6)
    assert (fit(given.lesson, 0)(given.pool) == fit(given.lesson, 0)(given.pool)).all()


def test_it_finds_nothing_where_there_is_nothing() -> None:
    given = planted(strength=0.0)
    assert abs(given.share_right(fit(given.lesson, 0)) - 1 / CANDIDATES) < 0.12


def test_three_facets_share_the_weight_by_softmax() -> None:
    logits = torch.tensor([[1.0, 2.0, 0.1, 0.1, 5.0, 0.1, 0.1]]).log()
    assert torch.allclose(routed(logits), torch.tensor([[1.0, 2.0, 0.0, 0.0, 5.0, 0.0, 0.0]]) / 8)


def test_the_autoencoders_loss_by_hand() -> None:
    sae = SparseAutoencoder(2)
    with torch.no_grad():
        sae.encode.weight.copy_(torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, 0.0]]))
        sae.encode.bias.zero_()
        sae.decode.weight.copy_(torch.tensor([[0.5, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0]]))
        sae.decode.bias.zero_()
    code, loss = sae(torch.tensor([[2.0, 3.0]]))
    assert code.tolist() == [[2.0, 3.0, 0.0, 0.0]]
    assert loss.item() == pytest.approx(1.0 + SPARSITY * 5)  # (1 - 2)^2 + (3 - 3)^2, and the code's size


def test_binary_cross_entropy_by_hand() -> None:
    scores, targets = torch.tensor([1.0, 3.0, 1.0]).log(), torch.tensor([1.0, 0.0, 1.0])
    found = bce_loss(scores, targets, torch.tensor([0, 0, 1]))
    assert found.item() == pytest.approx((np.log(2) + np.log(4) + np.log(2)) / 2, abs=1e-6)


def test_a_users_vector_leaves_the_question_out_and_is_zero_without_history() -> None:
    pool = planted(2, 2).pool
    network = MixtureOfFacets(DIM, np.zeros(4)).eval()
    both = network.users(tensors_of(pool, newest=128), torch.tensor([0, 1]))
    assert torch.allclose(both[0], both[1], atol=1e-6)  # two questions of one user
    empty = type(pool)(**{**vars(pool), "history": tuple(np.zeros(0, dtype=np.int64) for _ in pool.history)})
    assert network.users(tensors_of(empty, newest=128), torch.tensor([0])).abs().sum() == 0


def test_it_says_where_it_comes_from() -> None:
    assert METHOD.paper == "arXiv 2610.08330"
