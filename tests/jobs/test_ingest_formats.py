"""Drops in the formats and folders that people's tools write, and with the values they write."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from hydra_ml.io.history_store import records_of
from hydra_ml.jobs.ingest import find_drops
from hydra_ml.jobs.ingest_report import Counts
from hydra_ml.params import Ingest, Params
from tests.jobs.ingest_world import PARAMS, drop, history, ingest, movie, quarantined, write_lamp


def test_a_table_in_parts_and_a_folder_a_day(versioned: Path, caplog: pytest.LogCaptureFixture) -> None:
    incoming = versioned / "data/incoming"
    (incoming / "spark.parquet").mkdir(parents=True)
    for number in (1, 2):
        pd.DataFrame([movie(number)]).to_parquet(incoming / f"spark.parquet/part-0000{number}.snappy.parquet")
    (incoming / "spark.parquet/_SUCCESS").write_text("")
    drop(versioned, "2026-11-27/day.jsonl", movie(3))
    drop(versioned, "2026-11-28/day.jsonl", movie(4, user_id=None), *(movie(number) for number in range(5, 10)))
    (incoming / "2026-11-28/notes.docx").write_text("")
    paths = find_drops(incoming, 0)
    assert "2026-11-28/notes.docx is not taken: its name ends in .docx" in caplog.text
    reports = [ingest(versioned, path, PARAMS) for path in paths]
    assert [report.drop for report in reports] == ["2026-11-27/day.jsonl", "2026-11-28/day.jsonl", "spark.parquet"]
    assert [report.kind for report in reports] == ["records"] * 3
    assert [report.tasks["LaMP_2"].accepted for report in reports] == [1, 5, 2]
    assert quarantined(reports[1])[0]["row"] == 1
    assert len(records_of(history(versioned), ["ann"])) == 8
    assert (incoming / "done" / f"{reports[2].digest}-spark.parquet/part-00001.snappy.parquet").exists()
    assert find_drops(incoming, 0) == []


def test_ids_that_a_table_rounded_are_nobodys(versioned: Path) -> None:
    path = versioned / "data/incoming/ids.parquet"
    path.parent.mkdir(parents=True)
    users = [41.0, *[42.0] * 6, float("nan"), 9007199254740993.0]
    pd.DataFrame([movie(i, user_id=user) for i, user in enumerate(users, start=1)]).to_parquet(path)
    report = ingest(versioned, path, Params(ingest=Ingest(push=False, max_bad_share=0.5)))
    assert report.tasks["LaMP_2"] == Counts(accepted=7, quarantined=2)
    assert records_of(history(versioned), ["9007199254740992", "9007199254740993", "nan"]).empty
    assert any("write it as text" in reason for reason in report.reasons)


def test_one_bad_record_of_lamp_files_is_left_out_and_told_beside(versioned: Path) -> None:
    folder = versioned / "data/incoming/LaMP-2"
    write_lamp(folder, "first")
    path = folder / "train/train_questions.json"
    (question,) = json.loads(path.read_text())
    question["profile"] += [{**question["profile"][0], "id": str(i), "description": f"film {i}"} for i in range(2, 20)]
    question["profile"][3]["description"] = ""
    path.write_text(json.dumps([question]))
    report = ingest(versioned, folder)
    assert (report.refused, report.kind, report.tasks) == ("", "lamp", {"LaMP_2": Counts(accepted=2)})
    told = (Path(report.quarantine) / "assumed.txt").read_text().splitlines()
    assert told == [
        "LaMP_2: folder LaMP-2 is taken for LaMP_2",
        "LaMP_2: train_questions.json: 1 of 20 records left out: question 'train-0', item 3: 'description' is empty",
    ]
