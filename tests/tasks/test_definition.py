"""A task told by YAML: what it may say, what does not fit together, and that it asks and reads as it says."""

from __future__ import annotations

from typing import Any

import pytest

from hydra_ml.errors import ParamsError
from hydra_ml.records import Record
from hydra_ml.tasks import TASKS, FieldTask, Task
from hydra_ml.tasks.definition import json_schema, parse_definition, task_from_json

MACRO: dict[str, Any] = {
    "name": "support-macro",
    "kind": "label",
    "instruction": "Which macro? macros: [refund, wait]\nticket: {input}\nmacro:",
    "columns": {"user": "agent", "date": "closed_at", "input": "ticket", "answer": "macro"},
    "labels": ["refund", "wait"],
    "synonyms": {"refund": ["money back", "Erstattung"]},
}


def problems(**changes: Any) -> list[str]:
    _, found = parse_definition({**MACRO, **changes})
    return [f"{'.'.join(map(str, place))}: {what}" for place, what in found]


def made(**changes: Any) -> Task:
    definition, found = parse_definition({**MACRO, **changes})
    assert not found
    assert definition is not None
    return definition.task()


def record(answer: str, ticket: str = "Where is it?") -> Record:
    return Record("r", "u", ticket, ticket, answer, "2026-01-01")


def test_a_task_is_named_alike_everywhere() -> None:
    task = made()
    assert (task.name, task.folder) == ("support-macro", "support_macro")
    assert task.item_keys == ("ticket", "macro")
    assert task.measures == ("accuracy", "f1")
    assert task_from_json(task.definition) == task


def test_what_is_kept_is_bare_and_the_llm_is_asked_as_the_file_says() -> None:
    task = made()
    asked = "Which macro? macros: [refund, wait]\nticket: Where is it?\nmacro:"
    assert task.asked(" Where is it? ") == task.templated("Where is it?") == asked
    assert task.question("Where is it?") == task.query_text("Where is it?") == "Where is it?"
    assert task.record_input({"ticket": "Where is it?", "macro": "wait"}) == "Where is it?"
    assert not task.asks(asked), "no question of an own task comes written out"


def test_a_record_kept_before_the_instruction_changed_is_shown_under_the_new_one() -> None:
    kept = record("wait", "Old")
    now = made(instruction="Choose: {input}").messages("New", [kept])
    assert [turn["content"] for turn in now] == ["Choose: Old", "wait", "Choose: New"]


def test_a_text_that_begins_like_the_instruction_is_left_whole() -> None:
    task = made(instruction="Q {input}")
    assert task.asked("Quick: it broke") == "Q Quick: it broke"
    assert task.query_text("Quick: it broke") == "Quick: it broke"


def test_lamps_questions_stay_as_they_come() -> None:
    for task in TASKS.values():
        assert task.asked("no question of any task") == "no question of any task"
        assert task.asks(task.question("any"))


@pytest.mark.parametrize(
    ("said", "read"),
    [
        ("refund", "refund"),
        ("Money back.", "refund"),
        ("I would give an Erstattung here", "refund"),
        ("money back, so refund", "refund"),  # two names of one label
        ("refund or wait", None),
        ("", None),
    ],
)
def test_synonyms_stand_for_their_label(said: str, read: str | None) -> None:
    assert made().parse_answer(said, "any") == read


def test_tables_may_spell_labels_as_people_do() -> None:
    task = made()
    assert [task.record_answer({"ticket": "t", "macro": said}) for said in ("Refund ", "ERSTATTUNG", "other")] == [
        "refund",
        "refund",
        "other",
    ]


def test_a_scale_of_its_own_is_read_as_such() -> None:
    task = made(kind="rating", labels=[], synonyms={}, scale=[0, 10])
    assert task.labels == tuple(map(str, range(11)))
    for said, read in (
        ("7", "7"),
        ("10 out of 10", "10"),
        ("8/10", "8"),
        ("on a scale from 0 to 10: 3", "3"),
        ("11", None),
    ):
        assert task.parse_answer(said, "any") == read, said


def test_whole_texts_keep_their_lines() -> None:
    task = made(kind="text", labels=[], synonyms={}, read="whole_text")
    said = "Here is a reply for the customer:\nDear Ann,\n\nit is on its way.\n"
    assert task.parse_answer(said, "any") == "Dear Ann,\n\nit is on its way."
    assert task.parse_answer(said, "any", "strict") == said.strip()
    assert task.parse_answer(" \n", "any") is None
    assert made(kind="text", labels=[], synonyms={}).parse_answer("one\ntwo", "any") == "one"


