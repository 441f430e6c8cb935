"""What rivals with a personal part share: heads, bases and the choice of their size, by hand."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from hydra_ml.evaluation.rival import Choose
from hydra_ml.evaluation.rival_heads import Factors, cross_fitted, head_inputs, own_heads, personal, principal
from hydra_ml.evaluation.rival_pool import Lesson, Pool
from tests.evaluation.rivals.planted import planted


def test_personal_scores_are_the_users_numbers_times_the_row() -> None:
    codes = np.array([[1.0, 2.0], [0.0, -1.0]], dtype=np.float32)
    x = np.array([[3.0, 1.0], [3.0, 1.0], [3.0, 1.0]], dtype=np.float32)
    found = personal(codes, np.array([1, 0, -1]), x, rest=np.array([10.0, 0.0]))
    assert found.tolist() == [-1.0, 5.0, 30.0]


def test_principal_directions_of_heads_along_one_line() -> None:
    found = principal(np.array([[3.0, 4.0], [-3.0, -4.0], [6.0, 8.0]]), 1)
    sign = np.sign(found.directions[0, 0])
    assert np.allclose(sign * found.directions, [[0.6, 0.8]], atol=1e-6)
    assert np.allclose(sign * found.middle, [10 / 3], atol=1e-5)  # of 5, -5 and 10
    assert np.allclose(found.variance, [50 - 100 / 9], atol=1e-4)


def test_a_factored_head_is_its_weights_times_the_basis() -> None:
    factors = Factors(np.array([[1.0, 0.0], [0.0, 1.0]]), np.array([[0.0, np.log(3.0)]]), lambda c: c.softmax(dim=1))
    found = factors(torch.tensor([[4.0, 8.0]]), torch.tensor([0]))
    assert np.allclose(found.detach().numpy(), 4 / 4 + 8 * 3 / 4)


def test_heads_stay_at_their_middle_under_a_strong_ridge() -> None:
    lesson = planted().lesson
    middle = np.arange(4, dtype=np.float32)
    heads = own_heads(lesson.evidence, lesson, ridge=1e7, middle=middle)
    assert np.allclose(heads.table, middle, atol=1e-3)


def test_inputs_have_a_leading_direction_of_spread_one_and_evidence_too() -> None:
    lesson = planted().lesson
    x = head_inputs(lesson)(lesson)[lesson.is_known[lesson.query]]
    assert np.isclose(x[:, 0].std(), 1.0, atol=1e-3)
    assert np.allclose(x[:, -4:].std(axis=0), 1.0, atol=1e-2)
    assert (np.diff(x[:, :-4].std(axis=0)) <= 1e-6).all()  # the leading ones first


def watched(seen: list[tuple[Lesson, Lesson]]) -> tuple[Callable[[Lesson, int], Lesson], Callable[..., Choose]]:
    """A rival whose score is the truth if its size is 2 and its strength 1, and notes what it was given."""
    truth: dict[str, float] = {}

    def learn(taught: Lesson, size: int) -> Lesson:
        return taught.take(np.ones(len(taught.user_ids), dtype=bool)) if size == 2 else taught

    def finish(taught: Lesson, own: Lesson, strength: float) -> Choose:
        seen.append((taught, own))
        truth.update(zip(own.answers.tolist(), own.targets.tolist(), strict=True))

        def choose(pool: Pool) -> np.ndarray:
            assert not set(pool.answers.tolist()) & set(own.answers.tolist())  # judged on what it has not learned
            return strength * pool.said[:, 0]

        return choose

    return learn, finish


def test_judges_have_taught_nothing_and_are_judged_on_queries_they_did_not_learn() -> None:
    lesson, seen = planted().lesson, list[tuple[Lesson, Lesson]]()
    learn, finish = watched(seen)
    cross_fitted(lesson, (1, 2), (0.5, 1.0), learn, finish)
    new = set(lesson.user_ids[~lesson.is_known].tolist())
    assert len(seen) == 2 * 2 * 4  # sizes, strengths, folds
    for taught, own in seen:
        assert not set(taught.user_ids.tolist()) & new
        assert set(own.user_ids.tolist()) == new


def test_the_setting_that_loses_least_is_chosen_and_the_first_of_equals() -> None:
    given = planted()
    liked = given.lesson.take(np.ones(len(given.lesson.user_ids), dtype=bool))
    worth = dict(zip(liked.answers.tolist(), liked.targets.tolist(), strict=True))

    def finish(size: int, own: Lesson, strength: float) -> Choose:
        return lambda pool: size * strength * np.array([worth[a] for a in pool.answers.tolist()])

    assert cross_fitted(given.lesson, (0, 1, 2), (-1.0, 1.0), lambda taught, size: size, finish) == (2, 1.0)
    assert cross_fitted(given.lesson, (0, 0), (-1.0, 1.0), lambda taught, size: size, finish) == (0, -1.0)


def test_known_users_judge_where_nobody_is_new() -> None:
    lesson = planted().lesson
    known, seen = lesson.take(lesson.is_known), list[tuple[Lesson, Lesson]]()
    learn, finish = watched(seen)
    cross_fitted(known, (1,), (1.0,), learn, finish)
    assert seen
    assert all(not set(taught.user_ids.tolist()) & set(own.user_ids.tolist()) for taught, own in seen)
    one = known.take(known.user_ids == known.user_ids[0])
    assert cross_fitted(one, (7, 8), (9.0, 1.0), learn, finish) == (7, 9.0)  # nobody to judge by
