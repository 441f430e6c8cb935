"""What talkative LLMs write, read as a person would; what is ambiguous stays unread."""

from __future__ import annotations

import pytest

from hydra_ml.tasks import get_task


@pytest.mark.parametrize(
    ("raw", "label"),
    [
        ("It is a comedy", "comedy"),
        ("The tag is **Dark Comedy**.", "dark comedy"),
        ("[comedy]", "comedy"),
        ("I would say sci fi!", "sci-fi"),
        ("These are classics of their kind", "classic"),
        ("romance\n\nWhich tag does this movie relate to among comedy, action, romance?", "romance"),
        ("Based on a true story, so: true story", "true story"),
        ("Social commentaries", "social commentary"),
        ("comedy, dark comedy", None),
        ("Either comedy or romance", None),
        ("not comedy", None),
        ("This isn't a comedy", None),
        ("comedian", None),
        ("non-comedy", None),
        ("", None),
    ],
)
def test_the_one_label_that_is_named(raw: str, label: str | None) -> None:
    assert get_task("LaMP-2").parse_answer(raw, "any input") == label


@pytest.mark.parametrize("label", get_task("LaMP-2N").labels)
def test_every_category_is_found_in_a_sentence_in_any_case(label: str) -> None:
    task = get_task("LaMP-2N")
    for said in (label.title(), label.upper(), label.replace("&", "and")):
        assert task.parse_answer(f"The article belongs to the category of {said}.", "any input") == label


@pytest.mark.parametrize(
    ("raw", "score"),
    [
        ("Answer: 4 out of 5", "4"),
        ("4/5", "4"),
        ("I'd give this 3 stars.", "3"),
        ("four stars", "4"),
        ("On a scale of 1 to 5, this is a 2.", "2"),
        ("**5**", "5"),
        ("The score is 4.0", "4"),
        ("I did not like it. Score: 2", "2"),
        ("not 5", None),
        ("$3", None),
        ("3 or 4", None),
        ("4.5", None),
        ("-1", None),
        ("10/10", None),
        ("0", None),
        ("1 to 5", None),
        ("this one is great", None),
        ("", None),
    ],
)
def test_the_one_score_that_is_named(raw: str, score: str | None) -> None:
    assert get_task("LaMP-3").parse_answer(raw, "any input") == score


@pytest.mark.parametrize(
    ("raw", "answer"),
    [
        ("I would choose [2] because of its topic", "[2]"),
        ("Reference 1 is related.", "[1]"),
        ("(2)", "[2]"),
        ("Not [1]", None),
        ("[1] or [2]", None),
        ("It was published in 2 parts", None),
    ],
)
def test_the_one_reference_that_is_named(raw: str, answer: str | None) -> None:
    assert get_task("LaMP-1").parse_answer(raw, "any input") == answer


@pytest.mark.parametrize(
    ("raw", "line"),
    [
        ("Here is a headline for the article:\n\nRain Again", "Rain Again"),
        ("Sure! Here's a headline: Rain Again", "Rain Again"),
        ("**Rain Again**", "Rain Again"),
        ("**Title:** Rain Again", "Rain Again"),
        ("Title: Rain Again", "Rain Again"),
        ('# "Rain Again"', "Rain Again"),
        ("Headline: **Rain Again**\n\nIt is short.", "Rain Again"),
        ("The headline is: Rain Again", "Rain Again"),
        ("Headline for the article: Rain Again", "Rain Again"),
        ("Here's Why: Rain Falls", "Here's Why: Rain Falls"),
        ("Subject to Change: A Memoir", "Subject to Change: A Memoir"),
        ("Here is the thing about rain", "Here is the thing about rain"),
        ("Rain: a headline: again", "Rain: a headline: again"),
        ("Sure Thing Wins Derby", "Sure Thing Wins Derby"),
        ("#HomeToVote Tweets", "#HomeToVote Tweets"),
        ("*sigh*", "*sigh*"),
        ("*", "*"),
        ("Title:", None),
        ("", None),
    ],
)
def test_the_line_without_the_talk_around_it(raw: str, line: str | None) -> None:
    assert get_task("LaMP-4").parse_answer(raw, "any input") == line
    assert get_task("LaMP-7").parse_answer(raw, "any input") == line
