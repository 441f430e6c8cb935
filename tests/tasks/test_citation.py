"""LaMP-1: answers that point at references."""

from __future__ import annotations

import pytest

from hydra_ml.records import Record
from hydra_ml.tasks import get_task

CITATION = get_task("LaMP_1")

OFFICIAL = (
    'For an author who has written the paper with the title "Learning to Rank", which reference is related? Just '
    'answer with [1] or [2] without explanation. [1]: "Ranking with Forests" [2]: "Cooking with Gas"'
)
QUOTED = CITATION.pair_input('The "Why" of [1]', 'A "quoted" start', 'The word "end"')


def test_three_titles_make_the_official_question() -> None:
    assert CITATION.pair_input("Learning to Rank", "Ranking with Forests", "Cooking with Gas") == OFFICIAL


def test_the_query_is_both_references_and_not_the_own_title() -> None:
    assert CITATION.query_text(OFFICIAL) == "Ranking with Forests Cooking with Gas"
    assert CITATION.query_text(QUOTED) == 'A "quoted" start The word "end"'
    assert CITATION.query_text("A Bare Title ") == "A Bare Title"


@pytest.mark.parametrize(
    ("answer", "input", "title"),
    [
        ("[1]", OFFICIAL, "Ranking with Forests"),
        ("[2]", OFFICIAL, "Cooking with Gas"),
        ("[1]", QUOTED, 'A "quoted" start'),
        ("[2]", QUOTED, 'The word "end"'),
        ("[3]", OFFICIAL, "[3]"),
        ("[1]", "A Bare Title", "[1]"),
    ],
)
def test_an_answer_reads_as_the_title_it_points_to(answer: str, input: str, title: str) -> None:
    assert CITATION.answer_text(answer, input) == title


@pytest.mark.parametrize(
    ("raw", "answer"),
    [("[1]", "[1]"), ("[2].", "[2]"), ("1", "[1]"), (" 2\n", "[2]"), ('"[1]"', "[1]"), ("Answer: [2]", "[2]")]
    + [(raw, None) for raw in ("", "[3]", "[1] or [2]", "Ranking with Forests", "12")],
)
def test_an_llm_answers_by_number_only(raw: str, answer: str | None) -> None:
    assert CITATION.parse_answer(raw, OFFICIAL) == answer


def test_a_paper_of_the_author_is_a_record_without_answer() -> None:
    item = {"id": "0", "title": "On Trees", "abstract": "We grow trees."}
    assert CITATION.record_text(item) == "On Trees We grow trees."
    assert CITATION.record_input(item) == "On Trees"
    assert CITATION.record_answer(item) == ""


def test_own_titles_stand_before_the_question_in_one_turn() -> None:
    demos = [Record("a", "u", "On Trees We grow", "On Trees", ""), Record("b", "u", "On Bees", "On Bees", "")]
    (turn,) = CITATION.messages(OFFICIAL, demos)
    assert turn["role"] == "user"
    assert turn["content"].endswith(f'- "On Trees"\n- "On Bees"\n\n{OFFICIAL}')
    assert CITATION.messages(OFFICIAL, []) == [{"role": "user", "content": OFFICIAL}]
    assert CITATION.query_text(turn["content"]) == CITATION.query_text(OFFICIAL)
