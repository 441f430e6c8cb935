"""explain: works a prediction out again, on the release that made it and from the answers that are kept, and takes it
apart: which parts its score has, what a stranger's head would choose, what would be answered without each record.

Nothing is asked of the LLM unless the caller wants it. What cannot be told any more is told as missing: the rest is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from hydra_ml.answering.arms import SERVED
from hydra_ml.answering.explain import (
    choice_of,
    chosen_answers,
    chosen_if_same_said,
    records_to_tell,
    score_parts,
    without_each,
)
from hydra_ml.answering.score_requests import Asked, Models, Worked, ask_for, choose_from, give_profiles, remembering
from hydra_ml.errors import HydraError
from hydra_ml.evaluation.explanation import Breakdown, Explanation, UsedRecord, breakdown, decision_told
from hydra_ml.evaluation.methods.method import strangers
from hydra_ml.io.asked_texts import asked_request
from hydra_ml.io.feedback_store import stored_feedback
from hydra_ml.io.history_store import stored_records
from hydra_ml.io.layout import task_folder
from hydra_ml.io.mlflow.registry import Registry
from hydra_ml.io.response_cache import ResponseCache
from hydra_ml.io.tables import load_typed
from hydra_ml.llm.chat import Ask
from hydra_ml.llm.client import LLMClient
from hydra_ml.llm.order import n_not_kept
from hydra_ml.model.heads import n_parameters
from hydra_ml.params import LLM
from hydra_ml.records import Request
from hydra_ml.serving.component import torch_threads
from hydra_ml.serving.frozen_queries import QUERIES
from hydra_ml.serving.open_release import OpenRelease, open_release
from hydra_ml.tasks.task import Task

MOST_RECORDS = 12  # told of, those shown first
CLOSE = 1e-6  # two scores are the same answer's
Row = Mapping[str, Any]  # a prediction


class _NotKept(Exception):
    """Answers of the LLM are not kept any more; asking again takes so many calls."""

    def __init__(self, n_calls: int) -> None:
        super().__init__(n_calls)
        self.n_calls = n_calls


@dataclass(frozen=True)
class _Bench:
    """One request, as its release sees it."""

    release: OpenRelease
    models: Models
    client: LLMClient
    store: ResponseCache
    table: pd.DataFrame  # the request with its profile, one row of REQUEST_COLUMNS
    records: pd.DataFrame

    @property
    def profile(self) -> list[str]:
        return list(self.table["profile"].iloc[0])

    def ask_for(self, requests: pd.DataFrame) -> Asked:
        """What the release would ask for these."""
        return ask_for(requests, self.records, self.models, task=self.release.task, params=self.release.params)

    def choose(self, asked: Asked, *, buy: bool) -> Worked:
        """The candidates that the answers give. Raises _NotKept if some would have to be bought, and may not be."""
        if not buy and (n_calls := self.n_calls(asked.asks)):
            raise _NotKept(n_calls)
        replies = self.client.ask_each(asked.asks, label=f"why {self.release.task.name}")
        params = self.release.params
        return choose_from(asked, replies, self.records, self.models, task=self.release.task, params=params)

    def n_calls(self, asks: Sequence[Ask]) -> int:
        """How many calls the answers take that are not kept."""
        return n_not_kept(asks, self.client.identity(), self.store)


def explain(
    told: Explanation,
    row: Row,
    predictions: Path,
    task: Task,
    *,
    data: Path,
    registry: Registry,
    cache: Path,
    llm: LLM,
    ask: bool = False,
    files: Sequence[Path] = (),
) -> Explanation:
    """The explanation with all that working the answer out again tells; what cannot be told is in `missing`.

    row: the prediction; told: what it says itself. llm: how to call the LLM; ask: whether to buy what is not kept.
    files: where else the request may stand. Raises HydraError if `files` cannot be read, LLMError and BudgetExceeded
    where something is bought.
    """
    request = asked_request(predictions, task, told.request_id, data, files) or _from_feedback(row, task, data)
    if request is None or request.user_id != told.user_id:
        where = "no file in data/requests holds it any more: name the file of requests with --requests"
        return replace(told, missing=(*told.missing, f"what was asked, and all that follows from it: {where}"))
    told = replace(told, question=task.query_text(request.input))
    try:
        release = open_release(registry, task, str(row["release"]), cache, llm=llm)
        with release.llm(llm) as client, ResponseCache(cache / "responses.sqlite") as store, torch_threads(1):
            client.identity()
            make = lambda table, records: _bench(release, client, store, table, records)  # noqa: E731
            return _told_by(told, row, _views(request, row, predictions, release, data), make, data, ask)
    except HydraError as error:
        if ask:
            raise
        reason = str(error).partition("\n")[0]
        return replace(told, missing=(*told.missing, f"the parts of its score: {reason}"))


def _bench(
    release: OpenRelease, client: LLMClient, store: ResponseCache, table: pd.DataFrame, records: pd.DataFrame
) -> _Bench:
    models = release.models(set(table["user_id"]))
    models = replace(models, encode=remembering(models.encode))
    return _Bench(release, models, client, store, table, records)


def _from_feedback(row: Row, task: Task, data: Path) -> Request | None:
    """The request as feedback on it kept it."""
    said = stored_feedback(data, task, ["request_id", "user_id", "input"])
    found = said[
        (said["request_id"] == row["request_id"]) & (said["user_id"] == row["user_id"]) & (said["input"] != "")
    ]
    if found.empty:
        return None
    return Request(row["request_id"], row["user_id"], found["input"].iloc[0], 1, None)


def _views(
    request: Request, row: Row, predictions: Path, release: OpenRelease, data: Path
) -> list[tuple[pd.DataFrame, pd.DataFrame]]:
    """The request with what it may have seen of its user: what is stored now, and without what came in since."""
    found: list[tuple[pd.DataFrame, pd.DataFrame]] = []
    for until in (None, predictions.stat().st_mtime):
        if request.history is None:
            stored = stored_records(data, release.task, [request.user_id], until)
        else:
            stored = stored_records(data, release.task, [])
        view = give_profiles([request], stored, release.task, limit=release.params.prepare.history)
        if not any(view[0]["profile"].iloc[0] == other[0]["profile"].iloc[0] for other in found):
            found.append(view)
    return sorted(found, key=lambda view: len(view[0]["profile"].iloc[0]) != row["n_history"])


def _told_by(
    told: Explanation,
    row: Row,
    views: Sequence[tuple[pd.DataFrame, pd.DataFrame]],
    make: Callable[[pd.DataFrame, pd.DataFrame], _Bench],
    data: Path,
    ask: bool,
) -> Explanation:
    """What the first view that gives the stored score tells; else what the first tells, with a word that it differs."""
    tried: list[tuple[_Bench, Worked]] = []
    n_calls = 0
    for table, records in views:
        bench = make(table, records)
        try:
            worked = bench.choose(bench.ask_for(table), buy=ask and not tried)
        except _NotKept as missing:
            n_calls = n_calls or missing.n_calls
            continue
        if not worked.rows.empty:
            tried.append((bench, worked))
            if _is_same(worked, row):
                return _parts_told(told, bench, worked, data, ask)
    if not tried:
        is_changed = len(views[0][0]["profile"].iloc[0]) != row["n_history"]
        kept = "the user's records have changed since" if is_changed else "the LLM's answers are not kept any more"
        why = f"{kept}; --ask would cost {n_calls} calls" if n_calls else "the LLM gave no answer"
        return replace(told, missing=(*told.missing, f"the parts of its score: {why}"))
    differs = "the parts of the stored score: worked out again it differs, for the user's records have changed since"
    told = _parts_told(told, *tried[0], data, ask)
    return replace(told, missing=(*told.missing, f"{differs}. Shown is how it would be chosen now"))


def _is_same(worked: Worked, row: Row) -> bool:
    """Whether these are the candidates, and their scores, that the prediction keeps."""
    scores = dict(zip(worked.rows["answer"], worked.rows["personal"].astype(float), strict=True))
    kept = [one for one in row["candidates"] or [] if one is not None]
    return bool(kept) and all(
        one["answer"] in scores and abs(scores[one["answer"]] - one["personal"]) <= CLOSE for one in kept
    )


def _parts_told(told: Explanation, bench: _Bench, worked: Worked, data: Path, ask: bool) -> Explanation:
    """The explanation with parts, decision, records and a stranger's choice."""
    release, task = bench.release, bench.release.task
    rows = worked.rows
    choice = choice_of(rows, task, bench.models.margin)
    x = release.adapter.features(rows["a"].tolist(), rows["b"].tolist(), worked.evidence)
    heads = release.adapter.bank.heads_of([told.user_id])
    own = heads.table[0] if heads.user_ids else np.zeros(n_parameters(heads.kind, heads.width), dtype=np.float32)
    parts = score_parts(worked, x, release.adapter.shared, own, records=bench.records, task=task, models=bench.models)
    answers = rows["answer"].astype(str).tolist()

    def taken_apart(over: str | None, what: str) -> Breakdown:
        """The chosen answer's score, or its lead."""
        return breakdown(parts, answers, bench.profile, choice.chosen, over=over, what=what)

    found = [taken_apart(None, "")]
    if choice.runner_up is not None:
        found.append(taken_apart(choice.runner_up, "the runner-up"))
    if choice.plain not in (None, choice.chosen, choice.runner_up):
        found.append(taken_apart(choice.plain, "plain RAG's answer"))
    return replace(
        told,
        breakdowns=tuple(found),
        decision=decision_told(choice, is_rating=task.kind == "rating"),
        records=_records_told(bench, worked, found, ask),
        stranger=_strangers_choice(bench, worked, data),
    )


