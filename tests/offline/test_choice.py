import numpy as np
import pytest

from hydra_ml.offline import choice

X, Y = np.array([1.0, 0.0]), np.array([0.0, 1.0])
OPTIONS = np.stack([X, Y])


def test_the_likelier_label_wins_without_examples() -> None:
    logits = choice.option_logits(X, OPTIONS, np.zeros((0, 2)), [], [0, 0])
    assert logits.tolist() == [choice.LABEL_WEIGHT, 0.0]


def test_an_alike_example_counts_more_than_another() -> None:
    near, far = (choice.option_logits(X, OPTIONS, np.stack([example]), [1], [0, 0])[1] for example in (X, Y))
    assert near == pytest.approx(choice.EXAMPLE_WEIGHT * (choice.EXAMPLE_BASE + 1))
    assert far == pytest.approx(choice.EXAMPLE_WEIGHT * choice.EXAMPLE_BASE)


def test_examples_without_an_option_do_not_vote() -> None:
    assert choice.option_logits(X, OPTIONS, np.stack([X]), [None], [0, 0])[1] == 0


def test_mentions_in_the_background_count() -> None:
    assert choice.option_logits(Y, OPTIONS, np.zeros((0, 2)), [], [3, 0])[0] == pytest.approx(
        2 * choice.BACKGROUND_WEIGHT
    )


def test_the_tone_axis_points_from_blame_to_praise() -> None:
    axis = choice.tone_axis(np.array([[[0.0, 1.0], [0.0, -1.0]], [[0.0, 0.5], [0.0, -1.5]]]))
    assert axis.tolist() == [0.0, -1.0]
    assert choice.tone(np.stack([-Y]), axis) > 0.99
    assert choice.tone(np.stack([Y, -Y]), axis) == pytest.approx(0)


def grade(tone: float, tones: list[float], answers: list[int | None]) -> int:
    return int(np.argmax(choice.grade_logits(5, tone, tones, np.ones(len(tones)), answers)))


def test_a_grade_follows_the_tone() -> None:
    assert [grade(tone, [], []) for tone in (-1.0, -0.4, 0.0, 0.4, 1.0)] == [0, 1, 2, 3, 4]


def test_a_harsh_author_grades_the_same_tone_lower() -> None:
    assert grade(0.4, [], []) == 3
    assert grade(0.4, [0.4, 0.4, 0.4], [1, 1, 1]) == 1
    assert grade(0.4, [0.4, 0.4, 0.4], [None, None, None]) == 3


def test_the_reference_nearest_to_the_authors_titles_wins() -> None:
    assert int(np.argmax(choice.reference_logits(OPTIONS, np.stack([Y, Y])))) == 1
    assert choice.reference_logits(OPTIONS, np.zeros((0, 2))).tolist() == [0.0, 0.0]


def test_draw_follows_chance_and_temperature() -> None:
    logits = np.log(np.array([0.2, 0.5, 0.3]))
    assert [choice.draw(logits, 1.0, chance) for chance in (0.0, 0.19, 0.21, 0.69, 0.71, 0.999999)] == [
        0,
        0,
        1,
        1,
        2,
        2,
    ]
    assert choice.draw(logits, 0.0, 0.99) == 1
    assert choice.draw(logits, 0.01, 0.99) == 1
    assert choice.draw(logits, 1.0, 1.0) == 2


def test_sentences_of_a_review() -> None:
    assert choice.sentences("Bad. Really? Yes!") == ["Bad.", "Really?", "Yes!"]
    assert choice.sentences("") == [""]
    assert len(choice.sentences("No. " * 50)) == choice.MAX_SENTENCES
