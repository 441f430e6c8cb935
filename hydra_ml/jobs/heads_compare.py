"""What `hydra-ml heads list` and `heads compare` print: a task's heads versions, and who gained between two of them.

The chain's evaluation measures the heads it made; `measure_users` measures those that update_heads made, on the answers
the gate got from them.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from hydra_ml.errors import ArtifactError
from hydra_ml.evaluation.compare_users import (
    OURS,
    REFERENCE,
    UsersCompared,
    cohort_measures,
    compare_heads,
    user_measures,
)
from hydra_ml.evaluation.grid import facts_of
from hydra_ml.io.layout import task_folder
from hydra_ml.io.mlflow.model_versions import VersionFacts
from hydra_ml.io.mlflow.registry import ALIASES, Registry
from hydra_ml.io.tables import load_table
from hydra_ml.measures import higher_is_better, measure_named, measure_values
from hydra_ml.params import Params
from hydra_ml.release import model_name
from hydra_ml.serving.frozen_queries import FrozenQueries
from hydra_ml.tasks.task import Task
from hydra_ml.terminal import aligned

HEADS = "adapter.heads"  # what has the last word on an answer; the other heads are "reranker.heads"
MOST_CHANGED = 20  # users shown
RESAMPLES = 2000


def compare_text(task: Task, before: str, after: str, registry: Registry, part: str = HEADS, seed: int = 42) -> str:
    """Which users fare better or worse under heads version `after` than under `before`, by how much, as plain text.

    A version is a number of `part`, or an alias of ALIASES: the heads in that release. Each was measured in the run
    that registered it, on users evaluated there; users are paired, and resampled for the interval. Raises ArtifactError
    for a version that is not there or was never measured, and for two that share no evaluated user.
    """
    versions = [_heads_version(task, name, registry, part) for name in (before, after)]
    tables = []
    for version in versions:
        table = registry.tracking.run(version.run_id).user_measures()
        if table is None:
            raise ArtifactError(
                f"{model_name(task, part)} version {version.version}: its run {version.run_id} measured no users. "
                "`hydra-ml promote` measures the release it judges; `hydra-ml heads list` shows which versions have a "
                "measure."
            )
        tables.append(table)
    found = compare_heads(*tables, resamples=RESAMPLES, seed=seed)
    titles = [f"version {version.version}" for version in versions]
    return "\n\n".join([_summary(task, part, versions, found), _users(found, titles)])


def measure_users(
    task: Task, params: Params, *, data: Path, registry: Registry, version: str, cache: Path = Path(".cache")
) -> bool:
    """Whether the run of a release was given measures by user and cohort, which it lacked until now.

    From the release's answers to the frozen queries, which the gate has kept below `cache` if it judged it. What
    plain RAG answered to them comes from data/evaluate, for it knows no heads. Raises as `FrozenQueries` does.
    """
    version, release = registry.release(task, version)
    run = registry.tracking.run(registry.version(task, "release", version).run_id)
    if run.user_measures() is not None:
        return False
    champion = registry.aliases(task).get("champion", version)
    against = (champion, registry.release(task, champion)[1])
    frozen = FrozenQueries(data, task, registry, cache, params.llm)
    answers, _ = frozen.side_by_side(against, (version, release))
    queries = load_table(task_folder(data, "prepare", task) / "queries.parquet")
    ours = facts_of(queries[queries["role"] == "evaluate"]).assign(method=OURS)
    ours = ours.merge(answers[["query_id", "challenger"]].rename(columns={"challenger": "prediction"}), on="query_id")
    evaluated = load_table(task_folder(data, "evaluate", task) / "predictions.parquet", [*ours.columns])
    plain = evaluated[(evaluated["method"] == REFERENCE) & evaluated["query_id"].isin(ours["query_id"])]
    predictions = pd.concat([ours, plain], ignore_index=True)
    users = user_measures(predictions, task, bands=params.evaluate.bands)
    run.log_user_measures(users, cohort_measures(users))
    given = [None if pd.isna(answer) else str(answer) for answer in ours["prediction"]]
    values = measure_values(task, given, ours["gold"].tolist())
    run.log_metrics({f"{OURS}/{name}": value for name, value in values.items()})
    return True


def list_text(task: Task, registry: Registry) -> str:
    """Every heads version of the task, newest first, with the base it belongs to, as plain text."""
    live = _live(task, registry)
    sections = []
    for part in ("reranker.heads", "adapter.heads"):
        versions = registry.versions(task, part)
        rows = [["version", "", "made, UTC", "users", "base", "run", _measure_title(task)]]
        for version in versions:
            measured = registry.tracking.run(version.run_id).measures()
            value = measured.get(f"hydra/{task.measures[0]}")
            rows.append(
                [
                    version.version,
                    ", ".join(live.get((part, version.version), [])),
                    _minute(version),
                    version.tags.get("n_users", "-"),
                    version.tags.get("base_digest", "-")[:12],
                    version.run_id[:12],
                    "-" if value is None else f"{value:.3f}",
                ]
            )
        title = f"{model_name(task, part)}: {len(versions)} version(s)"
        sections.append(f"{title}\n{aligned(rows, right={0, 3, 6})}" if versions else f"{title}")
    return "\n\n".join(sections)


def _heads_version(task: Task, name: str, registry: Registry, part: str) -> VersionFacts:
    if name in ALIASES:
        name = registry.release(task, name)[1].components[part].version
    return registry.version(task, part, name)


def _live(task: Task, registry: Registry) -> dict[tuple[str, str], list[str]]:
    """(part, version) to the aliases of the releases that hold it."""
    live: dict[tuple[str, str], list[str]] = {}
    for alias in sorted(registry.aliases(task)):
        for part, ref in registry.release(task, alias)[1].components.items():
            live.setdefault((part, ref.version), []).append(alias)
    return live


def _minute(version: VersionFacts) -> str:
    return version.made_at[:16].replace("T", " ")


def _measure_title(task: Task) -> str:
    return measure_named(task.measures[0]).title


def _summary(task: Task, part: str, versions: list[VersionFacts], found: UsersCompared) -> str:
    before, after = versions
    direction = "higher is better" if higher_is_better(found.measure) else "lower is better"
    before_after = " -> ".join(f"{mean:.3f}" for mean in found.means)
    gap = found.difference
    lines = [
        f"{model_name(task, part)}: version {after.version} against version {before.version}",
        f"  version {before.version}  {_minute(before)}  run {before.run_id[:12]}",
        f"  version {after.version}  {_minute(after)}  run {after.run_id[:12]}",
        f"{_measure_title(task)} ({direction}), mean over {len(found.users)} users: {before_after}",
        f"Difference {gap.difference:+.3f} [{gap.ci_low:+.3f}, {gap.ci_high:+.3f}] p {gap.p:.3f} (paired, users "
        "resampled, 95 %)",
        f"Better for {found.better} users, worse for {found.worse}, the same for {found.equal}.",
    ]
    if found.left_out:
        lines.append(f"Left out: {found.left_out} users that only one of the versions was measured on.")
    if not found.same_queries:
        lines.append("The versions were measured on different questions of these users: read the difference with care.")
    return "\n".join(lines)


def _users(found: UsersCompared, titles: list[str]) -> str:
    n_changed = int((found.users["change"].abs() > 0).sum())
    changed = found.users.head(n_changed).head(MOST_CHANGED)  # most changed first
    if changed.empty:
        return "No user's measure changed."
    rows = [["user", "cohort", "history", "n", *titles, "change", ""]]
    facts = changed[["user_id", "cohort", "n_history", "n"]].astype(str).to_numpy().tolist()
    for about, before, after, change in zip(facts, *(changed[c] for c in ("before", "after", "change")), strict=True):
        verdict = "better" if (change > 0) == higher_is_better(found.measure) else "worse"
        rows.append([*about, f"{before:.3f}", f"{after:.3f}", f"{change:+.3f}", verdict])
    return f"Most changed users, {len(changed)} of {n_changed}\n{aligned(rows, right={2, 3, 4, 5, 6})}"
