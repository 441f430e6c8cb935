"""The project that tests of update_heads change: its banks hold a user or two per shard."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from hydra_ml.io.files import load_json
from hydra_ml.io.head_bank import HeadBank
from hydra_ml.io.history_store import append_drop
from hydra_ml.io.mlflow.registry import Registry
from hydra_ml.io.tables import load_table
from hydra_ml.jobs.update_heads import plan_update, update_shard
from hydra_ml.jobs.update_release import finish_update
from hydra_ml.jobs.update_report import UpdatePlan, UpdateReport
from hydra_ml.params import Params
from hydra_ml.records import RECORD_COLUMNS
from hydra_ml.tasks import get_task

TASK = get_task("LaMP_2")
ROOT = Path(__file__).parents[2]  # whose dvc.yaml says what runs
IN_A_PROCESS = """
import json, sys
from hydra_ml.jobs.update_heads import update_shard
from hydra_ml.jobs.update_report import UpdatePlan
for shard in map(int, sys.argv[2:]):
    update_shard(UpdatePlan(**json.loads(sys.argv[1])), shard)
"""


@dataclass
class World:
    """A project whose banks hold a user or two per shard, with a drop of three users, updated once."""

    data: Path
    registry: Registry
    params: Params
    cache: Path
    users: list[str]  # of the prepared tables
    champion: str
    plan: UpdatePlan | None = None
    report: UpdateReport | None = None

    def planned(self, which: str = "champion", **changes: Any) -> UpdatePlan:
        places = {"data": self.data, "registry": self.registry, "cache": self.cache, "root": ROOT}
        return plan_update(TASK, self.params, which=which, **{**places, **changes})

    def drop(self, *tables: pd.DataFrame) -> str | None:
        return append_drop(self.data / "history/LaMP_2", pd.concat(tables, ignore_index=True))

    def bank(self, version: str, component: str) -> HeadBank:
        _, release = self.registry.release(TASK, version)
        base = self.registry.fetch(TASK, release.components[f"{component}.base"])
        digest = load_json(base / "manifest.json")["digest"]
        return self.registry.open_bank(TASK, release.components[f"{component}.heads"], base_digest=digest)

    def verdicts(self) -> pd.DataFrame:
        """The table of the update's run, by component and user."""
        import mlflow

        path = mlflow.artifacts.download_artifacts(
            run_id=self.report.run_id, artifact_path="update/users.parquet", tracking_uri=self.registry.uri
        )
        return pd.read_parquet(path).set_index(["component", "user_id"]).sort_index()

    def verdict(self, component: str, user_id: str) -> bool:
        return bool(self.verdicts().loc[(component, user_id), "replaced"])

    def records(self, user_id: str, tags: list[str], *, month: int = 1) -> pd.DataFrame:
        """Records of the user later than all others: films that others wrote of, with these tags."""
        known = load_table(self.data / "prepare/LaMP_2/records.parquet")
        others = known[(known["user_id"] != user_id) & ~known["held_out"]].drop_duplicates("text")
        rows = others.iloc[[(i * 7 + month) % len(others) for i in range(len(tags))]][list(RECORD_COLUMNS)]
        names = [f"{month:02d}{i:014d}" for i in range(len(tags))]
        dates = [f"2031-{month:02d}-{i + 1:02d}" for i in range(len(tags))]
        return rows.assign(user_id=user_id, answer=tags, date=dates, record_id=names)


def unusual_tag(world: World, user_id: str) -> str:
    """A tag the user never gave."""
    records = load_table(world.data / "prepare/LaMP_2/records.parquet")
    used = set(records.loc[records["user_id"] == user_id, "answer"])
    return next(tag for tag in TASK.labels if tag not in used)


def usual_tag(world: World, user_id: str) -> str:
    records = load_table(world.data / "prepare/LaMP_2/records.parquet")
    return str(records.loc[records["user_id"] == user_id, "answer"].mode()[0])


def run_all(plan: UpdatePlan) -> UpdateReport:
    return finish_update(plan, [update_shard(plan, shard) for shard in range(plan.n_shards)], "update")


def start_elsewhere(plan: UpdatePlan, *shards: int) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", IN_A_PROCESS, json.dumps(asdict(plan)), *map(str, shards)]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def heads_bytes(plan: UpdatePlan) -> dict[str, bytes]:
    """Every heads file and verdict of the finished shards, by place."""
    root = Path(plan.workspace) / "shards"
    found = [*root.glob("*/*/heads/*"), *root.glob("*/*/refit.parquet")]
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in found}
