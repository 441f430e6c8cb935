"""dual and cross, both end to end: read pairs, train on a planted taste, save, load, score the same."""

import numpy as np
import pandas as pd
import pytest

from hydra_ml import params
from hydra_ml.answering.fit_component import ComponentRows
from hydra_ml.model.factored import score
from hydra_ml.serving.component import Component
from hydra_ml.serving.fit import save_component, train_and_report
from hydra_ml.serving.pair_reader import PairReader

SMALL = {"width": 8, "epochs": 3, "batch_size": 16, "ridge": [0.1, 1.0], "personal": "always"}


def planted_rows(n=12):
    """ann likes storms, bob likes politics; the query says nothing."""
    words = ["storm over the coast", "election and parliament"]
    rows, queries = [], []
    for user in ("ann", "bob"):
        for i in range(n):
            query_id = f"{user}{i}"
            queries.append((query_id, user, "train", "known", f"2020-01-{i + 1:02d}"))
            for word in (0, 1):
                rows.append((query_id, "what next?", words[word], float((word == 0) == (user == "ann"))))
    table = pd.DataFrame(rows, columns=["query_id", "a", "b", "label"])
    facts = pd.DataFrame(queries, columns=["query_id", "user_id", "role", "cohort", "date"])
    evidence = np.zeros((len(table), 2), dtype=np.float32)
    labels = table["label"].to_numpy(dtype=np.float32)
    return ComponentRows(table, evidence, labels, labels), facts


@pytest.mark.parametrize(
    ("encoder", "head"), [("dual", "residual"), ("dual", "mlp"), ("cross", "residual"), ("cross", "mlp")]
)
def test_every_kind_trains_saves_loads_and_tells_the_users_apart(tmp_path, encoder, head):
    rows, facts = planted_rows()
    train = params.Train(encoder=encoder, head=head, learning_rate=2e-3 if encoder == "dual" else 1e-4, **SMALL)
    reader = PairReader(train, params.Encoder(max_tokens=16), tmp_path / "cache", seed=0)
    fitted = train_and_report(rows, facts, train, reader, 0, "test")
    save_component(fitted, tmp_path / "out", reader, task="LaMP_2", component="adapter", n_rows=len(rows))

    again = PairReader(train, params.Encoder(max_tokens=16), tmp_path / "cache", seed=0)
    component = Component(tmp_path / "out/base", tmp_path / "out/heads", again)
    users = rows.table["query_id"].str[:3].to_numpy(dtype=str)
    personal, shared = component.score(rows.table["a"].tolist(), rows.table["b"].tolist(), rows.evidence, users)
    pairs = reader.pairs(rows.table["a"].tolist(), rows.table["b"].tolist())
    in_memory = score(fitted.shared, fitted.heads, pairs, rows.evidence, users)
    assert personal.tobytes() == in_memory.tobytes()
    golds = rows.targets.reshape(-1, 2).argmax(axis=1)
    assert np.mean(personal.reshape(-1, 2).argmax(axis=1) == golds) > 0.95
    assert np.mean(shared.reshape(-1, 2).argmax(axis=1) == golds) == pytest.approx(0.5, abs=0.1)


def test_evaluated_queries_cannot_be_trained_on(tmp_path):
    rows, facts = planted_rows()
    facts.loc[3, "role"] = "evaluate"
    train = params.Train(**SMALL)
    reader = PairReader(train, params.Encoder(max_tokens=16), tmp_path, seed=0)
    with pytest.raises(Exception, match="evaluated queries never enter a fit"):
        train_and_report(rows, facts, train, reader, 0, "test")
