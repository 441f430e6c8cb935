"""What the parts of `jobs.batch_score` hand to each other, and what a batch comes to: small, and JSON all through."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hydra_ml.params import LLM


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
    planned_at: float  # seconds since the epoch; names the run
    set_aside_after: int  # runs in which the LLM may fail on a request though it answers others
    signed_with: str = ""  # public key that must have signed the release; "": none

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
    cost: float | None = None  # of these tokens, in money; None where prices are not known
    commands: int = 0  # requests that try to command an LLM; answered all the same


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
    cost: float | None = None  # of what was paid, in money; None where prices are not known
    commands: int = 0  # requests that try to command an LLM; answered all the same
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
        if self.cost is not None:
            lines.insert(4, f"  cost          {self.cost:,.2f} in money, answers kept from before for nothing")
        if self.commands:
            lines.insert(1, f"  commands      {self.commands:,} requests try to command the LLM; the log names them")
        if self.dead_letters:
            lines.insert(1, f"  set aside     {self.dead_letters:,}, each with its reason: {self.dead_letters_file}")
        return "\n".join(lines)
