"""What the gate found about a release, and how that is told: in a line, as a page, as tags of the registry."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from hydra_ml.measures import measure_named
from hydra_ml.shown_text import inert, visible


@dataclass(frozen=True)
class Reason:
    """One rule of the gate, what was found, and whether it holds."""

    name: str
    passed: bool
    text: str  # plain words, figures included; never a user's text


@dataclass(frozen=True)
class AnswersCompared:
    """Champion and challenger on the same N queries."""

    measure: str  # the task's primary one
    champion: float
    challenger: float
    difference: float  # how much better the challenger is; below 0: worse, also where lower values are better
    ci_low: float | None  # lower end of its one-sided 95 % interval; None: one user only, and the answers differ
    users_worse: float  # share of users whose own queries went worse
    users_better: float
    n: int  # queries
    n_users: int
    n_affected: int  # queries that had to be answered anew; all others tie, for nothing that answers them changed
    champion_failed: int  # queries on which the LLM failed for some or all answers
    challenger_failed: int


@dataclass(frozen=True)
class Decision:
    """What the gate found about one release, and what was done about it."""

    task: str  # as reports print it
    version: str
    against: str | None  # the champion's version; None: there was none
    reasons: tuple[Reason, ...]
    figures: AnswersCompared | None  # None: there was nothing to compare with, or no point in it
    judged_at: str  # ISO 8601, UTC
    promoted_at: str = ""  # "": it did not become champion
    forced: str = ""  # why it was promoted all the same

    @property
    def passed(self) -> bool:
        """Whether every rule holds."""
        return all(reason.passed for reason in self.reasons)

    def document(self) -> dict[str, Any]:
        """As JSON stores it."""
        return {**asdict(self), "passed": self.passed, "reasons": [asdict(reason) for reason in self.reasons]}

    def tags(self) -> dict[str, str]:
        """What the release version is tagged with in the registry; "" for what there is not, lest an old one stays."""
        figures = self.figures
        tags = {
            "gate.passed": str(self.passed).lower(),
            "gate.at": self.judged_at,
            "gate.against": self.against or "",
            "gate.refused_by": ", ".join(reason.name for reason in self.reasons if not reason.passed),
            "gate.figures": json.dumps(_rounded(figures)) if figures else "",
        }
        if self.promoted_at:  # how it went live is not forgotten when it is judged again
            tags |= {"promoted_at": self.promoted_at, "gate.forced": self.forced, "rolled_back_at": ""}
        return tags

    def headline(self) -> str:
        """The outcome in a line."""
        against = f"against release {self.against}" if self.against else "with no champion before it"
        verdict = "passes the gate" if self.passed else "is refused by the gate"
        done = (
            ""
            if not self.promoted_at
            else ", and is champion"
            if self.passed
            else f", and is champion by force: {visible(self.forced)}"
        )
        return f"{self.task}: release {self.version} {verdict} {against}{done}"

    def markdown(self) -> str:
        """The outcome, every rule with what was found, those that do not hold first, and the figures, in Markdown."""
        lines = [f"# {inert(self.headline())}", ""]
        lines += [f"- **NO: {r.name}**: {inert(r.text)}" for r in self.reasons if not r.passed]
        lines += [f"- yes: {r.name}: {inert(r.text)}" for r in self.reasons if r.passed]
        if (figures := self.figures) is not None:
            lines += ["", f"| | champion {self.against} | challenger {self.version} |", "|---|---:|---:|"]
            title = measure_named(figures.measure).title
            lines.append(f"| {title}, {figures.n:,} queries | {figures.champion:.4f} | {figures.challenger:.4f} |")
            lines.append(f"| queries the LLM failed on | {figures.champion_failed:,} | {figures.challenger_failed:,} |")
        return "\n".join([*lines, "", f"Judged {self.judged_at}. A check against regressions, not a claim of quality."])


def _rounded(figures: AnswersCompared) -> dict[str, Any]:
    """The figures as a tag holds them."""
    return {name: round(value, 4) if isinstance(value, float) else value for name, value in asdict(figures).items()}


def gate_figures(tags: Mapping[str, str]) -> dict[str, Any]:
    """The figures that `Decision.tags` noted: measure, difference, ci_low, users_worse, n and more; {} where there were
    none. Reads the single tags of earlier versions too."""
    if noted := tags.get("gate.figures"):
        return dict(json.loads(noted))
    if not tags.get("gate.difference"):
        return {}
    low = tags.get("gate.ci_low")
    numbers = {name: float(tags[f"gate.{name}"]) for name in ("difference", "users_worse")}
    return {**numbers, "measure": tags["gate.measure"], "n": int(tags["gate.n"]), "ci_low": float(low) if low else None}
