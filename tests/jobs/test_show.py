"""One user as the service knows them: records, the head in words, last answers; nobody else's."""

from __future__ import annotations

import pytest

from hydra_ml.errors import DataError
from hydra_ml.io.feedback_store import Kept, append_feedback
from hydra_ml.io.history_store import stored_records
from hydra_ml.io.tables import load_table
from hydra_ml.jobs.show import user_text
from hydra_ml.learning.feedback import Feedback
from hydra_ml.tasks import get_task

TASK = get_task("LaMP_2")


def test_a_user_is_told_by_records_head_and_answers(project) -> None:
    users = sorted(load_table(project.data / "prepare/LaMP_2/records.parquet", ["user_id"])["user_id"].unique())
    told = user_text(users[0], TASK, data=project.data, registry=project.registry)
    records = stored_records(project.data, TASK, [users[0]])
    assert f"user {users[0]}, LaMP-2: {len(records):,} records" in told
    assert records["answer"].iloc[-1] in told
    assert "head:" in told
    assert "last predictions: none yet" in told
    others = stored_records(project.data, TASK, users[1:])
    texts = set(others["input"].map(TASK.query_text)) - set(records["input"].map(TASK.query_text))
    assert not any(text[:60] in told for text in texts)


def test_nobody_is_told_as_such(project) -> None:
    with pytest.raises(DataError, match="nothing is kept of user 'nobody'"):
        user_text("nobody", TASK, data=project.data, registry=project.registry)


def test_what_a_user_said_is_told_of_them_alone_the_last_word_on_each_request(own_project) -> None:
    project = own_project
    user, other = sorted(load_table(project.data / "prepare/LaMP_2/records.parquet", ["user_id"])["user_id"].unique())[
        :2
    ]
    for number, (who, answer) in enumerate([(user, "action"), (user, "comedy"), (other, "romance")]):
        given = Feedback(
            "r1", who, "edited", False, answer, f"2026-11-2{number}", "a film", "1", "x", "x", "shared", [], []
        )
        append_feedback(project.data, TASK, [Kept(given, "", False)], "2026-11-28T00:00:00+00:00")
    told = user_text(user, TASK, data=project.data, registry=project.registry)
    assert told.endswith("feedback\n  2026-11-21  r1  edited -> comedy")


def test_a_damaged_file_of_predictions_keeps_nobody_from_being_told(own_project, caplog) -> None:
    project = own_project
    broken = project.data / "predictions/LaMP_2/broken.parquet"
    broken.parent.mkdir(parents=True)
    broken.write_text("x")
    user = load_table(project.data / "prepare/LaMP_2/records.parquet", ["user_id"])["user_id"].iloc[0]
    assert f"user {user}, LaMP-2: " in user_text(user, TASK, data=project.data, registry=project.registry)
    assert "broken.parquet" in caplog.text


@pytest.mark.parametrize("typed", ["", "\udcff"])
def test_what_is_no_user_id_is_one_message(project, typed) -> None:
    with pytest.raises(DataError, match="no user id"):
        user_text(typed, TASK, data=project.data, registry=project.registry)
