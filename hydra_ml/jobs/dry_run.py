"""dry run: what each stage that asks the LLM would ask, less what is kept, before any of it is bought.

The stages before them, which ask nothing, must have run. Without annotations, the default, the reranker will keep the
first ranker's order: every prompt is known. Where it is yet to learn, the first ranker's prompts stand for those that
will be shown, as many and about as long, and the estimate says that it is an upper one. So it does where texts are yet
to be written of users: they are taken for as long as they may be.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from hydra_ml.answering.arms import RERANKINGS, writings_of
from hydra_ml.answering.reranker import first_scores
from hydra_ml.answering.written import Writing
from hydra_ml.evaluation.methods import (
    Method,
    all_methods,
    askable,
    chosen_methods,
    is_control,
    others_shown,
    taught_arms,
    unasked,
)
from hydra_ml.io.dvc_status import is_up_to_date
from hydra_ml.io.layout import task_folder
from hydra_ml.io.llm import asked_identity
from hydra_ml.io.response_cache import ResponseCache
from hydra_ml.io.tables import load_table
from hydra_ml.io.task_files import get_task
from hydra_ml.jobs.foresight import Foresight, as_foreseen
from hydra_ml.llm.chat import AnswerStore, Ask, MemoryStore
from hydra_ml.llm.client import MOST_AT_ONCE
from hydra_ml.llm.cost import Cost, expected_cost
from hydra_ml.llm.order import make_orders
from hydra_ml.params import LLM, Params
from hydra_ml.stages.annotate import annotate_asks
from hydra_ml.stages.generate import generate_asks, texts_written
from hydra_ml.stages.rerank import ranked, rows_to_rank
from hydra_ml.tasks.task import Task
from hydra_ml.terminal import aligned

BEFORE = "retrieve"  # the last stage that the estimate needs


@dataclass(frozen=True)
class Forecast:
    """What the stages would ask."""

    costs: dict[str, dict[str, Cost]]  # by task and stage
    at_most: tuple[str, ...] = ()  # tasks of which `generate` may ask less
    methods: dict[str, dict[str, Cost]] = field(default_factory=dict)  # by task and method, each as if it ran alone
    asides: tuple[str, ...] = ()  # which methods will not run and why, which show other users' data


def dry_run(params: Params, *, data: Path, cache: Path) -> Forecast:
    """What each stage of each task would ask. Raises as reading the tables of `prepare` and `retrieve` does."""
    with ExitStack() as stack:
        path = cache / "responses.sqlite"
        store = stack.enter_context(ResponseCache(path)) if path.exists() else MemoryStore()
        identity = (
            asked_identity(params.llm, path) if path.exists() else params.llm.identity
        )  # without: nothing is kept
        found = {name: _costs(get_task(name), params, data, store, identity) for name in params.tasks}
    at_most = tuple(name for name, costs in found.items() if not costs.is_exact)
    chosen = chosen_methods(params.evaluate.methods)
    without = [f"{method} will not run: {why}." for method, why in unasked(chosen, params.llm).items()]
    return Forecast(
        {name: costs.stages for name, costs in found.items()},
        at_most,
        {name: costs.methods for name, costs in found.items()},
        (*without, *others_shown(askable(chosen, params.llm))),
    )


class _Costs(NamedTuple):
    """Of one task: what each stage would ask, whether that is exact, and what each method needs."""

    stages: dict[str, Cost]
    is_exact: bool
    methods: dict[str, Cost]


def _costs(task: Task, params: Params, data: Path, store: AnswerStore, identity: str) -> _Costs:
    prepared, retrieved, reranked = (task_folder(data, part, task) for part in ("prepare", "retrieve", "rerank"))
    root = data.parent
    costs = {"annotate": Cost(), "generate": Cost()}
    if not is_up_to_date("annotate", task, root):
        asks = annotate_asks(prepared, retrieved, task, params).asks
        costs["annotate"] = _cost(asks, identity, store)
    if is_up_to_date("generate", task, root):
        return _Costs(costs, True, {})
    candidates = load_table(retrieved / "candidates.parquet")
    if is_up_to_date("rerank", task, root):
        is_exact, ranking = True, load_table(reranked / "ranking.parquet")
    else:
        is_exact, rows = not params.annotate.queries_per_user, rows_to_rank(prepared, candidates, params)
        ranking = ranked(rows, first_scores(rows), first_scores(rows))
    foreseen = Foresight(identity, store)
    written = as_foreseen(texts_written(prepared, task, params, foreseen), foreseen.asks)
    plan = generate_asks(prepared, candidates, ranking, task, params, written)
    arms = plan.asked["arm"].iloc[plan.owners].tolist()
    settled = [ask for ask, arm in zip(plan.asks, arms, strict=True) if is_exact or arm not in RERANKINGS]
    writing = [ask for asks in foreseen.asks.values() for ask in asks]
    costs["generate"] = _cost([*writing, *settled], identity, store)
    for name in RERANKINGS if not is_exact else ():
        # Nobody knows yet what these prompts will say: none of their answers can be kept.
        asks = [ask for ask, arm in zip(plan.asks, arms, strict=True) if arm == name]
        costs["generate"] += _cost(asks, identity, MemoryStore())
    roles = load_table(prepared / "queries.parquet", ["query_id", "role"])
    trained = plan.asked["query_id"].isin(roles.loc[roles["role"] == "train", "query_id"]).iloc[plan.owners].tolist()
    asked = list(zip(plan.asks, arms, trained, strict=True))
    kept = store if is_exact else MemoryStore()
    methods = askable(chosen_methods(params.evaluate.methods), params.llm)
    of_methods = {m.name: _cost(_asks_of(m, asked, foreseen.asks), identity, kept) for m in methods if m.arms}
    return _Costs(costs, is_exact and not written["n_failed"].any(), of_methods)


def _cost(asks: Sequence[Ask], identity: str, store: AnswerStore) -> Cost:
    return expected_cost(make_orders(asks, identity, store)[1], MOST_AT_ONCE)


def _asks_of(
    method: Method, asked: Sequence[tuple[Ask, str, bool]], writing: Mapping[Writing, Sequence[Ask]]
) -> list[Ask]:
    """What the method needs if nothing else runs. asked: asks with their arm, and whether they are to learn from."""
    own = {arm.name for arm in method.arms}
    learns = method.family == "hydra" or method.is_choice or bool(method.taught)
    learned = {arm.name for arm in taught_arms([method])} if learns else set()
    written = [ask for what in writings_of(method.arms) for ask in writing.get(what, ())]
    return written + [
        ask
        for ask, arm, is_trained in asked
        if (arm in learned if is_trained else arm in own and (method.is_choice or ask.temperature == 0.0))
    ]


def methods_table(forecast: Forecast, prices: LLM) -> str:
    """For people: what each method needs by itself; "" where nothing is to be asked."""
    head = ["task", "method", "asks", "kept", "calls", "tokens in", "tokens out (at most)", "cost (at most)"]
    named = [(task, name, cost) for task, methods in forecast.methods.items() for name, cost in methods.items()]
    own = {name for method in forecast.methods.values() for name in method if not is_control(name)}
    priced = own | {name for name in all_methods() if all_methods()[name].others}
    rows = [_cells(task, name, cost, prices) for task, name, cost in named if name in priced]
    table = f"{aligned([head, *rows], right=set(range(2, len(head))))}\n{_ALONE}" if rows else ""
    return "\n".join(filter(None, [table, *forecast.asides]))


def costs_table(forecast: Forecast, prices: LLM) -> str:
    """For people: a line per task and stage, and their sum."""
    costs = forecast.costs
    head = ["task", "stage", "asks", "kept", "calls", "tokens in", "tokens out (at most)", "cost (at most)"]
    total = sum((cost for stages in costs.values() for cost in stages.values()), Cost())
    named = [(task, stage, cost) for task, stages in costs.items() for stage, cost in stages.items()]
    rows = [_cells(task, stage, cost, prices) for task, stage, cost in [*named, ("all", "", total)]]
    told = _AT_MOST.format(tasks=", ".join(forecast.at_most)) if forecast.at_most else ""
    return f"{aligned([head, *rows], right=set(range(2, len(head))))}\n{told}{_LEGEND}"


def _cells(task: str, what: str, cost: Cost, prices: LLM) -> Sequence[str]:
    price = prices.money(cost.tokens_in, cost.tokens_out)
    counts = (cost.asks, cost.kept, cost.calls, cost.tokens_in, cost.tokens_out)
    return [task, what, *(f"{count:,}" for count in counts), "-" if price is None else f"{price:,.2f}"]


_ALONE = (
    "Each method as if it ran alone, with what it learns from; prompts that methods share are bought once, so together "
    "they\ncost what stands under generate."
)
_AT_MOST = (
    "generate of {tasks} is an upper estimate: the reranker is yet to learn from what annotate asks "
    "(annotate.queries_per_user), so its prompts are counted each for itself, though some may turn out equal or kept; "
    "or texts "
    "are yet to be written of users: they count as long as they may be, and what follows from them as new.\n"
)
_LEGEND = (
    "kept: answers bought before. tokens in: by the length of the prompts. A stage that is up to date asks nothing.\n"
    "Money needs llm.price_in and llm.price_out."
)
