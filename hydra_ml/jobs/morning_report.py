"""The morning report: one page on what a night did, for whoever comes in and has a minute.

Every figure stands in what the night left (data/evaluate, the registry's tags, ingest's reports); nothing is computed
anew, and no text of a user is in it.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hydra_ml.errors import ArtifactError, HydraError
from hydra_ml.evaluation.results import OURS, REFERENCE
from hydra_ml.io.files import atomic_path, load_json, load_json_as, readable
from hydra_ml.io.incoming import DONE
from hydra_ml.io.layout import common_folder, task_folder
from hydra_ml.io.mlflow.registry import Registry
from hydra_ml.io.task_files import get_task
from hydra_ml.jobs.feedback_report import FeedbackReport, approvals
from hydra_ml.jobs.hold import hold_of
from hydra_ml.jobs.ingest_report import IngestReport
from hydra_ml.measures import measure_named
from hydra_ml.shown_text import inert
from hydra_ml.tasks.task import Task

NIGHT_S = 24 * 3600.0  # how far back drops count as the night's
COSTS = ("calls", "paid_in", "paid_out", "cached", "failed")  # as stages say it of themselves


@dataclass(frozen=True)
class TaskNight:
    """What became of one task."""

    task: str  # folder
    stages: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)  # what each stage that ran said of itself
    release: str = ""  # the night's release; "": none was made
    failed: str = ""  # why it did not come to its end


def results_rows(task: Task, data: Path, before: Mapping[str, float] | None = None) -> list[dict[str, Any]]:
    """One row a method: its primary measure with interval, and what it was the night before where that is known.

    before: "method/measure" to value, as a run logged it. Raises ArtifactError if `evaluate` left nothing.
    """
    metrics, measure = load_json(task_folder(data, "evaluate", task) / "metrics.json"), task.measures[0]
    rows = []
    for method, found in metrics.items():
        if not isinstance(found, Mapping):
            continue
        one = found[measure]
        row = {"method": method, measure_named(measure).title: round(one["value"], 4), "95 % interval": _interval(one)}
        if before is not None:
            was = before.get(f"{method}/{measure}")
            row["night before"] = "-" if was is None else f"{was:.4f} ({one['value'] - was:+.4f})"
        rows.append(row)
    return rows


def morning_report(
    nights: Sequence[TaskNight], stamp: str, *, data: Path, registry: Registry | None, links: Mapping[str, str]
) -> str:
    """The page in Markdown. registry: None where it is out of reach. links: name to address."""
    lines = [f"# The night of {stamp}", ""]
    bad = [night for night in nights if night.failed]
    lines.append(
        f"{len(nights) - len(bad)} of {len(nights)} tasks came to their end." if bad else "All tasks are done."
    )
    for night in nights:
        lines += ["", f"## {get_task(night.task).name}", ""]
        try:
            lines += _task_lines(night, data, registry)
        except HydraError as error:
            lines.append(f"No figures: {inert(str(error).partition(chr(10))[0])}")
    lines += ["", "## What came in", "", *_drop_lines(data)]
    if links:
        lines += ["", "## Where to look", "", *(f"- [{name}]({address})" for name, address in links.items())]
    return "\n".join(lines) + "\n"


def save_report(page: str, stamp: str, data: Path) -> Path:
    """Keep the page as data/reports/nightly-<stamp>.md."""
    path = common_folder(data, "reports") / f"nightly-{stamp}.md"
    with atomic_path(path) as partial:
        partial.write_text(page, "utf-8")
    return path


def _task_lines(night: TaskNight, data: Path, registry: Registry | None) -> list[str]:
    if night.failed:
        return [f"**Failed**: {inert(night.failed)}", "", "`hydra-ml status` says what to do next."]
    task = get_task(night.task)
    before = _night_before(task, registry, night.release) if registry is not None else None
    rows = results_rows(task, data, before)
    lines = [f"| {' | '.join(rows[0])} |", f"|{'---|' * len(rows[0])}"]
    lines += [f"| {' | '.join(map(str, row.values()))} |" for row in rows]
    lines.append("")
    details = load_json(task_folder(data, "evaluate", task) / "details.json")
    shares = details["harm"].get(OURS, {}).get(REFERENCE, {}).get("users")
    if shares:
        told = ", ".join(f"{shares[kind]['value']:.0%} {kind}" for kind in ("better", "equal", "worse"))
        lines.append(f"- users under {OURS}, against {REFERENCE}: {told} (of {shares['worse']['n']})")
    if registry is not None and night.release:
        lines += _gate_lines(task, registry, night.release)
    lines += [f"- what users said of release {one.release}: {one.text()}" for one in approvals(task, data)]
    lines.append(f"- {_cost(night.stages)}")
    return lines


def _night_before(task: Task, registry: Registry, release: str) -> dict[str, float] | None:
    """Measures of the nightly release before this one; None where there is none."""
    for facts in registry.versions(task, "release"):
        if facts.tags.get("made_by") == "nightly" and release and int(facts.version) < int(release):
            return registry.tracking.run(facts.run_id).measures()
    return None


def _gate_lines(task: Task, registry: Registry, release: str) -> list[str]:
    tags, live = registry.release_tags(task, release), registry.aliases(task).get("champion")
    lines = []
    if tags.get("gate.passed") == "true":
        against = f" against release {tags['gate.against']}" if tags.get("gate.against") else ", the first one"
        lines.append(f"- release {release} passed the gate{against}")
    elif "gate.passed" in tags:
        lines.append(f"- **release {release} was refused by the gate**: {inert(tags.get('gate.refused_by', ''))}")
    lines.append(f"- live is release {live}" if live else "- nothing is live")
    if held := hold_of(task, registry):
        lines.append(f"- **held** since {held.since}: {inert(held.reason)}")
    return lines


def _cost(stages: Mapping[str, Mapping[str, Any]]) -> str:
    if not stages:
        return "every stage was up to date: nothing was run, nothing was bought"
    total = {name: sum(int(of.get(name, 0)) for of in stages.values()) for name in COSTS}
    seconds = sum(float(of.get("seconds", 0.0)) for of in stages.values())
    costs = [of["cost"] for of in stages.values() if of.get("cost") is not None]
    price = f", {sum(costs):,.2f} in money" if costs else ""
    return (
        f"{len(stages)} stages ran in {seconds / 60:.1f} min; LLM: {total['calls']:,} calls, "
        f"{total['paid_in']:,} tokens in, {total['paid_out']:,} out{price}, {total['cached']:,} answers kept from "
        f"before, {total['failed']:,} without an answer"
    )


def _drop_lines(data: Path) -> list[str]:
    """What ingest took and refused within a night, a line each."""
    since = time.time() - NIGHT_S
    found = [
        *(common_folder(data, "incoming") / DONE).glob("*.report*.json"),
        *common_folder(data, "quarantine").glob("*/report.json"),
    ]
    lines = []
    for path in sorted(
        (path for path in found if path.stat().st_mtime >= since), key=lambda path: path.stat().st_mtime
    ):
        try:
            report = load_json_as(IngestReport, path)
            new, bad = (sum(getattr(of, name) for of in report.tasks.values()) for name in ("accepted", "quarantined"))
            told = (
                f"**refused**: {inert(report.refused)}"
                if report.refused
                else f"{new:,} new, {bad:,} bad rows put aside"
            )
            lines.append(f"- {inert(report.drop)}: {told}")
        except ArtifactError:
            lines.append(f"- {inert(readable(path))}: its report cannot be read")
    return [*lines, *_feedback_lines(data, since)] or ["- nothing"]


def _became(refused: str, new: int, bad: int) -> str:
    return f"**refused**: {inert(refused)}" if refused else f"{new:,} new, {bad:,} bad rows put aside"


def _feedback_lines(data: Path, since: float) -> list[str]:
    """What was taken of feedback since then, a line a file; refused ones are among the quarantine's."""
    found = [
        *common_folder(data, "feedback").glob(f"{DONE}/*.report.json"),
        *common_folder(data, "quarantine").glob("*/feedback.json"),
    ]
    lines = []
    for path in sorted(path for path in found if path.stat().st_mtime >= since):
        try:
            report = load_json_as(FeedbackReport, path)
            new, bad = (sum(getattr(of, name) for of in report.tasks.values()) for name in ("taken", "quarantined"))
            waits = f", {report.waiting:,} wait for a prediction" if report.waiting else ""
            told = (
                f"**refused**: {inert(report.refused)}"
                if report.refused
                else f"{new:,} new, {bad:,} bad rows put aside"
            )
            lines.append(f"- feedback {inert(report.file)}: {told}{waits}")
        except ArtifactError:
            lines.append(f"- {inert(readable(path))}: its report cannot be read")
    return lines


def _interval(one: Mapping[str, Any]) -> str:
    return "-" if one["ci_low"] is None else f"[{one['ci_low']:.4f}, {one['ci_high']:.4f}]"
