"""What a user's history alone would answer: the floor below which an LLM has not been used."""

from __future__ import annotations

import numpy as np
import pandas as pd

from hydra_ml.answering.adapter import answer_texts, choose_best, every_choice
from hydra_ml.answering.history_support import RecordVectors, history_support
from hydra_ml.model.interfaces import Encode
from hydra_ml.tasks.task import Task


def history_votes(queries: pd.DataFrame, records: pd.DataFrame, task: Task, encode: Encode) -> pd.DataFrame:
    """query_id, answer; no row for a query that may see no record.

    Closed answer sets: the answer with the most support of all (ratings: the least costly, as `choose_best` has it).
    Free text: the answer of the record whose text is nearest to the query's.
    """
    queries = queries[queries["profile"].str.len() > 0]
    if task.kind != "text":
        pool = queries[["query_id"]].assign(
            answer=task.labels[0], votes=0, n_samples=0, greedy_share=0.0, is_plain=False
        )
        rows = every_choice(pool, task).merge(queries, on="query_id", validate="many_to_one")
        rows = rows.assign(b=answer_texts(rows, task))
        return choose_best(rows, history_support(rows, records, task, encode), task)[["query_id", "answer"]]
    book = RecordVectors(records, task, encode)
    asked = zip(queries["user_id"], queries["profile"], encode(queries["text"].tolist()), strict=True)
    seen = [(book.positions(user_id, profile), vector) for user_id, profile, vector in asked]
    nearest = [places[np.argmax(book.texts[places] @ vector)] for places, vector in seen]
    answers = book.spelled[np.array(nearest, dtype=np.int64)]
    return pd.DataFrame({"query_id": queries["query_id"].to_numpy(), "answer": answers})
