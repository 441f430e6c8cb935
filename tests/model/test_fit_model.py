"""The whole model on planted preferences: base freezes, heads personalise, nobody disturbs anybody."""

import numpy as np
import pytest
import torch

from hydra_ml.model.base import DualBase
from hydra_ml.model.factored import fit_heads_at, score
from hydra_ml.model.fit_base import TrainRows, base_features, features
from hydra_ml.model.fit_model import FOLDS, clustered_mean, fit_model
from hydra_ml.model.heads import no_heads
from hydra_ml.model.pairs import DualPairs
from hydra_ml.params import Train

DIM, WIDTH = 12, 6
SETTINGS = Train(base_fit="shared", width=WIDTH, epochs=6, batch_size=32, learning_rate=5e-3, ridge=[0.1, 1.0, 10.0])


class NoBar:
    def update(self, n):
        return None


def encode(texts):
    """Every word a fixed direction: deterministic, and like words near one another."""
    out = np.zeros((len(texts), DIM), dtype=np.float32)
    for row, text in enumerate(texts):
        for word in text.split():
            out[row] += np.random.default_rng(sum(map(ord, word)) * 7919 + len(word)).normal(size=DIM)
    return (out / np.maximum(np.linalg.norm(out, axis=1, keepdims=True), 1e-9)).astype(np.float32)


def planted(n_users=12, n=40, seed=0):
    """Users of even number like the answer "red", odd ones "blue", whatever the query: only a head can know."""
    rng = np.random.default_rng(seed)
    a, b, targets, users = [], [], [], []
    for user in range(n_users):
        for _ in range(n):
            text = f"query {rng.choice(['one', 'two', 'three', 'four'])}"
            likes_red = (user % 4 < 2) if rng.random() < 0.95 else rng.random() < 0.5
            for colour in ("red", "blue"):
                a.append(text)
                b.append(colour)
                users.append(f"u{user:02d}")
                targets.append(float((colour == "red") == likes_red))
    evidence = rng.normal(size=(len(a), 2)).astype(np.float32)
    return rows_of(DualPairs(a, b, encode), evidence, np.array(targets, dtype=np.float32), np.array(users))


def rows_of(pairs, evidence, targets, users):
    """Two candidates a query."""
    queries = np.arange(len(targets)) // 2
    return TrainRows(
        pairs, evidence, targets, targets, users, queries, queries % FOLDS, np.zeros(len(targets), dtype=bool)
    )


def right(scores, rows):
    """The share of queries whose chosen candidate is the one to choose."""
    return (scores.reshape(-1, 2).argmax(axis=1) == rows.targets.reshape(-1, 2).argmax(axis=1)).mean()


def new_base():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return DualBase(DIM, WIDTH, 0.1)


def train(rows, known=None, settings=SETTINGS):
    known = np.ones(len(rows.targets), dtype=bool) if known is None else known
    return fit_model(new_base, rows, settings, known=known, seed=0, bar=NoBar())


def all_heads(model, rows):
    picked = np.arange(len(rows.targets))
    return fit_heads_at(model.shared, rows, picked, features(model.shared.base, rows, picked), 1.0)


@pytest.fixture(scope="module")
def fitted():
    rows = planted()
    return rows, train(rows)


def test_personal_heads_find_the_planted_taste_and_the_shared_head_cannot(fitted):
    rows, model = fitted
    personal = score(model.shared, model.heads, rows.pairs, rows.evidence, rows.user_ids)
    shared = score(model.shared, no_heads("residual", WIDTH + 2), rows.pairs, rows.evidence, rows.user_ids)
    assert right(personal, rows) > 0.9
    assert right(shared, rows) < 0.65
    assert model.choice.pays
    assert model.choice.n_judged == 12 * 40  # every query, by models that had not seen it


@pytest.mark.parametrize("base_fit", ["shared", "joint"])
def test_new_users_are_served_by_a_base_that_never_saw_them(base_fit):
    rows = planted(seed=1)
    known = np.char.find(rows.user_ids.astype(str), "u0") == 0  # u10 and u11 are new

    model = train(rows, known, SETTINGS.model_copy(update={"base_fit": base_fit}))
    other = rows_of(rows.pairs, rows.evidence, np.where(known, rows.targets, 1 - rows.targets), rows.user_ids)
    again = train(other, known, SETTINGS.model_copy(update={"base_fit": base_fit}))
    for name, tensor in model.shared.base.state_dict().items():
        assert torch.equal(tensor, again.shared.base.state_dict()[name])
    personal = score(model.shared, model.heads, rows.pairs, rows.evidence, rows.user_ids)
    new = ~known.reshape(-1, 2)[:, 0]
    assert (personal.reshape(-1, 2)[new].argmax(axis=1) == rows.targets.reshape(-1, 2)[new].argmax(axis=1)).mean() > 0.9


