"""Prompts that show what they must not are refused, each leak planted in sound ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd
import pytest

from hydra_ml.errors import DataError
from hydra_ml.evaluation.leaks import check_prompts
from hydra_ml.tasks import get_task

MOVIES = get_task("LaMP_2")


def record(user_id: str, record_id: str, day: int, text: str = "") -> dict[str, Any]:
    text = text or f"film {record_id}"
    facts = {"input": MOVIES.templated(text), "answer": "comedy", "date": f"2020-01-{day:02d}", "held_out": False}
    return {"user_id": user_id, "record_id": record_id, "text": text, **facts}


RECORDS = [
    record("ann", "old", 1),
    record("ann", "older", 1),
    record("ann", "late", 9),
    record("ann", "same", 1, "A Robot in  love"),
    record("bob", "his", 1),
    {**record("eve", "its", 1), "held_out": True},
]


def check(
    demos: list[str],
    task: Any = MOVIES,
    form: Any = "lamp",
    read: Sequence[str] = (),
    owners: Any = None,
    **change: Any,
) -> None:
    """Check one prompt of ann's, asked on the fifth with "old" and "older" in her profile."""
    query = {
        "query_id": "q",
        "user_id": "ann",
        "role": "evaluate",
        "cohort": "known",
        "source_record_id": "",
        "input": MOVIES.templated("a robot in love"),
        "text": "a robot in love",
        "gold": "romance",
        "date": "2020-01-05",
        "profile": ["old", "older"],
        **change,
    }
    owners = ["ann"] * len(demos) if owners is None else owners
    asked = {
        "query_id": "q",
        "user_id": "ann",
        "input": query["input"],
        "arm": "rag_k4",
        "demos": demos,
        "read": read,
        "owners": owners,
    }
    check_prompts(pd.DataFrame([asked]), pd.DataFrame([query]), pd.DataFrame(RECORDS), task, form, dated=True)


@pytest.mark.parametrize("form", ["lamp", "once"])
def test_sound_prompts_pass(form: str) -> None:
    check(["older", "old"], form=form)
    check([])


@pytest.mark.parametrize(
    ("demos", "change", "told"),
    [
        (["his"], {"profile": ["his"]}, "what is shown holds records of the query's own user only"),
        (["late"], {"profile": ["late"]}, "what is shown holds only records strictly earlier than a dated query"),
        (["same"], {"profile": ["same"]}, "what is shown holds no record that asks what the query asks"),
        (["late"], {}, "what is shown stands in the query's profile"),
        (
            ["old"],
            {"role": "train", "source_record_id": "old"},
            "what is shown lacks the record that the query was made from",
        ),
    ],
)
def test_each_planted_leak_is_refused_by_name_and_without_its_text(
    demos: list[str], change: dict[str, Any], told: str
) -> None:
    for shown in ({"demos": demos}, {"demos": [], "read": demos}):  # as records, and through a text written from them
        with pytest.raises(DataError) as error:
            check(**shown, **change)
        assert f"1 break this, first rag_k4/q: {told}" in str(error.value)
        assert "robot" not in str(error.value).lower()


def test_a_gold_answer_in_the_prompt_itself_is_refused() -> None:
    class Telling(type(MOVIES)):  # type: ignore[misc]
        def messages(self, input: str, demos: Any, form: Any = "lamp") -> Any:
            return [{"role": "system", "content": "It is a romance."}, *super().messages(input, demos, form)]

    telling = Telling(**{name: getattr(MOVIES, name) for name in MOVIES.__dataclass_fields__})
    with pytest.raises(DataError, match="the gold answer stands nowhere in a prompt"):
        check(["old"], task=telling)
    check(["old"], task=telling, gold="action")


def test_other_users_records_are_shown_earlier_ones_alone_and_none_held_out() -> None:
    told = "records of other users are strictly earlier"
    check(["his", "old"], owners=["bob", "ann"])
    with pytest.raises(DataError, match=told):
        check(["his"], owners=["bob"], date="2020-01-01")
    with pytest.raises(DataError, match=told):
        check(["its"], owners=["eve"])
