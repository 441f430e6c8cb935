"""A project of its own with its own servers: Prefect, MLflow and a worker, as `make up` starts them, on free ports."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx2
import pandas as pd
import pytest
from ruamel.yaml import YAML

from flows.stack import down, up
from flows.stack_place import Stack
from hydra_ml.io.mlflow.registry import Registry
from hydra_ml.io.predictions import load_predictions
from hydra_ml.tasks import get_task
from tests.servers import free_port

ROOT = Path(__file__).parents[2]
GIT = {f"GIT_{who}_{what}": "test@localhost" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
FILES = [
    ".gitignore",
    "data/.gitignore",
    "hydra_ml",
    "flows",
    "dvc.yaml",
    "tasks",
    "prefect.yaml",
    "prefect.toml",
    "supervisord.conf",
    ".dvc/config",
    ".dvcignore",
]
FINAL = {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}


def make_project(root: Path, chain: Any) -> Path:
    """The code, and the chain's settings, LaMP files and bought answers, in a git repository of its own."""
    for name in FILES:
        place = root / name
        place.parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, place, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, place)
    deployments = (root / "prefect.yaml").read_text("utf-8")  # by the clock, its schedules would meddle with the tests
    (root / "prefect.yaml").write_text(deployments.replace("active: true", "active: false"), "utf-8")
    params = YAML(typ="safe").load((chain.root / "params.yaml").read_text("utf-8"))
    params["batch_score"]["requests_per_shard"] = 8
    params["update_heads"]["users_per_shard"] = 1
    with (root / "params.yaml").open("w") as file:
        YAML().dump({**params, "tasks": [chain.task]}, file)
    for command in (["init", "--quiet"], ["add", "."], ["commit", "--quiet", "--message", "start"]):
        subprocess.run(["git", *command], cwd=root, check=True, capture_output=True, env={**os.environ, **GIT})
    shutil.copytree(chain.root / "raw", root / "data/raw" / chain.task)
    shutil.copytree(chain.root / ".cache", root / ".cache")
    return root


def processes_below(top: int) -> dict[int, str]:
    """Command lines of all descendants of a process, by process id."""
    parents: dict[int, int] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it may end while we look
            parents[int(stat.parent.name)] = int(stat.read_text().rsplit(")", 1)[-1].split()[1])
    found: dict[int, str] = {}
    waiting = [top]
    while waiting:
        above = waiting.pop()
        for pid in (pid for pid, parent in parents.items() if parent == above):
            with contextlib.suppress(OSError):
                found[pid] = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
            waiting.append(pid)
    return found


@dataclass
class Running:
    """A stack that is up, asked over its REST API."""

    stack: Stack
    _headers: dict[str, str] = field(default_factory=dict)

    @property
    def root(self) -> Path:
        return self.stack.root

    @property
    def registry(self) -> Registry:
        return Registry(self.stack.mlflow_url, cache=self.root / ".cache")

    def ask(self, path: str, body: Any = None, method: str = "") -> Any:
        """The answer's JSON; asked again while SQLite is busy or the server starts, as Prefect's own clients do."""
        url = f"{self.stack.prefect_url}/api{path}"
        headers = self.credentials()
        deadline = time.monotonic() + 90
        while True:
            with contextlib.suppress(httpx2.TransportError):
                answer = httpx2.request(
                    method or ("GET" if body is None else "POST"), url, json=body, headers=headers, timeout=90
                )
                if answer.status_code != httpx2.codes.SERVICE_UNAVAILABLE:
                    answer.raise_for_status()
                    return answer.json() if answer.content else None
            assert time.monotonic() < deadline, f"{url} does not answer"
            time.sleep(1)

    def credentials(self) -> dict[str, str]:
        """What Prefect's API wants to see of whoever may use it."""
        if not self._headers:
            basic = base64.b64encode(self.stack.auth.encode()).decode()
            self._headers["Authorization"] = f"Basic {basic}"
            told = httpx2.get(
                f"{self.stack.prefect_url}/api/csrf-token?client=tests", headers=self._headers, timeout=90
            )
            self._headers |= {"Prefect-Csrf-Token": told.json()["token"], "Prefect-Csrf-Client": "tests"}
        return self._headers

    def start(self, deployment: str, **parameters: Any) -> str:
        """Ask for a run of "flow/deployment"; its id."""
        found = self.ask(f"/deployments/name/{deployment}")
        return self.ask(f"/deployments/{found['id']}/create_flow_run", {"parameters": parameters})["id"]

    def reschedule(self, deployment_id: str, schedules: list[dict[str, Any]]) -> None:
        self.ask(f"/deployments/{deployment_id}", {"schedules": schedules}, "PATCH")

    def finish(self, run_id: str, within: float = 240.0) -> dict[str, Any]:
        """The run when it has ended."""
        return self.until(lambda: self.ended(run_id), within, f"run {run_id} to end")

    def ended(self, run_id: str) -> dict[str, Any] | None:
        run = self.ask(f"/flow_runs/{run_id}")
        return run if run["state_type"] in FINAL else None

    def until(self, found: Any, within: float, what: str) -> Any:
        deadline = time.monotonic() + within
        while time.monotonic() < deadline:
            if result := found():
                return result
            time.sleep(0.5)
        raise AssertionError(f"waited {within:.0f} s for {what}\n{self.words('worker')}")

    def runs(self, deployment: str, **flow_runs: Any) -> list[dict[str, Any]]:
        """Runs of a deployment, oldest first."""
        body = {"deployments": {"name": {"any_": [deployment]}}, "flow_runs": flow_runs, "sort": "START_TIME_ASC"}
        return self.ask("/flow_runs/filter", body)

    def subflows(self, run_id: str) -> list[dict[str, Any]]:
        runs = {"parent_flow_run_id": {"any_": [run_id]}}
        return self.ask("/flow_runs/filter", {"flow_runs": runs, "sort": "START_TIME_ASC"})

    def tasks(self, run_id: str) -> list[dict[str, Any]]:
        """Task runs of a flow run, in the order they started."""
        body = {"task_runs": {"flow_run_id": {"any_": [run_id]}}, "sort": "EXPECTED_START_TIME_ASC"}
        return self.ask("/task_runs/filter", body)

    def artifacts(self, key: str) -> list[dict[str, Any]]:
        return self.ask("/artifacts/filter", {"artifacts": {"key": {"any_": [key]}}})

    def events(self, name: str) -> list[dict[str, Any]]:
        """The events of a name, newest first; at least one, which the server may take seconds to write down."""
        body = {"filter": {"event": {"name": [name]}}}
        return self.until(lambda: self.ask("/events/filter", body)["events"], 30, f"an event {name}")

    def words(self, program: str, last: int = 60) -> str:
        lines = self.stack.log(program).read_text("utf-8", errors="replace").splitlines()
        return "\n".join(lines[-last:])

    def write_requests(self, name: str, *, mark: str = "", repeat: int = 1) -> int:
        """The evaluated questions as a request file, `repeat` times, the texts marked; how many."""
        queries = pd.read_parquet(self.root / "data/prepare/LaMP_2/queries.parquet")
        asked = queries[queries["role"] == "evaluate"]
        path = self.root / "data/requests/LaMP_2" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        rows = [
            {"request_id": f"{q.query_id}-{i}", "user_id": q.user_id, "task": "LaMP-2", "input": f"{q.input}{mark * i}"}
            for i in range(1, repeat + 1)
            for q in asked.itertuples()
        ]
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return len(rows)

    def batch(self, name: str) -> Path:
        """The batch folder of a request file; its predictions are the file beside it that ends in .parquet."""
        (folder,) = [
            path for path in (self.root / "data/predictions/LaMP_2").glob(f"{name}-*") if path.suffix != ".parquet"
        ]
        return folder

    def predictions(self, name: str) -> pd.DataFrame:
        return load_predictions(self.batch(name).with_suffix(".parquet"))

    def processes(self, top: int | None = None) -> dict[int, str]:
        """Command lines of all processes below this one, or the stack's supervisor; by process id."""
        return processes_below(top or self.stack.supervisor() or 0)

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """A Python module's command line in the project, with the stack's environment."""
        environment = self.stack.environment(os.environ)
        line = [sys.executable, "-m", *arguments]
        return subprocess.run(line, cwd=self.root, env=environment, capture_output=True, text=True, check=False)