def _records_told(bench: _Bench, worked: Worked, breakdowns: Sequence[Breakdown], ask: bool) -> tuple[UsedRecord, ...]:
    """The records that were shown and those that moved the lead most, with what would be chosen without each."""
    arms: dict[str, list[str]] = {}
    for arm in SERVED:
        prompts = worked.asked.prompts
        for demos in prompts.loc[prompts["arm"] == arm.name, "demos"]:
            for record_id in demos:
                arms.setdefault(record_id, []).append(arm.name)
    lead = breakdowns[1] if len(breakdowns) > 1 else breakdowns[0]
    gives = np.array([lead.records[record_id] for record_id in bench.profile])
    ids = records_to_tell(gives, bench.profile, list(arms), MOST_RECORDS)
    if not ids:
        return ()
    variants = without_each(bench.table, ids)
    task = bench.release.task
    same = chosen_if_same_said(worked, variants, bench.records, bench.models, task=task)
    without, n_calls = _without(bench, variants, buy=ask)
    by_id = bench.records.set_index("record_id")
    return tuple(
        UsedRecord(
            record_id,
            str(by_id.at[record_id, "date"]),
            str(by_id.at[record_id, "text"]),
            str(by_id.at[record_id, "answer"]),
            tuple(arms.get(record_id, ())),
            lead.records[record_id],
            same.get(record_id),
            without.get(record_id),
            n_calls.get(record_id, 0),
        )
        for record_id in ids
    )


