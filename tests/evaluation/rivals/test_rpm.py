"""rpm: features and factors read from what an LLM writes, and counts worked out by hand."""

from __future__ import annotations

import pytest

from hydra_ml.evaluation.rivals.rpm import METHOD, factor_lines, named_factors, named_features, rounds
from hydra_ml.records import Record
from hydra_ml.tasks import TASKS

TASK = TASKS["LaMP_2"]


def test_features_are_read_one_a_line_however_they_are_listed() -> None:
    assert named_features("1. a dark mood\n- space ships \n\n* a child\nfourth") == [
        "a dark mood",
        "space ships",
        "a child",
    ]
    assert named_features(" \n") == []


def test_factors_are_read_from_names_and_numbers_and_other_lines_passed_over() -> None:
    reply = "Here are the factors:\nmood: 1, 3\n2. setting: #2 and 9\n- mood: 2\nempty: none\nfar: 12"
    assert named_factors(reply, 3) == {"mood": {0, 2, 1}, "setting": {1}}
    assert named_factors("no factors", 3) == {}


def test_shares_are_of_the_records_that_touch_a_factor() -> None:
    source = [0, 0, 1, 2, 3]  # two features of the first record
    answers = ["comedy", "action", "comedy", "action"]
    lines = factor_lines({"mood": {0, 1, 3}, "place": {2, 3, 4}}, source, answers)
    assert lines == [
        "- mood (2 of 4 records): answered comedy 100%",
        "- place (3 of 4 records): answered action 67%, comedy 33%",
    ]


def test_records_are_asked_of_together_then_their_features() -> None:
    history = [Record(f"r{i}", "ann", "", TASK.templated(f"film {i}"), "comedy") for i in range(2)]
    asked = rounds(TASK, history, 0)
    assert ['"film 0" => comedy' in prompt for prompt in next(asked)] == [True, False]
    [prompt] = asked.send(["robots\na joke", ""])
    assert "1. robots\n2. a joke\n" in prompt
    with pytest.raises(StopIteration) as end:
        asked.send(["humour: 2"])
    assert end.value.value.splitlines()[1:] == ["- humour (1 of 2 records): answered comedy 100%"]


@pytest.mark.parametrize("replies", [[""], ["robots", ""]])
def test_without_features_or_factors_there_is_no_text(replies: list[str]) -> None:
    asked = rounds(TASK, [Record("r", "ann", "", TASK.templated("film"), "comedy")], 0)
    next(asked)
    for reply in replies[:-1]:
        asked.send([reply])
    with pytest.raises(StopIteration) as end:
        asked.send(replies[-1:])
    assert end.value.value == ""


def test_it_counts_answers_so_it_fits_closed_ones_alone() -> None:
    assert [name for name, task in TASKS.items() if METHOD.fits(task)] == ["LaMP_2", "LaMP_2N", "LaMP_3"]
