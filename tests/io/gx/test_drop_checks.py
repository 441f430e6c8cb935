"""Every kind of bad row has its reason, all reasons are told, and sound rows become records."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import Any

import pandas as pd

from hydra_ml.io.gx.drop_checks import Judged, judge_rows
from hydra_ml.io.gx.expectations import new_context
from hydra_ml.io.row_files import Row
from hydra_ml.learning.history import read_record
from hydra_ml.records import RECORD_COLUMNS
from hydra_ml.tasks import get_task

TODAY = date(2026, 11, 20)
MOVIE = {"task": "LaMP_2", "user_id": "ann", "date": "2020-01-31", "description": "A robot", "tag": "comedy"}
REVIEW = {"task": "LaMP-3", "user_id": "ann", "text": "Fine", "score": 4}
IS_DATE = "date is YYYY-MM-DD, a shorter form of it, or blank"
NO_COUNT = "date is not a number; if it counts seconds or milliseconds since 1970, write the day, YYYY-MM-DD"
IS_DAY = "date is a day of the calendar"
IN_TIME = "date is not after 2026-11-21"
STARS = "answer is one of: 1, 2, 3, 4, 5"
IS_USER = "user_id is text or a whole number, and not blank"
EXACT_USER = "user_id is not a number of 2**53 or more, which a table has rounded: write it as text"
TASK = "task is one of: LaMP_1, LaMP_2, LaMP_2N, LaMP_3, LaMP_4, LaMP_5, LaMP_6, LaMP_7"
TAGS = f"answer is one of: {', '.join(get_task('LaMP_2').labels)}"

# What is wrong with a row -> what was expected of it. Rows are otherwise sound, and all different.
BAD: list[tuple[Any, list[str]]] = [
    (["a list"], ["row is a JSON object in UTF-8"]),
    (None, ["row is a JSON object in UTF-8"]),
    ({**MOVIE, "task": None}, ["has a task"]),
    ({key: MOVIE[key] for key in MOVIE if key != "task"}, ["has a task"]),
    ({**MOVIE, "task": "LaMP_9"}, [TASK]),
    ({**MOVIE, "task": 2}, [TASK]),
    ({key: MOVIE[key] for key in MOVIE if key != "user_id"}, ["has a user_id"]),
    (
        {**MOVIE, "user_id": " \t "},
        [IS_USER, "user_id has no line breaks or other control characters"],
    ),
    ({**MOVIE, "user_id": ["ann"]}, [IS_USER]),
    ({**MOVIE, "user_id": "\ud800"}, [IS_USER]),
    ({**MOVIE, "user_id": float("nan")}, ["has a user_id"]),
    ({**MOVIE, "user_id": float("inf")}, [IS_USER]),
    ({**MOVIE, "user_id": 7.5}, [IS_USER]),
    ({**MOVIE, "user_id": 9007199254740993.0}, [EXACT_USER]),
    ({**MOVIE, "user_id": "a\n"}, ["user_id has no line breaks or other control characters"]),
    ({**MOVIE, "user_id": "a" * 257}, ["user_id has at most 256 characters"]),
    ({key: MOVIE[key] for key in MOVIE if key != "tag"}, ["has tag"]),
    ({**MOVIE, "description": None}, ["has description"]),
    ({**MOVIE, "description": "\n"}, ["description is not blank"]),
    ({**MOVIE, "description": {"en": "A robot"}}, ["description is text in valid Unicode"]),
    ({**MOVIE, "description": "half \udc00"}, ["description is text in valid Unicode"]),
    ({**MOVIE, "description": "x" * 501}, ["text has at most 500 characters", "input has at most 500 characters"]),
    ({**MOVIE, "tag": "drama"}, [TAGS]),
    ({**MOVIE, "tag": True}, ["tag is text in valid Unicode"]),
    ({**REVIEW, "score": float("nan")}, ["has score"]),
    ({**REVIEW, "score": 4.5}, [STARS]),
    ({**REVIEW, "score": "four"}, [STARS]),
    ({**REVIEW, "score": 0}, [STARS]),
    ({**REVIEW, "score": float("inf")}, [STARS]),
    ({**MOVIE, "date": "31.01.2020"}, [IS_DATE]),
    ({**MOVIE, "date": "zzz"}, [IS_DATE]),
    ({**MOVIE, "date": ["2020"]}, [IS_DATE]),
    ({**MOVIE, "date": "２０２０"}, [IS_DATE]),
    ({**MOVIE, "date": 1605916800}, [NO_COUNT]),
    ({**MOVIE, "date": "1605916800123"}, [NO_COUNT]),
    ({**MOVIE, "date": 1605916800.5}, [NO_COUNT]),
    ({**MOVIE, "date": "2020-02-31"}, [IS_DAY]),
    ({**MOVIE, "date": "2020-13"}, [IS_DAY]),
    ({**MOVIE, "date": "2026-11-22"}, [IN_TIME]),
    ({**MOVIE, "date": "2026-12"}, [IN_TIME]),
    ({**MOVIE, "date": "2031"}, [IN_TIME]),
    ({**MOVIE, "user_id": None, "date": "2031", "tag": None}, ["has a user_id", IN_TIME, "has tag"]),
]


def judged(rows: Sequence[Row]) -> Judged:
    return judge_rows(rows, max_text_chars=500, today=TODAY, context=new_context(), run_name="test")


def test_every_kind_of_bad_row_and_all_its_reasons() -> None:
    rows = [Row(1, MOVIE), *(Row(number, value) for number, (value, _) in enumerate(BAD, start=2))]
    rows.append(Row(len(rows) + 1, "{", "not JSON at character 1"))
    found = judged(rows)
    expected = {i: [f"expected: {name}" for name in names] for i, (_, names) in enumerate(BAD, start=1)}
    expected[len(rows) - 1] = ["expected: row is a JSON object in UTF-8"]
    assert dict(found.reasons) == expected
    assert found.records["LaMP_2"]["text"].tolist() == ["A robot"]
    assert found.records["LaMP_3"].empty
    assert found.tasks[:7] == ["LaMP_2", *["unknown"] * 6]


def test_sound_rows_become_the_records_that_files_would_give() -> None:
    rows = [Row(1, {**MOVIE, "note": "not ours"}), Row(2, {**REVIEW, "user_id": 7, "score": "5.0"}), Row(3, REVIEW)]
    rows.append(Row(4, {**REVIEW, "user_id": 7.0, "text": "Good"}))  # a column of numbers with gaps
    found = judged(rows)
    assert found.reasons == {}
    assert list(found.tasks) == ["LaMP_2", "LaMP_3", "LaMP_3", "LaMP_3"]
    movie = read_record(get_task("LaMP_2"), "ann", {"description": "A robot", "tag": "comedy", "date": "2020-01-31"})
    assert found.records["LaMP_2"].to_dict("records") == [{name: getattr(movie, name) for name in RECORD_COLUMNS}]
    reviews = found.records["LaMP_3"][["user_id", "answer", "date"]].values.tolist()
    assert reviews == [["7", "5", ""], ["ann", "4", ""], ["7", "4", ""]]


def test_a_repeated_row_is_kept_once() -> None:
    rows = [Row(1, MOVIE), Row(2, {**MOVIE, "description": " a  ROBOT "}), Row(3, {**MOVIE, "user_id": "bob"})]
    found = judged(rows)
    assert dict(found.reasons) == {1: ["expected: row repeats no earlier row of the drop"]}
    assert found.records["LaMP_2"]["user_id"].tolist() == ["ann", "bob"]


def test_dates_in_all_their_forms() -> None:
    forms: dict[Any, str] = {
        "2020": "2020",
        2020: "2020",
        "2020-1": "2020-01",
        " 2020-1-9 ": "2020-01-09",
        "": "",
        "2020-01-31T23:30:00-05:00": "2020-02-01",  # it was February in UTC
        "2020-02-01T00:30:00+02:00": "2020-01-31",
        "2020-01-31T12:00:00Z": "2020-01-31",
        "2020-01-31 12:00": "2020-01-31",
        date(2020, 1, 31): "2020-01-31",
        pd.Timestamp("2020-01-31 23:30", tz="America/New_York"): "2020-02-01",
        "2026-11-21": "2026-11-21",  # today, further east
        "2024-02-29": "2024-02-29",
    }
    rows = [Row(i, {**MOVIE, "description": f"film {i}", "date": form}) for i, form in enumerate(forms)]
    rows.append(Row(len(rows), {key: value for key, value in MOVIE.items() if key != "date"}))
    found = judged(rows)
    assert found.reasons == {}
    assert found.records["LaMP_2"]["date"].tolist() == [*forms.values(), ""]


def test_two_spellings_of_a_name_are_one_user() -> None:
    names = ["Zo\u00eb", "Zoe\u0308"]
    rows = [Row(i, {**MOVIE, "description": f"film {i}", "user_id": name}) for i, name in enumerate(names)]
    assert judged(rows).records["LaMP_2"]["user_id"].tolist() == [names[0]] * 2


def test_citations_need_no_answer() -> None:
    found = judged([Row(1, {"task": "lamp-1", "user_id": "ann", "title": "On robots", "abstract": "They walk."})])
    assert found.reasons == {}
    assert found.records["LaMP_1"]["answer"].tolist() == [""]


def test_no_rows_no_records() -> None:
    assert judged([]).records == {}
