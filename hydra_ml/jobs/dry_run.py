"""dry run: what each stage that asks the LLM would ask, less what is kept, before any of it is bought.

The stages before them, which ask nothing, must have run. Without annotations, the default, the reranker will keep the
first ranker's order: every prompt is known. Where it is yet to learn, the first ranker's prompts stand for those that
will be shown, as many and about as long, and the estimate says that it is an upper one.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from hydra_ml.answering.arms import RERANKINGS
from hydra_ml.answering.reranker import first_scores
from hydra_ml.io.dvc_status import is_up_to_date
from hydra_ml.io.layout import task_folder
from hydra_ml.io.llm import asked_identity
from hydra_ml.io.response_cache import ResponseCache
from hydra_ml.io.tables import load_table
from hydra_ml.llm.chat import AnswerStore, MemoryStore
from hydra_ml.llm.client import MOST_AT_ONCE
from hydra_ml.llm.cost import Cost, expected_cost
from hydra_ml.llm.order import make_orders
from hydra_ml.params import LLM, Params
from hydra_ml.stages.annotate import annotate_asks
from hydra_ml.stages.generate import generate_asks
from hydra_ml.stages.rerank import ranked, rows_to_rank
from hydra_ml.tasks import get_task
from hydra_ml.tasks.task import Task
from hydra_ml.terminal import aligned

BEFORE = "retrieve"  # the last stage that the estimate needs


@dataclass(frozen=True)
class Forecast:
    """What the stages would ask."""

    costs: dict[str, dict[str, Cost]]  # by task and stage
    at_most: tuple[str, ...] = ()  # tasks of which `generate` may ask less


def dry_run(params: Params, *, data: Path, cache: Path) -> Forecast:
    """What each stage of each task would ask. Raises as reading the tables of `prepare` and `retrieve` does."""
    with ExitStack() as stack:
        path = cache / "responses.sqlite"
        store = stack.enter_context(ResponseCache(path)) if path.exists() else MemoryStore()
        identity = (
            asked_identity(params.llm, path) if path.exists() else params.llm.identity
        )  # without: nothing is kept
        found = {name: _costs(get_task(name), params, data, store, identity) for name in params.tasks}
    at_most = tuple(name for name, (_, is_exact) in found.items() if not is_exact)
    return Forecast({name: costs for name, (costs, _) in found.items()}, at_most)


def _costs(task: Task, params: Params, data: Path, store: AnswerStore, identity: str) -> tuple[dict[str, Cost], bool]:
    """By stage what it would ask, and whether that is exact."""
    prepared, retrieved, reranked = (task_folder(data, part, task) for part in ("prepare", "retrieve", "rerank"))
    root = data.parent
    costs = {"annotate": Cost(), "generate": Cost()}
    if not is_up_to_date("annotate", task, root):
        asks = annotate_asks(prepared, retrieved, task, params).asks
        costs["annotate"] = expected_cost(make_orders(asks, identity, store)[1], MOST_AT_ONCE)
    if is_up_to_date("generate", task, root):
        return costs, True
    candidates = load_table(retrieved / "candidates.parquet")
    if is_up_to_date("rerank", task, root):
        is_exact, ranking = True, load_table(reranked / "ranking.parquet")
    else:
        is_exact, rows = not params.annotate.queries_per_user, rows_to_rank(prepared, candidates, params)
        ranking = ranked(rows, first_scores(rows), first_scores(rows))
    plan = generate_asks(prepared, candidates, ranking, task, params)
    arms = plan.asked["arm"].iloc[plan.owners].tolist()
    settled = [ask for ask, arm in zip(plan.asks, arms, strict=True) if is_exact or arm not in RERANKINGS]
    costs["generate"] = expected_cost(make_orders(settled, identity, store)[1], MOST_AT_ONCE)
    for name in RERANKINGS if not is_exact else ():
        # Nobody knows yet what these prompts will say: none of their answers can be kept.
        asks = [ask for ask, arm in zip(plan.asks, arms, strict=True) if arm == name]
        costs["generate"] += expected_cost(make_orders(asks, identity, MemoryStore())[1], MOST_AT_ONCE)
    return costs, is_exact


def costs_table(forecast: Forecast, prices: LLM) -> str:
    """For people: a line per task and stage, and their sum."""
    costs = forecast.costs
    head = ["task", "stage", "asks", "kept", "calls", "tokens in", "tokens out (at most)", "cost (at most)"]
    total = sum((cost for stages in costs.values() for cost in stages.values()), Cost())
    named = [(task, stage, cost) for task, stages in costs.items() for stage, cost in stages.items()]
    rows = [_cells(task, stage, cost, prices) for task, stage, cost in [*named, ("all", "", total)]]
    told = _AT_MOST.format(tasks=", ".join(forecast.at_most)) if forecast.at_most else ""
    return f"{aligned([head, *rows], right=set(range(2, len(head))))}\n{told}{_LEGEND}"


def _cells(task: str, stage: str, cost: Cost, prices: LLM) -> Sequence[str]:
    price = prices.money(cost.tokens_in, cost.tokens_out)
    counts = (cost.asks, cost.kept, cost.calls, cost.tokens_in, cost.tokens_out)
    return [task, stage, *(f"{count:,}" for count in counts), "-" if price is None else f"{price:,.2f}"]


_AT_MOST = (
    "generate of {tasks} is an upper estimate: the reranker is yet to learn from what annotate asks "
    "(annotate.queries_per_user), so its prompts are counted each for itself, though some may turn out equal or kept.\n"
)
_LEGEND = (
    "kept: answers bought before. tokens in: by the length of the prompts. A stage that is up to date asks nothing.\n"
    "Money needs llm.price_in and llm.price_out."
)
