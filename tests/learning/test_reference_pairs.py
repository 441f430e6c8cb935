"""LaMP-1 pairs: which references are right and wrong, and where they stand."""

from __future__ import annotations

import numpy as np

from hydra_ml.io.lamp.files import Question
from hydra_ml.learning.history import evaluated_content, read_record
from hydra_ml.learning.reference_pairs import ReferencePairs, References, collect_references
from hydra_ml.tasks import get_task

CITATION = get_task("LaMP_1")

TITLES = ("Graph parsing", "Speech", "Parsing a graph fast", "Graph walks")
RECORDS = [read_record(CITATION, "ann", {"id": "", "title": title, "abstract": ""}) for title in TITLES]


def pair(question_id: str, first: str, second: str) -> Question:
    return Question(question_id, CITATION.pair_input("Any", first, second), (), None, "")


def test_right_is_the_most_similar_visible_title() -> None:
    pairs = ReferencePairs(CITATION, RECORDS, References(["Elsewhere"]), 0)
    input, gold, right = pairs.question(0, np.array([False, True, True, True])) or ("", "", -1)
    assert right == 2  # 2 of 4 words in common; "Graph walks" has 1 of 3
    assert CITATION.answer_text(gold, input) == TITLES[right]
    assert (pairs.question(0, np.array([False, True, False, True])) or ("", "", -1))[2] == 3
    assert input.startswith(CITATION.instruction + TITLES[0])


def test_no_question_without_either_reference() -> None:
    visible = np.array([False, True, True, True])
    assert ReferencePairs(CITATION, RECORDS, References(), 0).question(0, visible) is None
    assert ReferencePairs(CITATION, RECORDS, References(["SPEECH"]), 0).question(0, visible) is None  # the user's own
    own = References(["Elsewhere"], {"ann": frozenset({"elsewhere"})})
    assert ReferencePairs(CITATION, RECORDS, own, 0).question(0, visible) is None  # may be right
    assert ReferencePairs(CITATION, RECORDS, References(["Elsewhere"]), 0).question(0, ~visible & False) is None


def test_the_right_one_stands_on_both_sides() -> None:
    records = [read_record(CITATION, f"u{i}", {"id": "", "title": f"T {i}", "abstract": ""}) for i in range(200)]
    pairs = ReferencePairs(CITATION, records, References(["Elsewhere"]), 0)
    golds = [(pairs.question(i, np.arange(200) == (i + 1) % 200) or ("", "", 0))[1] for i in range(200)]
    assert 70 < golds.count("[1]") < 130  # sd 7
    assert set(golds) == {"[1]", "[2]"}
    again = ReferencePairs(CITATION, records, References(["Elsewhere"]), 0)
    assert again.question(5, np.arange(200) == 6) == pairs.question(5, np.arange(200) == 6)


def test_references_come_from_train_questions_less_what_is_evaluated() -> None:
    evaluated = evaluated_content(CITATION, [pair("e", "Hidden", "B")], {"e": "[1]"})
    references = collect_references(CITATION, {"t": [pair("t", "A", "b")], "u": [pair("u", "a", "C")]}, evaluated)
    assert sorted(title.lower() for title in references.titles) == ["a", "c"]
    assert references.of_user == {"t": {"a", "b"}, "u": {"a", "c"}}
    assert collect_references(get_task("LaMP_2"), {"t": []}, evaluated) == References()
