"""What the Prefect server plans and what went wrong there, read over its REST API; Prefect itself is not imported.

Reads, but for what is forgotten. The address is PREFECT_API_URL, as for Prefect's own commands, else that of the stack
in this folder; PREFECT_API_KEY and PREFECT_API_AUTH_STRING are sent as Prefect sends them.
"""

from __future__ import annotations

import base64
import os
import re
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import count
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx2

from hydra_ml.errors import HydraError, without_secret
from hydra_ml.io.own_stack import OwnStack, load_own_stack
from hydra_ml.io.sqlite_file import scrub
from hydra_ml.io.traces import Marks

OWN_DATABASE = Path(".prefect/prefect.db")  # of the server of `make up`
SCRUB_S = 120.0  # to wait for the server's own writes
POOL = "local"  # the work pool of prefect.yaml
TIMEOUT_S = 5.0
PAGE = 200  # the most rows Prefect's filters return at once
MAX_REASON = 600  # characters of a failure's message
_PASSWORD = 'It wants its password: eval "$(hydra-ml env)" in its project\'s folder, or PREFECT_API_AUTH_STRING.'
_PREFECTS_OWN = re.compile(r"^(Flow|Task) run encountered an exception: (\w+: )?")  # before the failure's own words


@dataclass(frozen=True)
class FlowRun:
    """A run that is planned, or that failed."""

    deployment: str  # "" for a run that no deployment started
    name: str
    state: str  # as Prefect names it: "Scheduled", "Late", "Failed", "Crashed", ..
    at: str  # ISO 8601 UTC: when it is to start, or when it ended
    reason: str = ""  # first line of the failure's message
    settled: bool = False  # a failure after which a run of the same deployment went well


@dataclass(frozen=True)
class Schedule:
    """The next run of every deployment that has one, soonest first, and the last failures, newest first."""

    next_runs: tuple[FlowRun, ...]
    failures: tuple[FlowRun, ...]


@dataclass(frozen=True)
class Worker:
    """One that polls a work pool, or did."""

    name: str
    online: bool  # as Prefect sees it, which forgets a dead one after three missed signs of life
    seen_at: datetime  # its last sign of life, UTC


def read_schedule(url: str | None = None, *, n_failures: int = 5) -> Schedule:
    """What is planned and what failed last, on the server at `url`, PREFECT_API_URL, or this folder's own.

    Raises HydraError: no address, server out of reach, or an answer that is not Prefect's.
    """
    with _asking(url) as api:
        planned = _flow_runs(api, ["SCHEDULED"], "EXPECTED_START_TIME_ASC", PAGE)
        failed = _flow_runs(api, ["FAILED", "CRASHED"], "END_TIME_DESC", n_failures)
        completed = _flow_runs(api, ["COMPLETED"], "END_TIME_DESC", PAGE)
        names = _deployment_names(api, [*planned, *failed])
        runs = [_flow_run(row, names, row["expected_start_time"]) for row in planned]
        failures = [_failure(row, names, completed) for row in failed]
    first: dict[str, FlowRun] = {}
    for run in runs:
        first.setdefault(run.deployment, run)
    return Schedule(tuple(first.values()), tuple(failures))


def read_workers(pool: str, stack: OwnStack | None = None, *, url: str | None = None) -> list[Worker]:
    """The workers of a pool, the one last heard of first; [] if there is no such pool. Raises as `read_schedule`.

    stack: whose server to ask, whatever the environment names.
    """
    with _asking(url, stack) as api:
        answer = api.post(f"/work_pools/{pool}/workers/filter", json={})
        if answer.status_code == httpx2.codes.NOT_FOUND:
            return []
        workers = [
            Worker(row["name"], row["status"] == "ONLINE", datetime.fromisoformat(row["last_heartbeat_time"]))
            for row in answer.raise_for_status().json()
            if row["last_heartbeat_time"]
        ]
    return sorted(workers, key=lambda worker: worker.seen_at, reverse=True)


def found_in_prefect(marks: Marks) -> list[str]:
    """The artifacts and runs that tell of the user, by id; [] where no server is set up. Raises as `read_schedule`."""
    with _asked_if_set_up() as api:
        if api is None:
            return []
        told = [f"artifact {row['id']}" for row in _every(api, "/artifacts/filter") if _tells_of(row, marks)]
        return told + [f"run {row['id']}" for row in _every(api, "/flow_runs/filter") if _tells_of(row, marks)]


def forget_in_prefect(marks: Marks) -> int:
    """Delete the artifacts that tell of the user, and take the parameters of runs that do; how many of both."""
    with _asked_if_set_up() as api:
        if api is None:
            return 0
        artifacts = [row["id"] for row in _every(api, "/artifacts/filter") if _tells_of(row, marks)]
        for found in artifacts:
            api.delete(f"/artifacts/{found}").raise_for_status()
        runs = [row["id"] for row in _every(api, "/flow_runs/filter") if _tells_of(row, marks)]
        for found in runs:
            api.patch(f"/flow_runs/{found}", json={"parameters": {}}).raise_for_status()
    _scrub_own()
    return len(artifacts) + len(runs)


