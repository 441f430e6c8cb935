"""Drops to take in, and what became of them, for tests of the ingest job."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from hydra_ml.io.lamp.files import Question, write_split
from hydra_ml.jobs.ingest import ingest_drop
from hydra_ml.jobs.ingest_report import IngestReport
from hydra_ml.params import Ingest, Params
from hydra_ml.tasks import get_task

MOVIES = get_task("LaMP_2")
PARAMS = Params()
QUIET = Params(ingest=Ingest(push=False))


def movie(number: int, user: str = "ann", **change: Any) -> dict[str, Any]:
    row = {"task": "LaMP_2", "user_id": user, "date": f"2020-01-{number:02d}", "description": f"film {number}"}
    return {**row, "tag": "comedy", **change}


def drop(root: Path, name: str, *rows: Any) -> Path:
    path = root / "data/incoming" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return path


def ingest(root: Path, path: Path, params: Params = QUIET) -> IngestReport:
    return ingest_drop(path, data=root / "data", params=params)


def history(root: Path, task: str = "LaMP_2") -> Path:
    return root / "data/history" / task


def quarantined(report: IngestReport, task: str = "LaMP_2") -> list[dict[str, Any]]:
    lines = (Path(report.quarantine) / f"{task}.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def write_lamp(folder: Path, text: str, gold: str = "comedy") -> None:
    for split in ("train", "dev"):
        item = {"id": "1", "description": "film", "tag": "comedy", "date": "2020-01-01"}
        question = Question(f"{split}-0", MOVIES.templated(f"{text} {split}"), (item,), "ann", "2020-02-01")
        write_split(folder, split, MOVIES, [question], {question.question_id: gold})
