"""ingest: takes every drop in data/incoming and all feedback into the data, and tells update_heads who has something to
learn.

A drop or file that fails or is refused does not stop the others; the run then fails at its end, so that somebody looks.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from urllib.parse import quote

from prefect import flow, task
from prefect.artifacts import create_link_artifact, create_markdown_artifact
from prefect.events import emit_event

from flows.policy import HOOKS, HOUR, MINUTE, TASK_HOOKS, TRY_AGAIN
from flows.runs import DATA, begin, named, raise_failed, settings, try_each
from hydra_ml.io.layout import common_folder
from hydra_ml.io.own_stack import load_own_stack
from hydra_ml.jobs import feedback as feedback_job
from hydra_ml.jobs import ingest as job
from hydra_ml.jobs.feedback import WAITED, find_feedback
from hydra_ml.jobs.feedback_report import FeedbackReport
from hydra_ml.jobs.ingest_report import IngestReport, plain_name
from hydra_ml.shown_text import inert


@flow(name="ingest", flow_run_name=named("ingest"), timeout_seconds=2 * HOUR, **HOOKS)
def ingest() -> dict[str, int]:
    """Take in all that waits; returns the new records by task.

    Raises FlowFailed at the end if a drop was refused (it is in data/quarantine) or failed (it waits for the next run).
    """
    begin()
    incoming = common_folder(DATA, "incoming")
    drops = job.find_drops(incoming, settings().ingest.settle_s)
    reports, failed = try_each({job.drop_name(path, incoming): path for path in drops}, take_drop)
    taken = [*reports.values()]
    feedback, unfit = take_all_feedback()
    changed = {folder for report in taken for folder in report.history}
    for folder in sorted(changed | {folder for report in feedback for folder in report.changed}):
        tell(folder)  # before the remote is asked: what is merged here can be learned while it is out of reach
    publish()
    failed |= {report.drop: "refused, see its report among the artifacts" for report in taken if report.refused}
    failed |= unfit
    raise_failed(failed, f"{len(failed)} drops were not taken in")
    accepted: Counter[str] = Counter()
    for report in taken:
        accepted.update({folder: counts.accepted for folder, counts in report.tasks.items()})
    return dict(accepted)


@task(name="take_drop", task_run_name="{path.name}", timeout_seconds=HOUR, **TRY_AGAIN, **TASK_HOOKS)
def take_drop(path: Path) -> IngestReport:
    """One drop's report, which becomes an artifact with a link to the Data Docs."""
    report = job.ingest_drop(path, data=DATA, params=settings())
    key = f"{plain_name(report.drop)}-{report.digest[:6]}"
    pages = "".join(f"- [{inert(Path(page).parts[-4])}]({docs_address(Path(page))})\n" for page in report.docs_pages)
    told = report.markdown() + (f"\nData Docs of this drop, failures first:\n\n{pages}" if pages else "")
    drop = inert(report.drop)
    create_markdown_artifact(told, key=key, description=f"{drop}: {'refused' if report.refused else 'taken in'}")
    if report.docs:
        create_link_artifact(docs_address(Path(report.docs)), key=f"{key}-docs", link_text=f"Data Docs: {drop}")
    return report


def take_all_feedback() -> tuple[list[FeedbackReport], dict[str, str]]:
    """What became of the rows that waited and of each file in data/feedback; and why some were not taken, by file."""
    files = find_feedback(DATA, settings().ingest.settle_s)
    named: dict[str, Path | None] = {WAITED: None, **{f"feedback {path.name}": path for path in files}}
    reports, failed = try_each(named, take_feedback)
    taken = [report for report in reports.values() if report is not None]
    failed |= {f"feedback {one.file}": "refused, see its report among the artifacts" for one in taken if one.refused}
    return taken, failed


@task(name="take_feedback", task_run_name="feedback", timeout_seconds=HOUR, **TRY_AGAIN, **TASK_HOOKS)
def take_feedback(path: Path | None) -> FeedbackReport | None:
    """One file's report, which becomes an artifact; of the rows that waited without a path, None if none can be told
    more of."""
    if path is None:
        report = feedback_job.take_waiting(data=DATA, params=settings())
    else:
        report = feedback_job.take_feedback(path, data=DATA, params=settings())
    if report is not None:
        key = f"feedback-{plain_name(report.file)}-{report.digest[:6]}"
        told = f"feedback {inert(report.file)}: {'refused' if report.refused else 'taken'}"
        create_markdown_artifact(report.markdown(), key=key, description=told)
    return report


def docs_address(page: Path) -> str:
    """Where a browser finds a page of the Data Docs: the server beside the UIs, else the file itself."""
    own = load_own_stack()
    if own is None or not own.docs_port:
        return page.resolve().as_uri()
    return f"{own.docs_url}/{quote(page.resolve().relative_to((DATA / 'docs').resolve()).as_posix())}"


@task(name="publish", task_run_name="publish", timeout_seconds=30 * MINUTE, **TRY_AGAIN, **TASK_HOOKS)
def publish() -> None:
    """Push and commit what is merged, also what an earlier run could not."""
    job.publish(DATA, settings())


def tell(folder: str) -> None:
    """The event that starts update_heads for a task."""
    emit_event(
        "hydra_ml.learning.history.updated",
        resource={"prefect.resource.id": f"hydra_ml.learning.history.{folder}", "prefect.resource.name": folder},
        payload={"task": folder},
    )
