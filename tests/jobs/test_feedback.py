"""What users say of their answers is taken once, reaches their own history alone, and the last word counts."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from hydra_ml.cli.main import main
from hydra_ml.io.feedback import waiting_rows
from hydra_ml.io.feedback_store import standing_feedback, stored_feedback
from hydra_ml.io.history_store import drop_names
from hydra_ml.io.mlflow.registry import Registry
from hydra_ml.io.params_file import set_params
from hydra_ml.jobs import feedback as job
from hydra_ml.jobs.feedback import find_feedback, take_feedback, take_waiting
from hydra_ml.jobs.feedback_report import Said, approvals
from hydra_ml.jobs.ingest import ingest_drop
from hydra_ml.jobs.morning_report import morning_report
from hydra_ml.jobs.status import collect_status
from hydra_ml.jobs.status_text import status_text
from hydra_ml.params import Ingest, Params
from tests.jobs.feedback_world import MOVIES, QUIET, TAGS, FeedbackWorld, asked, write


@pytest.fixture
def world(versioned) -> FeedbackWorld:
    found = FeedbackWorld(versioned)
    found.answer({"a1": "ann", "a2": "ann", "a3": "ann", "a4": "ann", "a5": "ann", "b1": "bob", "b2": "bob"})
    return found


def quarantined(world: FeedbackWorld) -> dict[str, list[str]]:
    """Reasons by request id."""
    entries = [
        json.loads(line)
        for path in (world.data / "quarantine").glob("*/*.jsonl")
        for line in path.read_text().splitlines()
    ]
    return {entry["value"]["request_id"]: entry["reasons"] for entry in entries}


def test_final_answers_become_records_of_their_users_and_choices_are_kept(world):
    report = world.take(
        {"request_id": "a1", "accepted": True},
        {"request_id": "a2", "chosen": "romance"},
        {"request_id": "a3", "edited": "sci-fi", "date": "2026-11-25"},
        {"request_id": "a4", "rating": 1},
        {"request_id": "a5", "rejected": True},
        {"request_id": "b1", "rating": -1},
        {"request_id": "b2", "accepted": "true", "rejected": "false", "chosen": "", "rating": None},
    )
    assert report.tasks == {"LaMP_2": Said(taken=7, records=5, choices=1)}
    assert report.changed == ("LaMP_2",)
    assert world.history("ann") == {"film a1": "comedy", "film a2": "romance", "film a3": "sci-fi", "film a4": "comedy"}
    assert world.history("bob") == {"film b2": "comedy"}
    rows = stored_feedback(world.data, MOVIES).set_index("request_id")
    assert rows["date"].tolist() == ["2026-11-20", "2026-11-20", "2026-11-25", *["2026-11-20"] * 4]
    assert rows.loc["a2", "input"] == asked("film a2")
    assert [one["is_shown"] for one in rows.loc["a2", "candidates"]] == [True, True, True]
    assert [(one["place"], one["is_served"], one["is_shown"]) for one in rows.loc["a1", "candidates"]] == [
        (0, True, True),
        (1, False, False),
        (2, False, False),
    ]
    assert rows.loc["b1", ["verdict", "is_rating", "record_id"]].tolist() == ["rejected", True, ""]
    assert pd.isna(rows.loc["b1", "answer"])
    assert not list((world.data / "feedback").glob("*.jsonl"))
    assert (world.data / "feedback/store.dvc").exists()
    page = report.markdown()
    assert not [told for told in ("film", "ann", "bob", "romance", "a1") if told in page]


def test_the_same_row_or_file_again_changes_nothing(world):
    rows = [{"request_id": "a1", "accepted": True}, {"request_id": "b1", "chosen": "action"}]
    world.take(*rows)
    before = (drop_names(world.data / "history/LaMP_2"), (world.data / "feedback/store.dvc").read_text())
    again = world.take(*rows, name="again.jsonl")
    assert again.tasks == {"LaMP_2": Said(known=2)}
    assert again.changed == ()
    more = world.take(rows[0], rows[0], name="more.jsonl")
    assert more.tasks == {"LaMP_2": Said(known=2)}
    assert (drop_names(world.data / "history/LaMP_2"), (world.data / "feedback/store.dvc").read_text()) == before


def test_the_last_word_counts_and_takes_out_the_record_of_the_one_before(world):
    world.take(
        {"request_id": "a1", "accepted": True},
        {"request_id": "a1", "chosen": "action"},
        {"request_id": "b1", "accepted": True},
    )
    assert world.history("ann") == {"film a1": "action"}
    first = world.take({"request_id": "a1", "edited": "sci-fi"}, name="b.jsonl")
    assert first.tasks["LaMP_2"] == Said(taken=1, corrected=1, records=1)
    assert world.history("ann") == {"film a1": "sci-fi"}
    assert world.history("bob") == {"film b1": "comedy"}
    second = world.take({"request_id": "a1", "rejected": True}, name="c.jsonl")
    assert second.changed == ("LaMP_2",)
    assert world.history("ann") == {}
    assert len(drop_names(world.data / "history/LaMP_2")) == 1
    old = world.take({"request_id": "a1", "accepted": True}, name="d.jsonl")  # said before, and overruled since
    assert old.tasks["LaMP_2"] == Said(known=1)
    assert world.history("ann") == {}
    (found,) = standing_feedback(stored_feedback(world.data, MOVIES)).query("user_id == 'ann'")["verdict"]
    assert found == "rejected"


def test_a_correction_leaves_what_was_there_before_or_is_said_elsewhere(world):
    film = {"task": "LaMP_2", "user_id": "ann", "date": "2026-11-20", "description": "film a1", "tag": "comedy"}
    ingest_drop(write(world.data / "incoming/films.jsonl", [film]), data=world.data, params=QUIET)
    assert world.history("ann") == {"film a1": "comedy"}
    assert world.take({"request_id": "a1", "accepted": True}).tasks["LaMP_2"].records == 0
    world.take({"request_id": "a1", "rejected": True}, name="b.jsonl")
    assert world.history("ann") == {"film a1": "comedy"}


def test_rows_that_are_no_feedback_are_put_aside_with_their_reasons(world):
    world.answer({"twice": "ann"}, name="x")
    world.answer({"twice": "bob"}, name="y")
    world.answer({"untold": "ann"}, name="z", texts=False)
    (world.data / "predictions/gone").mkdir()
    world.answer({"old": "ann"}, name="w").rename(world.data / "predictions/gone/w.parquet")
    report = world.take(
        {"request_id": "a1", "accepted": True, "rejected": True},
        {"request_id": "a2"},
        {"request_id": "a3", "chosen": "a dull film"},
        {"request_id": "a4", "edited": "a dull film"},
        {"request_id": "a5", "rating": 5},
        {"request_id": "b1", "user_id": "ann", "accepted": True},
        {"request_id": "twice", "accepted": True},
        {"request_id": "untold", "accepted": True},
        {"request_id": "old", "accepted": True},
        {"request_id": "b2", "accepted": True, "date": "2999-01-01"},
        {"request_id": "b2", "accepted": True},
        params=Params(ingest=Ingest(push=False, max_bad_share=0.999)),
    )
    reasons = {name: told[0].removeprefix("expected: ") for name, told in quarantined(world).items()}
    assert reasons == {
        "a1": "has one verdict, and no more: accepted, chosen, edited, rating or rejected",
        "a2": "has one verdict, and no more: accepted, chosen, edited, rating or rejected",
        "a3": "chosen is one of the candidates that the prediction keeps",
        "a4": "the answer is one of the task's, as it is defined now",
        "a5": "accepted or rejected is true, rating 1 or -1, chosen or edited a text",
        "b1": "user_id, task and release, where the row has them, are those of a prediction of this request",
        "twice": "request_id is of one user and one task; if not, the row names them",
        "untold": "the request lies in data/requests as it was scored; if it does not, the row has its input",
        "old": "the task of its prediction is known here",
        "b2": reasons["b2"],
    }
    assert reasons["b2"].startswith("date is not after ")
    assert sum(said.quarantined for said in report.tasks.values()) == 10
    assert world.history("ann") == {}
    assert world.history("bob") == {"film b2": "comedy"}

    mended = world.take(
        {"request_id": "untold", "accepted": True, "input": "film untold"},
        {"request_id": "twice", "user_id": "bob", "accepted": True},
        name="mended.jsonl",
    )
    assert mended.tasks == {"LaMP_2": Said(taken=2, records=2)}
    assert world.history("ann") == {"film untold": "comedy"}
    assert world.history("bob") == {"film b2": "comedy", "film twice": "comedy"}


def test_a_file_that_is_mostly_bad_is_refused_whole(world):
    report = world.take({"request_id": "a1", "accepted": True}, "{", '"text"', name="bad.jsonl")
    assert "2 of 3 rows are bad" in report.refused
    assert (Path(report.quarantine) / "drop/bad.jsonl").exists()
    assert len(stored_feedback(world.data, MOVIES)) == 0
    assert "It holds no row" in world.take(name="empty.jsonl").refused


def test_a_row_waits_for_its_prediction_and_blocks_nobody(world, monkeypatch):
    report = world.take({"request_id": "soon", "chosen": "action"}, {"request_id": "a1", "accepted": True})
    assert (report.waiting, report.tasks["LaMP_2"]) == (1, Said(taken=1, records=1))
    world.take({"request_id": "soon", "chosen": "action"}, name="again.jsonl")
    assert [(row.file, row.number) for row in waiting_rows(world.data)] == [("said.jsonl", 1)]
    assert take_waiting(data=world.data, params=QUIET) is None
    world.answer({"soon": "cid"}, name="later")
    taken = take_waiting(data=world.data, params=QUIET)
    assert taken.tasks == {"LaMP_2": Said(taken=1, records=1, choices=1)}
    assert world.history("cid") == {"film soon": "action"}
    assert take_waiting(data=world.data, params=QUIET) is None

    world.take({"request_id": "never", "accepted": True}, name="never.jsonl")
    monkeypatch.setattr(job, "WAIT_DAYS", -1)
    late = take_waiting(data=world.data, params=QUIET)
    assert list(late.reasons) == [job.LATE]
    assert waiting_rows(world.data) == []
    assert list(quarantined(world)) == ["never"]


def test_a_release_named_is_the_one_meant_else_the_newest(world):
    world.answer({"a1": "ann"}, release="2", name="again", prediction="action")
    world.take({"request_id": "a1", "accepted": True})
    assert world.history("ann") == {"film a1": "action"}
    world.take({"request_id": "a1", "accepted": True, "release": 1}, name="b.jsonl")
    assert world.history("ann") == {"film a1": "comedy"}


@pytest.mark.parametrize("at", ["append_feedback", "take_out", "append_drop", "versions.track", "_put_away"])
def test_a_run_that_ends_anywhere_is_made_up_for_by_the_next(world, monkeypatch, at):
    world.take({"request_id": "a1", "edited": "romance"}, name="first.jsonl")
    place, _, name = f"hydra_ml.jobs.feedback.{at}".rpartition(".")
    monkeypatch.setattr(f"{place}.{name}", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        world.take({"request_id": "a1", "accepted": True}, {"request_id": "b1", "accepted": True})
    monkeypatch.undo()
    (path,) = find_feedback(world.data, 0)
    take_feedback(path, data=world.data, params=QUIET)
    assert (world.history("ann"), world.history("bob")) == ({"film a1": "comedy"}, {"film b1": "comedy"})
    assert stored_feedback(world.data, MOVIES)["request_id"].tolist() == ["a1", "a1", "b1"]
    assert find_feedback(world.data, 0) == []
    status = [sys.executable, "-m", "dvc", "status", "data/history/LaMP_2.dvc", "data/feedback/store.dvc"]
    told = subprocess.run(status, cwd=world.root, capture_output=True, text=True, check=True).stdout
    assert "up to date" in told, told
    world.take({"request_id": "a1", "rejected": True}, name="last.jsonl")
    assert world.history("ann") == {}, "what the killed run brought is known to be feedback's"


def test_parquet_with_all_columns_and_numbers_for_ids(world):
    world.answer({"7": "ann", "8": "ann"}, name="numbers")
    path = world.data / "feedback/table.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(
        {"request_id": [7, 8], "accepted": [True, None], "chosen": [None, "action"], "rating": [None, None]}
    ).to_parquet(path)
    report = take_feedback(path, data=world.data, params=QUIET)
    assert report.tasks == {"LaMP_2": Said(taken=2, records=2, choices=1)}


def test_csv_as_a_table_tool_writes_it(world):
    path = world.data / "feedback/table.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = ["request_id,accepted,chosen,rating", "a1,True,,", "a2,False,action,", "a3,,,+1", "a4,,,-1.0", "a5,0,,1.0"]
    path.write_text("\n".join(lines))
    report = take_feedback(path, data=world.data, params=QUIET)
    assert report.tasks == {"LaMP_2": Said(taken=5, records=4, choices=1)}


def test_whatever_stands_there_is_told_and_stops_nothing(world):
    values = [[], {}, ["action"], 3.5, "perhaps", {"a": 1}, -2, 1e300, "\ud800"]
    odd = [
        {"request_id": "a1", **({} if name in {"chosen", "edited", "rating"} else {"accepted": True}), name: value}
        for name in ("accepted", "chosen", "edited", "rating", "request_id", "user_id", "task", "date")
        for value in values
    ]
    report = world.take(
        {"request_id": "b1", "accepted": True}, *odd, params=Params(ingest=Ingest(push=False, max_bad_share=0.999))
    )
    assert report.refused == ""
    assert sum(report.reasons.values()) >= len(odd) - report.waiting
    assert report.waiting == 2  # requests "perhaps" and -2, for which nothing was answered yet
    assert world.history("ann") == {}
    assert world.history("bob") == {"film b1": "comedy"}


def test_no_word_of_a_user_reaches_a_log(world, caplog):
    with caplog.at_level(logging.DEBUG, logger="hydra_ml"):
        world.take({"request_id": "a1", "edited": "sci-fi"}, {"request_id": "later", "edited": "a secret"})
    assert not [told for told in ("secret", "sci-fi", "film", "ann") if told in caplog.text]


def test_what_users_said_is_told_by_release(world):
    world.answer({"c1": "cid"}, release="10", name="tuesday")
    world.take(
        {"request_id": "a1", "accepted": True},
        {"request_id": "a2", "chosen": TAGS[1]},
        {"request_id": "a3", "rejected": True},
        {"request_id": "c1", "chosen": TAGS[0]},
    )
    newest, older = approvals(MOVIES, world.data)
    assert (newest.release, newest.n, newest.accepted) == ("10", 1, 1)
    assert (older.release, older.n, older.accepted, older.edited, older.rejected) == ("1", 3, 1, 1, 1)
    assert (older.n_personal, older.personal_wins, older.generic_wins) == (2, 1, 1)
    assert "33% taken as they were, 33% changed (edit distance" in older.text()


def test_the_verb_takes_all_and_tells_people_and_programs(world, capsys, monkeypatch):
    monkeypatch.chdir(world.root)
    set_params(Path("params.yaml"), {"ingest.settle_s": 0.0, "ingest.push": False})

    def said(*options: str) -> tuple[int, str]:
        with pytest.raises(SystemExit) as ended:
            main(["feedback", *options])
        return int(ended.value.code or 0), capsys.readouterr().out

    assert said() == (0, "Nothing waits in data/feedback.\n")
    write(
        world.data / "feedback/a.jsonl", [{"request_id": "a1", "accepted": True}, {"request_id": "soon", "rating": 1}]
    )
    code, told = said()
    assert code == 0
    assert "rows that wait for a prediction of their request: 1" in told
    world.answer({"soon": "cid"}, name="later")
    write(world.data / "feedback/b.jsonl", ["{"])
    code, told = said("--json")
    waited, refused = json.loads(told)
    assert (code, waited["file"], waited["tasks"]["LaMP_2"]["records"]) == (1, "rows that waited", 1)
    assert "1 of 1 rows are bad" in refused["refused"]


def test_status_and_the_morning_tell_of_it(world):
    world.take({"request_id": "a1", "accepted": True}, {"request_id": "soon", "accepted": True})
    write(world.data / "feedback/next.jsonl", [])
    write(world.data / "feedback/photo.png", [])
    nowhere = "http://127.0.0.1:9"

    def nobody_there() -> Registry:
        return Registry(nowhere)

    found = collect_status(Params(tasks=["LaMP_2"]), data=world.data, connect=nobody_there, api_url=f"{nowhere}/api")
    text = status_text(found)
    assert "feedback   release 1: 1 answers: 100% taken as they were" in text
    assert "data/feedback: next.jsonl, photo.png (not taken), 1 rows wait for a prediction" in text
    assert [told for told in found.troubles() if "data/feedback" in told] == [
        "data/feedback/photo.png is not taken: its name ends in .png: remove it; taken are "
        ".jsonl, .ndjson, .json, .csv, .tsv (each also .gz) and .parquet"
    ]
    page = morning_report([], "2026-11-28", data=world.data, registry=None, links={})
    assert "- feedback said.jsonl: 1 new, 0 bad rows put aside, 1 wait for a prediction" in page


def test_git_sees_the_store_by_its_dvc_file_alone(world):
    world.take({"request_id": "a1", "accepted": True})
    command = ["git", "status", "--porcelain", "--untracked-files=all", "data"]
    shown = subprocess.run(command, cwd=world.root, capture_output=True, text=True, check=True).stdout
    assert sorted(shown.split()) == ["??", "??", "data/feedback/store.dvc", "data/history/LaMP_2.dvc"]
