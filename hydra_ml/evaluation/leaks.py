"""Whether prompts showed what they must not: the rules of `learning.leaks`, applied to what was shown.

Prompts are made anew from the rankings, by the very code that asked them. Knows no files and no LLM.
"""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from hydra_ml.answering.prompts import build_prompts, record_book
from hydra_ml.errors import DataError
from hydra_ml.learning.leaks import QUERY_CONTRACTS, is_told, query_contracts
from hydra_ml.records import PromptForm
from hydra_ml.tasks.task import Task

SAMPLE = 3  # prompts named per breach
_NOT_SHOWN = "profile_was_kept_to"
_TOLD = "gold_is_not_told"
CONTRACTS = {
    **{name: told.replace("profile", "what is shown") for name, told in QUERY_CONTRACTS.items()},
    _NOT_SHOWN: "what is shown stands in the query's profile",
    _TOLD: "the gold answer stands nowhere in a prompt but in the question's own text and the records shown",
}


def check_prompts(
    asked: pd.DataFrame, queries: pd.DataFrame, records: pd.DataFrame, task: Task, form: PromptForm, *, dated: bool
) -> None:
    """Raises DataError that names every broken one of CONTRACTS, with prompts by arm and query id and no text.

    asked: rows of `shown.shown_prompts`; their texts count as showing what they were written from, whatever the LLM
    made of it. queries: QUERY_COLUMNS of all they ask; records: RECORD_COLUMNS and held_out; dated: whether profiles
    follow time.
    """
    facts = queries.drop(columns=["user_id", "input"])
    prompts = asked.merge(facts, on="query_id", how="left", validate="many_to_one")
    shown = [[*demos, *read] for demos, read in zip(prompts["demos"], prompts["read"], strict=True)]
    kept = query_contracts(prompts.assign(profile=pd.Series(shown, dtype=object)), records, task, dated=dated)
    kept[_NOT_SHOWN] = [set(ids) <= set(profile) for ids, profile in zip(shown, prompts["profile"], strict=True)]
    if all(kept["profile_is_own"]):  # a prompt can only be built from the user's own records
        kept[_TOLD] = _untold(prompts, records, task, form)
    broken = {name: rows for name, rows in kept.items() if not all(rows)}
    if broken:
        names = [f"{arm}/{query_id}" for arm, query_id in zip(prompts["arm"], prompts["query_id"], strict=True)]
        lines = [f"{task.name}: the prompts leak; their answers say nothing. Of {len(prompts)} prompts"]
        lines += [f"  {_breach(rows, names)}: {CONTRACTS[name]}" for name, rows in broken.items()]
        remedy = "Rankings and tables do not belong together: `dvc repro --force prepare`, then `dvc repro`."
        raise DataError("\n".join([*lines, remedy]))


def _untold(prompts: pd.DataFrame, records: pd.DataFrame, task: Task, form: PromptForm) -> list[bool]:
    book = record_book(records)
    demos = prompts["demos"].tolist()
    chats = build_prompts(prompts, demos, book, task, form)
    facts = zip(chats, prompts["user_id"], prompts["input"], demos, prompts["gold"], strict=True)
    return [
        not is_told(chat, input, [book[user_id, record_id] for record_id in shown], gold, task)
        for chat, user_id, input, shown, gold in facts
    ]


def _breach(rows: Sequence[bool], names: Sequence[str]) -> str:
    bad = [name for name, holds in zip(names, rows, strict=True) if not holds]
    return f"{len(bad)} break this, first {', '.join(bad[:SAMPLE])}"
