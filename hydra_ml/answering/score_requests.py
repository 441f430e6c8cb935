"""From requests and a release's models to predictions: the one serving path, used by batch scoring, the promotion gate
and the served model.

Every step is the function that training's stages call, in their order, so that training and serving cannot differ.
Knows neither files nor the registry, nor who answers the prompts.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import astuple, dataclass, fields, replace

import numpy as np
import pandas as pd

from hydra_ml.answering.adapter import candidate_rows, choose_best, distinct_candidates, scored_candidates
from hydra_ml.answering.arms import HYDRA, PERSONAL, SERVED, first_rankers, prompt_rows, rankings_by_name
from hydra_ml.answering.prompts import answer_table, build_asks, build_prompts, record_book
from hydra_ml.answering.reranker import rank_by_score, record_rows, reranker_scores
from hydra_ml.answering.retrieval import candidate_table, rank_user
from hydra_ml.errors import DataError
from hydra_ml.learning.history import question_asks, record_asks
from hydra_ml.llm.chat import Ask, Reply, answer_keys
from hydra_ml.model.interfaces import Encode, ScorePairs
from hydra_ml.params import Params
from hydra_ml.predictions import PREDICTION_COLUMNS
from hydra_ml.records import RECORD_COLUMNS, Record, Request
from hydra_ml.tasks.task import Task

REQUEST_COLUMNS = ("request_id", "user_id", "input", "profile")
BLAME_COLUMNS = ("request_id", "unanswered", "is_odd")
UNREADABLE = "the LLM gave no answer that the task can read"

AskAll = Callable[[Sequence[Ask]], list[Reply]]


@dataclass(frozen=True)
class Models:
    """What of a release computes, opened for the users at hand."""

    reranker: ScorePairs | None  # None: records are shown as first ranked
    adapter: ScorePairs
    encode: Encode
    with_head: Collection[str]  # users of whom the reranker or the adapter has a head
    margin: float | None = None  # by which a choice must lead plain RAG's answer


def score_requests(
    requests: pd.DataFrame, records: pd.DataFrame, models: Models, ask: AskAll, *, task: Task, params: Params
) -> pd.DataFrame:
    """One row per request, in order, columns PREDICTION_COLUMNS less `release`; see `score_and_blame`."""
    return score_and_blame(requests, records, models, ask, task=task, params=params)[0]


def score_and_blame(
    requests: pd.DataFrame, records: pd.DataFrame, models: Models, ask: AskAll, *, task: Task, params: Params
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """What `score_requests` returns, and for what is missing the LLM is to blame: BLAME_COLUMNS, a row per request that
    it left without some answer.

    requests: REQUEST_COLUMNS, profile the ids of the records each may see, oldest first; records: RECORD_COLUMNS of
    these users, each user's oldest first. A request without history, or of an unknown user, is answered all the same.
    Raises DataError if an id is repeated or a profile names a record that is not there.
    """
    worked = work_out(requests, records, models, ask, task=task, params=params)
    if worked is None:
        nothing = pd.DataFrame({name: [] for name in PREDICTION_COLUMNS if name != "release"}, dtype=object)
        return nothing, pd.DataFrame({name: [] for name in BLAME_COLUMNS})
    asked, answers = worked.asked, worked.answers
    owners = asked.prompts["query_id"].iloc[asked.owners].tolist()
    failed = (answers["error"] != "") & (answers["answer"] == "")
    table = asked.queries[["query_id", "user_id"]].set_index("query_id")
    table["n_history"] = asked.queries["profile"].str.len().to_numpy()
    table["personalization"] = [
        "personal" if user_id in models.with_head else "shared" if n else "none"
        for user_id, n in zip(table["user_id"], table["n_history"], strict=True)
    ]
    table["chosen_record_ids"] = _shown(asked.prompts, answers)
    costs = _costs(owners, asked.asks, worked.replies, params.llm.model)
    choices = _choices(worked.rows, answers, task, models.margin)
    table = table.join([choices, costs, _errors(answers.assign(failed=failed))])
    return _finished(table), _blame(owners, asked.asks, worked.replies, params.llm.model)


@dataclass(frozen=True)
class Asked:
    """What some requests ask of the LLM."""

    queries: pd.DataFrame  # REQUEST_COLUMNS, request_id as query_id; and text, role
    prompts: pd.DataFrame  # rows of `prompt_rows`
    asks: list[Ask]
    owners: list[int]  # of each ask, its position among the prompts


@dataclass(frozen=True)
class Worked:
    """All that an answer is chosen from."""

    asked: Asked
    replies: Sequence[Reply]
    answers: pd.DataFrame  # rows of `answer_table`
    rows: pd.DataFrame  # rows of `scored_candidates`
    evidence: np.ndarray  # float32 [N, E], of the rows


def ask_for(requests: pd.DataFrame, records: pd.DataFrame, models: Models, *, task: Task, params: Params) -> Asked:
    """The prompts of the requests, at least one, and what is asked with them. Raises as `score_and_blame`."""
    check_requests(requests, records)
    queries = requests[list(REQUEST_COLUMNS)].rename(columns={"request_id": "query_id"})
    queries = queries.assign(text=[task.query_text(input) for input in queries["input"]], role="evaluate")
    prompts = served_prompts(queries, records, models, params)
    chats = build_prompts(prompts, prompts["demos"].tolist(), record_book(records), task, params.prompts)
    is_sampled, user_ids = prompts["is_sampled"].tolist(), prompts["user_id"].tolist()
    asks, owners = build_asks(chats, is_sampled, task, params.generate, seed=params.seed, user_ids=user_ids)
    return Asked(queries, prompts, asks, owners)


def choose_from(
    asked: Asked, replies: Sequence[Reply], records: pd.DataFrame, models: Models, *, task: Task, params: Params
) -> Worked:
    """The scored candidates that the LLM's replies, one an ask, give."""
    answers = answer_table(asked.prompts.iloc[asked.owners], asked.asks, replies, task, params.answers)
    choices, evidence = candidate_rows(distinct_candidates(answers), asked.queries, records, task, models.encode)
    rows = scored_candidates(choices, evidence, models.adapter)
    return Worked(asked, replies, answers, rows, evidence)


