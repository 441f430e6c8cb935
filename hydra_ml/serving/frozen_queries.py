"""The frozen queries that releases are judged on, and what each release answered them, kept below cache/gate.

The queries are the evaluate-role rows of data/prepare/<task>, each with the profile that `prepare` froze. Answers are
named by the release's manifest and the tables' content, so that neither a new registry nor new data can pass for old.
"""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pandas as pd
import pyarrow as pa

from hydra_ml.answering.score_requests import UNREADABLE
from hydra_ml.errors import ArtifactError
from hydra_ml.evaluation.gate import answers_alike, differing_users
from hydra_ml.io.files import folder_digest, load_json
from hydra_ml.io.layout import task_folder
from hydra_ml.io.mlflow.registry import Registry
from hydra_ml.io.tables import load_table, load_typed, save_table
from hydra_ml.model.heads import Heads
from hydra_ml.params import LLM
from hydra_ml.records import RECORD_COLUMNS, content_digest
from hydra_ml.release import Release
from hydra_ml.serving.open_release import open_release
from hydra_ml.tasks.task import Task

Versioned = tuple[str, Release]  # a release and its version
COMPONENTS = ("reranker", "adapter")
ANSWERED = ("query_id", "user_id", "prediction", "failed")
QUERIES = pa.schema(
    [
        *(pa.field(name, pa.string(), nullable=False) for name in ("query_id", "user_id", "role", "input")),
        pa.field("gold", pa.string()),
        pa.field("profile", pa.list_(pa.string()), nullable=False),
    ]
)
_ANSWERS = pa.schema(
    [
        *(pa.field(name, pa.string(), nullable=name == "prediction") for name in ANSWERED[:3]),
        pa.field("failed", pa.bool_(), nullable=False),
    ]
)
log = logging.getLogger(__name__)


class FrozenQueries:
    """The evaluated queries of one task, and the releases' answers to them."""

    def __init__(self, data: Path, task: Task, registry: Registry, cache: Path, llm: LLM) -> None:
        """llm: how LLMs are called. Raises ArtifactError if the tables of `prepare` are missing or damaged."""
        folder = task_folder(data, "prepare", task)
        queries = load_typed(folder / "queries.parquet", QUERIES)
        if not queries["query_id"].is_unique:
            raise ArtifactError(f"{folder / 'queries.parquet'}: a query stands in it twice. Run `dvc repro`.")
        self.queries = queries[queries["role"] == "evaluate"].reset_index(drop=True)
        self._folder, self._task, self._registry, self._cache, self._llm = folder, task, registry, cache, llm
        self._digest = folder_digest(folder)

    def side_by_side(self, champion: Versioned, challenger: Versioned) -> tuple[pd.DataFrame, int]:
        """Both releases' answers, columns `gate.ANSWER_COLUMNS`, and how many queries the challenger could change.

        Where both answer alike but for heads, a user with the same heads in both keeps the champion's answer.
        """
        affected = self._affected(champion[1], challenger[1])
        before = self.answers(champion)
        after = self.answers(challenger, before[~before["user_id"].isin(affected)])
        both = before.rename(columns={"prediction": "champion", "failed": "champion_failed"})
        after = after.rename(columns={"prediction": "challenger", "failed": "challenger_failed"})
        both = both.merge(after.drop(columns="user_id"), on="query_id", validate="one_to_one")
        both = both.merge(self.queries[["query_id", "gold"]], on="query_id", validate="one_to_one")
        return both, int(self.queries["user_id"].isin(affected).sum())

    def _affected(self, champion: Release, challenger: Release) -> set[str]:
        """Evaluated users whom the two releases may answer differently."""
        users = set(self.queries["user_id"])
        if not answers_alike(champion, challenger):
            return users
        affected: set[str] = set()
        for component in COMPONENTS:
            if champion.components[f"{component}.heads"].digest != challenger.components[f"{component}.heads"].digest:
                some, others = (self._heads(release, component, users) for release in (champion, challenger))
                affected |= differing_users(some, others)
        return affected

    def _heads(self, release: Release, component: str, user_ids: set[str]) -> Heads:
        base = self._registry.fetch(self._task, release.components[f"{component}.base"])
        digest = load_json(base / "manifest.json")["digest"]
        bank = self._registry.open_bank(self._task, release.components[f"{component}.heads"], base_digest=digest)
        return bank.heads_of(user_ids)

    def answers(self, versioned: Versioned, known: pd.DataFrame | None = None) -> pd.DataFrame:
        """What a release answers every query, columns ANSWERED; kept ones are not asked again.

        known: rows that hold for this release too. Queries the LLM failed on are not kept, but tried again.
        """
        version, release = versioned
        identity = content_digest(json.dumps(release.document(), sort_keys=True) + self._digest)
        path = self._cache / "gate" / self._task.folder / f"release-{version}-{identity[:16]}.parquet"
        parts = [_kept(path)] if path.exists() else []
        parts += [known] if known is not None else []
        have = {query_id for part in parts for query_id in part["query_id"]}
        missing = self.queries[~self.queries["query_id"].isin(have)]
        if len(missing) or not parts:
            parts.append(self._score(version, missing))
        answers = pd.concat(parts).drop_duplicates("query_id", keep="last", ignore_index=True)
        save_table(answers[~answers["failed"]], path, checksums=True)
        return answers

    def _score(self, version: str, queries: pd.DataFrame) -> pd.DataFrame:
        records = load_table(self._folder / "records.parquet", RECORD_COLUMNS)
        records = records[records["user_id"].isin(queries["user_id"])]
        requests = queries.rename(columns={"query_id": "request_id"})[["request_id", "user_id", "input", "profile"]]
        release = open_release(self._registry, self._task, version, cache=self._cache, llm=self._llm)
        scored = release.score(requests.reset_index(drop=True), records.reset_index(drop=True))
        failed = ~scored["error"].isin(["", UNREADABLE])  # an answer that cannot be read is the release's own
        return scored.rename(columns={"request_id": "query_id"}).assign(failed=failed)[list(ANSWERED)]


def _kept(path: Path) -> pd.DataFrame:
    """Answers kept earlier; none, and a line in the log, if the file is damaged: they are asked again."""
    try:
        return load_typed(path, _ANSWERS)
    except ArtifactError as error:
        log.warning("Kept answers are asked again. %s", error)
        return pd.DataFrame({name: pd.Series([], dtype=bool if name == "failed" else "str") for name in ANSWERED})
