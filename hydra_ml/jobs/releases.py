"""What `hydra-ml releases` prints: every release of a task, and all there is to know of one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hydra_ml.io.mlflow.registry import Registry
from hydra_ml.jobs.hold import hold_of
from hydra_ml.release import PARTS, Release
from hydra_ml.tasks.task import Task

# Sections of a release's settings that `show` prints: what shapes an answer.
SHOWN = ("encoder", "retrieve", "rerank", "generate")


@dataclass(frozen=True)
class ReleaseFacts:
    """One registered release, as the registry's tags tell it."""

    version: str
    aliases: tuple[str, ...]
    made_by: str
    made_at: str  # ISO 8601, UTC
    llm: str
    measure: str  # the task's primary one
    value: float | None  # of `hydra` in the run that made it; None where none was measured
    gate: str  # the gate's verdict in words; "" if it was never judged
    parts: Mapping[str, str]  # part: registered version
    happened: tuple[str, ...]  # promoted, forced, rolled back, restored; with when and why


def collect_releases(task: Task, registry: Registry) -> list[ReleaseFacts]:
    """Every release of the task, newest first; [] before the first."""
    pointers = registry.aliases(task)
    found = []
    for facts in registry.versions(task, "release"):
        tags = facts.tags
        measures = registry.tracking.run(facts.run_id).measures()
        found.append(
            ReleaseFacts(
                version=facts.version,
                aliases=tuple(alias for alias, version in sorted(pointers.items()) if version == facts.version),
                made_by=tags.get("made_by", ""),
                made_at=tags.get("made_at", facts.made_at),
                llm=tags.get("llm", ""),
                measure=task.measures[0],
                value=measures.get(f"hydra/{task.measures[0]}"),
                gate=_verdict(tags),
                parts={part: tags.get(part, "") for part in PARTS},
                happened=_happened(tags),
            )
        )
    return found


def list_rows(releases: Sequence[ReleaseFacts]) -> list[list[str]]:
    """The releases as rows of a table, titles first."""
    rows = [["release", "is", "made by", "at", "LLM", releases[0].measure, "gate", "what happened"]]
    for one in releases:
        value = "-" if one.value is None else f"{one.value:.4f}"
        at, last = one.made_at[:16].replace("T", " "), one.happened[-1] if one.happened else "-"
        rows.append(
            [one.version, ", ".join(one.aliases) or "-", one.made_by, at, one.llm, value, one.gate or "-", last]
        )
    return rows


def show_release(task: Task, registry: Registry, which: str) -> tuple[str, dict[str, Any]]:
    """All there is to know of one release, as text and as JSON stores it. Raises ArtifactError if it is not there."""
    version, release = registry.release(task, which)
    (facts,) = [one for one in collect_releases(task, registry) if one.version == version]
    held = hold_of(task, registry)
    rows = [
        ("is", ", ".join(facts.aliases) or "none of champion, challenger, previous"),
        ("made", f"by {facts.made_by}, {facts.made_at}, git {release.git_commit or 'unknown'}"),
        ("LLM", f"{release.llm} {release.served}".rstrip()),
        ("data", release.data_version),
        ("drops", ", ".join(release.history) or "none learned after its data"),
        *((part, f"version {ref.version}, {ref.digest}") for part, ref in release.components.items()),
        *((section, _settings(release, section)) for section in SHOWN),
        (
            facts.measure,
            "not measured" if facts.value is None else f"{facts.value:.4f} (hydra, in the run that made it)",
        ),
        ("gate", facts.gate or "never judged"),
        *(("happened", what) for what in facts.happened),
        *([("held", f"since {held.since}: {held.reason}")] if held else []),
    ]
    width = max(len(name) for name, _ in rows)
    text = "\n".join([f"{task.name}, release {version}", *(f"  {name:<{width}}  {value}" for name, value in rows)])
    document = {**release.document(), "version": version, "aliases": facts.aliases, "measure": facts.measure}
    hold = {"reason": held.reason, "since": held.since} if held else None
    return text, {**document, "value": facts.value, "gate": facts.gate, "happened": facts.happened, "hold": hold}


def _settings(release: Release, section: str) -> str:
    values = release.params.get(section, {})
    return ", ".join(f"{name} {value}" for name, value in values.items())


def _verdict(tags: Mapping[str, str]) -> str:
    if "gate.passed" not in tags:
        return ""
    against = f" against {tags['gate.against']}" if tags.get("gate.against") else ""
    if tags["gate.passed"] == "true":
        return f"passed{against}"
    return f"refused{against} ({tags.get('gate.refused_by', '')})"


def _happened(tags: Mapping[str, str]) -> tuple[str, ...]:
    """What was done to a release, oldest first."""
    forced = f" by force: {tags['gate.forced']}" if tags.get("gate.forced") else ""
    why = f": {tags['rolled_back_for']}" if tags.get("rolled_back_for") else ""
    told = [
        (tags.get("promoted_at", ""), f"promoted{forced}"),
        (tags.get("rolled_back_at", ""), f"rolled back{why}"),
        (tags.get("restored_at", ""), "made live again by a rollback"),
    ]
    return tuple(f"{at[:16].replace('T', ' ')} {what}" for at, what in sorted(told) if at)
