"""What an operator asks first: what is live, since when and from what, what waits, what runs next, and what failed.

Reads the registry, the folders of history and requests, and the Prefect server; what cannot be reached becomes a line
that says so, never the end of the answer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC
from pathlib import Path
from typing import Any

from hydra_ml.errors import ArtifactError, HydraError
from hydra_ml.evaluation.decision import gate_figures
from hydra_ml.io.drift import DriftFolder
from hydra_ml.io.feedback import look_into_feedback, n_waiting_rows
from hydra_ml.io.files import readable
from hydra_ml.io.history_store import drop_names
from hydra_ml.io.incoming import look_into
from hydra_ml.io.layout import common_folder, task_folder
from hydra_ml.io.mlflow.registry import Registry
from hydra_ml.io.orchestrator import POOL, FlowRun, read_schedule, read_workers
from hydra_ml.io.own_stack import last_words
from hydra_ml.io.receipts import open_journals
from hydra_ml.io.task_files import get_task
from hydra_ml.jobs.feedback_report import approvals
from hydra_ml.jobs.forget_signatures import live_unsigned
from hydra_ml.jobs.hold import hold_of
from hydra_ml.jobs.waiting_requests import look_into as look_into_requests
from hydra_ml.jobs.waiting_requests import set_aside, unreadable, waiting_requests
from hydra_ml.params import Params
from hydra_ml.release import PARTS
from hydra_ml.tasks.task import Task

NEWEST = 3  # batches whose dead letters are named


@dataclass(frozen=True)
class TaskStatus:
    """One task. Without a champion, `release` is None and what describes it is empty."""

    task: str  # folder
    release: str | None = None  # version that is champion
    since: str = ""  # ISO 8601 UTC; "": the alias was set by hand
    made_by: str = ""
    made_at: str = ""
    data_version: str = ""
    git_commit: str = ""
    components: Mapping[str, str] | None = None  # part: registered version
    gate: Mapping[str, Any] | None = None  # passed, against, refused_by, forced and the figures; {}: never judged
    challenger: str | None = None
    challenger_refused_by: str = ""  # names of the rules that refused it; "": not judged yet
    previous: str | None = None
    drops_learned: int = 0
    drops_not_learned: tuple[str, ...] = ()
    requests: tuple[str, ...] = ()  # files in data/requests that no finished batch has answered
    requests_unreadable: Mapping[str, str] = field(default_factory=dict)  # of those, what cannot be read, and why
    requests_set_aside: Mapping[str, int] = field(default_factory=dict)  # dead letters of the newest batches, by file
    feedback: tuple[str, ...] = ()  # what users said of the answers, a line a release, the newest first
    drift: tuple[str, ...] = ()  # what was looked for in the last night, a line a watch
    drift_alarms: tuple[str, ...] = ()  # of these, what is drift
    unsigned: str = ""  # why what is live is not opened for its signature, and the next command
    held: str = ""  # why no release goes live by itself, and since when; "" if any may
    problem: str = ""  # why something of this is missing

    def troubles(self) -> tuple[str, ...]:
        """What somebody should look at."""
        found = [f"{name} cannot be read: {why}" for name, why in self.requests_unreadable.items()]
        if self.problem:
            found.append(self.problem)
        elif self.release is None:
            found.append("nothing is live: `prefect deployment run nightly/nightly` makes the first release")
        if self.unsigned:
            found.append(self.unsigned)
        if self.challenger_refused_by and not self.held:
            refused = f"release {self.challenger} was refused by the gate ({self.challenger_refused_by})"
            found.append(f"{refused}: `hydra-ml releases show challenger`")
        found += [f"{alarm}; docs/drift.md says what to do" for alarm in self.drift_alarms]
        return tuple(found)


@dataclass(frozen=True)
class WorkerStatus:
    """Whether anything is there to do the work."""

    online: bool
    seen_at: str = ""  # ISO 8601 UTC, the newest sign of life; "": never
    last_words: str = ""  # of the worker of this folder's stack, where none is online


@dataclass(frozen=True)
class Status:
    """Everything `hydra-ml status` says."""

    tasks: tuple[TaskStatus, ...]
    next_runs: tuple[FlowRun, ...]
    failures: tuple[FlowRun, ...]
    worker: WorkerStatus | None = None  # None: nothing is known of it
    incoming: tuple[str, ...] = ()  # what lies in data/incoming for the next ingest
    incoming_unknown: Mapping[str, str] = field(default_factory=dict)  # what lies there and no ingest takes, and why
    requests_unknown: Mapping[str, str] = field(default_factory=dict)  # what lies in data/requests and nobody answers
    feedback: tuple[str, ...] = ()  # files in data/feedback for the next ingest
    feedback_unknown: Mapping[str, str] = field(default_factory=dict)  # what lies there and nobody takes
    feedback_waiting: int = 0  # rows whose request has no prediction yet
    growing: tuple[str, ...] = ()  # what lies in any of them and is half written, by its name
    forget_cut_short: tuple[str, ...] = ()  # journals of `hydra-ml forget` that nobody goes on with
    problem: str = ""  # why nothing is known of runs

    def document(self) -> dict[str, Any]:
        """As JSON prints it."""
        return {**asdict(self), "troubles": list(self.troubles())}

    def troubles(self) -> tuple[str, ...]:
        """What somebody should look at, a line each, with the next command."""
        found = [f"{task.task}: {trouble}" for task in self.tasks for trouble in task.troubles()]
        found += [
            f"forgetting was cut short, and somebody is half taken out: run the same `hydra-ml forget` again, and it "
            f"goes on; {journal} says whom, which record and task"
            for journal in self.forget_cut_short
        ]
        if self.problem:
            found.append(f"runs: {self.problem}")
        elif self.worker is not None and not self.worker.online:
            found.append("no worker is online: `make up` starts one, `make logs` shows why it ended")
        found += [
            f"{run.deployment or run.name} failed at {run.at[:16]}: {run.reason or run.state}"
            for run in self.failures
            if not run.settled
        ]
        unknown = {
            "data/incoming": self.incoming_unknown,
            "data/requests": self.requests_unknown,
            "data/feedback": self.feedback_unknown,
        }
        found += [f"{at}/{name} is not taken: {why}" for at, left in unknown.items() for name, why in left.items()]
        late = [run for run in self.next_runs if run.state == "Late"]
        return (*found, *(f"{run.deployment} is late: it was to start at {run.at[:16]}" for run in late))


def collect_status(
    params: Params, *, data: Path, connect: Callable[[], Registry] = Registry, api_url: str | None = None
) -> Status:
    """The state of every task of params.yaml; `api_url` as for `read_schedule`. Raises nothing that is a HydraError."""
    registry = _once(connect)
    signed_with = params.promote.require_signature
    tasks = tuple(
        task_status(get_task(name), data=data, connect=registry, signed_with=signed_with) for name in params.tasks
    )
    status = Status(tasks, (), (), **_arrived(data), forget_cut_short=tuple(map(str, open_journals(data.parent))))
    try:
        schedule = read_schedule(api_url)
        workers = read_workers(POOL, url=api_url)
    except HydraError as error:
        return replace(status, problem=str(error))
    online = any(worker.online for worker in workers)
    seen = workers[0].seen_at.astimezone(UTC).isoformat(timespec="seconds") if workers else ""
    said = "" if online else last_words(data.parent / ".logs" / "worker.log", 1)
    worker = WorkerStatus(online, seen, said)
    return replace(status, next_runs=schedule.next_runs, failures=schedule.failures, worker=worker)


def _arrived(data: Path) -> dict[str, Any]:
    """What waits in data/incoming and data/feedback, and what lies there and in data/requests that is half written or
    not taken."""
    incoming, requests, feedback = (common_folder(data, name) for name in ("incoming", "requests", "feedback"))
    drops, asked, said = look_into(incoming), look_into_requests(data), look_into_feedback(data)
    return {
        "incoming": tuple(readable(path.relative_to(incoming)) for path in drops.taken),
        "incoming_unknown": {readable(path.relative_to(incoming)): why for path, why in drops.left.items()},
        "requests_unknown": {readable(path.relative_to(requests)): why for path, why in asked.left.items()},
        "feedback": tuple(readable(path.relative_to(feedback)) for path in said.taken),
        "feedback_unknown": {readable(path.relative_to(feedback)): why for path, why in said.left.items()},
        "feedback_waiting": n_waiting_rows(data),
        "growing": tuple(readable(p.relative_to(data)) for p in (*drops.growing, *asked.growing, *said.growing)),
    }


def _once(connect: Callable[[], Registry]) -> Callable[[], Registry]:
    """The registry opened at the first call; a store out of reach is not waited for again by every task."""
    known: list[Registry | HydraError] = []

    def connected() -> Registry:
        """The one registry. Raises what opening it raised."""
        if not known:
            try:
                known.append(connect())
            except HydraError as error:
                known.append(error)
        if isinstance(known[0], HydraError):
            raise known[0]
        return known[0]

    return connected


def task_status(
    task: Task, *, data: Path, connect: Callable[[], Registry] = Registry, signed_with: str = ""
) -> TaskStatus:
    """What is live for one task, and what it has not learned yet; as much as can be told where something is down.
    signed_with: the public key that must have signed it; "": none."""
    drops = drop_names(task_folder(data, "history", task))
    found = TaskStatus(task.folder, drops_not_learned=tuple(drops))
    try:
        found = replace(found, **_requests(task, data))
        found = replace(found, feedback=tuple(f"release {one.release}: {one.text()}" for one in approvals(task, data)))
        found = replace(found, **_drift(task, data))
        registry = connect()
        aliases = registry.aliases(task)
        held = hold_of(task, registry)
        found = replace(found, held=f"since {held.since}: {held.reason}" if held else "")
        champion, challenger = aliases.get("champion"), aliases.get("challenger")
        refused = registry.release_tags(task, challenger).get("gate.refused_by", "") if challenger else ""
        found = replace(found, challenger=challenger, challenger_refused_by=refused, previous=aliases.get("previous"))
        if champion is None:
            return found
        tags = registry.release_tags(task, champion)
        _, release = registry.release(task, champion)
        found = replace(found, unsigned=live_unsigned(task, registry, signed_with))
    except HydraError as error:
        return replace(found, problem=str(error))
    return replace(
        found,
        release=champion,
        since=max(tags.get("promoted_at", ""), tags.get("restored_at", "")),
        made_by=release.made_by,
        made_at=release.made_at,
        data_version=release.data_version,
        git_commit=release.git_commit,
        components={part: release.components[part].version for part in PARTS},
        gate=_gate(tags),
        drops_learned=len(set(drops) & set(release.history)),
        drops_not_learned=tuple(name for name in drops if name not in release.history),
    )


def _drift(task: Task, data: Path) -> dict[str, Any]:
    """What the last night's watch found; nothing where none was. A report that cannot be read is told as drift is."""
    try:
        report = DriftFolder(data, task).report()
    except ArtifactError as error:
        return {"drift_alarms": (str(error),)}
    if report is None:
        return {}
    told = tuple(f"{one.watch}: {one.line} ({report.night})" for one in report.findings)
    return {"drift": told, "drift_alarms": report.alarms}


def _gate(tags: Mapping[str, str]) -> dict[str, Any]:
    """What the tags of a release say of its judgement."""
    if "gate.passed" not in tags:
        return {}
    told = {name: tags.get(f"gate.{name}", "") for name in ("passed", "at", "against", "refused_by", "forced")}
    return {**told, **gate_figures(tags)}


def _requests(task: Task, data: Path) -> dict[str, Any]:
    """What waits, what of it cannot be read, and what of the newest batches could not be answered."""
    waiting = {readable(path.relative_to(data)): path for path in waiting_requests(task, data=data)}
    aside = set_aside(task, data=data)
    return {
        "requests": tuple(waiting),
        "requests_unreadable": {name: why for name, path in waiting.items() if (why := unreadable(path))},
        "requests_set_aside": dict(list(aside.items())[:NEWEST]),
    }