def test_same_seed_same_bits(fitted):
    rows, model = fitted
    again = train(rows)
    assert again.heads.table.tobytes() == model.heads.table.tobytes()
    assert again.shared.theta_0.tobytes() == model.shared.theta_0.tobytes()


def test_batch_scores_equal_row_by_row_scores_and_dropout_is_off(fitted):
    rows, model = fitted
    model.shared.base.train()  # a caller's mistake must not turn dropout on
    first = score(model.shared, model.heads, rows.pairs, rows.evidence, rows.user_ids)
    second = score(model.shared, model.heads, rows.pairs, rows.evidence, rows.user_ids)
    assert first.tobytes() == second.tobytes()
    z = base_features(model.shared.base, rows.pairs)
    for row in range(0, len(first), 97):
        alone = base_features(model.shared.base, rows.pairs, np.array([row]))
        np.testing.assert_allclose(alone[0], z[row], atol=1e-5)


def test_fitting_heads_leaves_every_shared_byte(fitted):
    rows, model = fitted
    before = {name: tensor.clone() for name, tensor in model.shared.base.state_dict().items()}
    all_heads(model, rows)
    for name, tensor in model.shared.base.state_dict().items():
        assert torch.equal(tensor, before[name])


def test_one_users_labels_move_no_other_users_score(fitted):
    rows, model = fitted
    mine = rows.user_ids == "u03"
    flipped = rows_of(rows.pairs, rows.evidence, np.where(mine, 1 - rows.targets, rows.targets), rows.user_ids)
    before = all_heads(model, rows)
    after = all_heads(model, flipped)
    scores = [score(model.shared, heads, rows.pairs, rows.evidence, rows.user_ids) for heads in (before, after)]
    assert np.abs(scores[0] - scores[1])[~mine].max() < 1e-6
    assert np.abs(scores[0] - scores[1])[mine].max() > 0.5


def test_without_a_known_row_there_is_nothing_to_learn_from():
    rows = planted()
    with pytest.raises(ValueError, match="no known user's query has one answer better"):
        train(rows, np.zeros(len(rows.targets), dtype=bool))


def test_epoch_and_ridge_are_chosen_on_queries_of_users_the_base_has_not_seen(fitted):
    _, model = fitted
    curve = model.shared.curve
    assert model.epochs == int(np.argmin([point["held_back_loss"] for point in curve]))
    assert model.choice.ridge == min(model.choice.losses, key=model.choice.losses.get)
    assert [point["epoch"] for point in curve] == list(range(SETTINGS.epochs + 1))


def likings(rows, weight, seed=0):
    """Targets drawn by the first piece of evidence alone, the same for all users."""
    noise = np.random.default_rng(seed).gumbel(size=len(rows.targets))
    best = (weight * rows.evidence[:, 0] + noise).reshape(-1, 2).argmax(axis=1)
    return np.eye(2, dtype=np.float32)[best].reshape(-1)  # [Q, 2] -> [N]


def test_the_evidence_decides_where_the_base_has_nothing_to_add():
    """Choices that only the evidence explains: training starts from there and must not lose it."""
    rows = planted(seed=2)
    model = train(rows_of(rows.pairs, rows.evidence, likings(rows, 3.0), rows.user_ids))
    curve = [point["held_back_loss"] for point in model.shared.curve]
    assert curve[model.epochs] <= curve[0]  # epoch 0, the evidence alone, is one of the choices
    assert model.shared.theta_0[WIDTH] == pytest.approx(3, abs=0.8)
    personal = score(model.shared, model.heads, rows.pairs, rows.evidence, rows.user_ids)
    assert np.corrcoef(personal, rows.evidence[:, 0])[0, 1] > 0.95


def test_nobody_gets_a_head_where_heads_gain_nothing_unless_told_to():
    rows = planted(seed=2)
    alike = rows_of(rows.pairs, rows.evidence, likings(rows, 1.0), rows.user_ids)
    model = train(alike)
    assert not model.choice.pays
    assert model.heads.user_ids == ()
    always = train(alike, settings=SETTINGS.model_copy(update={"personal": "always"}))
    assert len(always.heads.user_ids) == 12
    never = train(rows, settings=SETTINGS.model_copy(update={"personal": "never"}))
    assert never.heads.user_ids == ()


def test_a_lone_user_cannot_be_judged_by_others_and_gets_no_head():
    rows = planted(n_users=1)
    model = train(rows)
    assert (model.choice.pays, model.choice.n_judged, model.epochs) == (False, 0, SETTINGS.epochs)


def test_a_mean_over_queries_has_the_error_of_its_users():
    mean, error = clustered_mean(np.array([1.0, 1.0, 3.0, 3.0]), np.array(["a", "a", "b", "b"]))
    assert mean == 2.0
    assert error == pytest.approx(1.0)  # of two users' means, 1 and 3: sqrt(2) / sqrt(2)
    assert clustered_mean(np.array([1.0, 2.0]), np.array(["a", "a"]))[1] == np.inf
