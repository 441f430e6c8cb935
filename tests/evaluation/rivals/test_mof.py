"""mof: routing weights, autoencoder and losses by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from hydra_ml.evaluation.rival_network import tensors_of
from hydra_ml.evaluation.rivals.mof import SPARSITY, MixtureOfFacets, SparseAutoencoder, bce_loss, routed
from tests.evaluation.rivals.planted import DIM, planted


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
