"""What the parts of `jobs.update_heads` hand to each other: small, picklable, and JSON but for the drops' tuple."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from hydra_ml.answering.fit_component import NOTHING_NEW
from hydra_ml.io.files import load_json
from hydra_ml.io.tables import load_table
from hydra_ml.io.task_files import get_task
from hydra_ml.release import PARTS
from hydra_ml.shown_text import inert

COMPONENTS = tuple(dict.fromkeys(part.split(".")[0] for part in PARTS))


@dataclass(frozen=True)
class UpdatePlan:
    """What is to be done, small enough to be sent anywhere; the users are in the workspace's plan.json."""

    task: str  # folder
    release: str  # version whose heads are refitted
    drops: tuple[str, ...]  # that it has not learned
    n_users: int
    n_shards: int  # 0: nothing is left to be refitted
    data: str
    cache: str
    workspace: str
    stages: Sequence[str]  # to run, in order
    uri: str = field(repr=False)  # of the MLflow store; may hold a password

    def shard_folder(self, shard: int) -> Path:
        """Where a shard is worked on."""
        return Path(self.workspace) / "shards" / f"{shard:05d}"


@dataclass(frozen=True)
class RefittedShard:
    """What came of one shard."""

    shard: int
    n_users: int
    n_queries: int  # to learn from
    replaced: Mapping[str, int]  # heads, by component
    seconds: float
    stages: Mapping[str, Any]  # each one's own summary
    left_out: Mapping[str, int]  # why a record was not learned from -> records


@dataclass(frozen=True)
class UpdateReport:
    """What came of an update."""

    task: str
    based_on: str  # release version
    release: str | None  # the new release's version; None: no drop to learn
    run_id: str  # MLflow's; its artifact update/users.parquet says what became of each user
    drops: tuple[str, ...]
    n_users: int
    components: Mapping[str, Mapping[str, float | None]]  # reranker, adapter -> figures
    seconds: float
    left_out: Mapping[str, int] = field(default_factory=dict)  # why a record was not learned from -> records

    def markdown(self) -> str:
        """The report as a page: counts only."""
        task = get_task(self.task)
        if self.release is None:
            return f"{task.name}: release {self.based_on} has learned every drop; nothing to do.\n"
        lines = [
            f"# {task.name}: release {self.release}, heads updated on release {self.based_on}",
            "",
            f"{self.n_users:,} users with new records in {len(self.drops)} drop(s); {self.seconds:.1f} s.",
            "",
            "| | new heads | kept, new one worse | nothing new | judged | loss before | loss after | shards written |",
            "|---|---:|---:|---:|---:|---:|---:|---:|",
        ]
        for component, figures in self.components.items():
            loss = [figures["loss_before"], figures["loss_after"]]
            counts = [figures[name] for name in ("replaced", "kept", "nothing_new", "judged")]
            cells = [component, *(f"{count:,.0f}" for count in counts if count is not None)]
            cells += ["-" if value is None else f"{value:.4f}" for value in loss]
            lines.append(f"| {' | '.join([*cells, str(figures['shards_written'])])} |")
        if self.left_out:
            lines += ["", "| not learned from | records |", "|---|---:|"]
            lines += [f"| {inert(reason)} | {count:,} |" for reason, count in self.left_out.items()]
        lines += [
            "",
            "Losses: of judged users, on their newest new queries, which no head that is compared was fitted on.",
        ]
        return "\n".join([*lines, f"Each user: MLflow run {self.run_id}, artifact update/users.parquet.", ""])


def left_out_of(plan: UpdatePlan) -> dict[str, int]:
    """Why records of the update's users were not learned from, over all shards, the most frequent reason first."""
    total: Counter[str] = Counter()
    for shard in range(plan.n_shards):
        total.update(load_json(plan.shard_folder(shard) / "report.json").get("left_out", {}))
    return dict(total.most_common())


def users_table(plan: UpdatePlan) -> pd.DataFrame:
    """What became of each user, by component: component, user_id, and the columns of `fit_component.refit_table`."""
    shards = load_json(Path(plan.workspace) / "plan.json")["shards"] if plan.n_users else []
    parts = []
    for shard, users in enumerate(shards):
        for component in COMPONENTS:
            path = plan.shard_folder(shard) / component / "refit.parquet"
            known = load_table(path) if path.is_file() else pd.DataFrame({"user_id": pd.Series([], dtype="str")})
            table = pd.DataFrame({"user_id": users}).merge(known, on="user_id", how="left").assign(component=component)
            parts.append(table)
    columns = ["component", "user_id", "replaced", "old_loss", "new_loss", "n_judged", "n_rows", "reason"]
    table = pd.concat(parts, ignore_index=True).reindex(columns=columns) if parts else pd.DataFrame(columns=columns)
    table["replaced"] = table["replaced"].eq(True)
    table["reason"] = table["reason"].astype("object").fillna(NOTHING_NEW).astype("str")
    for name in ("n_judged", "n_rows"):
        table[name] = table[name].fillna(0).astype("int64")
    return table.sort_values(["component", "user_id"], ignore_index=True)


def component_figures(table: pd.DataFrame, component: str) -> dict[str, float | None]:
    """Counts, and the mean loss of judged users before the update and after it (where the better head is had)."""
    rows = table[table["component"] == component]
    judged = rows[rows["n_judged"] > 0]
    after = judged["new_loss"].where(judged["replaced"], judged["old_loss"])
    worse = ~rows["replaced"] & (rows["n_judged"] > 0)
    return {
        "replaced": int(rows["replaced"].sum()),
        "kept": int(worse.sum()),
        "nothing_new": int((~rows["replaced"] & ~worse).sum()),
        "judged": len(judged),
        "loss_before": float(judged["old_loss"].mean()) if len(judged) else None,
        "loss_after": float(after.mean()) if len(judged) else None,
    }
