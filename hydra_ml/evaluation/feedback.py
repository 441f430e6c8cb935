"""What users said of the answers they were given: by release, and of two releases side by side.

Who answers is who is judged, so shares of releases that served at different times are no experiment: they are told, and
decide nothing. Knows nothing of files, registries or LLMs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

import numpy as np
import pandas as pd

from hydra_ml.evaluation.decision import Reason
from hydra_ml.records import normalized

ENOUGH = 30  # requests with feedback from which on shares are told beside a judgement
LONGEST = 2_000  # characters compared of a text: the time grows with their square


@dataclass(frozen=True)
class Approval:
    """What became of the answers of one release that users said something of."""

    release: str
    n: int
    accepted: int  # taken as they were, chosen ones that were the one served among them
    edited: int  # another answer in the end: edited, or another candidate
    rejected: int
    edit_distance: float | None  # mean of `edit_distance` over the edited; None without any
    n_personal: int  # answers that the generic choice would have given otherwise, and users gave a final answer to
    personal_wins: int  # of these, the final answer was the personal one
    generic_wins: int  # and the generic one

    def text(self) -> str:
        """In a line."""
        far = "" if self.edit_distance is None else f" (edit distance {self.edit_distance:.2f})"
        told = (
            f"{self.n:,} answers: {self.accepted / self.n:.0%} taken as they were, {self.edited / self.n:.0%} "
            f"changed{far}, {self.rejected / self.n:.0%} rejected"
        )
        if self.n_personal:
            told += (
                f"; where the generic answer differs ({self.n_personal:,}) users ended with the personal one "
                f"{self.personal_wins:,} times, with the generic one {self.generic_wins:,}"
            )
        return told


def edit_distance(one: str, other: str) -> float:
    """How far a text was changed, 0..1: 1 less the share of characters that both have in the same order (twice their
    matching blocks by their joint length), of texts normalized and cut at LONGEST."""
    one, other = normalized(one)[:LONGEST], normalized(other)[:LONGEST]
    return 1.0 - SequenceMatcher(None, one, other, autojunk=False).ratio()


def approval_by_release(rows: pd.DataFrame) -> list[Approval]:
    """One Approval a release, the newest first. rows: a standing row each request, with verdict, answer, release,
    prediction and generic_prediction."""
    found = [_approval(str(release), some) for release, some in rows.groupby("release")]
    return sorted(found, key=lambda one: (len(one.release), one.release), reverse=True)


def _approval(release: str, rows: pd.DataFrame) -> Approval:
    final = [None if pd.isna(answer) else str(answer) for answer in rows["answer"]]
    served = [str(answer) for answer in rows["prediction"]]
    generic = [None if pd.isna(answer) else str(answer) for answer in rows["generic_prediction"]]
    same = [_alike(said, given) for said, given in zip(final, served, strict=True)]
    changed = [(f, s) for f, s, kept in zip(final, served, same, strict=True) if f is not None and not kept]
    differ = [(f, s, g) for f, s, g in zip(final, served, generic, strict=True) if f and g and not _alike(s, g)]
    return Approval(
        release=release,
        n=len(rows),
        accepted=sum(same),
        edited=len(changed),
        rejected=sum(answer is None for answer in final),
        edit_distance=float(np.mean([edit_distance(f, s) for f, s in changed])) if changed else None,
        n_personal=len(differ),
        personal_wins=sum(_alike(f, s) for f, s, _ in differ),
        generic_wins=sum(_alike(f, g) for f, _, g in differ),
    )


def judge_feedback(
    final: Sequence[str], served: Sequence[str], champion: Sequence[str | None], challenger: Sequence[str | None]
) -> list[Reason]:
    """In words, on requests with a final answer, how often either release would choose it now among the candidates that
    were kept; [] for fewer than ENOUGH. It refuses nothing: the challenger's heads may have learned these answers, and
    users who take what they are shown speak for whoever served them. So requests on which they ended with another
    answer are counted apart. A release that cannot choose has None."""
    if len(final) < ENOUGH:
        return []
    changed = [not _alike(f, s) for f, s in zip(final, served, strict=True)]
    told = []
    for name, picked in (("", [True] * len(final)), (" on which they did not take what was served", changed)):
        n = sum(picked)
        if n:
            shares = [
                sum(_alike(f, a) for f, a, p in zip(final, answers, picked, strict=True) if p) / n
                for answers in (champion, challenger)
            ]
            told.append(f"{shares[0]:.1%} -> {shares[1]:.1%} of {n:,} requests{name}")
    text = "would choose the answer that users ended with, among those kept: " + "; ".join(told)
    return [Reason("feedback", True, f"{text}. Shown, not judged by: heads may have learned these very answers")]


def _alike(one: str | None, other: str | None) -> bool:
    return one is not None and other is not None and normalized(one) == normalized(other)
