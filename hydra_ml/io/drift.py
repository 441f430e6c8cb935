"""What watching for drift keeps, in data/drift/<task>: each file written whole or not at all.

probe.json      the prompts that the LLM is asked, as they were when the watch began
answers.json    what it answered, night by night, and the bets on them
losses.json     losses by user, the bets on them, and what was counted already
report.json     what was found last
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from hydra_ml.evaluation.drift import DriftReport, Probed, UserLosses
from hydra_ml.io.files import load_json_as, save_json
from hydra_ml.io.layout import task_folder
from hydra_ml.tasks.task import Task

PROBE, ANSWERS, LOSSES, REPORT = "probe.json", "answers.json", "losses.json", "report.json"


@dataclass(frozen=True)
class Probe:
    """What an LLM is asked, and how."""

    settings: str  # model and all that shapes its answers
    inputs: Sequence[str]
    chats: Sequence[Sequence[Mapping[str, str]]]  # turns, as `records.Message` has them


@dataclass(frozen=True)
class Losses:
    """How personal choices fared beside shared ones."""

    together: UserLosses = field(default_factory=UserLosses)
    users: Mapping[str, UserLosses] = field(default_factory=dict)
    drops: Sequence[str] = ()  # of the history, counted already
    requests: Sequence[str] = ()  # with feedback, counted already


class DriftFolder:
    """One task's. Loading raises ArtifactError if a file is damaged."""

    def __init__(self, data: Path, task: Task) -> None:
        self.path = task_folder(data, "drift", task)

    def probe(self) -> Probe | None:
        return load_json_as(Probe, self.path / PROBE) if (self.path / PROBE).exists() else None

    def begin_probe(self, probe: Probe) -> None:
        """Ask this from now on; what was heard before goes."""
        (self.path / ANSWERS).unlink(missing_ok=True)
        save_json(asdict(probe), self.path / PROBE)

    def probed(self) -> Probed | None:
        return load_json_as(Probed, self.path / ANSWERS) if (self.path / ANSWERS).exists() else None

    def keep_probed(self, probed: Probed) -> None:
        save_json(asdict(probed), self.path / ANSWERS)

    def losses(self) -> Losses:
        return load_json_as(Losses, self.path / LOSSES) if (self.path / LOSSES).exists() else Losses()

    def keep_losses(self, losses: Losses) -> None:
        save_json(asdict(losses), self.path / LOSSES)

    def report(self) -> DriftReport | None:
        """What was found last; None if nothing was looked for yet."""
        return load_json_as(DriftReport, self.path / REPORT) if (self.path / REPORT).exists() else None

    def keep_report(self, report: DriftReport) -> None:
        save_json(asdict(report), self.path / REPORT)

    def forget(self) -> None:
        """Begin everything anew: for when a change is known and lived with."""
        shutil.rmtree(self.path, ignore_errors=True)