def work_out(
    requests: pd.DataFrame, records: pd.DataFrame, models: Models, ask: AskAll, *, task: Task, params: Params
) -> Worked | None:
    """Both of these with the LLM between; None for no requests."""
    if requests.empty:
        return None
    # All that the steps below read of these, encoded in one go.
    models = replace(models, encode=remembering(models.encode))
    models.encode([task.query_text(input) for input in (*requests["input"], *records["input"])])
    asked = ask_for(requests, records, models, task=task, params=params)
    return choose_from(asked, ask(asked.asks), records, models, task=task, params=params)


def remembering(encode: Encode) -> Encode:
    """The same vectors, each text asked of `encode` once. Never emptied: for the texts of one call."""
    known: dict[str, np.ndarray] = {}

    def encode_once(texts: Sequence[str]) -> np.ndarray:
        missing = [text for text in dict.fromkeys(texts) if text not in known]
        if missing or not len(texts):
            fresh = encode(missing)
            known.update(zip(missing, fresh, strict=True))
        return np.stack([known[text] for text in texts]) if len(texts) else fresh

    return encode_once


def give_profiles(
    asked: Sequence[Request], stored: pd.DataFrame, task: Task, *, limit: int
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Requests with what each may see, and the records they name: the two tables that `score_requests` takes.

    A request sees the history it came with, else what is stored of its user (RECORD_COLUMNS, each user's oldest first):
    the newest records, at most `limit`, that do not ask what it asks itself. It is asked now: no record is too late.
    """
    kept: dict[str, list[Record]] = {}
    for record in record_book(stored).values():
        kept.setdefault(record.user_id, []).append(record)
    book: dict[tuple[str, str], Record] = {}
    rows = []
    for request in asked:
        own: Sequence[Record] = kept.get(request.user_id, [])
        if request.history is not None:
            own = sorted(request.history, key=lambda record: record.date)
        same = question_asks(task, request.input)
        seen = [record for record in own if record_asks(task, record) not in same][-limit:]
        book.update(((record.user_id, record.record_id), record) for record in seen)
        rows.append((request.request_id, request.user_id, request.input, [record.record_id for record in seen]))
    records = sorted(book.values(), key=lambda record: (record.user_id, record.date))
    table = pd.DataFrame([astuple(record) for record in records], columns=[field.name for field in fields(Record)])
    return pd.DataFrame(rows, columns=list(REQUEST_COLUMNS)), table[list(RECORD_COLUMNS)]


def check_requests(requests: pd.DataFrame, records: pd.DataFrame) -> None:
    """Raises DataError if a request id is repeated, or a profile names a record that its user has not."""
    repeated = requests.loc[requests["request_id"].duplicated(), "request_id"]
    if len(repeated):
        raise DataError(f"request_id {repeated.iloc[0]!r} stands on several requests; an id must name one.")
    known = set(zip(records["user_id"], records["record_id"], strict=True))
    for request_id, user_id, profile in zip(
        requests["request_id"], requests["user_id"], requests["profile"], strict=True
    ):
        unknown = next((record_id for record_id in profile if (user_id, record_id) not in known), None)
        if unknown is not None:
            raise DataError(
                f"request {request_id!r}: its profile names record {unknown!r}, which is not among the records given "
                f"of user {user_id!r}. Hand in RECORD_COLUMNS of every record in a profile."
            )


def served_prompts(queries: pd.DataFrame, records: pd.DataFrame, models: Models, params: Params) -> pd.DataFrame:
    """Rows of `prompt_rows` for every query, those of SERVED."""
    of_user = dict(iter(records.groupby("user_id")))
    nothing = records.iloc[:0]
    candidates = candidate_table(
        block
        for user_id, some in queries.groupby("user_id")
        for block in rank_user(
            some,
            of_user.get(user_id, nothing),
            params.retrieve,
            models.encode,
            baselines=first_rankers(SERVED),
            seed=params.seed,
        )
    )
    asked = queries[["query_id", "user_id", "text"]]
    rows = record_rows(candidates[candidates["ranker"] == params.retrieve.ranker], asked, records)
    personal, _ = reranker_scores(rows, models.encode, models.reranker)
    rankings = rankings_by_name(candidates, rank_by_score(rows, personal).assign(arm=PERSONAL))
    return prompt_rows(queries, SERVED, rankings, k=params.rerank.k)


def _choices(rows: pd.DataFrame, answers: pd.DataFrame, task: Task, margin: float | None) -> pd.DataFrame:
    """By query id: prediction, score, generic_prediction, candidates (those proposed or chosen); no row for a query
    without any answer."""
    readable = set(answers.loc[answers["is_parsed"], ["query_id", "answer"]].itertuples(index=False, name=None))
    chosen = choose_best(rows, rows["personal"].to_numpy(), task, margin=margin).set_index("query_id")
    generic = choose_best(rows, rows["shared"].to_numpy(), task, margin=margin).set_index("query_id")
    of_query = rows["query_id"].map
    told = rows[
        (rows["votes"] > 0)
        | (rows["greedy_share"] > 0)
        | (rows["answer"] == of_query(chosen["answer"]))
        | (rows["answer"] == of_query(generic["answer"]))
    ]  # labels that nobody proposed and nobody chose explain nothing
    kept = told[["answer", "votes", "personal", "shared", "greedy_share"]].to_dict("records")
    places = told.groupby("query_id").indices
    table = pd.DataFrame(index=chosen.index)
    for name, choice in (("prediction", chosen), ("generic_prediction", generic)):
        pairs = choice["answer"].items()
        said = [answer if task.labels or (key, answer) in readable else None for key, answer in pairs]
        table[name] = pd.array(said, dtype="str")
    table["score"] = chosen["score"].where(table["prediction"].notna())
    table["candidates"] = pd.Series({query_id: [kept[i] for i in places[query_id]] for query_id in table.index})
    return table


def _shown(prompts: pd.DataFrame, answers: pd.DataFrame) -> pd.Series:
    """By query id, the records that HYDRA's prompt held when it was answered, best first."""
    demos = prompts[prompts["arm"] == HYDRA.name].set_index("query_id")["demos"]
    dropped = answers[answers["arm"] == HYDRA.name].groupby("query_id")["n_dropped"].max().reindex(demos.index)
    return pd.Series([ids[: len(ids) - n] for ids, n in zip(demos, dropped, strict=True)], demos.index, dtype=object)


def _errors(answers: pd.DataFrame) -> pd.DataFrame:
    """By query id, as `error`, how many answers failed and why the first did; only queries with a failure."""
    counts = answers.groupby("query_id")["failed"].agg(["sum", "size"])
    first = answers[answers["failed"]].groupby("query_id")["error"].first()
    told = [f"{n} of {total} answers failed: " for n, total in counts.loc[first.index].itertuples(index=False)]
    errors = [how_many + error for how_many, error in zip(told, first, strict=True)]
    return pd.DataFrame({"error": pd.array(errors, dtype="str")}, first.index)


def _blame(owners: Sequence[str], asks: Sequence[Ask], replies: Sequence[Reply], model: str) -> pd.DataFrame:
    """unanswered: how many distinct asks of the request may be answered when the LLM is well again; is_odd: whether
    it failed on one of them though it answered others."""
    rows = [
        (owner, answer_keys(model, ask)[0], reply.odd)
        for owner, ask, reply in zip(owners, asks, replies, strict=True)
        if reply.error and not reply.refused
    ]
    distinct = pd.DataFrame(rows, columns=["request_id", "key", "is_odd"]).drop_duplicates(["request_id", "key"])
    found = distinct.groupby("request_id").agg(unanswered=("key", "size"), is_odd=("is_odd", "any"))
    return found.reset_index()[list(BLAME_COLUMNS)]


def _costs(owners: Sequence[str], asks: Sequence[Ask], replies: Sequence[Reply], model: str) -> pd.DataFrame:
    """By query id: llm_calls, tokens_in, tokens_out; a prompt that several rows share counts on the first alone."""
    table = pd.DataFrame(
        {
            "query_id": owners,
            "llm_calls": [reply.calls for reply in replies],
            "tokens_in": [reply.tokens_in for reply in replies],
            "tokens_out": [reply.tokens_out for reply in replies],
        }
    )
    again = pd.Series([answer_keys(model, ask)[0] for ask in asks]).duplicated()
    table.loc[again, ["llm_calls", "tokens_in", "tokens_out"]] = 0
    return table.groupby("query_id").sum()


def _finished(table: pd.DataFrame) -> pd.DataFrame:
    """PREDICTION_COLUMNS less `release`, by position, nothing left open."""
    unread = table["prediction"].isna() & table["error"].isna()
    table["error"] = table["error"].astype("object").where(~unread, UNREADABLE).fillna("")
    table["candidates"] = [found if isinstance(found, list) else [] for found in table["candidates"]]
    table["score"] = table["score"].astype("float32")
    table = table.rename_axis("request_id").reset_index()
    return table[[name for name in PREDICTION_COLUMNS if name != "release"]]
