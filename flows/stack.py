"""One machine's stack: MLflow server, Prefect server and a worker under supervisord; behind `make up` and `make down`.

Knows addresses, homes and health; which programs run stands in `supervisord.conf`, which flows in `prefect.yaml`.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from hydra_ml.errors import HydraError

POOL = "local"
HEALTH_S = 180.0  # a fresh database's migrations take 10 s on an idle machine
STOP_S = 90.0  # a worker gives its runs 30 s to end
SILENT = {
    "DO_NOT_TRACK": "1",
    "DVC_NO_ANALYTICS": "1",
    "GX_ANALYTICS_ENABLED": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
}


class StackError(HydraError, RuntimeError):
    """The stack cannot be started or stopped."""


@dataclass(frozen=True)
class Stack:
    """Where one machine's stack lives: the project's folder and the two ports."""

    root: Path
    prefect_port: int
    mlflow_port: int

    @property
    def prefect_url(self) -> str:
        return f"http://127.0.0.1:{self.prefect_port}"

    @property
    def mlflow_url(self) -> str:
        return f"http://127.0.0.1:{self.mlflow_port}"

    def environment(self, given: Mapping[str, str]) -> dict[str, str]:
        """`given` with all that servers, worker and commands need; databases already named there are kept."""
        homes = {
            "HYDRA_ROOT": str(self.root),
            "HYDRA_PYTHON": sys.executable,
            "PYTHONPATH": os.pathsep.join(filter(None, [str(self.root), given.get("PYTHONPATH")])),  # for flows/
            "HYDRA_MLFLOW_STORE": given.get("HYDRA_MLFLOW_STORE", f"sqlite:///{self.root}/.mlflow/mlflow.db"),
            "MLFLOW_PORT": str(self.mlflow_port),
            "MLFLOW_TRACKING_URI": self.mlflow_url,
            "PREFECT_PORT": str(self.prefect_port),
            "PREFECT_HOME": str(self.root / ".prefect"),
            "PREFECT_API_URL": f"{self.prefect_url}/api",
            "PREFECT_SERVER_API_PORT": str(self.prefect_port),  # the UI asks this port, whatever --port says
            "PREFECT_UI_API_URL": f"{self.prefect_url}/api",
            "PREFECT_SERVER_EPHEMERAL_ENABLED": "false",
        }
        return {"HF_HUB_OFFLINE": "1", **given, **SILENT, **homes}

    def log(self, program: str) -> Path:
        return self.root / ".logs" / f"{program}.log"

    def supervisor(self) -> int | None:
        """Process id of this stack's running supervisord; None when it is down."""
        try:
            pid = int(self.log("supervisord").with_suffix(".pid").read_text("utf-8"))
            os.kill(pid, 0)
        except (OSError, ValueError):
            return None
        line = Path(f"/proc/{pid}/cmdline")  # after a reboot the number may be somebody else's
        known = not line.parent.parent.exists() or os.fsencode(self.root / "supervisord.conf") in line.read_bytes()
        return pid if known else None


def up(stack: Stack) -> None:
    """Start what is not running, wait until it is healthy, apply work pool, automations and deployments.

    Running it again changes nothing. Raises StackError when a port is taken or a server does not come up.
    """
    environment = stack.environment(os.environ)
    deadline = time.monotonic() + HEALTH_S
    if stack.supervisor() is None:
        for name, port in (("PREFECT_PORT", stack.prefect_port), ("MLFLOW_PORT", stack.mlflow_port)):
            _check_free(name, port)
        for folder in (".logs", ".prefect", ".mlflow/artifacts"):
            (stack.root / folder).mkdir(parents=True, exist_ok=True)
        _start(stack, environment)
    for program, url in (("mlflow", f"{stack.mlflow_url}/health"), ("prefect", f"{stack.prefect_url}/api/health")):
        while not _answers(url, within=5.0):
            if stack.supervisor() is None or time.monotonic() > deadline:
                raise StackError(f"{program} does not answer at {url}; its last words are in {stack.log(program)}")
    apply(environment, stack.root)


