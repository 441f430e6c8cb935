"""What is left of a file without one user, whatever its format: others' rows as they were."""

from __future__ import annotations

import gzip
import html
import json
from dataclasses import replace
from unicodedata import normalize

import pandas as pd
import pytest

from hydra_ml.io.mark_finding import find_marks
from hydra_ml.io.rewriting import json_values, rest_of, take_out
from hydra_ml.io.traces import KINDS, Fields, Marks
from hydra_ml.learning.history import made_record
from hydra_ml.shown_text import visible


def marks(task: str = "", record: str = "", **found: set[str]) -> Marks:
    return Marks("ann", record, {**{kind: set() for kind in KINDS}, "user": {"ann"}, **found}, Fields.now(), task=task)


def left_of(text: str, by: Marks) -> str | None:
    """The rest as text; None if the file goes, the text itself if nothing is taken out."""
    rest = rest_of(text.encode(), by)
    return text if rest is None else rest.content and rest.content.decode()


ANN, BOB = '{"user_id": "ann", "x": 1}', '{"user_id": "bob", "x": 2}'


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (f"{ANN}\n{BOB}\n", f"{BOB}\n"),
        (f"[{ANN}, {BOB}]", f"[{BOB}]\n"),
        (f"{ANN}\n{ANN}\n", None),
        (f"{BOB}\n", f"{BOB}\n"),
        ("user_id,x\nann,1\nbob,2\n", "user_id,x\nbob,2\n"),
        ("user_id;x\nann;1\n", None),
        (f'{{"row": 1, "value": {ANN}}}\n{{"row": 2, "value": {BOB}}}\n', f'{{"row": 2, "value": {BOB}}}\n'),
        (f"{BOB}\nhalf a line of ann\nhalf of bob\n", f"{BOB}\nhalf of bob\n"),
        ("user_id,x\nann,1\nbob,2,3\n", "user_id,x\nbob,2,3\n"),
        ("# Night\n\n- ann: 3\n- bob: 4\n", "# Night\n\n- bob: 4\n"),
        ('{"users": {"LaMP_2": ["ann", "bob"]}, "n": 2}', '{"users": {"LaMP_2": ["bob"]}, "n": 2}\n'),
        ('{"labels": ["ann", "bob"]}', '{"labels": ["ann", "bob"]}'),  # no list of users
        ('{"columns": ["user_id"], "data": [["ann"], ["bob"]]}', '{"columns": ["user_id"], "data": [["bob"]]}\n'),
        ("<p>of ann and bob</p>", None),
        ("<p>of joann</p>", "<p>of joann</p>"),
        ('[{"user_id": 41.0}, {"user_id": "bob"}]', '[{"user_id": 41.0}, {"user_id": "bob"}]'),
    ],
)
def test_rows_of_the_user_go_and_the_others_stay(before, after):
    assert left_of(before, marks()) == after


def test_an_id_is_read_as_every_entrance_reads_it():
    by = marks(user={"41", "Zo\u00eb"})
    assert left_of('[{"user_id": 41.0}, {"user_id": "Zoe\u0308"}, {"user_id": "bob"}]', by) == '[{"user_id": "bob"}]\n'


def test_a_task_of_several_in_one_file_is_told_apart():
    rows = '{"user_id": "ann", "task": "LaMP-3"}\n{"user_id": "ann", "task": "LaMP_2"}\n'
    assert left_of(rows, marks(task="LaMP_2")) == '{"user_id": "ann", "task": "LaMP-3"}\n'


def test_with_a_task_given_another_ones_list_and_feedback_stay():
    by = marks("LaMP_2", request={"r1"})
    said = [{"request_id": name, "user_id": "ann", "accepted": True} for name in ("r1", "r2")]
    assert left_of("".join(json.dumps(row) + "\n" for row in said), by) == json.dumps(said[1]) + "\n"
    told = {"users": {"LaMP_2": ["ann", "bob"], "LaMP-3": ["ann"]}}
    assert json.loads(left_of(json.dumps(told), by)) == {"users": {"LaMP_2": ["bob"], "LaMP-3": ["ann"]}}


@pytest.mark.parametrize(
    ("page", "is_found"),
    [
        ("<p>good news for 7</p>", False),
        ("<span>user news</span>", True),
        ("of user news, today", True),
        ('{"user_id": "news", half', True),
        ("users: newsboy", False),
        ("users do harm: user news/2", False),
        ("user news/0123456789abcdef", True),  # a question of theirs
    ],
)
def test_an_id_that_is_a_word_tells_only_where_it_is_named(page, is_found):
    by = replace(marks(user={"news"}), is_word=True)
    assert by.stands_in(page) == is_found
    assert by.digests("salt").stands_in(page) == is_found
    assert marks(user={"7"}).stands_in(page.replace("news", "7")) == is_found


