"""validate: the prepared tables are checked before anything is learned from them.

The leakage rules are checked on the tables as they lie on disk, whatever `prepare` meant to write. Writes report.json
and report.md, which name rows by id and never show a text.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd

from hydra_ml.errors import DataError
from hydra_ml.io.files import atomic_path, load_json, save_json
from hydra_ml.io.gx.expectations import (
    Finding,
    column_checks,
    query_checks,
    record_checks,
    run_checks,
)
from hydra_ml.io.tables import load_table
from hydra_ml.learning.leaks import query_contracts
from hydra_ml.params import Params
from hydra_ml.records import QUERY_COLUMNS, RECORD_COLUMNS
from hydra_ml.stages.command import stage_command
from hydra_ml.tasks.task import Task


def validate(*, prepared: Path, out: Path, task: Task, params: Params) -> dict[str, Any]:
    """Check both tables and write the report below `out`. Raises DataError naming all expectations that failed."""
    queries = load_table(prepared / "queries.parquet")
    records = load_table(prepared / "records.parquet")
    dated = bool(load_json(prepared / "manifest.json")["dated"])
    findings = check_tables(queries, records, task, dated=dated, max_text_chars=params.validate_.max_text_chars)
    failed = [finding for finding in findings if finding.fails(params.validate_.max_bad_share)]
    save_json([{**asdict(finding), "failed": finding in failed} for finding in findings], out / "report.json")
    with atomic_path(out / "report.md") as partial:
        partial.write_text(report(findings, failed, task), "utf-8")
    if failed:
        lines = [f"{prepared}: {len(failed)} of {len(findings)} expectations failed"]
        lines += [f"  {finding.table}.parquet: {told(finding)}. {finding.check.remedy}" for finding in failed]
        raise DataError("\n".join([*lines, f"The whole report: {out / 'report.md'}"]))
    bad_rows = sum(finding.bad_rows for finding in findings)
    return {"expectations": len(findings), "rows": len(queries) + len(records), "tolerated_bad_rows": bad_rows}


def check_tables(
    queries: pd.DataFrame, records: pd.DataFrame, task: Task, *, dated: bool, max_text_chars: int
) -> list[Finding]:
    """All findings; those on columns alone, if one is missing."""
    findings = [
        *run_checks("queries", queries, row_names(queries, "query_id"), column_checks(QUERY_COLUMNS)),
        *run_checks("records", records, row_names(records, "record_id"), column_checks((*RECORD_COLUMNS, "held_out"))),
    ]
    if any(finding.bad_rows for finding in findings):
        return findings
    queries = queries.assign(**query_contracts(queries, records, task, dated=dated))
    keys = records["user_id"].astype(str) + "/" + records["record_id"].astype(str)
    records = records.assign(record_key=keys)
    findings += run_checks("queries", queries, row_names(queries, "query_id"), query_checks(task, max_text_chars))
    findings += run_checks("records", records, keys, record_checks(task, max_text_chars))
    return findings


def row_names(table: pd.DataFrame, column: str) -> pd.Series:
    """What rows are called in reports: their id, or their number where there is none."""
    if column not in table:
        return pd.Series([f"row {i}" for i in range(len(table))], dtype=str)
    return table[column].fillna("(null)").astype(str).reset_index(drop=True)


def told(finding: Finding) -> str:
    """What was found, in a line."""
    sample = f", first: {', '.join(finding.sample)}" if finding.sample else ""
    return f"{finding.check.name}: not in {finding.bad_rows:,} of {finding.rows:,} rows{sample}"


def report(findings: Sequence[Finding], failed: Sequence[Finding], task: Task) -> str:
    """The findings as a Markdown table, failures first."""
    lines = [
        f"# {task.name}: {len(findings)} expectations, {len(failed)} failed",
        "",
        "| | expectation | column | rows | bad rows | sample of row ids |",
        "|---|---|---|---:|---:|---|",
    ]
    for finding in sorted(findings, key=lambda finding: (finding not in failed, -finding.bad_rows)):
        verdict = "FAILED" if finding in failed else "tolerated" if finding.bad_rows else "ok"
        cells = [verdict, finding.check.name, f"{finding.table}.{finding.check.column}", f"{finding.rows:,}"]
        cells += [f"{finding.bad_rows:,}", ", ".join(finding.sample)]
        lines.append(f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |")
    return "\n".join(lines) + "\n"


main = stage_command(validate)

if __name__ == "__main__":
    raise SystemExit(main(None))