def _scrub_own() -> None:
    """Write this folder's own server's database anew, so that no old page of it, nor its log, keeps what was changed.
    The server goes on meanwhile. Raises HydraError if it does not let go of the file."""
    if not OWN_DATABASE.is_file():
        return
    try:
        with closing(sqlite3.connect(OWN_DATABASE, timeout=SCRUB_S, isolation_level=None)) as db:
            db.execute("PRAGMA secure_delete=ON")
            scrub(db)
    except sqlite3.Error as error:
        raise HydraError(
            f"{OWN_DATABASE}: what was deleted there may still be read from the file, which cannot be written anew "
            f"({error}). Run the same again."
        ) from error


@contextmanager
def _asked_if_set_up() -> Iterator[httpx2.Client | None]:
    if not os.environ.get("PREFECT_API_URL") and load_own_stack() is None:
        yield None
        return
    with _asking(None) as client:
        yield client


def _every(client: httpx2.Client, path: str) -> Iterator[dict[str, Any]]:
    """All rows of a filter, page by page."""
    for offset in count(0, PAGE):
        rows = _rows(client, path, {"limit": PAGE, "offset": offset})
        yield from rows
        if len(rows) < PAGE:
            return


def _tells_of(row: Mapping[str, Any], marks: Marks) -> bool:
    """Whether an artifact or a run holds an id or a text of the user, in its words or as a parameter."""
    given = row.get("parameters") or {}
    if isinstance(given, dict) and any(marks.has("user", str(value)) for value in given.values()):
        return True
    return marks.stands_in(str([row.get(name) for name in ("data", "description", "parameters", "name", "key")]))


@contextmanager
def _asking(url: str | None, stack: OwnStack | None = None) -> Iterator[httpx2.Client]:
    """A client of the server at `url`, of `stack`, of PREFECT_API_URL, or of this folder's stack: the first there is.

    Whatever goes wrong inside is one HydraError.
    """
    named = url or (None if stack else os.environ.get("PREFECT_API_URL"))
    own = stack or load_own_stack()
    address = named or (f"{own.prefect_url}/api" if own else "")
    if not address:
        raise HydraError("PREFECT_API_URL is not set: no Prefect server to ask. Start one with `make up`, or name one.")
    is_own = own is not None and address.rstrip("/") == f"{own.prefect_url}/api"
    headers = _credentials(own.auth if own and is_own else "")
    try:
        with httpx2.Client(base_url=address.rstrip("/"), timeout=TIMEOUT_S, headers=headers) as client:
            client.headers.update(_csrf(client))
            yield client
    except (httpx2.HTTPError, httpx2.InvalidURL, ValueError, KeyError, TypeError, AttributeError) as error:
        told = f"{address}: no Prefect server answers there as it should ({type(error).__name__}: {error})"
        cause = error if without_secret(address) == address else None  # a cause is printed with its traceback
        remedy = "Start it with `make up`, or mend PREFECT_API_URL."
        if isinstance(error, httpx2.HTTPStatusError) and error.response.status_code == httpx2.codes.UNAUTHORIZED:
            remedy = _PASSWORD
        raise HydraError(f"{without_secret(told)}. {remedy}") from cause


def _csrf(client: httpx2.Client) -> dict[str, str]:
    """What a server that guards against pages of other addresses wants to see with every question; {} of others."""
    asker = str(uuid4())
    answer = client.get("/csrf-token", params={"client": asker})
    if not answer.is_success or "token" not in (told := answer.json()):
        return {}
    return {"Prefect-Csrf-Token": told["token"], "Prefect-Csrf-Client": asker}


def _flow_runs(client: httpx2.Client, states: list[str], sort: str, limit: int) -> list[dict[str, Any]]:
    """Runs that no other run began: what is wrong with a task's sub-flow stands in its parent's words too."""
    wanted = {"state": {"type": {"any_": states}}, "parent_task_run_id": {"is_null_": True}}
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


def _failure(row: dict[str, Any], names: dict[str, str], completed: list[dict[str, Any]]) -> FlowRun:
    ended, of = row["end_time"] or row["expected_start_time"], row["deployment_id"]
    later = any(other["deployment_id"] == of and other["end_time"] > ended for other in completed) if of else False
    return replace(_flow_run(row, names, ended), settled=later)


def _credentials(own: str) -> dict[str, str]:
    """own: the secret of this folder's stack, if that is asked."""
    if key := os.environ.get("PREFECT_API_KEY"):
        return {"Authorization": f"Bearer {key}"}
    if pair := own or os.environ.get("PREFECT_API_AUTH_STRING", ""):
        return {"Authorization": f"Basic {base64.b64encode(pair.encode()).decode()}"}
    return {}
