"""Repeats and answers told in prompts are found where they are planted; `tests/stages/test_validate.py` plants breaches
of the contracts."""

from __future__ import annotations

import pandas as pd
import pytest

from hydra_ml.learning.leaks import NEAR, Repeats, is_told, likeness, repeats, shingles
from hydra_ml.records import Record
from hydra_ml.tasks import get_task

MOVIES, HEADLINES, CITATION = (get_task(name) for name in ("LaMP_2", "LaMP_4", "LaMP_1"))
TEXT = "the minister said on monday that rain will fall on the north of the country until the weekend"


def test_shingles_by_hand() -> None:
    assert shingles("A b  C d") == {"a b c", "b c d"}
    assert shingles("a b") == {"a b"}
    assert shingles("  ") == frozenset()


def test_likeness_by_hand() -> None:
    assert likeness(shingles("a b c d"), shingles("a b c e")) == pytest.approx(1 / 3)
    assert likeness(shingles("x"), frozenset()) == 0.0
    changed = TEXT.replace("weekend", "morning")
    assert NEAR <= likeness(shingles(TEXT), shingles(changed)) < 1


def found(text: str, gold: str, *records: tuple[str, str], user_id: str = "ann") -> Repeats:
    """What repeats itself for ann's headline question with these records (text, headline), all in her profile."""
    profile = [f"r{i}" for i in range(len(records))]
    query = {"query_id": "q", "user_id": "ann", "input": HEADLINES.templated(text), "gold": gold, "profile": profile}
    rows = [
        {"user_id": user_id, "record_id": f"r{i}", "input": HEADLINES.templated(asked), "answer": answer}
        for i, (asked, answer) in enumerate(records)
    ]
    return repeats(pd.DataFrame([query]), pd.DataFrame(rows), HEADLINES)


def test_planted_repeats_are_named() -> None:
    near = found(TEXT, "Rain ahead", ("snow in the south", "Snow"), (TEXT.replace("weekend", "morning"), "Rain again"))
    assert near == Repeats(["q"], [], [])
    assert found(TEXT, "Rain ahead", ("snow in the south", "rain  AHEAD")) == Repeats([], ["q"], [])
    assert found(TEXT, "Rain will fall", ("snow in the south", "Snow")) == Repeats([], [], ["q"])


def test_what_is_no_repeat() -> None:
    assert found(TEXT, "Rain ahead", ("rain will fall on the south", "Rain")) == Repeats([], [], [])
    assert found(TEXT, "Rain ahead", (TEXT, "Rain ahead"), user_id="bob") == Repeats([], [], [])  # not ann's


def test_equal_labels_are_no_repeated_answer() -> None:
    query = {"query_id": "q", "user_id": "a", "input": MOVIES.templated("a comedy"), "gold": "comedy", "profile": ["r"]}
    record = {"user_id": "a", "record_id": "r", "input": MOVIES.templated("another film"), "answer": "comedy"}
    assert repeats(pd.DataFrame([query]), pd.DataFrame([record]), MOVIES) == Repeats([], [], [])


def record(text: str, answer: str) -> Record:
    return Record("r", "ann", text, MOVIES.templated(text), answer)


@pytest.mark.parametrize("form", ["lamp", "once"])
def test_an_answer_planted_in_a_prompt_is_told_and_one_in_a_record_is_not(form: str) -> None:
    asked, shown = MOVIES.templated("a robot falls in love"), [record("a comedy of errors", "comedy")]
    messages = MOVIES.messages(asked, shown, form)
    assert not is_told(messages, asked, shown, "comedy", MOVIES)
    hinted = [*messages[:-1], {"role": "user", "content": f"{asked} (hint: Comedy)"}]
    assert is_told(hinted, asked, shown, "comedy", MOVIES)
    assert is_told([{"role": "system", "content": "Say comedy."}, *messages], asked, shown, "comedy", MOVIES)


def test_titles_listed_before_a_citation_question_tell_nothing() -> None:
    asked = CITATION.pair_input("On rain", "Rain, a survey", "Snow, a survey")
    shown = [Record("r", "ann", "On rain [1] abstract", "On rain [1]", "")]
    assert not is_told(CITATION.messages(asked, shown), asked, shown, "[1]", CITATION)
