"""Do heads find the taste that the sample plants? Real texts, real encoder; the truth is never trained on."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from hydra_ml.io.encoders import load_text_encoder
from hydra_ml.model.base import DualBase
from hydra_ml.model.factored import score
from hydra_ml.model.fit_base import TrainRows, base_features
from hydra_ml.model.fit_model import FOLDS, fit_model
from hydra_ml.model.heads import no_heads
from hydra_ml.model.pairs import DualPairs
from hydra_ml.params import Encoder, Train
from hydra_ml.sample import generate
from hydra_ml.tasks import get_task

TASK = get_task("LaMP_2")
N_USERS, WIDTH = 20, 64


class NoBar:
    def update(self, n):
        return None


def asked(question):
    """Rows query_id, user_id, text, label, is_answer of the question's history: every label a candidate."""
    for item in question["profile"]:
        for label in TASK.labels:
            yield item["id"], question["user_id"], item["description"], label, float(label == item["tag"])


@pytest.fixture(scope="module")
def world():
    sample = generate("LaMP_2", seed=11, n_users=N_USERS)
    encoder = load_text_encoder(Encoder(max_tokens=96))
    last = {question["user_id"]: question for question in sample.questions["test"]}  # the longest history of each user
    table = pd.DataFrame([row for question in last.values() for row in asked(question)])
    table.columns = ["query_id", "user_id", "text", "label", "is_answer"]
    place = table.groupby("user_id")["query_id"].transform(lambda ids: pd.factorize(ids)[0])
    targets = table["is_answer"].to_numpy(dtype=np.float32)
    rows = TrainRows(
        DualPairs(table["text"], table["label"], encoder.encode),
        np.zeros((len(table), 1), dtype=np.float32),
        targets,
        targets,
        table["user_id"].to_numpy(dtype=str),
        pd.factorize(table["query_id"])[0],
        place.to_numpy() % FOLDS,
        np.zeros(len(table), dtype=bool),
    )
    settings = Train(width=WIDTH, ridge=[3.0, 10.0, 30.0])
    everybody = np.ones(len(table), dtype=bool)
    new_base = lambda: DualBase(encoder.dim, WIDTH, 0.1)  # noqa: E731
    model = fit_model(new_base, rows, settings, known=everybody, seed=0, bar=NoBar())
    return sample, encoder, model


def test_a_head_ranks_the_labels_its_user_favours_first(world):
    sample, encoder, model = world
    texts = [TASK.query_text(question["input"]) for question in sample.questions["test"][::5]]
    pairs = DualPairs(np.repeat(texts, len(TASK.labels)), TASK.labels * len(texts), encoder.encode)
    z = base_features(model.shared.base, pairs).reshape(len(texts), len(TASK.labels), WIDTH)  # [T, labels, H]
    aucs = []
    for user_id, delta in zip(model.heads.user_ids, model.heads.table, strict=True):
        liking = (z @ delta[:WIDTH]).mean(axis=0)  # what the head adds to each label, whatever the text
        favourites = set(sample.truth[user_id]["taste"]["favourites"])
        is_favourite = np.array([label in favourites for label in TASK.labels])
        wins = liking[is_favourite][:, None] > liking[~is_favourite][None, :]
        aucs.append(wins.mean())
    assert np.mean(aucs) > 0.75  # .5 would be chance
    assert np.mean(np.array(aucs) > 0.5) > 0.9


def test_personal_heads_answer_unseen_questions_better_than_the_shared_head(world):
    sample, encoder, model = world
    questions = sample.questions["test"]
    texts = [TASK.query_text(question["input"]) for question in questions]
    pairs = DualPairs(np.repeat(texts, len(TASK.labels)), TASK.labels * len(texts), encoder.encode)
    users = np.repeat([question["user_id"] for question in questions], len(TASK.labels))
    nothing = np.zeros((len(users), 1), dtype=np.float32)
    golds = np.array([sample.golds["test"][question["id"]] for question in questions])

    def hits(heads):
        scores = score(model.shared, heads, pairs, nothing, users).reshape(len(questions), -1)  # [Q, labels]
        return np.array(TASK.labels)[scores.argmax(axis=1)] == golds

    personal, shared = hits(model.heads), hits(no_heads("residual", WIDTH + 1))
    assert personal.mean() > shared.mean() + 0.1
    assert personal.mean() > 0.45  # 15 labels