def apply(environment: Mapping[str, str], root: Path) -> None:
    """Work pool, automations and deployments on the server that `environment` names (PREFECT_API_URL).

    Raises StackError if `prefect deploy --all` fails.
    """
    asyncio.run(_prepare_server(environment["PREFECT_API_URL"]))
    deploy = [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all"]
    done = subprocess.run(deploy, env=environment, cwd=root, capture_output=True, text=True, check=False)
    if done.returncode:
        raise StackError(f"`prefect deploy --all` failed (exit {done.returncode}):\n{done.stdout}{done.stderr}")


def work() -> None:
    """Become a worker once the server answers: one that starts earlier never hears of a cancellation as it happens."""
    api = os.environ["PREFECT_API_URL"]
    while not _answers(f"{api}/health", within=5.0):
        pass
    # --limit 2: one run at work, and one that waits for it or is turned away; more would fight over SQLite.
    options = ["--pool", POOL, "--type", "process", "--limit", "2", "--name", socket.gethostname()]
    os.execv(sys.executable, [sys.executable, "-m", "prefect", "worker", "start", *options])


def down(stack: Stack) -> bool:
    """Stop the worker, then the servers; False when nothing was running. Raises StackError when it will not end."""
    pid = stack.supervisor()
    if pid is None:
        return False
    os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + STOP_S
    while stack.supervisor() is not None:
        if time.monotonic() > deadline:
            raise StackError(f"supervisord {pid} still runs after {STOP_S:.0f} s; see {stack.log('supervisord')}")
        time.sleep(0.2)
    return True


def _check_free(name: str, port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # one that was just closed counts as free
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise StackError(
                f"{name} {port} on 127.0.0.1 cannot be used ({error.strerror}). Stop what listens there, or take "
                f"another port: make up {name}={port + 1}"
            ) from None


def _start(stack: Stack, environment: Mapping[str, str]) -> None:
    command = [sys.executable, "-m", "supervisor.supervisord", "-c", str(stack.root / "supervisord.conf")]
    done = subprocess.run(command, env=environment, cwd=stack.root, capture_output=True, text=True, check=False)
    deadline = time.monotonic() + 20
    while stack.supervisor() is None:  # it goes to the background before it writes its pid
        if done.returncode or time.monotonic() > deadline:
            raise StackError(f"supervisord did not start: {done.stderr.strip() or stack.log('supervisord')}")
        time.sleep(0.1)


def _answers(url: str, within: float) -> bool:
    """Whether an address answers 200; asked a few times a second."""
    deadline = time.monotonic() + within
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=within) as answer:
            return bool(answer.status == 200)
        time.sleep(0.3)
    return False


async def _prepare_server(api: str) -> None:
    """The work pool, and the automations that mark runs as crashed whose process is gone."""
    from prefect.client.orchestration import PrefectClient
    from prefect.client.schemas.actions import WorkPoolCreate
    from prefect.exceptions import ObjectAlreadyExists

    from flows.silent_runs import silent_runs

    async with PrefectClient(api) as client:
        with contextlib.suppress(ObjectAlreadyExists):
            await client.create_work_pool(WorkPoolCreate(name=POOL, type="process"))
        for wanted in silent_runs():
            found = await client.read_automations_by_name(wanted.name)
            if not found:
                await client.create_automation(wanted)
            elif found[0].description != wanted.description:  # an update forgets the runs that are being watched
                await client.update_automation(found[0].id, wanted)


def main(argv: list[str] | None = None) -> int:
    """`python -m flows.stack up|down|apply|work`, in the project's folder; ports from PREFECT_PORT and MLFLOW_PORT.

    apply and work are for stacks that something else runs (docker/compose.yaml): they need PREFECT_API_URL alone.
    """
    parser = argparse.ArgumentParser(prog="python -m flows.stack", description=__doc__)
    parser.add_argument("verb", choices=["up", "down", "apply", "work"])
    parser.add_argument("--prefect-port", type=int, default=int(os.environ.get("PREFECT_PORT", "4200")))
    parser.add_argument("--mlflow-port", type=int, default=int(os.environ.get("MLFLOW_PORT", "5000")))
    options = parser.parse_args(argv)
    stack = Stack(Path.cwd(), options.prefect_port, options.mlflow_port)
    try:
        if options.verb == "work":
            work()
        elif options.verb == "apply":
            apply(os.environ, stack.root)
        elif options.verb == "down":
            print("Stopped." if down(stack) else "Nothing was running.")
        else:
            up(stack)
            print(_ADDRESSES.format(stack=stack, logs=stack.root / ".logs"))
    except HydraError as error:
        print(f"flows.stack {options.verb}: {error}", file=sys.stderr)
        return error.exit_code
    return 0


_ADDRESSES = """\
Prefect  {stack.prefect_url}   flows, schedules, runs
MLflow   {stack.mlflow_url}   runs, models, releases
Logs     {logs}
A run    PREFECT_API_URL={stack.prefect_url}/api prefect deployment run nightly/nightly --watch
Stop     make down"""


if __name__ == "__main__":
    sys.exit(main())
