"""The whole model on planted preferences: base freezes, heads personalise, nobody disturbs anybody."""

import numpy as np
import pytest
import torch

from hydra_ml.model.base import DualBase
from hydra_ml.model.factored import fit_heads_on, fit_model, score, weakest_good
from hydra_ml.model.fit_base import TrainRows, base_features
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


def planted(n_users=12, n=60, seed=0):
    """Users of even number like answer "red", odd ones "blue", whatever the query: only a head can know."""
    rng = np.random.default_rng(seed)
    a, b, labels, users = [], [], [], []
    for user in range(n_users):
        for _ in range(n):
            colour = rng.choice(["red", "blue"])
            a.append(f"query {rng.choice(['one', 'two', 'three', 'four'])}")
            b.append(colour)
            users.append(f"u{user:02d}")
            labels.append(
                float((colour == "red") == (user % 2 == 0)) if rng.random() < 0.95 else float(rng.random() < 0.5)
            )
    held_back = np.tile(np.arange(n) >= int(0.8 * n), n_users)
    evidence = rng.normal(size=(len(a), 2)).astype(np.float32)
    query_ids = np.array([f"q{i // 2}" for i in range(len(a))])  # two candidates a query
    return TrainRows(
        DualPairs(a, b, encode), evidence, np.array(labels, dtype=np.float32), np.array(users), query_ids, held_back
    )


def new_base():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return DualBase(DIM, WIDTH, 0.1)


def train(rows, known=None, settings=SETTINGS):
    known = np.ones(len(rows.labels), dtype=bool) if known is None else known
    return fit_model(new_base, rows, settings, known=known, seed=0, bar=NoBar())


@pytest.fixture(scope="module")
def fitted():
    rows = planted()
    return rows, train(rows)


def test_personal_heads_find_the_planted_taste_and_the_shared_head_cannot(fitted):
    rows, model = fitted
    personal = score(model.shared, model.heads, rows.pairs, rows.evidence, rows.user_ids)
    shared = score(model.shared, no_heads("residual", WIDTH), rows.pairs, rows.evidence, rows.user_ids)
    assert np.mean((personal > 0) == (rows.labels > 0.5)) > 0.9
    assert np.mean((shared > 0) == (rows.labels > 0.5)) < 0.65


@pytest.mark.parametrize("base_fit", ["shared", "joint"])
def test_new_users_are_served_by_a_base_that_never_saw_them(base_fit):
    rows = planted(seed=1)
    known = np.char.find(rows.user_ids.astype(str), "u0") == 0  # u10 and u11 are new

    model = train(rows, known, SETTINGS.model_copy(update={"base_fit": base_fit}))
    other = TrainRows(
        rows.pairs,
        rows.evidence,
        np.where(known, rows.labels, 1 - rows.labels),
        rows.user_ids,
        rows.query_ids,
        rows.held_back,
    )
    again = train(other, known, SETTINGS.model_copy(update={"base_fit": base_fit}))
    for name, tensor in model.shared.base.state_dict().items():
        assert torch.equal(tensor, again.shared.base.state_dict()[name])
    personal = score(model.shared, model.heads, rows.pairs, rows.evidence, rows.user_ids)
    assert np.mean((personal > 0)[~known] == (rows.labels > 0.5)[~known]) > 0.9


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
    fit_heads_on(model.shared, rows, np.ones(len(rows.labels), dtype=bool), 1.0)
    for name, tensor in model.shared.base.state_dict().items():
        assert torch.equal(tensor, before[name])


def test_one_users_labels_move_no_other_users_score(fitted):
    rows, model = fitted
    mine = rows.user_ids == "u03"
    flipped = TrainRows(
        rows.pairs,
        rows.evidence,
        np.where(mine, 1 - rows.labels, rows.labels),
        rows.user_ids,
        rows.query_ids,
        rows.held_back,
    )
    everyone = np.ones(len(mine), dtype=bool)
    before = fit_heads_on(model.shared, rows, everyone, 1.0)
    after = fit_heads_on(model.shared, flipped, everyone, 1.0)
    scores = [score(model.shared, heads, rows.pairs, rows.evidence, rows.user_ids) for heads in (before, after)]
    assert np.abs(scores[0] - scores[1])[~mine].max() < 1e-6
    assert np.abs(scores[0] - scores[1])[mine].max() > 0.5


def test_rows_of_one_label_are_refused():
    rows = planted()
    one = TrainRows(rows.pairs, rows.evidence, np.ones_like(rows.labels), rows.user_ids, rows.query_ids, rows.held_back)
    with pytest.raises(ValueError, match="same label"):
        train(one)


def test_epoch_and_ridge_are_chosen_on_held_back_rows(fitted):
    _, model = fitted
    curve = model.shared.curve
    assert model.epochs == int(np.argmin([point["held_back_loss"] for point in curve]))
    bound = 1.01 * min(model.ridge_losses.values())
    assert model.ridge == min(ridge for ridge, loss in model.ridge_losses.items() if loss <= bound)
    assert [point["epoch"] for point in curve] == list(range(SETTINGS.epochs + 1))


def test_the_evidence_decides_where_the_base_has_nothing_to_add():
    """Labels that only the evidence explains: training starts from there and must not lose it."""
    rows = planted(seed=2)
    rng = np.random.default_rng(0)
    labels = (rng.random(len(rows.labels)) < 1 / (1 + np.exp(-3 * rows.evidence[:, 0]))).astype(np.float32)
    model = train(TrainRows(rows.pairs, rows.evidence, labels, rows.user_ids, rows.query_ids, rows.held_back))
    curve = [point["held_back_loss"] for point in model.shared.curve]
    assert curve[model.epochs] <= curve[0]  # epoch 0, the evidence alone, is one of the choices
    assert model.shared.evidence_weights[0] == pytest.approx(3, abs=0.6)
    personal = score(model.shared, model.heads, rows.pairs, rows.evidence, rows.user_ids)
    assert np.corrcoef(personal, rows.evidence[:, 0])[0, 1] > 0.95


def test_the_weakest_ridge_at_no_measurable_cost_is_taken():
    flat = {1.0: 0.80, 30.0: 0.604, 300.0: 0.601, 10_000.0: 0.600}
    assert weakest_good(flat) == 30.0
    assert weakest_good({1.0: 1.5, 300.0: 0.60, 10_000.0: 0.55}) == 10_000.0  # heads cost something: next to none
    assert weakest_good({3.0: 0.5, 30.0: 0.9}) == 3.0
