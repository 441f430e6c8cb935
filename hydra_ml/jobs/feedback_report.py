"""What became of one file of feedback, and what users said of the answers of each release: counts, never a text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from hydra_ml.evaluation.feedback import Approval, approval_by_release
from hydra_ml.io.feedback_store import standing_feedback, stored_feedback
from hydra_ml.shown_text import inert
from hydra_ml.tasks.task import Task

RELEASES = 5  # newest releases told
NEWEST = 5_000  # requests with feedback, that shares are of
COLUMNS = ["request_id", "user_id", "verdict", "answer", "release", "prediction", "generic_prediction"]


@dataclass(frozen=True)
class Said:
    """What became of one task's rows."""

    taken: int = 0  # new
    known: int = 0  # taken before
    overruled: int = 0  # of the taken, rows that a later one of the same request takes the place of
    corrected: int = 0  # requests whose earlier feedback, and the record it gave, no longer counts
    records: int = 0  # new in the history
    choices: int = 0  # of the taken that count: answers chosen among candidates that were shown
    quarantined: int = 0


@dataclass(frozen=True)
class FeedbackReport:
    """What became of one file. Ids and texts are not in it: they lie in the files it names."""

    file: str  # its name in data/feedback, or that of the rows that waited
    digest: str
    refused: str = ""  # why the whole file was refused; "" if it was not
    tasks: Mapping[str, Said] = field(default_factory=dict)  # by folder, or "unknown"
    waiting: int = 0  # rows whose request has no prediction yet
    reasons: Mapping[str, int] = field(default_factory=dict)  # what was expected -> of how many rows in vain
    history: Mapping[str, str] = field(default_factory=dict)  # task -> new file in data/history
    changed: Sequence[str] = ()  # tasks whose history changed: update_heads has something to learn
    quarantine: str = ""  # folder of the rows, or the file, put aside
    details: str = ""  # JSON file: this report
    docs_pages: tuple[str, ...] = ()  # Data Docs of this file, failures first
    forgotten: int = 0  # rows of users, or on records, that were forgotten: refused, and not kept
    not_published: str = ""  # why it is taken here but neither pushed nor committed; the next run makes up for it

    def markdown(self) -> str:
        """The report for people, as a Markdown page."""
        lines = [f"# Feedback {inert(self.file)}: {'refused' if self.refused else 'taken'}", ""]
        lines += [inert(self.refused), ""] if self.refused else []
        lines += [
            "| task | taken | known before | overruled | corrected | new records | choices | quarantined |",
            "|---|---:|---:|---:|---:|---:|---:|---:|",
        ]
        for task, n in self.tasks.items():
            cells = (n.taken, n.known, n.overruled, n.corrected, n.records, n.choices, n.quarantined)
            lines.append(f"| {inert(task)} | {' | '.join(f'{cell:,}' for cell in cells)} |")
        if self.reasons:
            lines += ["", "| reason | bad rows |", "|---|---:|"]
            lines += [f"| {inert(reason)} | {count:,} |" for reason, count in self.reasons.items()]
        facts = {
            "rows that wait for a prediction of their request": f"{self.waiting:,}" if self.waiting else "",
            "rows refused, of what was forgotten": self.forgotten and f"{self.forgotten:,}",
            **{f"drop in the history of {task}": name for task, name in self.history.items()},
            "quarantine": self.quarantine,
            "details": self.details,
            "not published": self.not_published,
        }
        return "\n".join([*lines, "", *(f"- {name}: {inert(value)}" for name, value in facts.items() if value)]) + "\n"


def approvals(task: Task, data: Path) -> list[Approval]:
    """What users said of the answers, by release, the newest first; at most RELEASES, of the NEWEST requests. Raises
    ArtifactError if the store is damaged."""
    rows = standing_feedback(stored_feedback(data, task, COLUMNS)).tail(NEWEST)
    return approval_by_release(rows)[:RELEASES]
