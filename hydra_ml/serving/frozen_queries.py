"""The frozen queries that releases are judged on, and what each release answered them, kept below cache/gate.

The queries are the evaluate-role rows of data/prepare/<task>, each with the profile that `prepare` froze. Answers are
named by the release's manifest, the tables' content and what the LLM's server tells of its model (`llm.served`), so
that neither a new registry, nor new data, nor another model behind the same name can pass for old.
"""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pandas as pd
import pyarrow as pa

from hydra_ml.answering.score_requests import UNREADABLE
from hydra_ml.errors import ArtifactError, BudgetExceeded, LLMError, ParamsError
from hydra_ml.evaluation.gate import answers_alike, differing_users
from hydra_ml.io.files import folder_digest, load_json
from hydra_ml.io.layout import task_folder
from hydra_ml.io.llm import asked_identity
from hydra_ml.io.mlflow.registry import Registry
from hydra_ml.io.tables import load_table, load_typed, save_table
from hydra_ml.model.heads import Heads
from hydra_ml.params import LLM, SHAPING
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
        self.asked_anew: set[str] = set()  # releases whose server told otherwise of its model when they last answered
        self.as_kept: set[str] = set()  # releases whose LLM cannot be asked any more, and answered once

    def side_by_side(self, champion: Versioned, challenger: Versioned) -> tuple[pd.DataFrame, int]:
        """Both releases' answers, columns `gate.ANSWER_COLUMNS`, and how many queries the challenger could change.

        Where both answer alike but for heads, a user with the same heads in both keeps the champion's answer. Raises
        LLMError if the two share an LLM's name, but not the model that answered.
        """
        affected = self._affected(champion[1], challenger[1])
        before, model_before = self._answers(champion)
        after, model = self._answers(challenger, before[~before["user_id"].isin(affected)])
        if champion[1].llm == challenger[1].llm and self._shaping(champion[1]) == self._shaping(challenger[1]):
            _check_same(model_before, model, champion[1].llm)
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

        known: rows that hold for this release too. Queries the LLM failed on are not kept, but tried again. Where the
        LLM that answers cannot be asked any more, answers to all queries that it once gave are what it answers.
        Raises LLMError if another model is put behind its name meanwhile.
        """
        return self._answers(versioned, known)[0]

    def _answers(self, versioned: Versioned, known: pd.DataFrame | None = None) -> tuple[pd.DataFrame, str]:
        """The answers, and whose they are: the name of their file less the release's."""
        path, others = self._places(versioned)
        if any(map(_model, others)) and not path.exists():
            self.asked_anew.add(versioned[0])
        try:
            answers = self._asked(versioned[0], path, known)
        except BudgetExceeded:
            raise
        except (LLMError, ParamsError):
            earlier = [(kept, other) for other in others if len(kept := _kept(other)) == len(self.queries)]
            if not earlier or path.exists():
                raise
            self.asked_anew.discard(versioned[0])
            self.as_kept.add(versioned[0])
            return earlier[0][0], _model(earlier[0][1])
        _check_same(_model(path), _model(self._places(versioned)[0]), versioned[1].llm)
        save_table(answers[~answers["failed"]], path, checksums=True)
        return answers, _model(path)

    def _places(self, versioned: Versioned) -> tuple[Path, list[Path]]:
        """Where the release's answers by the model that its LLM's server tells of now are kept, and where those by
        other models are, the newest first."""
        version, release = versioned
        identity = content_digest(json.dumps(release.document(), sort_keys=True) + self._digest)
        folder, name = self._cache / "gate" / self._task.folder, f"release-{version}-{identity[:16]}"
        llm = self._llm.model_copy(update=self._shaping(release))
        served = asked_identity(llm, self._cache / "responses.sqlite")
        # Of a server that tells nothing, and so of the offline model, answers are known by the release alone.
        told = "" if served == llm.identity else f"-{content_digest(served)[:8]}"
        path = folder / f"{name}{told}.parquet"
        others = [other for other in folder.glob(f"{name}*.parquet") if other != path]
        return path, sorted(others, key=lambda other: other.stat().st_mtime, reverse=True)

    @staticmethod
    def _shaping(release: Release) -> dict[str, object]:
        """What of the release's settings shapes an LLM's answers; what an older one does not name has its default."""
        settings = {**LLM().model_dump(), **release.params.get("llm", {})}
        return {name: settings[name] for name in SHAPING}

    def _asked(self, version: str, path: Path, known: pd.DataFrame | None) -> pd.DataFrame:
        """The answers kept at the path, those known, and the missing ones, asked."""
        parts = [_kept(path)] if path.exists() else []
        parts += [known] if known is not None else []
        have = {query_id for part in parts for query_id in part["query_id"]}
        missing = self.queries[~self.queries["query_id"].isin(have)]
        if len(missing) or not parts:
            parts.append(self._score(version, missing))
        return pd.concat(parts).drop_duplicates("query_id", keep="last", ignore_index=True)

    def _score(self, version: str, queries: pd.DataFrame) -> pd.DataFrame:
        records = load_table(self._folder / "records.parquet", RECORD_COLUMNS)
        records = records[records["user_id"].isin(queries["user_id"])]
        requests = queries.rename(columns={"query_id": "request_id"})[["request_id", "user_id", "input", "profile"]]
        release = open_release(self._registry, self._task, version, cache=self._cache, llm=self._llm)
        scored = release.score(requests.reset_index(drop=True), records.reset_index(drop=True))
        failed = ~scored["error"].isin(["", UNREADABLE])  # an answer that cannot be read is the release's own
        return scored.rename(columns={"request_id": "query_id"}).assign(failed=failed)[list(ANSWERED)]


def _model(path: Path) -> str:
    """Which model gave the answers of this file; "" for one that its server tells nothing of."""
    return path.stem.split("-", 3)[3] if path.stem.count("-") == 3 else ""


def _check_same(one: str, other: str, llm: str) -> None:
    if one != other:
        raise LLMError(
            f"{llm}: the server tells of another model behind this name than before, and the answers of two models "
            "would be compared as one's. Nothing was decided: run the same again when the server stays with one model."
        )


def _kept(path: Path) -> pd.DataFrame:
    """Answers kept earlier; none, and a line in the log, if the file is damaged: they are asked again."""
    try:
        return load_typed(path, _ANSWERS)
    except ArtifactError as error:
        log.warning("Kept answers are asked again. %s", error)
        return pd.DataFrame({name: pd.Series([], dtype=bool if name == "failed" else "str") for name in ANSWERED})
