"""A small project in which one user stands wherever anything is kept, with a phrase of theirs to be searched for."""

from __future__ import annotations

import gzip
import io
import json
import shutil
import sqlite3
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from hydra_ml.io.encoders import open_encoder
from hydra_ml.io.files import load_json, save_json
from hydra_ml.io.head_bank import HeadBank
from hydra_ml.io.history_store import append_drop
from hydra_ml.io.mlflow.registry import Registry
from hydra_ml.io.response_cache import ResponseCache
from hydra_ml.jobs.forget_stores import Place
from hydra_ml.learning.history import made_record
from hydra_ml.llm.chat import Answer
from hydra_ml.records import RECORD_COLUMNS
from tests.jobs.conftest import Project
from tests.jobs.feedback_world import FeedbackWorld
from tests.jobs.promote_world import add_release

USER, OTHER = "user-000", "user-001"  # of the chain's eight
PHRASE = "quixotic violoncello"
ADDRESSES = {
    "experiments": ["artifact_location"],
    "runs": ["artifact_uri"],
    "logged_models": ["artifact_location"],
    "model_versions": ["source", "storage_location"],
}


@dataclass(frozen=True)
class World(Project):
    """A project of which everything holds something of the user."""

    @property
    def place(self) -> Place:
        return Place(self.root, self.data, self.cache, self.registry, [self.task])

    def bank(self, version: str, component: str = "adapter") -> HeadBank:
        _, release = self.registry.release(self.task, version)
        base = load_json(self.registry.fetch(self.task, release.components[f"{component}.base"]) / "manifest.json")
        ref = release.components[f"{component}.heads"]
        return self.registry.open_bank(self.task, ref, base_digest=base["digest"])

    def head(self, version: str, user: str = USER, component: str = "adapter") -> np.ndarray:
        """The user's numbers in a release [n, P]; n is 0 where the shared head serves."""
        return self.bank(version, component).heads_of([user]).table

    def row(self, number: int, user: str = USER, **change: Any) -> dict[str, Any]:
        """A row of a drop."""
        told = f"{PHRASE} {number}" if user == USER else f"a plain film {number}"
        row = {"task": "LaMP_2", "user_id": user, "date": f"2026-01-{number:02d}", "description": told}
        return {**row, "tag": ("comedy", "action", "romance")[number % 3], **change}

    def add_drop(self, *rows: dict[str, Any]) -> str:
        """Records in the history; the drop's name."""
        made = []
        for row in rows:
            text, asked = row["description"], self.task.templated(row["description"])
            made.append(made_record(row["user_id"], text=text, input=asked, answer=row["tag"], date=row["date"]))
        table = pd.DataFrame([[getattr(one, name) for name in RECORD_COLUMNS] for one in made], columns=RECORD_COLUMNS)
        return str(append_drop(self.data / "history/LaMP_2", table))

    def lives_in(self, *needles: str, but: tuple[str, ...] = (".git",)) -> set[str]:
        """Every file of the project that holds one of the needles, also where Parquet or gzip has packed it."""
        found = set()
        for path in self.root.rglob("*"):
            inside = path.relative_to(self.root).parts
            if path.is_file() and inside[0] not in but:
                content = path.read_bytes()
                if content[:4] == b"PAR1":
                    content += json.dumps(pq.read_table(io.BytesIO(content)).to_pylist(), default=str).encode()
                if content[:2] == b"\x1f\x8b":
                    content += gzip.decompress(content)
                if any(needle.encode() in content for needle in needles):
                    found.add("/".join(inside))
        return found


def copied(project: Any, root: Path) -> World:
    """A project in another folder, the addresses in its MLflow store made to fit."""
    shutil.copytree(project.root, root)
    with sqlite3.connect(root / ".mlflow/mlflow.db") as db:
        for table, columns in ADDRESSES.items():
            for name in columns:
                db.execute(f"UPDATE {table} SET {name} = replace({name}, ?, ?)", (str(project.root), str(root)))
    registry = Registry(f"sqlite:///{root / '.mlflow' / 'mlflow.db'}", cache=root / ".cache")
    return World(root, registry, project.task, project.params, project.champion)


def opened(project: Any, root: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    """A planted copy of the project, which is the working directory meanwhile."""
    made = copied(project, root)
    monkeypatch.chdir(made.root)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", made.registry.uri)
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    plant(made)
    return made


def plant(world: World) -> None:
    """The user wherever a project keeps anything: their phrase in every file of texts, their id in the others."""
    world.add_drop(*(world.row(i) for i in range(1, 9)), world.row(1, OTHER))
    lines = "".join(json.dumps(row) + "\n" for row in (world.row(1), world.row(1, OTHER)))
    bad = [{"row": 9, "reasons": ["expected: .."], "value": world.row(9, tag="none")}]
    bad += [{"row": 10, "reasons": ["not JSON"], "value": f'{{"user_id": "{USER}", half'}]
    report = {"drop": "films.jsonl.gz", "users": {"LaMP_2": [USER, OTHER]}, "history": {}}
    texts = {
        "incoming/done/1-films.csv": f"user_id,description,tag\n{USER},{PHRASE},comedy\n{OTHER},plain,comedy\n",
        "incoming/tomorrow.jsonl": lines,
        "quarantine/1/LaMP_2.jsonl": "".join(json.dumps(row) + "\n" for row in bad),
        "feedback/waiting.jsonl": json.dumps({"file": "f", "number": 1, "since": "2026-01-01", "value": world.row(1)}),
        "reports/note.html": f"<p>{PHRASE} 3</p>",
    }
    for name, text in texts.items():
        path = world.data / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (world.data / "incoming/done/2-films.jsonl.gz").write_bytes(gzip.compress(lines.encode()))
    save_json(report, world.data / "incoming/done/2-films.jsonl.gz.report.json")
    FeedbackWorld(world.root).answer({"r1": USER, "r2": OTHER})
    plan = {"shards": [[USER], [OTHER]], "task": "LaMP_2"}
    save_json(plan, world.cache / "update_heads/LaMP_2/0123456789abcdef/plan.json")
    with ResponseCache(world.cache / "responses.sqlite") as cache:
        for number, owners in enumerate(([USER], [OTHER], [USER, OTHER], [])):
            key = f"{number:032x}"
            cache.note_owners({key: owners})
            cache.put_many({key: Answer(f"{PHRASE if owners == [USER] else 'plain'} {number}", 1, 1)})
    with open_encoder(world.params.encoder, world.cache, progress="") as encoder:
        encoder.encode([f"{PHRASE} 1", "a plain film 1"])
    add_release(world)  # a second version, with heads of its own
    for folder in world.root.glob("changed-*"):
        shutil.rmtree(folder)  # what it was made of
