"""Writes the page of one explanation: everything it needs inside, every text escaped. It shows one user's own texts."""

from __future__ import annotations

from pathlib import Path

from hydra_ml.evaluation.explanation import TOLD, Breakdown, Explanation
from hydra_ml.io.files import atomic_path
from hydra_ml.io.layout import common_folder
from hydra_ml.io.page.page import page_template
from hydra_ml.records import content_digest
from hydra_ml.tasks import as_folder


def why_path(data: Path, told: Explanation) -> Path:
    """Where the page of a request lies: named by a digest of its id, which may hold anything."""
    name = content_digest(f"{told.user_id}\x1f{told.request_id}")[:12]
    return common_folder(data, "reports") / "why" / f"{as_folder(told.task)}-{name}.html"


def save_why_page(told: Explanation, path: Path) -> None:
    """Write the page to `path`; the same explanation gives the same bytes."""
    page = page_template("why.html").render(
        told=told,
        names=TOLD,
        breakdowns=[(one, widths(one)) for one in told.breakdowns],
        shown=[record for record in told.records if record.is_shown],
        unseen=[record for record in told.records if not record.is_shown],
    )
    with atomic_path(path) as partial:
        partial.write_text(page, "utf-8")


def widths(one: Breakdown) -> list[float]:
    """How long each term's bar is, in per cent of the longest, 0..100."""
    longest = max((abs(term.both) for term in one.terms), default=0.0)
    return [round(100 * abs(term.both) / longest, 1) if longest else 0.0 for term in one.terms]