@contextlib.contextmanager
def running(root: Path) -> Iterator[Running]:
    stack = Stack(root, free_port(), free_port(), docs_port=free_port())
    try:
        up(stack)
        with pytest.MonkeyPatch.context() as patch:
            for name, value in stack.kept.mlflow_login().items():
                patch.setenv(name, value)
            yield Running(stack)
    finally:
        was_running = down(stack)
    assert was_running, "the stack died under the tests"


@pytest.fixture(scope="session")
def start_product(chain, tmp_path_factory) -> Callable[[str], contextlib.AbstractContextManager[Running]]:
    """A stack with a small project of its own, by name; as a context, it is down again afterwards."""
    return lambda name: running(make_project(tmp_path_factory.mktemp(name), chain))


@pytest.fixture(scope="session")
def product(start_product) -> Iterator[Running]:
    """The stack that tests share; each leaves it usable for the next."""
    with start_product("product") as shared:
        yield shared


@dataclass
class Night:
    """The first nightly run of the product, with ingest on a schedule of every minute meanwhile."""

    run: dict[str, Any]
    scheduled_after: float  # seconds from the schedule's making to its first planned run
    ingests: list[dict[str, Any]]
    champion: str  # version, when the run had ended


@pytest.fixture(scope="session")
def night(product, chain) -> Night:
    """nightly, started by hand and run to its end by the worker."""
    ingest = product.ask("/deployments/name/ingest/ingest")
    shipped = [{"schedule": one["schedule"], "active": False} for one in ingest["schedules"]]
    made = time.monotonic()
    product.reschedule(ingest["id"], [{"schedule": {"cron": "* * * * *", "timezone": "UTC"}, "active": True}])
    run_id = product.start("nightly/nightly")
    soon = (datetime.now(UTC) + timedelta(seconds=120)).isoformat()
    product.until(lambda: product.runs("ingest", expected_start_time={"before_": soon}), 30, "a planned run")
    scheduled_after = time.monotonic() - made
    run = product.finish(run_id)
    champion = product.registry.aliases(get_task(chain.task)).get("champion", "")

    def ingested() -> list[dict[str, Any]]:  # missed ones are cancelled by the first that runs: not those
        return [run for run in product.runs("ingest") if run["auto_scheduled"] and run["state_type"] == "COMPLETED"]

    done = product.until(ingested, 90, "ingest to run by its schedule")
    product.reschedule(ingest["id"], shipped)
    return Night(run, scheduled_after, done, champion)


@pytest.fixture(scope="session")
def registry(product) -> Registry:
    """The registry behind the product's MLflow server."""
    return product.registry