def test_records_are_turns_or_one_block_and_the_system_turn_comes_first() -> None:
    turns = made(system="You are terse.").messages("New", [record("wait", "Old")])
    assert [turn["role"] for turn in turns] == ["system", "user", "assistant", "user"]
    assert turns[0]["content"] == "You are terse."
    assert turns[2]["content"] == "wait"
    block = made(demos="block").messages("New", [record("wait", "Old")])
    assert block == [{"role": "user", "content": f"Old\n=> wait\n\n{made().templated('New')}"}]


def test_max_tokens_of_the_task_hold_unless_a_setting_says_otherwise() -> None:
    assert made(max_tokens=7).answer_tokens(None) == 7
    assert made(max_tokens=7).answer_tokens(9) == 9


def test_rows_are_told_user_and_date_by_the_tasks_own_columns() -> None:
    row = {"agent": "a1", "closed_at": "2026-01-01", "ticket": "t", "macro": "wait"}
    assert made().row_names(row) == {**row, "user_id": "a1", "date": "2026-01-01"}
    both = {**row, "user_id": "customer", "date": "2020-01-01"}
    assert made().row_names(both)["user_id"] == "a1", "what the file names wins"
    assert made().row_names(both)["date"] == "2026-01-01"
    assert made().row_names({"user_id": "b"})["user_id"] == "b"


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"instruction": "no place"}, "instruction: does not hold {input}"),
        ({"instruction": "{input} {input}"}, "instruction: holds more than once {input}"),
        ({"labels": ["refund"]}, "labels: needs two labels at least (found 1)"),
        ({"labels": ["refund", "Refund ", "wait"]}, "labels.1: 'Refund ' is there already"),
        ({"synonyms": {"return": ["x"]}}, "synonyms.return: is none of the labels"),
        ({"synonyms": {"refund": ["wait"]}}, "synonyms.refund: 'wait' stands for 'wait' already"),
        ({"kind": "rating", "labels": [], "synonyms": {}}, "scale: of kind rating is [lowest, highest]"),
        ({"kind": "rating", "labels": [], "synonyms": {}, "scale": [5, 1]}, "scale: of kind rating"),
        ({"kind": "text", "synonyms": {}}, "labels: is not for kind text"),
        ({"measures": ["rouge_1"]}, "measures.0: is 'rouge_1'; of kind label are accuracy, f1"),
        ({"columns": {"input": "ticket"}}, "columns: names no answer column"),
        ({"columns": {"input": "macro", "answer": "macro"}}, "columns.answer: is the input, 'macro'"),
        ({"columns": {"input": "date", "answer": "macro"}}, "columns.input: is 'date', which is kept"),
        ({"columns": {"user": "a", "date": "a", "input": "t", "answer": "m"}}, "columns.date: is the user's column"),
        ({"kind": "choice", "labels": [], "synonyms": {}}, "kind: choice is for tasks with a class of their own"),
        ({"marker": "article:"}, "marker: 'article:' does not stand in the instruction"),
        ({"labels": ["caf\u00e9", "cafe\u0301"], "synonyms": {}}, "labels.1: 'cafe\u0301' is there already"),
        ({"name": "4 you"}, "name: "),
        ({"colour": "red"}, "colour: Extra inputs are not permitted (found 'red')"),
        ({"python": "os.system"}, "python"),
    ],
)
def test_what_does_not_fit_is_told_with_its_place(changes: dict[str, Any], told: str) -> None:
    found = problems(**changes)
    assert any(line.startswith(told) for line in found), found


def test_all_problems_are_told_at_once() -> None:
    assert len(problems(instruction="no place", labels=["refund"], measures=["mae", "x:"])) >= 3
    assert parse_definition(["a list"])[0] is None


def test_a_class_of_ones_own_must_be_a_task() -> None:
    for path in ("os:getcwd", "nowhere.at_all:Task", "hydra_ml.tasks.citation:Nothing"):
        definition, _ = parse_definition({**MACRO, "python": path})
        assert definition is not None
        with pytest.raises(ParamsError, match="support-macro: python"):
            definition.task()
    assert type(TASKS["LaMP_1"]) is not FieldTask


def test_the_schema_names_every_key() -> None:
    schema = json_schema()
    assert {"name", "kind", "instruction", "columns", "labels", "scale"} <= set(schema["properties"])
