"""The list of who was forgotten: what comes in is met by it, at every entrance, and it names nobody."""

from __future__ import annotations

import json

import pytest

from hydra_ml.errors import ArtifactError
from hydra_ml.io.forgotten import ALL, NAME, allow_return, leave_out, load_forgotten, remember
from hydra_ml.io.lamp.files import read_split
from hydra_ml.io.lamp.raw_data import use_sample
from hydra_ml.io.traces import KINDS, Fields, Marks
from hydra_ml.tasks import get_task

WHEN = "2026-11-28T00:00:00+00:00"


def of(user: str, record_id: str = "", /, **found: set[str]) -> Marks:
    return Marks(user, record_id, {**{kind: set() for kind in KINDS}, "user": {user}, **found}, Fields.now())


def test_a_user_is_known_by_a_digest_in_the_tasks_meant_until_let_in_again(tmp_path):
    assert not load_forgotten(tmp_path).has_user("LaMP_2", "ann")
    remember(tmp_path, "LaMP_2", of("ann", request={"r1"}), WHEN)
    remember(tmp_path, "LaMP_3", of("ann", request={"r2"}), WHEN)
    remember(tmp_path, ALL, of("bob"), WHEN)
    kept = (tmp_path / NAME).read_text()
    assert "ann" not in kept
    assert "r1" not in kept
    known = load_forgotten(tmp_path)
    found = {
        (task, user) for task in ("LaMP_2", "LaMP_4") for user in ("ann", "bob", "eve") if known.has_user(task, user)
    }
    assert found == {("LaMP_2", "ann"), ("LaMP_2", "bob"), ("LaMP_4", "bob")}
    assert allow_return(tmp_path, "LaMP_2", of("ann"))
    assert not allow_return(tmp_path, "LaMP_2", of("ann"))
    assert not load_forgotten(tmp_path).has_user("LaMP_2", "ann")
    assert load_forgotten(tmp_path).has_user("LaMP_3", "ann")
    assert allow_return(tmp_path, ALL, of("ann"))
    assert not load_forgotten(tmp_path).has_user("LaMP_3", "ann")


def test_rows_that_come_in_lose_the_user_by_id_and_by_request_and_a_record_by_its_text(tmp_path):
    remember(tmp_path, ALL, of("ann", request={"r1"}), WHEN)
    remember(tmp_path, ALL, of("bob", "b1", record={"b1"}, text={"a long story"}), WHEN)
    rows = [{"user_id": "ann"}, {"request_id": "r1"}, {"request_id": "r2"}, {"user_id": "bob", "text": "a long story"}]
    rows += [{"user_id": "eve", "text": "a long story"}, {"user_id": "bob", "text": "another"}]
    path = tmp_path / "in.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert leave_out(path, tmp_path) == 3
    assert [json.loads(line) for line in path.read_text().splitlines()] == [rows[2], *rows[4:]]
    assert leave_out(path, tmp_path) == 0


def test_a_damaged_list_lets_nothing_in(tmp_path):
    (tmp_path / NAME).write_text("{")
    with pytest.raises(ArtifactError, match="nothing comes in"):
        leave_out(tmp_path, tmp_path)


def test_data_brought_by_hand_comes_in_without_the_user(tmp_path):
    params, raw = tmp_path / "params.yaml", tmp_path / "data/raw"
    params.write_text("tasks: [LaMP_2]\n")
    use_sample(raw, params)
    questions, _ = read_split(raw / "LaMP_2", "dev", get_task("LaMP_2"))
    user = str(questions[0].user_id)
    remember(tmp_path / "data", ALL, of(user, query={q.question_id for q in questions if q.user_id == user}), WHEN)
    use_sample(raw, params)
    left, golds = read_split(raw / "LaMP_2", "dev", get_task("LaMP_2"))
    assert user not in {one.user_id for one in left}
    assert {one.question_id for one in left} == golds.keys()
    assert len(left) == sum(one.user_id != user for one in questions)
