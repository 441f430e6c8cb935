"""What the Prefect server plans and what went wrong there, read over its REST API; Prefect itself is not imported.

Reads only. The address is PREFECT_API_URL, as for Prefect's own commands; PREFECT_API_KEY and PREFECT_API_AUTH_STRING
are sent as Prefect sends them.
"""

from __future__ import annotations

import base64
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import httpx2

from hydra_ml.errors import HydraError, without_secret

TIMEOUT_S = 5.0
PAGE = 200  # the most rows Prefect's filters return at once
MAX_REASON = 600  # characters of a failure's message
_PREFECTS_OWN = re.compile(r"^(Flow|Task) run encountered an exception: (\w+: )?")  # before the failure's own words


@dataclass(frozen=True)
class FlowRun:
    """A run that is planned, or that failed."""

    deployment: str  # "" for a run that no deployment started
    name: str
    state: str  # as Prefect names it: "Scheduled", "Late", "Failed", "Crashed", ..
    at: str  # ISO 8601 UTC: when it is to start, or when it ended
    reason: str = ""  # first line of the failure's message


@dataclass(frozen=True)
class Schedule:
    """The next run of every deployment that has one, soonest first, and the last failures, newest first."""

    next_runs: tuple[FlowRun, ...]
    failures: tuple[FlowRun, ...]


def read_schedule(url: str | None = None, *, n_failures: int = 5) -> Schedule:
    """What is planned and what failed last, on the server at `url` or PREFECT_API_URL.

    Raises HydraError: no address, server out of reach, or an answer that is not Prefect's.
    """
    url = url or os.environ.get("PREFECT_API_URL", "")
    if not url:
        raise HydraError("PREFECT_API_URL is not set: no Prefect server to ask. Start one with `make up`, or name one.")
    try:
        with httpx2.Client(base_url=url.rstrip("/"), timeout=TIMEOUT_S, headers=_credentials()) as client:
            planned = _flow_runs(client, ["SCHEDULED"], "EXPECTED_START_TIME_ASC", PAGE)
            failed = _flow_runs(client, ["FAILED", "CRASHED"], "END_TIME_DESC", n_failures)
            names = _deployment_names(client, [*planned, *failed])
    except (httpx2.HTTPError, httpx2.InvalidURL, ValueError, KeyError, TypeError, AttributeError) as error:
        told = without_secret(f"{url}: no Prefect server answers there as it should ({type(error).__name__}: {error})")
        cause = error if without_secret(url) == url else None  # a cause is printed with its traceback
        raise HydraError(f"{told}. Start it with `make up`, or mend PREFECT_API_URL.") from cause
    runs = [_flow_run(row, names, row["expected_start_time"]) for row in planned]
    first: dict[str, FlowRun] = {}
    for run in runs:
        first.setdefault(run.deployment, run)
    failures = [_flow_run(row, names, row["end_time"] or row["expected_start_time"]) for row in failed]
    return Schedule(tuple(first.values()), tuple(failures))


def _flow_runs(client: httpx2.Client, states: list[str], sort: str, limit: int) -> list[dict[str, Any]]:
    wanted = {"state": {"type": {"any_": states}}}
    return _rows(client, "/flow_runs/filter", {"flow_runs": wanted, "sort": sort, "limit": limit})


def _deployment_names(client: httpx2.Client, runs: Iterable[dict[str, Any]]) -> dict[str, str]:
    ids = sorted({row["deployment_id"] for row in runs if row["deployment_id"]})
    if not ids:
        return {}
    rows = _rows(client, "/deployments/filter", {"deployments": {"id": {"any_": ids}}, "limit": PAGE})
    return {row["id"]: row["name"] for row in rows}


def _rows(client: httpx2.Client, path: str, body: dict[str, Any]) -> list[dict[str, Any]]:
    rows = client.post(path, json=body).raise_for_status().json()
    if not isinstance(rows, list):
        raise ValueError(f"{path} answered no list")
    return rows


def _flow_run(row: dict[str, Any], names: dict[str, str], at: str) -> FlowRun:
    message = ((row.get("state") or {}).get("message") or "").strip()
    reason = _PREFECTS_OWN.sub("", message.partition("\n")[0])[:MAX_REASON]
    return FlowRun(names.get(row["deployment_id"] or "", ""), row["name"], row["state_name"] or "", at or "", reason)


def _credentials() -> dict[str, str]:
    if key := os.environ.get("PREFECT_API_KEY"):
        return {"Authorization": f"Bearer {key}"}
    if pair := os.environ.get("PREFECT_API_AUTH_STRING"):
        return {"Authorization": f"Basic {base64.b64encode(pair.encode()).decode()}"}
    return {}
