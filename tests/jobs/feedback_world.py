"""A versioned project with answered requests, and no release: what feedback needs to be joined with."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from hydra_ml.io.batch_folder import BatchFacts, BatchFolder, content_of
from hydra_ml.io.files import save_json
from hydra_ml.io.history_store import records_of
from hydra_ml.io.predictions import PREDICTIONS, save_predictions
from hydra_ml.jobs.feedback import take_feedback
from hydra_ml.jobs.feedback_report import FeedbackReport
from hydra_ml.params import Ingest, Params
from hydra_ml.tasks import get_task

MOVIES = get_task("LaMP_2")
QUIET = Params(ingest=Ingest(push=False, max_bad_share=0.5))
TAGS = ("comedy", "action", "romance")  # the candidates of every prediction, the first one served


def asked(text: str) -> str:
    """A question as requests bring it."""
    return MOVIES.templated(text)


@dataclass
class FeedbackWorld:
    """A git and DVC repository, with requests and their predictions as batch scoring leaves them."""

    root: Path

    @property
    def data(self) -> Path:
        return self.root / "data"

    def answer(
        self, owners: dict[str, str], *, release: str = "1", name: str = "monday", texts: bool = True, **cells: Any
    ) -> Path:
        """Requests (id to user) answered by a release; texts: their file still lies in data/requests."""
        lines = [
            {"request_id": request_id, "user_id": user, "task": "LaMP-2", "input": asked(f"film {request_id}")}
            for request_id, user in owners.items()
        ]
        file = write(self.data / f"requests/LaMP_2/{name}.jsonl", lines)
        folder = BatchFolder(self.data / f"predictions/LaMP_2/{name}-{release}")
        facts = BatchFacts(f"{name}{release}", content_of(file), "LaMP_2", release, (len(lines),))
        save_json(asdict(facts), folder.path / "batch.json")
        save_json({"batch": {"scored_at": "2026-11-20T10:00:00+00:00"}, "shards": []}, folder.path / "report.json")
        candidates = [
            {
                "answer": tag,
                "votes": 4 - place,
                "personal": 1.0 - place,
                "shared": 0.5 - place,
                "greedy_share": 1.0 - place,
            }
            for place, tag in enumerate(TAGS)
        ]
        row = {
            "prediction": TAGS[0],
            "score": 1.0,
            "generic_prediction": TAGS[1],
            "personalization": "personal",
            "n_history": 3,
            "chosen_record_ids": ["r1", "r2"],
            "candidates": candidates,
            "release": release,
            "llm_calls": 1,
            "tokens_in": 1,
            "tokens_out": 1,
            "error": "",
            **cells,
        }
        rows = [{"request_id": request_id, "user_id": user, **row} for request_id, user in owners.items()]
        save_predictions(pd.DataFrame(rows)[PREDICTIONS.names], folder.predictions)
        if not texts:
            file.unlink()
        return folder.predictions

    def take(self, *rows: Any, name: str = "said.jsonl", params: Params = QUIET) -> FeedbackReport:
        """What becomes of a file of these rows."""
        return take_feedback(write(self.data / "feedback" / name, rows), data=self.data, params=params)

    def history(self, user: str) -> dict[str, str]:
        """Film to tag, of the user's records that came in."""
        found = records_of(self.data / "history/LaMP_2", [user])
        return dict(zip(found["text"], found["answer"], strict=True))


def write(path: Path, rows: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return path
