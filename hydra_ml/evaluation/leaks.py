"""Whether prompts showed what they must not: the rules of `learning.leaks`, applied to what was shown.

Prompts are made anew from the rankings, by the very code that asked them. Knows no files and no LLM.
"""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from hydra_ml.answering.prompts import build_prompts, record_book, shown_records
from hydra_ml.errors import DataError
from hydra_ml.learning.history import strictly_earlier
from hydra_ml.learning.leaks import QUERY_CONTRACTS, is_told, query_contracts
from hydra_ml.records import PromptForm
from hydra_ml.tasks.task import Task

SAMPLE = 3  # prompts named per breach
_NOT_SHOWN = "profile_was_kept_to"
_TOLD = "gold_is_not_told"
_OTHERS = "others_may_be_shown"
CONTRACTS = {
    **{name: told.replace("profile", "what is shown") for name, told in QUERY_CONTRACTS.items()},
    _NOT_SHOWN: "what is shown stands in the query's profile",
    _OTHERS: "records of other users are strictly earlier than a dated query, and ask and answer no evaluated one",
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
    owners = prompts["owners"].tolist()
    own = [
        [record_id for owner, record_id in zip(of_row, ids, strict=True) if owner == user_id]
        for user_id, of_row, ids in zip(prompts["user_id"], owners, prompts["demos"], strict=True)
    ]
    shown = [[*demos, *read] for demos, read in zip(own, prompts["read"], strict=True)]
    kept = query_contracts(prompts.assign(profile=pd.Series(shown, dtype=object)), records, task, dated=dated)
    kept[_NOT_SHOWN] = [set(ids) <= set(profile) for ids, profile in zip(shown, prompts["profile"], strict=True)]
    kept[_OTHERS] = _others_earlier(prompts, records, task, dated=dated)
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
    facts = zip(chats, prompts["input"], shown_records(prompts, demos, book), prompts["gold"], strict=True)
    return [not is_told(chat, input, shown, gold, task) for chat, input, shown, gold in facts]


def _others_earlier(prompts: pd.DataFrame, records: pd.DataFrame, task: Task, *, dated: bool) -> list[bool]:
    """Of each prompt whether the records of other users in it, if there are any, may be."""
    facts = zip(records["user_id"], records["record_id"], records["date"], records["held_out"], strict=True)
    known = {(user_id, record_id): (date, held_out) for user_id, record_id, date, held_out in facts}
    columns = (prompts[name] for name in ("user_id", "date", "owners", "demos"))
    found = []
    for user_id, date, owners, demos in zip(*columns, strict=True):
        others = [known[key] for key in zip(owners, demos, strict=True) if key[0] != user_id]
        found.append(all(not held and (not dated or not date or strictly_earlier(day, date)) for day, held in others))
    return found


def _breach(rows: Sequence[bool], names: Sequence[str]) -> str:
    bad = [name for name, holds in zip(names, rows, strict=True) if not holds]
    return f"{len(bad)} break this, first {', '.join(bad[:SAMPLE])}"
