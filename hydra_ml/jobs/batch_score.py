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
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from filelock import FileLock
from tqdm import tqdm

from hydra_ml.answering.score_requests import give_profiles
from hydra_ml.errors import BudgetExceeded
from hydra_ml.io.batch_folder import BatchFolder, begun_batch, clear_finished, content_of
from hydra_ml.io.history_store import stored_records
from hydra_ml.io.layout import task_folder
from hydra_ml.io.mlflow.registry import Registry
from hydra_ml.io.requests import read_requests
from hydra_ml.params import LLM, Params
from hydra_ml.predictions import PERSONALIZATIONS
from hydra_ml.serving.open_release import OpenRelease, open_release
from hydra_ml.tasks import get_task
from hydra_ml.tasks.task import Task

CACHE = Path(".cache")
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class BatchPlan:
    """What to score, with what, where; small, and JSON all through."""

    batch_id: str
    task: str  # folder
    release: str  # version, fixed when the batch was first planned
    folder: str  # the batch's working files, and in the end its report and dead letters
    predictions: str  # the Parquet that finish_batch writes
    data: str
    cache: str
    tracking_uri: str
    llm: Mapping[str, Any]  # how the LLM is called now; its budget is for the whole run of the batch
    shard_sizes: tuple[int, ...]  # requests in each shard
    unfinished: tuple[int, ...]  # shards without a result when this was planned
    planned_at: float  # seconds since the epoch

    @property
    def n_shards(self) -> int:
        return len(self.shard_sizes)

    def share(self, shard: int) -> LLM:
        """How the shard may call the LLM: the budget is split over the unfinished shards by their requests, so that
        shards that know nothing of each other keep to it together."""
        sizes = [self.shard_sizes[i] if i in self.unfinished else 0 for i in range(self.n_shards)]
        return LLM(**self.llm).share(sum(sizes[:shard]), sum(sizes[: shard + 1]), max(1, sum(sizes)))


@dataclass(frozen=True)
class ScoredShard:
    """What one shard came to. The costs are those of the run that finished it."""

    shard: int
    requests: int
    dead_letters: int
    llm_calls: int  # sent, repeats included
    llm_cached: int  # asks answered from the response cache
    tokens_paid: int
    seconds: float


@dataclass(frozen=True)
class BatchReport:
    """What a batch came to. Calls are of the runs that finished its shards; those of a killed run are not known."""

    batch_id: str
    task: str
    release: str
    predictions: str  # path
    dead_letters_file: str  # path
    requests: int  # predictions and dead letters
    scored: int
    dead_letters: int
    shards: int
    personalization: Mapping[str, int]  # predictions by `personal`, `shared`, `none`
    llm_calls: int
    llm_cached: int
    tokens_in: int  # of the answers used, bought now or earlier
    tokens_out: int
    seconds: float  # of the run that finished the batch
    requests_per_s: float  # of that run, over the requests it had before it
    scored_at: str = ""  # ISO 8601, UTC: when the batch was finished; "" in reports of earlier versions

    def text(self) -> str:
        """As a terminal prints it."""
        served = ", ".join(f"{n:,} {kind}" for kind, n in self.personalization.items() if n) or "none"
        lines = [
            f"{self.scored:,} of {self.requests:,} requests answered by release {self.release} ({served} heads)",
            f"  predictions   {self.predictions}",
            f"  LLM           {self.llm_calls:,} calls, {self.llm_cached:,} answers kept from before",
            f"  tokens        {self.tokens_in:,} in, {self.tokens_out:,} out",
            f"  time          {self.seconds:.1f} s, {self.requests_per_s:.1f} requests/s",
            "  why           hydra-ml why REQUEST_ID",
        ]
        if self.dead_letters:
            lines.insert(1, f"  set aside     {self.dead_letters:,}, each with its reason: {self.dead_letters_file}")
        return "\n".join(lines)


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
            version, release = registry.release(task, which)
            made_of = json.dumps([digest, task.folder, version, release.document()], sort_keys=True)
            batch_id = hashlib.blake2b(made_of.encode(), digest_size=6).hexdigest()
            folder = BatchFolder(home / f"{requests.stem}-{batch_id}")
            if not folder.is_finished:
                facts = {"batch_id": batch_id, "content": digest, "task": task.folder, "release": version}
                folder.lay_out(facts, *read_requests(requests, task), per_shard=params.batch_score.requests_per_shard)
    pinned = folder.facts()
    sizes = tuple(pinned["shard_sizes"])
    return BatchPlan(
        batch_id=pinned["batch_id"],
        task=task.folder,
        release=pinned["release"],
        folder=str(folder.path),
        predictions=str(folder.predictions),
        data=str(data),
        cache=str(cache),
        tracking_uri=registry.uri,
        llm=params.llm.model_dump(),
        shard_sizes=sizes,
        unfinished=tuple(i for i in range(len(sizes)) if not folder.has(i)),
        planned_at=time.time(),
    )


