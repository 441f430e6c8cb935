"""batch_score: answers a file of requests with one release, in shards of users that may be worked on anywhere.

A batch is named by its requests' content, its task and its release, and keeps the release it was planned with, so that
a resumed batch is of one piece although the champion has moved. A finished shard is a file, there whole or not at all;
a shard that was cut short starts over and reads the answers it has paid for from the response cache.

The same predictions come out, bit for bit, whatever threads or processes work on the shards and in whatever order: a
user's requests stand in one shard, a shard's vectors depend on its own texts and the feature cache, which no shard
writes, and torch keeps to one thread. Only what a request cost says who came first: a prompt that two shards share is
paid for by one. Histories are read when a shard is scored: what is ingested meanwhile counts for shards not yet done.
"""

from __future__ import annotations

import hashlib
import json
import logging
import threading
import time
from collections import Counter
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from filelock import FileLock
from tqdm import tqdm

from hydra_ml.answering.score_requests import give_profiles
from hydra_ml.errors import ArtifactError, BudgetExceeded
from hydra_ml.io.batch_folder import BatchFacts, BatchFolder, begun_batch, clear_finished, content_of
from hydra_ml.io.bounded_json import checked_as
from hydra_ml.io.files import short_name
from hydra_ml.io.history_store import stored_records
from hydra_ml.io.layout import task_folder
from hydra_ml.io.mlflow.registry import Registry
from hydra_ml.io.requests import read_requests
from hydra_ml.io.task_files import get_task
from hydra_ml.jobs.batch_report import BatchPlan, BatchReport, ScoredShard
from hydra_ml.jobs.failed_requests import failed_requests, settled
from hydra_ml.learning.commands import command_in
from hydra_ml.params import LLM, Params
from hydra_ml.predictions import PERSONALIZATIONS
from hydra_ml.serving.open_release import OpenRelease, open_release
from hydra_ml.shown_text import visible
from hydra_ml.tasks.task import Task

CACHE = Path(".cache")
log = logging.getLogger(__name__)
T = TypeVar("T")


def clear_texts(task: Task, *, data: Path) -> None:
    """Remove request texts that a kill left in the task's finished batches. `plan_batch` does so too, but is called
    only when there is something to score."""
    clear_finished(task_folder(data, "predictions", task))


def plan_batch(
    requests: Path,
    task: Task,
    params: Params,
    *,
    data: Path,
    registry: Registry,
    which: str = "champion",
    cache: Path = CACHE,
) -> BatchPlan:
    """Split the file's requests into shards, or take up the batch that was begun on the same content.

    Begun and unfinished batches keep their release; otherwise `which` names it. Raises DataError if the file cannot be
    read, ArtifactError if the release is not there.
    """
    data, cache = data.resolve(), cache.resolve()  # shards may be scored by processes that stand elsewhere
    home = task_folder(data, "predictions", task)
    home.mkdir(parents=True, exist_ok=True)
    digest = content_of(requests)
    clear_texts(task, data=data)
    with FileLock(home / ".plan.lock"):
        version = "" if which == "champion" else registry.release(task, which)[0]
        folder = _kept(begun_batch(home, digest, version), registry.aliases(task).get(which, version))
        if folder is None:
            folder = _begun(requests, digest, task, registry, which, home, params.batch_score.requests_per_shard)
    pinned = folder.facts()
    sizes = pinned.shard_sizes
    return BatchPlan(
        batch_id=pinned.batch_id,
        task=task.folder,
        release=pinned.release,
        folder=str(folder.path),
        predictions=str(folder.predictions),
        data=str(data),
        cache=str(cache),
        tracking_uri=registry.uri,
        llm=params.llm.model_dump(),
        shard_sizes=sizes,
        unfinished=tuple(i for i in range(len(sizes)) if not folder.has(i)),
        planned_at=time.time(),
        set_aside_after=params.batch_score.set_aside_after,
        signed_with=params.promote.require_signature,
    )


