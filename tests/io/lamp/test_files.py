"""LaMP files: what reads, what is refused, and that each refusal names file, record and remedy."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from hydra_ml.errors import DataError
from hydra_ml.io.lamp.files import (
    Question,
    is_dated,
    outputs_path,
    questions_path,
    read_golds,
    read_questions,
    read_split,
    write_split,
)
from hydra_ml.tasks import TASKS

RATING, MOVIES, NEWS = TASKS["LaMP_3"], TASKS["LaMP_2"], TASKS["LaMP_2N"]
REAL = Path(__file__).parents[3].parent / "shared" / "data"


def review(number: int, **changes: Any) -> dict[str, Any]:
    return {"id": f"0{number}", "text": f"review {number}", "score": "4", **changes}


def question(question_id: str = "21", **changes: Any) -> dict[str, Any]:
    return {"id": question_id, "input": RATING.templated("It broke."), "profile": [review(0), review(1)], **changes}


def dated(question_id: str, user_id: Any = "u1", date: Any = "2020-01-02") -> dict[str, Any]:
    return question(question_id, user_id=user_id, profile=[review(0, date=date)])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "LaMP_3"


def put(folder: Path, questions: Any, golds: Any = None) -> Path:
    """Both files of the train split, as given; a list of golds gets the official object around it."""
    path = questions_path(folder, "train")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(questions if isinstance(questions, str) else json.dumps(questions))
    if golds is not None:
        document = {"task": "LaMP_3", "golds": golds} if isinstance(golds, list) else golds
        outputs_path(folder, "train").write_text(json.dumps(document))
    return path


def refusal(folder: Path) -> str:
    with pytest.raises(DataError) as error:
        read_split(folder, "train", RATING)
    assert str(folder) in str(error.value)
    return str(error.value)


def test_user_based_files_read_in_order_with_numbers_as_text(folder: Path) -> None:
    golds = [{"id": "010", "output": 5.0}, {"id": "21", "output": "4.0"}]
    put(folder, [question("21"), question("010", profile=[review(7, score=3), review(8, score=2.0)])], golds)
    questions, answers = read_split(folder, "train", RATING)
    assert [entry.question_id for entry in questions] == ["21", "010"]
    assert questions[0] == Question("21", RATING.templated("It broke."), (review(0), review(1)))
    assert [item["score"] for item in questions[1].profile] == ["3", "2"]
    assert answers == {"010": "5", "21": "4"}
    assert not is_dated(questions)


def test_time_based_files_keep_users_and_sortable_dates(folder: Path) -> None:
    path = put(folder, [dated("1", 77, "2020-1-2"), dated("2", "u", 1999), {**dated("3"), "date": "2021-03"}])
    questions = read_questions(path, RATING)
    assert [entry.user_id for entry in questions] == ["77", "u", "u1"]
    assert [entry.profile[0]["date"] for entry in questions] == ["2020-01-02", "1999", "2020-01-02"]
    assert [entry.date for entry in questions] == ["", "", "2021-03"]
    assert is_dated(questions)


def test_an_empty_profile_is_allowed(folder: Path) -> None:
    path = put(folder, [question(profile=[])])
    assert read_questions(path, RATING)[0].profile == ()


def test_question_110_of_lamp_2_without_its_template_loads(tmp_path: Path) -> None:
    item = {"id": "1100", "tag": "comedy", "description": "Apes."}
    path = put(tmp_path / "LaMP_2", [{"id": "110", "input": "x A man among apes.", "profile": [item]}])
    assert read_questions(path, MOVIES)[0].input == "x A man among apes."


def test_what_is_written_reads_back_the_same(tmp_path: Path) -> None:
    item = {"id": "x", "text": "t", "title": "T", "category": "women", "date": "2019"}
    questions = [
        Question("01", NEWS.templated("Ünïcode “article”"), (), "u1", "2020-01-02"),
        Question("2", NEWS.templated("b"), (item,), "u2"),
    ]
    golds = {"2": "crime", "01": "food & drink"}
    write_split(tmp_path / "LaMP_2N", "dev", NEWS, questions, golds)
    assert read_split(tmp_path / "LaMP_2N", "dev", NEWS) == (questions, golds)
    assert json.loads(outputs_path(tmp_path / "LaMP_2N", "dev").read_text())["task"] == "LaMP_2"
    assert sorted(path.name for path in tmp_path.rglob("*.*")) == ["dev_outputs.json", "dev_questions.json"]
    write_split(tmp_path / "LaMP_2N", "dev", NEWS, questions, None)
    assert read_split(tmp_path / "LaMP_2N", "dev", NEWS, need_golds=False) == (questions, {})


def test_a_missing_file_is_named_with_the_way_to_get_it(folder: Path) -> None:
    message = refusal(folder)
    assert "train_questions.json: no such file" in message
    assert "hydra-ml data fetch" in message
    put(folder, [question()])
    assert "train_outputs.json: no such file" in refusal(folder)
    assert read_split(folder, "train", RATING, need_golds=False)[1] == {}


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("\n<!DOCTYPE html><html><body>Not found</body></html>", "is an HTML page, not JSON"),
        ('[{"id": "1", "inp', "is not JSON"),
        ("", "is not JSON (Expecting value: line 1 column 1 (char 0); 0 bytes)"),
        ('{"task": "LaMP_3", "golds": []}', "Are questions and outputs swapped?"),
        ('"text"', "top level is 'text'; a questions file is a list"),
        ("[]", "holds no question"),
    ],
)
def test_what_is_no_questions_file_is_refused(folder: Path, content: str, told: str) -> None:
    put(folder, content)
    assert told in refusal(folder)


@pytest.mark.parametrize("document", [[{"id": "21", "output": "4"}], {"task": "LaMP_3"}, "x", {"golds": {}}])
def test_an_outputs_file_must_be_the_official_object(folder: Path, document: Any) -> None:
    put(folder, [question()])
    outputs_path(folder, "train").write_text(json.dumps(document))
    message = refusal(folder)
    assert "train_outputs.json: top level is" in message
    assert '"golds": [{"id": ..., "output": ...}' in message


@pytest.mark.parametrize(
    ("entry", "told"),
    [
        ("text", "question 0: is 'text', not an object"),
        ({"input": "x", "profile": []}, "question 0: lacks 'id' (it has input, profile)"),
        (question(id=None), "question 0: 'id' is None, not a text"),
        (question(input=" \n"), "question '21': 'input' is empty"),
        (question(input=["x"]), "question '21': 'input' is ['x'], not a text"),
        ({"id": "21", "input": "x"}, "question '21': lacks 'profile'"),
        (question(profile={"0": {}}), "question '21': 'profile' is {'0': {}}, not a list"),
        (question(profile=[review(0), 5]), "question '21', item 1: is 5, not an object"),
        (question(profile=[{"id": "1", "text": "a"}]), "question '21', item 0: lacks 'score' (it has id, text)"),
        (question(profile=[review(0, text="")]), "question '21', item 0: 'text' is empty"),
        (question(profile=[review(0, text=4)]), "question '21', item 0: 'text' is 4, not a text"),
        (question(profile=[review(0, text="a\ud83d")]), "item 0: 'text' holds half a character"),
        (question(profile=[review(0, score=float("nan"))]), "question '21', item 0: 'score' is nan, not a text"),
        (question(profile=[review(0, score="nan")]), "question '21', item 0: answer 'nan' is outside the task's set"),
        (question(profile=[review(0, score=6)]), "question '21', item 0: answer '6' is outside the task's set"),
        (question(profile=[review(0, score="4.5")]), "answer '4.5' is outside the task's set"),
        (question(profile=[review(0, score=True)]), "'score' is True, not a text"),
        (question(profile=[review(0), review(0)]), "question '21': profile repeats the item id(s) '00'"),
        (question(profile=[review(0, date="2020-01-01")]), "item 0: has a date, but its question no 'user_id'"),
        (question(user_id="u", profile=[review(0)]), "question '21', item 0: lacks 'date'"),
        (dated("21", date="2020-13-01"), "question '21', item 0: date is no day of the calendar (found '2020-13-01')"),
        (dated("21", date="yesterday"), "date is not YYYY-MM-DD or a shorter form of it (found 'yesterday')"),
        (dated("21", user_id=""), "question '21': 'user_id' is empty"),
    ],
)
def test_a_bad_record_is_named(folder: Path, entry: Any, told: str) -> None:
    put(folder, [entry], [{"id": "21", "output": "4"}])
    message = refusal(folder)
    assert told in message
    assert "1 problem(s)" in message
    assert "Allowed answers: 1, 2, 3, 4, 5. Mend or remove these records" in message


def test_all_problems_are_told_at_once_and_the_rest_counted(folder: Path) -> None:
    put(folder, [question(str(number), profile=[review(0, text=""), review(1, score="9")]) for number in range(15)])
    message = refusal(folder)
    assert "30 problem(s)" in message
    assert message.count("'text' is empty") == message.count("outside the task's set") == 10
    assert "... and 10 more" in message


def test_repeated_question_ids_are_named(folder: Path) -> None:
    put(folder, [question("7"), question("8"), question("7")])
    assert "question '7': id repeated: entries 0 and 2" in refusal(folder)


def test_questions_and_outputs_must_match_both_ways(folder: Path) -> None:
    put(folder, [question("1"), question("2")], [{"id": "2", "output": "1"}, {"id": "02", "output": "1"}])
    message = refusal(folder)
    assert "question '1': has no gold here" in message
    assert "gold '02': belongs to no question of train_questions.json" in message


@pytest.mark.parametrize(
    ("golds", "told"),
    [
        ([{"id": "21", "output": "4"}, {"id": "21", "output": "5"}], "gold '21': id repeated at entry 1"),
        ([{"id": "21", "output": " "}], "gold '21': 'output' is empty"),
        ([{"id": "21"}], "gold '21': lacks 'output'"),
        ([{"id": "21", "output": "great"}], "gold '21': answer 'great' is outside the task's set"),
        ([{"id": "21", "output": float("nan")}], "gold '21': 'output' is nan, not a text"),
        ([None], "gold 0: is None, not an object"),
    ],
)
def test_a_bad_gold_is_named(folder: Path, golds: list[Any], told: str) -> None:
    put(folder, [question()], golds)
    assert told in refusal(folder)


def test_time_based_and_user_based_questions_do_not_mix(folder: Path) -> None:
    put(folder, [dated("1"), question("2")])
    assert "question '2': lacks 'user_id'" in refusal(folder)
    with pytest.raises(DataError, match="question 'b' has none"):
        is_dated([Question("a", "x", (), "u"), Question("b", "x", ())])
    assert is_dated([]) is False


def news_question() -> dict[str, Any]:
    item = {"id": "0", "title": "T", "text": "t", "category": "crime"}
    return {"id": "1", "input": NEWS.templated("A robbery."), "profile": [item]}


def test_news_in_the_movie_folder_is_told_apart(tmp_path: Path) -> None:
    path = put(tmp_path / "LaMP_2", [news_question()])
    with pytest.raises(DataError) as error:
        read_questions(path, MOVIES)
    assert "LaMP calls both of these tasks LaMP_2. Put these files into a folder named LaMP_2N." in str(error.value)
    assert "problem" not in str(error.value)


def test_a_large_split_is_read_whole(folder: Path) -> None:
    words = "It broke in a week and nobody at the shop would hear of it, so I would not buy it again. " * 3
    items = tuple(review(number, text=words) for number in range(100))
    questions = [Question(str(number), RATING.templated("x"), items) for number in range(500)]
    write_split(folder, "train", RATING, questions, {str(number): "3" for number in range(500)})
    assert len(read_split(folder, "train", RATING)[0]) == 500


@pytest.mark.skipif(not REAL.is_dir(), reason="real text is not beside this checkout")
@pytest.mark.parametrize("name", ["news/LaMP_2N", "news/LaMP_4", "papers/LaMP_5"])
def test_real_text_reads(name: str) -> None:
    folder = REAL / name
    task = TASKS[folder.name]
    questions, golds = read_split(folder, "test", task)
    assert {entry.question_id for entry in questions} == set(golds)
    assert is_dated(questions)
    assert all(task.query_text(entry.input) != entry.input for entry in questions)
    assert all(item["date"] < entry.date for entry in questions for item in entry.profile)
    assert read_golds(outputs_path(folder, "test")) == golds