def _kept(folder: BatchFolder | None, live: str) -> BatchFolder | None:
    """The begun batch to go on with. One of another release than is asked for is of one piece if a shard is scored;
    if none is, it is given up for a batch of the release that is live now."""
    if folder is None or live in ("", folder.facts()["release"]):
        return folder
    n_shards = len(folder.facts()["shard_sizes"])
    n_done = sum(folder.has(shard) for shard in range(n_shards))
    if not n_done:
        folder.discard()
        return None
    log.warning(
        "%s goes on with release %s, which scored %d of its %d shards before release %s went live; to answer all of it "
        "with that one: hydra-ml score --release %s",
        folder.path.name,
        folder.facts()["release"],
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
        return ScoredShard(**folder.shard_report(shard))


def finish_batch(plan: BatchPlan) -> BatchReport:
    """Put the shards together: the predictions in the order of the requests, dead_letters.jsonl, report.json.

    Every request is in one of the two files. Raises ArtifactError if a shard is not scored yet.
    """
    folder = BatchFolder(Path(plan.folder))
    with FileLock(folder.path / "finish.lock"):
        if not folder.is_finished:
            _finish(plan, folder)
        folder.clear()
        return BatchReport(**folder.report()["batch"])


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
    used = {"max_calls": report.llm_calls, "max_tokens": report.tokens_paid}
    limits = {"max_calls": llm.max_calls, "max_tokens": llm.max_tokens}
    return llm.model_copy(update={name: limit and max(0, limit - used[name]) for name, limit in limits.items()})


_open = threading.local()


def _opened(plan: BatchPlan) -> OpenRelease:
    """The plan's release, opened once per thread: opening costs seconds, and an open one serves one thread."""
    key = (plan.tracking_uri, plan.task, plan.release, plan.cache)
    if getattr(_open, "key", None) != key:
        registry = Registry(plan.tracking_uri, cache=Path(plan.cache))
        _open.release = open_release(registry, get_task(plan.task), plan.release, Path(plan.cache))
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
        table = opened.score(requests, records, client)
        usage = client.usage
    report = ScoredShard(
        shard=shard,
        requests=len(table),
        dead_letters=int(table["prediction"].isna().sum()),
        llm_calls=usage.calls,
        llm_cached=usage.cached,
        tokens_paid=usage.tokens_in + usage.tokens_out,
        seconds=round(time.monotonic() - started, 3),
    )
    folder.keep(shard, table, asdict(report))


def _finish(plan: BatchPlan, folder: BatchFolder) -> None:
    scored, letters = folder.joined()
    shards = [folder.shard_report(shard) for shard in range(plan.n_shards)]
    served = Counter(scored["personalization"].to_pylist())
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
        scored_at=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    folder.finish(scored, letters, {"batch": asdict(report), "shards": shards})
