"""persona_plug: its attention and the user's vector by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from hydra_ml.evaluation.rival_network import masked_softmax, tensors_of
from hydra_ml.evaluation.rivals.persona_plug import PersonaPlug
from tests.evaluation.rivals.planted import DIM, planted


def test_attention_is_a_softmax_over_the_records_there_are() -> None:
    logits = torch.tensor([[3.0, 1.0, 9.0], [1.0, 2.0, 3.0]]).log()
    found = masked_softmax(logits, torch.tensor([[True, True, False], [False, False, False]]))
    assert torch.allclose(found, torch.tensor([[0.75, 0.25, 0.0], [0.0, 0.0, 0.0]]))


def test_the_users_vector_is_the_weighted_sum_of_projected_records() -> None:
    tensors = tensors_of(planted(2, 1).pool, newest=2)
    torch.manual_seed(0)
    network = PersonaPlug(DIM, np.zeros(4)).eval()
    texts, answers = tensors.texts[tensors.seen[0]], tensors.answers[tensors.seen[0]]  # [2, D] each
    keys = torch.nn.functional.normalize(texts + answers, dim=1)
    weights = torch.softmax(network.sharpness * keys @ tensors.asked[0, :DIM], dim=0)
    records = DIM**0.5 * torch.cat([texts, answers], dim=1)
    each = network.project(records) + network.likes(records[:, DIM:])
    found = network.vectors(tensors, torch.tensor([0]))[0]
    assert torch.allclose(found, weights @ each, atol=1e-5)


def test_without_learning_it_scores_by_the_evidence_and_a_user_without_history_is_served() -> None:
    given = planted(2, 2).pool
    empty = type(given)(**{**vars(given), "history": tuple(np.zeros(0, dtype=np.int64) for _ in given.history)})
    network = PersonaPlug(DIM, np.array([1.0, 0.0, 0.0, 0.0])).eval()
    shared, _ = network.shared(tensors_of(empty, newest=8), torch.arange(len(given.query)))
    assert shared.detach().numpy() == pytest.approx(given.evidence[:, 0], abs=1e-6)
    assert network.vectors(tensors_of(empty, newest=8), torch.tensor([0])).abs().sum() == 0
