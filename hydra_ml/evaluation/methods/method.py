"""What a method is, and what it is given: the frozen answers of its arms, and the adapter to choose among them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd

from hydra_ml.answering.adapter import candidate_rows, choose_best, distinct_candidates, scored_candidates
from hydra_ml.answering.arms import Arm
from hydra_ml.model.interfaces import Encode, ReadPairs, ScorePairs
from hydra_ml.records import GREEDY, content_digest
from hydra_ml.tasks.task import Task

Heads = Literal["personal", "swapped", "shared"]
# No LLM; a greedy answer; another paper's; HYDRA's own; not to be had.
Family = Literal["floor", "prompt", "rival", "hydra", "control"]
CANDIDATES = ["query_id", "answer", "votes", "n_samples", "greedy_share", "support", "personal", "shared"]


class Predictions(NamedTuple):
    """What a method answers."""

    rows: pd.DataFrame  # query_id, answer, is_parsed; of methods that choose also score. A query may lack
    candidates: pd.DataFrame | None = None  # CANDIDATES, what it chose among; None: it did not choose


@dataclass(frozen=True)
class Lessons:
    """The training queries, as HYDRA's adapter has them."""

    queries: pd.DataFrame  # QUERY_COLUMNS
    answers: pd.DataFrame  # rows of `generate`
    features: ReadPairs  # the adapter's frozen base
    unseen: pd.DataFrame | None = None  # query_id, answer, score: the adapter's training rows, cross-fitted


@dataclass(frozen=True)
class Bench:
    """One task's evaluated queries and all that methods may answer them from."""

    task: Task
    queries: pd.DataFrame  # QUERY_COLUMNS
    records: pd.DataFrame  # RECORD_COLUMNS
    answers: pd.DataFrame  # rows of `generate`: query_id, arm, sample_idx, answer, is_parsed
    score: ScorePairs  # the adapter's
    encode: Encode
    stranger_of: Mapping[str, str]  # of each user with a head: another one with a head
    margin: float | None = None  # by which a choice must lead plain RAG's answer
    lessons: Lessons | None = None  # what rivals learn from
    seed: int = 0
    _rows: dict[tuple[Arm, ...], tuple[pd.DataFrame, np.ndarray]] = field(default_factory=dict)
    made: dict[tuple[object, ...], Any] = field(default_factory=dict)  # by rivals, kept for their controls

    def greedy(self, arm: Arm) -> Predictions:
        """The temperature-0 answers of an arm's prompts."""
        rows = self.answers[(self.answers["sample_idx"] == GREEDY) & (self.answers["arm"] == arm.name)]
        return Predictions(rows[["query_id", "answer", "is_parsed"]].reset_index(drop=True))

    def rows(self, arms: tuple[Arm, ...]) -> tuple[pd.DataFrame, np.ndarray]:
        """`candidate_rows` of all of the arms' answers, scored, and their evidence; computed once."""
        if arms not in self._rows:
            answers = self.answers[self.answers["arm"].isin([arm.name for arm in arms])]
            pool = distinct_candidates(answers)
            rows, evidence = candidate_rows(pool, self.queries, self.records, self.task, self.encode)
            self._rows[arms] = scored_candidates(rows, evidence, self.score), evidence
        return self._rows[arms]

    def chosen(self, arms: tuple[Arm, ...], *, by: Heads) -> Predictions:
        """The answers the adapter chooses among all of the arms', with the users' own heads, with another's, or with
        the shared one."""
        rows, evidence = self.rows(arms)
        if by == "swapped":
            rows = rows.assign(user_id=[self.stranger_of.get(user_id, user_id) for user_id in rows["user_id"]])
            rows = scored_candidates(rows, evidence, self.score)
        scores = rows["shared" if by == "shared" else "personal"].to_numpy()
        return self.chosen_by(rows, scores, margin=self.margin)

    def chosen_by(self, rows: pd.DataFrame, scores: np.ndarray, *, margin: float | None = None) -> Predictions:
        """The answers that lead by these scores of `rows`, float32 [N]."""
        best = choose_best(rows, scores, self.task, margin=margin)
        parsed = self.answers.groupby(["query_id", "answer"], as_index=False)["is_parsed"].max()
        best = best.merge(parsed, on=["query_id", "answer"], how="left", validate="one_to_one")
        best["is_parsed"] = best["is_parsed"].eq(True) | bool(self.task.labels)  # a label can be read, said or not
        return Predictions(best[["query_id", "answer", "is_parsed", "score"]], rows[CANDIDATES])


def strangers(queries: pd.DataFrame, with_head: Collection[str], seed: int) -> dict[str, str]:
    """Another user's head for each user that has one: neighbours by length of history change heads, seeded where they
    are equally long. Fewer than two heads: {}."""
    length = queries.assign(n=queries["profile"].str.len()).groupby("user_id")["n"].max()
    luck = {user_id: content_digest(f"swap {seed} {user_id}") for user_id in length.index}
    users = sorted((user_id for user_id in length.index if user_id in with_head), key=lambda u: (length[u], luck[u]))
    if len(users) < 2:
        return {}
    pairs = list(zip(users[::2], users[1::2], strict=False))
    found = {user_id: other for a, b in pairs for user_id, other in ((a, b), (b, a))}
    return found if len(users) % 2 == 0 else {**found, users[-1]: users[-2]}


@dataclass(frozen=True)
class Method:
    """A way to answer, to be measured beside the others."""

    name: str
    told: str  # what answers, in one line
    place: int  # where it stands in tables: the lower the earlier
    family: Family
    answer: Callable[[Bench], Predictions]
    arms: tuple[Arm, ...] = ()  # whose answers it needs
    is_choice: bool = False  # it needs their samples too
    taught: tuple[Arm, ...] = ()  # whose answers to training queries it needs beside the served ones
    paper: str = ""  # of a rival: where it was published
    tells_of_reranker: bool = False  # it is another method than plain RAG or HYDRA only if the reranker has learned
    fits: Callable[[Task], bool] = lambda task: True
    swapped: Callable[[Bench], Predictions] | None = None  # of a rival: the same with strangers' parts
    swapped_arms: tuple[Arm, ...] = ()  # prompts of that control's own, which show strangers' parts
    others: str = ""  # what of other users its prompts show; it runs only where it is named


def greedy_method(name: str, arm: Arm, told: str, *, place: int, family: Family = "prompt") -> Method:
    """A method that says the temperature-0 answer to one prompt."""
    return Method(name, told, place, family, lambda bench: bench.greedy(arm), (arm,))


def choice_method(name: str, arms: tuple[Arm, ...], told: str, *, place: int, by: Heads = "personal") -> Method:
    """A method of HYDRA's: the adapter chooses among the answers to several prompts."""
    return Method(name, told, place, "hydra", lambda bench: bench.chosen(arms, by=by), arms, is_choice=True)


def swapped_control(method: Method) -> Method:
    """The control of a rival: the same, each user under the part of another, the nearest in length of history."""
    assert method.swapped is not None
    told = f"{method.name}, each user under a stranger's part"
    control = replace(method, name=f"{method.name}_swapped", told=told, family="control", answer=method.swapped)
    if not method.swapped_arms:
        return control
    return replace(control, arms=method.swapped_arms, others="what the LLM wrote of another user")
