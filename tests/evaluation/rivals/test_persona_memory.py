"""persona_memory: read in order, a few records at a time, each prompt with the memory so far."""

from __future__ import annotations

import pytest

from hydra_ml.evaluation.rivals.persona_memory import AT_ONCE, LONGEST, RECORDS, TEXT, rounds
from hydra_ml.records import Record
from hydra_ml.tasks import get_task

TASK = get_task("LaMP_3")


def history(n: int) -> list[Record]:
    return [Record(f"r{i:02d}", "ann", "", TASK.templated(f"review {i:02d}"), "5") for i in range(n)]


def read(n: int, replies: list[str]) -> tuple[list[str], str]:
    """The prompts, and the text in the end."""
    asked = rounds(TASK, history(n), 0)
    prompts = [next(asked)[0]]
    try:
        for reply in replies:
            prompts.append(asked.send([reply])[0])
    except StopIteration as end:
        return prompts, str(end.value)
    raise AssertionError("it asks more than it was answered")


def test_each_prompt_holds_the_next_records_and_the_memory_so_far() -> None:
    prompts, text = read(6, ["first", "second"])
    assert ["(nothing yet)" in prompt for prompt in prompts] == [True, False]
    assert "says:\nfirst\n" in prompts[1]
    assert [[f"review {i:02d}" in prompt for i in range(6)] for prompt in prompts] == [
        [True] * AT_ONCE + [False] * 2,
        [False] * AT_ONCE + [True] * 2,
    ]
    assert text == TEXT.format(memory="second")


def test_a_failed_reply_leaves_the_memory_and_a_long_one_is_cut() -> None:
    assert read(8, ["first", ""])[1] == TEXT.format(memory="first")
    assert read(8, ["", ""])[1] == ""
    prompts, text = read(8, ["x" * 5000, ""])
    assert text == TEXT.format(memory="x" * LONGEST)
    assert "x" * (LONGEST + 1) not in prompts[1]


def test_it_reads_the_newest_records_alone() -> None:
    n = RECORDS + 5
    prompts, _ = read(n, ["m"] * (RECORDS // AT_ONCE))
    assert len(prompts) == RECORDS // AT_ONCE
    assert "review 04" not in prompts[0]
    assert "review 05" in prompts[0]
    assert f"review {n - 1:02d}" in prompts[-1]


@pytest.mark.parametrize("n", [1, 4])
def test_a_short_history_is_one_prompt(n: int) -> None:
    assert len(read(n, ["m"])[0]) == 1