def _begun(
    requests: Path, digest: str, task: Task, registry: Registry, which: str, home: Path, per_shard: int
) -> BatchFolder:
    """The batch of these requests and the release that `which` names now, laid out if it is new."""
    version, release = registry.release(task, which)
    made_of = json.dumps([digest, task.folder, version, release.document()], sort_keys=True)
    batch_id = hashlib.blake2b(made_of.encode(), digest_size=6).hexdigest()
    folder = BatchFolder(home / f"{short_name(requests.stem)}-{batch_id}")
    if not folder.is_finished or folder.known_facts() is None:
        facts = BatchFacts(batch_id=batch_id, content=digest, task=task.folder, release=version)
        folder.lay_out(facts, *read_requests(requests, task), per_shard=per_shard)
    return folder


def _kept(folder: BatchFolder | None, live: str) -> BatchFolder | None:
    """The begun batch to go on with. One of another release than is asked for is of one piece if a shard is scored;
    if none is, it is given up for a batch of the release that is live now."""
    if folder is None or live in ("", folder.facts().release):
        return folder
    n_shards = len(folder.facts().shard_sizes)
    n_done = sum(folder.has(shard) for shard in range(n_shards))
    if not n_done:
        folder.discard()
        return None
    log.warning(
        "%s goes on with release %s, which scored %d of its %d shards before release %s went live; to answer all of it "
        "with that one: hydra-ml score --release %s",
        folder.path.name,
        folder.facts().release,
        n_done,
        n_shards,
        live,
        live,
    )
    return folder


def score_shard(plan: BatchPlan, shard: int, llm: LLM | None = None) -> ScoredShard:
    """Answer one shard's requests and keep the result; at once if that was done already, by this or another worker.

    llm: how to call the LLM; None means the plan's settings with the shard's share of the budget. Raises LLMError,
    BudgetExceeded or ArtifactError with nothing written; answers bought by then stay in the response cache.
    """
    folder = BatchFolder(Path(plan.folder))
    with FileLock(folder.path / f"shard-{shard:05d}.lock"):  # the system lets go of it when its holder dies
        if not folder.has(shard):
            _score(plan, shard, plan.share(shard) if llm is None else llm)
        return _report_as(ScoredShard, folder, folder.shard_report(shard))


def finish_batch(plan: BatchPlan) -> BatchReport:
    """Put the shards together: the predictions in the order of the requests, dead_letters.jsonl, report.json.

    Every request is in one of the two files. Raises ArtifactError if a shard is not scored yet.
    """
    folder = BatchFolder(Path(plan.folder))
    with FileLock(folder.path / "finish.lock"):
        if not folder.is_finished:
            _finish(plan, folder)
        folder.clear()
        failed_requests(folder).clear()
        return _report_as(BatchReport, folder, folder.report().batch)


def _report_as(kind: type[T], folder: BatchFolder, document: dict[str, Any]) -> T:
    try:
        return checked_as(kind, document)
    except ValueError as error:
        raise ArtifactError(
            f"{folder.path}: holds a damaged report ({error}). Delete the folder and score the same requests again: "
            "answers bought are kept in the response cache."
        ) from error


def score_requests(
    requests: Path,
    task: Task,
    params: Params,
    *,
    data: Path,
    registry: Registry,
    which: str = "champion",
    cache: Path = CACHE,
) -> BatchReport:
    """Plan, score every shard in turn and finish, with a progress bar over requests; run again, it goes on.

    Raises as plan_batch and score_shard do; BudgetExceeded says how much is done.
    """
    plan = plan_batch(requests, task, params, data=data, registry=registry, which=which, cache=cache)
    left = LLM(**plan.llm)
    with tqdm(total=sum(plan.shard_sizes), desc=f"batch {plan.batch_id}", unit=" requests") as bar:
        for shard, size in enumerate(plan.shard_sizes):
            if shard in plan.unfinished:
                try:
                    left = _less(left, score_shard(plan, shard, left))
                except BudgetExceeded as error:
                    done = sum(BatchFolder(Path(plan.folder)).has(i) for i in range(plan.n_shards))
                    raise BudgetExceeded(f"{error} {done} of {plan.n_shards} shards are scored.") from error
            bar.update(size)
    return finish_batch(plan)


