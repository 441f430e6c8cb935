"""history_masked: its contrastive loss, and what masking does, by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from hydra_ml.evaluation.rival_network import tensors_of
from hydra_ml.evaluation.rivals.history_masked import TEMPERATURE, MaskedExperts, contrast
from tests.evaluation.rivals.planted import DIM, planted


def test_the_contrastive_loss_by_hand() -> None:
    a = torch.tensor([[2.0, 0.0], [0.0, 3.0]])
    right, wrong = np.exp(1 / TEMPERATURE), np.exp(0.0)
    assert contrast(a, a).item() == pytest.approx(-np.log(right / (right + wrong)), abs=1e-6)
    assert contrast(a, a.flip(0)).item() == pytest.approx(-np.log(wrong / (right + wrong)), abs=1e-6)


def test_a_gate_whose_whole_history_is_masked_is_that_of_a_user_without() -> None:
    tensors = tensors_of(planted(2, 1).pool, newest=4)
    network = MaskedExperts(DIM, np.zeros(4)).eval()
    network.start.data.copy_(torch.tensor([1.0, 2.0, 3.0, 4.0]))
    logits, history = network.gates(tensors, torch.tensor([0]), torch.zeros(1, 4, dtype=torch.bool))
    assert logits.tolist() == [[1.0, 2.0, 3.0, 4.0]]
    assert history.abs().sum() == 0


def test_a_gate_is_the_weighted_sum_of_what_each_record_says() -> None:
    tensors = tensors_of(planted(2, 1).pool, newest=2)
    network = MaskedExperts(DIM, np.zeros(4)).eval()
    texts, answers = tensors.texts[tensors.seen[0]], tensors.answers[tensors.seen[0]]  # [2, D] each
    read = torch.tanh(network.records(DIM**0.5 * torch.cat([texts, answers], dim=1)))
    weights = torch.softmax(5.0 * texts @ tensors.asked[0, :DIM] + network.activation(read)[:, 0], dim=0)
    logits, history = network.gates(tensors, torch.tensor([0]), tensors.is_seen[[0]])
    assert torch.allclose(logits[0], weights @ network.say(read), atol=1e-5)
    assert torch.allclose(history[0], weights @ read, atol=1e-5)