def _without(bench: _Bench, variants: pd.DataFrame, *, buy: bool) -> tuple[dict[str, str], dict[str, int]]:
    """By record id what is answered without it, the LLM asked again, where its answers are kept or may be bought; and
    of the others how many calls would tell."""
    asked = bench.ask_for(variants)
    owners = asked.prompts["query_id"].iloc[asked.owners].tolist()
    of = {name: [ask for ask, owner in zip(asked.asks, owners, strict=True) if owner == name] for name in set(owners)}
    n_calls = {name: bench.n_calls(of.get(name, [])) for name in variants["request_id"]}
    known = [name for name, n in n_calls.items() if buy or not n]
    if not known:
        return {}, n_calls
    some = variants[variants["request_id"].isin(known)].reset_index(drop=True)
    worked = bench.choose(bench.ask_for(some), buy=buy)
    chosen = chosen_answers(worked.rows, bench.release.task, bench.models.margin)
    return chosen, {name: n for name, n in n_calls.items() if name not in known}


def _strangers_choice(bench: _Bench, worked: Worked, data: Path) -> str | None:
    """What is chosen under the head of another user, the nearest in length of history, as the control `hydra_swapped`
    has it; None where nobody else among the evaluated users has a head."""
    user_id, release = str(bench.table["user_id"].iloc[0]), bench.release
    queries = load_typed(task_folder(data, "prepare", release.task) / "queries.parquet", QUERIES)
    queries = queries[(queries["role"] == "evaluate") & (queries["user_id"] != user_id)]
    mine = bench.table.assign(role="evaluate")[["user_id", "profile"]]
    everyone = pd.concat([queries[["user_id", "profile"]], mine], ignore_index=True)
    with_head = {*release.adapter.bank.heads_of(set(queries["user_id"])).user_ids, user_id}
    stranger = strangers(everyone, with_head, release.params.seed).get(user_id)
    if stranger is None:
        return None
    rows, users = worked.rows, np.full(len(worked.rows), stranger)
    personal, _ = release.adapter.score(rows["a"].tolist(), rows["b"].tolist(), worked.evidence, users)
    chosen = chosen_answers(rows.assign(personal=personal), release.task, bench.models.margin)
    return next(iter(chosen.values()), None)
