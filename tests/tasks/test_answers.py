"""What an LLM's text counts as, and what it does not."""

from __future__ import annotations

import pytest

from hydra_ml.tasks import get_task
from hydra_ml.tasks.answers import one_line, whole_number


@pytest.mark.parametrize(
    ("raw", "label"),
    [
        ("dark comedy", "dark comedy"),
        ("  Dark  Comedy.\n", "dark comedy"),
        ('"sci-fi"', "sci-fi"),
        ("“True Story”.", "true story"),
        ("**romance**", "romance"),
        ("Tag: comedy", "comedy"),
        ("category: violence!", "violence"),
        ("", None),
        ("com", None),  # part of a label is no label
        ("comedy, dark comedy", None),
        ("It is a comedy", None),
        ("not comedy", None),
        ("[comedy]", None),
    ],
)
def test_only_one_whole_label_is_a_label(raw: str, label: str | None) -> None:
    assert get_task("LaMP-2").parse_answer(raw, "any input", "strict") == label


@pytest.mark.parametrize(
    ("raw", "score"),
    [("4", "4"), ("4.0", "4"), (" 5.\n", "5"), ("'3'", "3"), ("Score: 2", "2"), ("1.00", "1")]
    + [(raw, None) for raw in ("4.5", "0", "6", "40.0", "4/5", "four", "nan", "", "3 or 4", "-1", "4 stars", "104.0")],
)
def test_a_rating_is_a_whole_number_from_one_to_five(raw: str, score: str | None) -> None:
    assert get_task("LaMP-3").parse_answer(raw, "any input", "strict") == score


@pytest.mark.parametrize(
    ("raw", "line"),
    [
        ("  Rain   Again ", "Rain Again"),
        ('"Rain Again"', "Rain Again"),
        ("“Rain” again", "“Rain” again"),
        ('"Yes" and "no"', '"Yes" and "no"'),
        ("'Tis the season", "'Tis the season"),
        ("\n\nRain Again\n\nThis headline is short.", "Rain Again"),
        ('"', '"'),
        ('""', None),
        (" \n\t", None),
        ("", None),
    ],
)
def test_a_text_answer_is_one_line(raw: str, line: str | None) -> None:
    assert one_line(raw) == line
    assert get_task("LaMP-4").parse_answer(raw, "any input", "strict") == line
    assert get_task("LaMP-7").parse_answer(raw, "any input", "strict") == line


def test_only_a_zero_fraction_is_dropped_from_a_number() -> None:
    assert [whole_number(text) for text in ("4.0", "4", "4.05", "40.00", "x.0", "1.0.0")] == [
        "4", "4", "4.05", "40", "x.0", "1.0",
    ]  # fmt: skip
