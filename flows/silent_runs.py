"""What becomes of a run whose process died without a word (kill -9, power cut): the server marks it as crashed."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta

from prefect.client.schemas.objects import StateType
from prefect.events.actions import ChangeFlowRunState
from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture

SILENT_FOR = timedelta(seconds=100)  # three heartbeats of 30 s (prefect.toml) and some grace
UNSTARTED_FOR = timedelta(minutes=10)  # from a worker's taking it; a process starts in seconds

_BEAT = "heartbeat"
_WAITS = ("Scheduled", "Late", "AwaitingRetry", "AwaitingConcurrencySlot")
_ENDS = ("Completed", "Failed", "Crashed", "Cancelled", "Cancelling", "Paused", "Suspended", "TimedOut")


def silent_runs() -> list[AutomationCore]:
    """The automations; what such a run had finished stays, and the next run of its deployment goes on from there."""
    return [
        _crashed(
            "hydra_ml: runs that fell silent",
            after=[_BEAT],
            expect=[_BEAT, *_WAITS, *_ENDS],
            within=SILENT_FOR,
            message="No heartbeat for 100 s: its process is gone. What it had finished is kept; the next run goes on.",
        ),
        _crashed(
            "hydra_ml: runs that never started",
            after=["Pending", "Submitting"],
            expect=["Running", *_WAITS, *_ENDS],
            within=UNSTARTED_FOR,
            message="Taken by a worker 10 minutes ago and never started: the worker is gone. The next run goes on.",
        ),
    ]


def _crashed(
    name: str, *, after: Iterable[str], expect: Iterable[str], within: timedelta, message: str
) -> AutomationCore:
    """Mark a flow run as crashed when none of `expect` follows one of `after` in time."""
    return AutomationCore(
        name=name,
        description=message,
        trigger=EventTrigger(
            after={f"prefect.flow-run.{event}" for event in after},
            expect={f"prefect.flow-run.{event}" for event in expect},
            match={"prefect.resource.id": ["prefect.flow-run.*"]},
            for_each={"prefect.resource.id"},
            posture=Posture.Proactive,
            threshold=1,
            within=within,
        ),
        actions=[ChangeFlowRunState(name=None, state=StateType.CRASHED, message=message, force=False)],
    )
