"""pag: one prompt about at most ten drawn records; its reply is the profile."""

from __future__ import annotations

from typing import get_args

import pytest

from hydra_ml.evaluation.rivals.pag import RECORDS, TEXT, WANTED, drawn, rounds
from hydra_ml.records import Record
from hydra_ml.tasks import TASKS
from hydra_ml.tasks.task import Kind

TASK = TASKS["LaMP_3"]
HISTORY = [Record(f"r{i:02d}", "ann", "", TASK.templated(f"review {i:02d}"), "5") for i in range(30)]


def test_it_draws_ten_records_by_seed_and_tells_them_oldest_first() -> None:
    found = drawn(HISTORY, 3)
    assert len(found) == RECORDS
    assert found == sorted(found, key=lambda record: record.record_id)
    assert drawn(HISTORY[::-1], 3) == found[::-1]
    assert drawn(HISTORY, 4) != found
    assert drawn(HISTORY[:2], 3) == HISTORY[:2]


@pytest.mark.parametrize("task", TASKS.values(), ids=lambda task: task.folder)
def test_every_task_has_words_of_its_own_for_what_is_wanted(task) -> None:
    asked = rounds(task, HISTORY[:2], 0)
    [prompt] = next(asked)
    assert WANTED[task.folder] in prompt
    assert "review 01" in prompt
    assert set(get_args(Kind)) <= set(WANTED), "tasks of one's own"


@pytest.mark.parametrize(("reply", "text"), [("kind", TEXT.format(profile="kind")), ("", "")])
def test_the_reply_is_the_profile_and_a_failed_one_is_none(reply: str, text: str) -> None:
    asked = rounds(TASK, HISTORY, 0)
    next(asked)
    with pytest.raises(StopIteration) as end:
        asked.send([reply])
    assert end.value.value == text