def test_an_id_is_found_however_a_page_writes_it_and_not_within_another():
    hard = 'Zo\u00eb "o\'b"\n2'
    by = marks(user={hard})
    for page in (hard, html.escape(hard), json.dumps(hard), json.dumps(hard, ensure_ascii=False), visible(hard)):
        assert by.stands_in(f"x {page} y"), page
        assert by.stands_in(normalize("NFD", f"x {page} y")), page
    by = marks(user={"u10"})
    assert not any(by.stands_in(page) for page in ("u100", "u10/3", "a@u10", "x/u10", "u10-2", "u10@b"))
    assert all(by.stands_in(page) for page in ("u10", "(u10).", "u10/0123456789abcdef", "a u10, b"))


def test_questions_named_after_a_user_or_record_are_theirs_by_the_whole_id():
    names = [f"{user}/0123456789abcde{n}" for n, user in enumerate(("ann", "ann/3", "annabel", "bob"))]
    rows = [{"query_id": name, "answer": "comedy"} for name in [*names, "ann/3"]]
    for by in (marks(), marks().digests("salt")):
        assert json.loads(left_of(json.dumps(rows), by)) == rows[1:]
    record = names[3].partition("/")[2]
    assert json.loads(
        left_of(json.dumps(rows), replace(marks(), record_id=record, found={**marks().found, "record": {record}}))
    ) == [*rows[:3], rows[4]]


def test_a_question_with_the_number_of_a_user_stays_the_ones_who_asked(tmp_path):
    asked = [{"id": "7", "user_id": "bob", "profile": []}, {"id": "8", "user_id": "7", "profile": []}]
    (tmp_path / "questions.json").write_text(json.dumps(asked))
    (tmp_path / "golds.json").write_text(json.dumps({"golds": [{"id": "7"}, {"id": "8"}]}))
    by = find_marks(sorted(tmp_path.iterdir()), "7", "", "")
    for name, left in (("questions.json", asked[:1]), ("golds.json", {"golds": [{"id": "7"}]})):
        assert json.loads(left_of((tmp_path / name).read_text(), by)) == left
    (tmp_path / "questions.json").write_text(json.dumps([{"id": "7", "profile": []}]))  # undated: one user a question
    assert "7" in find_marks(sorted(tmp_path.iterdir()), "7", "", "").found["query"]


def test_lamp_files_lose_questions_and_golds_and_no_item_of_another_profile():
    asked = [{"id": "1", "user_id": "ann", "profile": []}, {"id": "2", "user_id": "bob", "profile": [{"id": "1"}]}]
    golds = {"task": "LaMP_2", "golds": [{"id": "1", "output": "a"}, {"id": "2", "output": "b"}]}
    by = marks(query={"1"})
    assert json.loads(left_of(json.dumps(asked), by)) == asked[1:]
    assert json.loads(left_of(json.dumps(golds), by))["golds"] == golds["golds"][1:]


def test_tables_keep_their_columns_and_a_row_of_somebody_else_with_the_same_id(tmp_path):
    table = pd.DataFrame({"user_id": ["ann", "bob", "ann"], "request_id": ["r", "r", "s"], "n": [1, 2, 3]})
    table.to_parquet(tmp_path / "t.parquet")
    assert take_out(tmp_path / "t.parquet", marks(request={"r", "s"})) == 2
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "t.parquet"), table.iloc[[1]].reset_index(drop=True))
    assert take_out(tmp_path / "t.parquet", marks(request={"r", "s"})) == 0
    pd.DataFrame({"query_id": ["q1", "q2"]}).to_parquet(tmp_path / "q.parquet")
    assert take_out(tmp_path / "q.parquet", marks(query={"q1"})) == 1, "a table that names no user goes by its ids"


def test_packed_files_are_packed_again_and_what_cannot_be_read_is_left(tmp_path):
    packed = gzip.compress(f"{ANN}\n{BOB}\n".encode())
    rest = rest_of(packed, marks())
    assert rest is not None
    assert gzip.decompress(rest.content).decode() == f"{BOB}\n"
    for content in (b"\x89PNG\xff ann", b"PAR1ann", b"\x1f\x8bann", b""):
        assert rest_of(content, marks()) is None
        assert not json_values(content)


def test_one_record_goes_by_its_id_or_its_text_and_only_of_its_user():
    record = made_record("ann", text="a long story", input="tag: a long story", answer="comedy", date="")
    by = marks(record=record.record_id, text={"a long story"})
    by = Marks("ann", record.record_id, {**by.found, "record": {record.record_id}}, by.fields)
    rows = [{"user_id": user, "text": text} for user in ("ann", "bob") for text in ("a long story", "another")]
    assert json.loads(left_of(json.dumps(rows), by)) == rows[1:]
    shown = [{"request_id": "r", "user_id": "ann", "chosen_record_ids": [record.record_id, "other"]}]
    assert json.loads(left_of(json.dumps(shown), by))[0]["chosen_record_ids"] == ["other"]


def test_digests_find_what_the_values_find():
    by = marks(text={"a quixotic film"})
    for text in (f"{ANN}\n", '[{"text": "a quixotic film"}]', "<p>a quixotic film</p>", "by ann, then"):
        assert rest_of(text.encode(), by) is not None
        assert rest_of(text.encode(), by.digests("salt")) is not None
        assert rest_of(text.encode(), marks(user={"bob"}).digests("salt")) is None
