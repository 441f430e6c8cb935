"""Why one request was answered as it was: what `hydra-ml why` tells, as figures and plain sentences.

A value, made of what `answering.explain` works out; how it is looked up is `jobs.explain`'s work, how it is shown that
of the terminal and of `io.page`. Holds a user's own texts, and of a stranger nothing but what their head would choose.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from hydra_ml.answering.explain import HISTORY, TEXTS, TOGETHER, Choice, ScoreParts

TOLD = {  # terms, as people read them
    TEXTS: "how question and answer read",
    TOGETHER: "several of these together",
    "log_vote_share": "how often the LLM says it",
    "greedy_share": "it is the LLM's first answer",
    HISTORY: "answers of the user's similar records",
    "cosine": "worded like the question",
    "nearness_to_votes": "near the LLM's ratings",
    "nearness_to_greedy": "near the LLM's first rating",
    "nearness_to_history": "near the user's past ratings",
}


@dataclass(frozen=True)
class Term:
    """One part of a score or of a difference between two."""

    name: str  # key of TOLD
    shared: float  # by the head that all users share
    own: float  # by the user's own residual

    @property
    def both(self) -> float:
        return self.shared + self.own


@dataclass(frozen=True)
class Breakdown:
    """A stored score, or how far it leads another answer's, in terms: these and the rounding add up to it."""

    over: str | None  # the answer it is compared with; None: the score itself
    what: str  # that answer is: "the runner-up", "plain RAG's answer"
    stored: float  # as the prediction has it, single precision
    terms: tuple[Term, ...]
    records: Mapping[str, float]  # of HISTORY, both heads together, by record id
    no_record: float  # of HISTORY, that no record gives; 0 in a difference

    @property
    def rounding(self) -> float:
        """What single precision makes of it."""
        return self.stored - sum(term.both for term in self.terms)


@dataclass(frozen=True)
class UsedRecord:
    """A record of the user that the answer may rest on."""

    record_id: str
    date: str
    asked: str
    answer: str
    prompts: tuple[str, ...]  # arms whose prompt showed it
    gives: float | None  # to the lead over the runner-up, through HISTORY; None: not worked out
    if_same_said: str | None = None  # what would be chosen without it, had the LLM said the same
    without: str | None = None  # what would be answered without it, the LLM asked again; None: not known
    n_calls: int = 0  # that would tell

    @property
    def is_shown(self) -> bool:
        """Whether a prompt held it."""
        return bool(self.prompts)


@dataclass(frozen=True)
class Candidate:
    """One of the answers chosen among, as the prediction keeps it."""

    answer: str
    votes: int
    personal: float
    shared: float
    is_chosen: bool


@dataclass(frozen=True)
class Explanation:
    """All that is told of one request."""

    request_id: str
    user_id: str
    task: str
    prediction: str
    generic: str | None  # the shared heads' choice; None: nothing the task can read
    score: float | None
    served: str  # which heads answered, in words
    n_history: int
    cost: str
    trouble: str
    facts: Mapping[str, str]  # release, data, LLM, when
    candidates: tuple[Candidate, ...]
    question: str = ""  # "": not known any more
    records: tuple[UsedRecord, ...] = ()
    breakdowns: tuple[Breakdown, ...] = ()
    decision: tuple[str, ...] = ()
    stranger: str | None = None  # what another user's head would choose; None: not known
    others: tuple[str, ...] = ()  # what other batches said of the same request
    feedback: tuple[str, ...] = ()
    missing: tuple[str, ...] = field(default=())  # what cannot be told, and why

    @property
    def n_calls(self) -> int:
        """LLM calls that would tell what is answered without each record, at most: prompts may be alike."""
        return sum(record.n_calls for record in self.records)


def breakdown(
    parts: ScoreParts, answers: Sequence[str], record_ids: Sequence[str], chosen: str, *, over: str | None, what: str
) -> Breakdown:
    """The score of `chosen`, or its lead over another of `answers`, in terms. answers [n] and record_ids [R]: what the
    rows and columns of the parts are."""
    here = list(answers).index(chosen)
    there = None if over is None else list(answers).index(over)

    def lead(column: np.ndarray) -> np.ndarray:
        """Of the chosen one, less the other's."""
        found: np.ndarray = column[here] - (0.0 if there is None else column[there])
        return found

    columns = zip(parts.names, lead(parts.shared).tolist(), lead(parts.own).tolist(), strict=True)
    return Breakdown(
        over=over,
        what=what,
        stored=float(lead(parts.scores)),
        terms=tuple(Term(*column) for column in columns),
        records=dict(zip(record_ids, lead(parts.by_record).tolist(), strict=True)),
        no_record=float(lead(parts.no_record)),
    )


def decision_told(choice: Choice, *, is_rating: bool) -> tuple[str, ...]:
    """The rule by which the answer was chosen, and what it made of this request, in sentences."""
    rule = (
        "Of ratings the one is chosen that costs least on average, not always the likeliest."
        if is_rating
        else "The answer with the highest score is chosen."
    )
    if choice.margin is None:
        return (rule, "This release keeps no margin for plain RAG's answer.")
    if choice.plain is None or choice.lead is None:
        return (rule, "Plain RAG gave no answer that could be kept.")
    if choice.is_kept:
        return (
            rule,
            f"{choice.free!r} leads plain RAG's answer by {choice.lead:.3f}, less than the {choice.margin:.2f} that "
            f"train_adapter.max_harm asks for: plain RAG's answer, {choice.plain!r}, is kept.",
        )
    if choice.chosen == choice.plain:
        margin = f"; another would have to lead it by {choice.margin:.2f}" if choice.margin else ""
        return (rule, f"It is plain RAG's answer too{margin}.")
    needed = f"{choice.margin:.2f} was needed" if choice.margin else "any lead was enough"
    return (rule, f"It leads plain RAG's answer, {choice.plain!r}, by {choice.lead:.3f}; {needed}.")