def _less(llm: LLM, report: ScoredShard) -> LLM:
    """What a shard left of the budget."""
    used = {"max_calls": report.llm_calls, "max_tokens": report.tokens_paid, "max_cost": report.cost or 0.0}
    limits = {name: getattr(llm, name) for name in used}
    return llm.model_copy(update={name: limit and max(0, limit - used[name]) for name, limit in limits.items()})


_open = threading.local()


def _opened(plan: BatchPlan) -> OpenRelease:
    """The plan's release, opened once per thread: opening costs seconds, and an open one serves one thread."""
    key = (plan.tracking_uri, plan.task, plan.release, plan.cache, plan.signed_with)
    if getattr(_open, "key", None) != key:
        registry = Registry(plan.tracking_uri, cache=Path(plan.cache))
        _open.release = open_release(
            registry, get_task(plan.task), plan.release, Path(plan.cache), signed_with=plan.signed_with
        )
        _open.key = key
    release: OpenRelease = _open.release
    return release


def _score(plan: BatchPlan, shard: int, llm: LLM) -> None:
    started = time.monotonic()
    folder, task = BatchFolder(Path(plan.folder)), get_task(plan.task)
    asked = folder.asked(shard)
    stored = stored_records(Path(plan.data), task, [request.user_id for request in asked if request.history is None])
    opened = _opened(plan)
    requests, records = give_profiles(asked, stored, task, limit=opened.params.prepare.history)
    with opened.llm(llm) as client:
        table, blame = opened.score_and_blame(requests, records, client)
        usage = client.usage
    flagged = [ask.request_id for ask in asked if command_in(task.query_text(ask.input))]
    if flagged:
        log.warning("%d requests try to command the LLM: %s", len(flagged), visible(", ".join(flagged[:20])))
    model, share = opened.params.llm.model, llm.max_failed_share
    table = settled(plan, shard, table, blame, reason=usage.reason, model=model, max_failed_share=share)
    report = ScoredShard(
        shard=shard,
        requests=len(table),
        dead_letters=int(table["prediction"].isna().sum()),
        llm_calls=usage.calls,
        llm_cached=usage.cached,
        tokens_paid=usage.tokens_in + usage.tokens_out,
        seconds=round(time.monotonic() - started, 3),
        cost=llm.money(usage.tokens_in, usage.tokens_out),
        commands=len(flagged),
    )
    folder.keep(shard, table, asdict(report))


def _finish(plan: BatchPlan, folder: BatchFolder) -> None:
    scored, letters = folder.joined()
    shards = [folder.shard_report(shard) for shard in range(plan.n_shards)]
    served = Counter(scored["personalization"].to_pylist())
    costs = [shard["cost"] for shard in shards if shard.get("cost") is not None]
    seconds = max(time.time() - plan.planned_at, 1e-3)
    report = BatchReport(
        batch_id=plan.batch_id,
        task=plan.task,
        release=plan.release,
        predictions=plan.predictions,
        dead_letters_file=str(folder.dead_letters),
        requests=len(scored) + len(letters),
        scored=len(scored),
        dead_letters=len(letters),
        shards=plan.n_shards,
        personalization={kind: served[kind] for kind in PERSONALIZATIONS},
        llm_calls=sum(shard["llm_calls"] for shard in shards),
        llm_cached=sum(shard["llm_cached"] for shard in shards),
        tokens_in=sum(scored["tokens_in"].to_pylist()),
        tokens_out=sum(scored["tokens_out"].to_pylist()),
        seconds=round(seconds, 2),
        requests_per_s=round(sum(plan.shard_sizes[i] for i in plan.unfinished) / seconds, 2),
        cost=sum(costs) if costs else None,
        commands=sum(shard.get("commands", 0) for shard in shards),
        scored_at=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    folder.finish(scored, letters, {"batch": asdict(report), "shards": shards})
