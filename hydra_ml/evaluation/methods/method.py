"""What a method is, and what it is given: the frozen answers of its arms, and the adapter to choose among them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import pandas as pd

from hydra_ml.answering.adapter import Support, choose_best, distinct_candidates, scored_candidates
from hydra_ml.answering.arms import Arm
from hydra_ml.model.interfaces import ScorePairs
from hydra_ml.records import GREEDY
from hydra_ml.tasks.task import Task

Heads = Literal["personal", "shared"]
Family = Literal["floor", "prompt", "hydra"]  # no LLM; a prompt's greedy answer; HYDRA's own
CANDIDATES = ["query_id", "answer", "votes", "n_samples", "greedy_share", "support", "personal", "shared"]


class Predictions(NamedTuple):
    """What a method answers."""

    rows: pd.DataFrame  # query_id, answer, is_parsed; of methods that choose also score. A query may lack
    candidates: pd.DataFrame | None = None  # CANDIDATES, what it chose among; None: it did not choose


@dataclass(frozen=True)
class Bench:
    """One task's evaluated queries and all that methods may answer them from."""

    task: Task
    queries: pd.DataFrame  # QUERY_COLUMNS
    records: pd.DataFrame  # RECORD_COLUMNS
    answers: pd.DataFrame  # rows of `generate`: query_id, arm, sample_idx, answer, is_parsed
    score: ScorePairs  # the adapter's
    support: Support

    def greedy(self, arm: Arm) -> Predictions:
        """The temperature-0 answers of an arm's prompts."""
        rows = self.answers[(self.answers["sample_idx"] == GREEDY) & (self.answers["arm"] == arm.name)]
        return Predictions(rows[["query_id", "answer", "is_parsed"]].reset_index(drop=True))

    def chosen(self, arms: Sequence[Arm], *, by: Heads) -> Predictions:
        """The answers the adapter chooses among all of the arms', with the users' own heads or with the shared one."""
        answers = self.answers[self.answers["arm"].isin([arm.name for arm in arms])]
        pool = distinct_candidates(answers)
        rows = scored_candidates(pool, self.queries, self.task, score=self.score, support=self.support)
        best = choose_best(rows, rows[by].to_numpy())
        parsed = self.answers.groupby(["query_id", "answer"], as_index=False)["is_parsed"].max()
        best = best.merge(parsed, on=["query_id", "answer"], validate="one_to_one")
        return Predictions(best[["query_id", "answer", "is_parsed", "score"]], rows[CANDIDATES])


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
    fits: Callable[[Task], bool] = lambda task: True


def greedy_method(name: str, arm: Arm, told: str, *, place: int, family: Family = "prompt") -> Method:
    """A method that says the temperature-0 answer to one prompt."""
    return Method(name, told, place, family, lambda bench: bench.greedy(arm), (arm,))


def choice_method(name: str, arms: tuple[Arm, ...], told: str, *, place: int, by: Heads = "personal") -> Method:
    """A method of HYDRA's: the adapter chooses among the answers to several prompts."""
    return Method(name, told, place, "hydra", lambda bench: bench.chosen(arms, by=by), arms, is_choice=True)
