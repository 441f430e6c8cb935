"""What a task makes of a table, told before anything is learned; and a task's file written from a table."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from hydra_ml.errors import DataError, ParamsError
from hydra_ml.io.task_files import get_task
from hydra_ml.jobs.task_check import checked_task, facts_text, preview_text, previews, table_facts, task_text
from hydra_ml.jobs.task_new import guess_columns, write_task

TOPICS = {"where is it": "wait", "it is broken": "refund", "charged twice": "refund"}


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def table(place: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    path = place / "table.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def tickets(users: int = 4, each: int = 6) -> list[dict[str, Any]]:
    said = list(TOPICS.items())
    return [
        {
            "agent": f"a{u}",
            "closed_at": f"2026-01-{i + 1:02}",
            "ticket": f"{said[i % 3][0]} {u}{i}",
            "macro": said[i % 3][1],
        }
        for u in range(users)
        for i in range(each)
    ]


def test_columns_are_guessed_and_the_file_that_comes_of_it_is_sound(place: Path) -> None:
    rows = table(place, tickets())
    path = write_task("my-task", guess_columns(rows, {}))
    task = checked_task(path)
    assert (task.kind, sorted(task.labels)) == ("label", ["refund", "wait"])
    assert (task.user_key, task.date_key, task.item_keys) == ("agent", "closed_at", ("ticket", "macro"))
    assert get_task("my_task") is get_task("My-Task")
    with pytest.raises(ParamsError, match="is there already"):
        write_task("my-task", None)
    assert checked_task(write_task("plain", None)).labels == ("yes", "no"), "what YAML takes for true and false"


@pytest.mark.parametrize(
    ("answers", "kind"),
    [
        ([1, 2, 3, 4, 5, 5], "rating"),
        (["4.0", "1.0", "2.0"] * 2, "rating"),
        ([f"a text {i}" for i in range(6)], "text"),
    ],
)
def test_the_kind_follows_from_the_answers(place: Path, answers: list[Any], kind: str) -> None:
    rows = [{"user": "u", "question": f"a longer question {i}", "answer": answer} for i, answer in enumerate(answers)]
    guess = guess_columns(table(place, rows), {})
    assert (guess.kind, guess.date) == (kind, "")
    task = checked_task(write_task("own", guess))
    assert task.date_key is None
    assert table_facts(task, place / "table.jsonl").rows == 6


def test_columns_named_must_be_there(place: Path) -> None:
    with pytest.raises(DataError, match="--answer colour: no such column; there are agent, closed_at, ticket, macro"):
        guess_columns(table(place, tickets()), {"answer": "colour"})
    with pytest.raises(DataError, match="holds no row"):
        guess_columns(table(place, []), {})
    for name in ("4you", "LaMP-9", "a b", ""):
        with pytest.raises(ParamsError, match="task name"):
            write_task(name, None)


def test_what_a_table_comes_to_is_told(place: Path) -> None:
    task = checked_task(write_task("my-task", guess_columns(table(place, tickets()), {})))
    odd = [{**tickets()[0], "macro": "voucher"}, {**tickets()[0], "closed_at": "soon"}, {"agent": "a9"}]
    facts = table_facts(task, table(place, [*tickets(), *odd]))
    told = facts_text(facts, task)
    assert "27 rows: 24 records of 4 users" in told
    assert "records a user: 6 to 6" in told
    assert "(first: row 26)" in told
    assert "1 times 'voucher', which is no answer of the task: add it to labels or synonyms" in told
    assert "my-task is sound: kind label" in task_text(task)
    chats = list(previews(facts, task))
    assert len(chats) == 3
    asked, chat = chats[0]
    assert chat[-1] == {"role": "user", "content": task.asked(asked.input)}
    assert [turn["role"] for turn in chat] == ["user", "assistant"] * 2 + ["user"]
    assert all(text in preview_text(asked, chat) for text in ("[assistant]", "the user's own answer", asked.answer))


def test_a_table_of_other_columns_is_told_by_its_columns(place: Path) -> None:
    task = checked_task(write_task("my-task", guess_columns(table(place, tickets()), {})))
    facts = table_facts(task, table(place, [{"who": "a", "what": "b"}]))
    assert "the table's columns are who, what" in facts_text(facts, task)


def test_a_measure_that_is_not_there_is_told(place: Path) -> None:
    path = write_task("my-task", guess_columns(table(place, tickets()), {}))
    path.write_text(path.read_text() + "measures: ['nowhere.at_all:mine']\n")
    with pytest.raises(DataError, match=r"nowhere\.at_all:mine"):
        checked_task(path)


@pytest.mark.parametrize(
    ("column", "answers"),
    [
        ("macro", ["Refund", "refund", "wait"]),
        ("macro", ["two\nlines", "wait, [now]", 'it\'s: "so"']),
        ("two\nlines", ["refund", "wait", "{input}"]),
        ("{input}", ["null", "yes", "~"]),
    ],
)
def test_what_is_written_is_sound_whatever_stands_in_the_table(place: Path, column: str, answers: list[str]) -> None:
    rows = [{"agent": "a1", "ticket": f"a longer text {i}", column: answers[i % len(answers)]} for i in range(30)]
    task = checked_task(write_task("null", guess_columns(table(place, rows), {"answer": column})))
    assert task.name == "null"
    assert table_facts(task, place / "table.jsonl").refused == {}


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ("def mine(p, g):\n    raise RuntimeError('no')", "failed on 2 answers (RuntimeError: no)"),
        ("def mine(p, g):\n    return ['a'] * len(g)", "failed on 2 answers (ValueError"),
        ("def mine(p, g):\n    return [float('nan')] * len(g)", "2 of them not finite"),
        ("def mine(p, g):\n    return [1.0]", "numbers of shape (1,)"),
        ("mine = 3", "failed on 2 answers (TypeError"),
        ("def mine(:", "SyntaxError"),
        ("raise RuntimeError('at import')", "RuntimeError: at import"),
    ],
)
def test_a_measure_of_ones_own_is_tried_before_anything_is_bought(
    place: Path, monkeypatch: pytest.MonkeyPatch, body: str, told: str
) -> None:
    name = f"measure_{abs(hash(body))}"
    (place / f"{name}.py").write_text(body)
    monkeypatch.syspath_prepend(place)
    path = write_task("my-task", guess_columns(table(place, tickets()), {}))
    path.write_text(path.read_text() + f"measures: ['{name}:mine']\n")
    with pytest.raises(DataError, match=re.escape(told)):
        checked_task(path)
