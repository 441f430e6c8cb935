"""What tables must fulfil, declared as data, and the one place that runs Great Expectations.

Columns that a single expectation cannot compute (leakage, profiles, dates) are made by `stages.validate` and
`io.drop_checks`; this only checks.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from hydra_ml.learning.leaks import QUERY_CONTRACTS
from hydra_ml.tasks.task import Task

SAMPLE = 5  # row ids told per finding
_DATE = r"^(?:[0-9]{4}(?:-[0-9]{2}(?:-[0-9]{2})?)?)?$"  # shorter forms sort too; blank in undated files


_MEND = (
    "Mend or remove these records in data/raw and run `dvc repro`, or raise `validate.max_bad_share` in params.yaml."
)
_OURS = "Such a table was not written by this version of `prepare`: run `dvc repro --force prepare`."


@dataclass(frozen=True)
class Check:
    """One expectation on one column."""

    name: str  # what must hold, in plain words
    column: str
    expectation: str  # class of great_expectations.expectations
    arguments: dict[str, Any] = field(default_factory=dict)
    structural: bool = False  # one bad row is one too many, whatever max_bad_share says
    remedy: str = _MEND


@dataclass(frozen=True)
class Finding:
    """How one check came out."""

    table: str
    check: Check
    rows: int
    bad_rows: int  # all rows, where the check is not one of rows
    sample: tuple[str, ...]  # the first bad rows' ids; never their content

    def fails(self, max_bad_share: float) -> bool:
        """Whether it stops the run: any bad row if structural, else a share of bad rows above the allowed one."""
        return self.bad_rows > (0 if self.check.structural else max_bad_share * self.rows)


def column_checks(columns: Sequence[str]) -> list[Check]:
    """That each column is there; the other checks presume it."""
    return [Check(f"has column {name}", name, "ExpectColumnToExist", structural=True, remedy=_OURS) for name in columns]


def query_checks(task: Task, max_text_chars: int) -> list[Check]:
    """What queries.parquet must fulfil, with the contract columns that `stages.validate` adds."""
    return [
        *_given("query_id", structural=True),
        Check("query_id is unique", "query_id", "ExpectColumnValuesToBeUnique", structural=True, remedy=_OURS),
        *_given("user_id", structural=True),
        _one_of("role", ("train", "evaluate"), structural=True),
        _one_of("cohort", ("known", "new"), structural=True),
        *_text("input", max_text_chars),
        *_text("text", max_text_chars),
        *_answer("gold", task, max_text_chars),
        date_check("date"),
        *(
            Check(name, column, "ExpectColumnValuesToBeInSet", {"value_set": [True]}, structural=True, remedy=_OURS)
            for column, name in QUERY_CONTRACTS.items()
        ),
    ]


def record_checks(task: Task, max_text_chars: int) -> list[Check]:
    """What records.parquet must fulfil, with the column record_key (user and record id) that `stages.validate` adds."""
    return [
        *_given("user_id", structural=True),
        *_given("record_id", structural=True),
        Check(
            "record_id is unique per user", "record_key", "ExpectColumnValuesToBeUnique", structural=True, remedy=_OURS
        ),
        *_text("text", max_text_chars),
        *_text("input", max_text_chars),
        *([] if task.kind == "choice" else _answer("answer", task, max_text_chars)),
        date_check("date"),
    ]


def run_checks(table_name: str, table: pd.DataFrame, row_ids: pd.Series, checks: Sequence[Check]) -> list[Finding]:
    """One finding per check, in order."""
    found = bad_rows(table_name, table, checks)
    return [_finding(table_name, check, bad, row_ids) for check, bad in zip(checks, found, strict=True)]


def new_context(config: Any = None) -> Any:
    """A fresh Great Expectations context, in memory unless `config` says where to keep things.

    One per thread and table: shared ones mix tables up between threads.
    """
    os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")  # read at import
    import great_expectations as gx
    from great_expectations.data_context.types.base import ProgressBarsConfig

    logging.getLogger("great_expectations.data_context.types.base").setLevel(logging.WARNING)  # its import sets INFO
    context = gx.get_context(mode="ephemeral", project_config=config)
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    return context


def bad_rows(
    table_name: str, table: pd.DataFrame, checks: Sequence[Check], *, context: Any = None, run_name: str | None = None
) -> list[list[int] | None]:
    """Per check, the positions of the rows it refuses; None where it fails without a row, as a missing column does.

    No value of a row is in the result that the context keeps, under `run_name`. context: None for a fresh one.
    """
    context = context or new_context()
    import great_expectations as gx

    frame = table[[name for name in table.columns if name in {check.column for check in checks}]]
    frame = frame.reset_index(drop=True)
    batch = context.data_sources.add_or_update_pandas("memory").add_dataframe_asset(table_name)
    expectations = [
        getattr(gx.expectations, check.expectation)(
            column=check.column, meta={"check": i}, notes=check.name, **check.arguments
        )
        for i, check in enumerate(checks)
    ]
    definition = gx.ValidationDefinition(
        name=table_name,
        data=batch.add_batch_definition_whole_dataframe("all"),
        suite=context.suites.add_or_update(gx.ExpectationSuite(table_name, expectations=expectations)),
    )
    context.validation_definitions.add(definition)
    outcome = definition.run(
        batch_parameters={"dataframe": frame},
        result_format={"result_format": "COMPLETE", "exclude_unexpected_values": True},
        run_id=gx.RunIdentifier(run_name=run_name),
    )
    results: list[Any] = outcome.results  # in any order
    by_check = {result.expectation_config.meta["check"]: result for result in results}
    return [[] if by_check[i].success else by_check[i].result.get("unexpected_index_list") for i in range(len(checks))]


def _finding(table_name: str, check: Check, bad: list[int] | None, row_ids: pd.Series) -> Finding:
    rows = len(row_ids)
    if bad is None:  # the whole table fails
        return Finding(table_name, check, rows, max(rows, 1), ())
    return Finding(table_name, check, rows, len(bad), tuple(str(row_ids.iloc[i]) for i in bad[:SAMPLE]))


def _given(column: str, *, structural: bool = False) -> list[Check]:
    """Neither null nor blank: expectations on values pass over nulls, so it takes two."""
    remedy = _OURS if structural else _MEND
    return [
        Check(f"{column} is not null", column, "ExpectColumnValuesToNotBeNull", structural=structural, remedy=remedy),
        Check(
            f"{column} is not blank",
            column,
            "ExpectColumnValuesToMatchRegex",
            {"regex": r"\S"},
            structural=structural,
            remedy=remedy,
        ),
    ]


def _text(column: str, max_chars: int) -> list[Check]:
    return [
        *_given(column),
        Check(
            f"{column} has at most {max_chars} characters",
            column,
            "ExpectColumnValueLengthsToBeBetween",
            {"max_value": max_chars},
            remedy="Shorten these records in data/raw, or raise `validate.max_text_chars` in params.yaml.",
        ),
    ]


def _answer(column: str, task: Task, max_chars: int) -> list[Check]:
    """One of the task's answers where they are a closed set (ratings among them), else a text."""
    return [_given(column)[0], _one_of(column, task.labels)] if task.labels else _text(column, max_chars)


def _one_of(column: str, allowed: Sequence[str], *, structural: bool = False) -> Check:
    name = f"{column} is one of: {', '.join(allowed)}"
    arguments = {"value_set": list(allowed)}
    remedy = _OURS if structural else _MEND
    return Check(name, column, "ExpectColumnValuesToBeInSet", arguments, structural=structural, remedy=remedy)


def date_check(column: str) -> Check:
    """That a column holds dates as records do."""
    name = f"{column} is YYYY-MM-DD, a shorter form of it, or blank"
    return Check(name, column, "ExpectColumnValuesToMatchRegex", {"regex": _DATE})
