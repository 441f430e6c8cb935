"""What became of one drop: the report that `jobs.ingest` keeps and the flow shows."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from hydra_ml.shown_text import inert


def plain_name(drop: str) -> str:
    """A drop's name in letters, digits and dashes alone, lower case and short: fit for a folder or a key."""
    return re.sub(r"[^a-z0-9]+", "-", drop.lower()).strip("-")[:60] or "drop"


@dataclass(frozen=True)
class Counts:
    """What became of one task's rows (of a folder of LaMP files: questions)."""

    accepted: int = 0  # new
    known: int = 0  # sound, and there already
    quarantined: int = 0


@dataclass(frozen=True)
class IngestReport:
    """What became of one drop. Ids and texts are not in it: they lie in the files it names."""

    drop: str  # its name in data/incoming
    digest: str  # of its content
    kind: Literal["records", "lamp"]
    refused: str = ""  # why the whole drop was refused; "" if it was not
    left: str = ""  # why it still lies in data/incoming, to be taken again; "" if it does not
    tasks: Mapping[str, Counts] = field(default_factory=dict)  # by folder, or "unknown"
    reasons: Mapping[str, int] = field(default_factory=dict)  # what was expected -> of how many rows in vain
    history: Mapping[str, str] = field(default_factory=dict)  # task -> new file in data/history; none: nothing new
    forgotten: int = 0  # rows of users who were forgotten: taken out of the drop before anything else
    commands: int = 0  # sound rows that try to command an LLM: kept in the history, by default in no prompt
    n_users: int = 0  # with new records; their ids are in `details`
    data_version: Mapping[str, str] = field(default_factory=dict)  # folder -> DVC's digest after the drop
    quarantine: str = ""  # folder of the rows, or the drop, put aside
    details: str = ""  # JSON file: this report and the ids of the users changed
    docs: str = ""  # index.html of the Data Docs; "" where nothing was validated row by row
    docs_pages: tuple[str, ...] = ()  # this drop's own pages there, those with failures first
    not_published: str = ""  # why data is merged here but neither pushed nor committed; `publish` makes up for it

    def markdown(self) -> str:
        """The report for people, as a Markdown page."""
        lines = [
            f"# {inert(self.drop)}: {'refused' if self.refused else 'taken in in part' if self.left else 'taken in'}",
            "",
            *([inert(self.refused), ""] if self.refused else []),
            "| task | accepted | already known | quarantined |",
            "|---|---:|---:|---:|",
            *(
                f"| {inert(task)} | {c.accepted:,} | {c.known:,} | {c.quarantined:,} |"
                for task, c in self.tasks.items()
            ),
        ]
        if self.reasons:
            lines += ["", "| reason | bad rows |", "|---|---:|"]
            lines += [f"| {inert(reason)} | {count:,} |" for reason, count in self.reasons.items()]
        facts = {
            "digest": self.digest,
            **{f"drop in the history of {task}": name for task, name in self.history.items()},
            "users with new records": f"{self.n_users:,}",
            "rows refused, of users who were forgotten": self.forgotten and f"{self.forgotten:,}",
            "records that try to command an LLM (kept, and shown to none)": f"{self.commands:,}"
            if self.commands
            else "",
            **{f"version of {folder}": version for folder, version in self.data_version.items()},
            "quarantine": self.quarantine,
            "details": self.details,
            "Data Docs": self.docs,
            "left in data/incoming": self.left,
            "not published": self.not_published,
        }
        return "\n".join([*lines, "", *(f"- {name}: {inert(value)}" for name, value in facts.items() if value)]) + "\n"
