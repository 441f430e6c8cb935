"""history_masked finds a taste by its gate; the contrastive loss and what masking does are checked by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from hydra_ml.evaluation import rival_network
from hydra_ml.evaluation.rival_network import tensors_of
from hydra_ml.evaluation.rivals.history_masked import METHOD, TEMPERATURE, MaskedExperts, contrast, fit
from tests.evaluation.rivals.planted import CANDIDATES, DIM, planted


def test_it_finds_the_planted_taste_and_loses_it_under_a_strangers_history() -> None:
    given = planted(36, 8)
    choose = fit(given.lesson, 0)
    assert given.share_right(choose) > 0.5 > given.share_right(choose, swapped=True) + 0.1


def test_same_seed_same_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rival_network, "STEPS", 24)
    given = planted(6, 6)
    assert (fit(given.lesson, 0)(given.pool) == fit(given.lesson, 0)(given.pool)).all()


def test_it_finds_nothing_where_there_is_nothing() -> None:
    given = planted(strength=0.0)
    assert abs(given.share_right(fit(given.lesson, 0)) - 1 / CANDIDATES) < 0.12


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


def test_it_says_where_it_comes_from() -> None:
    assert METHOD.paper == "arXiv 2306.05011"
