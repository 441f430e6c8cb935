"""Samples side by side: values of each, their mean, and which gains come back."""

from __future__ import annotations

from hydra_ml.evaluation.samples_table import samples_table


def sample(ours: float, low: float, high: float, *, more: bool = False) -> tuple[dict, dict]:
    pair = {"accuracy": {"difference": ours - 0.5, "ci_low": low, "ci_high": high}}
    metrics = {name: {"accuracy": {"value": value}} for name, value in (("rag_k4", 0.5), ("hydra", ours))}
    details = {"task": "LaMP-2", "measures": ["accuracy"], "n_queries": 40, "n_users": 9}
    if more:
        metrics["recency"] = {"accuracy": {"value": 0.1}}
    return {**metrics, "seed": 1}, {**details, "paired": {"hydra": {"rag_k4": pair}}}


def test_values_stand_beside_their_mean_and_gains_are_marked() -> None:
    text = samples_table({1: sample(0.6, 0.02, 0.2, more=True), 2: sample(0.5, -0.1, 0.1), 3: sample(0.4, -0.2, -0.01)})
    lines = [" ".join(line.split()) for line in text.splitlines()]
    assert lines[0] == "LaMP-2: 3 samples of users (40 of 9 users, 40 of 9 users, 40 of 9 users)"
    assert "hydra 0.600 0.500 0.400 0.500" in lines
    assert "rag_k4 +0.100* +0.000 -0.100! +0.000" in lines
    assert "recency" not in text  # ran in one of them alone
