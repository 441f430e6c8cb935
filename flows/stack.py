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
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

from flows.stack_place import Stack
from hydra_ml.errors import HydraError, exit_of
from hydra_ml.io.orchestrator import POOL, read_workers
from hydra_ml.io.own_stack import last_words, load_own_stack, new_secret, port_is_free, save_own_stack
from hydra_ml.io.private_files import BROUGHT, close_to_others, closed_text, work_privately
from hydra_ml.jobs.doctor import check_disk, check_temporary_folder

PORTS = {"PREFECT_PORT": 4200, "MLFLOW_PORT": 5000, "DOCS_PORT": 8808}
HEALTH_S = 180.0  # a fresh database's migrations take 10 s on an idle machine
STALE_S = 60.0  # a worker sends a sign of life every 30 s
STOP_S = 90.0  # a worker gives its runs 30 s to end


class StackError(HydraError, RuntimeError):
    """The stack cannot be started or stopped."""


def up(stack: Stack) -> None:
    """Start what is not running, wait until servers and worker are at work, apply work pool and deployments.

    Running it again changes nothing. Raises StackError when a port is taken, or a program does not come up: as soon as
    it has ended twice, with its last words.
    """
    environment = stack.environment(os.environ)
    began, was_running = datetime.now(UTC), stack.supervisor() is not None
    watch = _Watch(stack)
    work_privately()
    if closed := closed_text(close_to_others(stack.root)):
        print(closed, file=sys.stderr)
    if not was_running:
        check_disk(stack.root)
        check_temporary_folder()
        for name in PORTS:
            _check_free(name, getattr(stack, name.lower()))
        for folder in (".logs", ".prefect", ".tmp", ".mlflow/artifacts", "data/docs", *BROUGHT):
            (stack.root / folder).mkdir(parents=True, exist_ok=True)
        save_own_stack(stack.kept, stack.root)
        _start(stack, environment)
    health = {
        "mlflow": f"{stack.mlflow_url}/health",
        "prefect": f"{stack.prefect_url}/api/health",
        "docs": f"{stack.kept.docs_url}/health",
    }
    for program, url in health.items():
        watch.until(partial(_answers, url, within=2.0), program, f"does not answer at {url}")
    apply(environment, stack.root)
    since = began - timedelta(seconds=STALE_S) if was_running else began
    watch.until(partial(_worker_since, stack, since), "worker", f"is not online in the work pool {POOL!r}")


@dataclass
class _Watch:
    """Waits for programs, but not for one that ends again and again."""

    stack: Stack
    deadline: float = field(default_factory=lambda: time.monotonic() + HEALTH_S)

    def __post_init__(self) -> None:
        log = self.stack.log("supervisord")
        self._from = log.stat().st_size if log.exists() else 0

    def until(self, ready: Callable[[], bool], program: str, otherwise: str) -> None:
        """Come back when it is ready. Raises StackError if it ended twice, supervisord is gone, or time is up."""
        while not ready():
            ended = self._ends(program)
            if ended >= 2 or self.stack.supervisor() is None or time.monotonic() > self.deadline:
                told = f"ended {ended} times within moments" if ended >= 2 else otherwise
                log = self.stack.log(program)
                raise StackError(
                    f"{program} {told}. Its last words, from {log}:\n{last_words(log) or '(none)'}\nMend what they "
                    "name, then `make restart`; `hydra-ml doctor` looks for the usual causes."
                )
            time.sleep(0.3)

    def _ends(self, program: str) -> int:
        log = self.stack.log("supervisord")
        if not log.exists():
            return 0
        with log.open("rb") as file:
            file.seek(self._from)
            return file.read().count(f"exited: {program} (".encode())


def _worker_since(stack: Stack, since: datetime) -> bool:
    """Whether a worker has sent a sign of life since then; one of an earlier life counts as online for a while."""
    return any(worker.online and worker.seen_at >= since for worker in read_workers(POOL, stack.kept))


def apply(environment: Mapping[str, str], root: Path) -> None:
    """Work pool, automations and deployments on the server that `environment` names (PREFECT_API_URL).

    Raises StackError if `prefect deploy --all` fails.
    """
    asyncio.run(_prepare_server(environment["PREFECT_API_URL"], environment.get("PREFECT_API_AUTH_STRING")))
    deploy = [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all"]
    done = subprocess.run(deploy, env=environment, cwd=root, capture_output=True, text=True, check=False)
    if done.returncode:
        raise StackError(f"`prefect deploy --all` failed (exit {done.returncode}):\n{done.stdout}{done.stderr}")


def work() -> None:
    """Become a worker once the server answers: one that starts earlier never hears of a cancellation as it happens."""
    work_privately()
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
    if not port_is_free(port):
        raise StackError(
            f"{name} {port} on 127.0.0.1 is in use, or not this account's to use. Stop what listens there, or take "
            f"another port: make up {name}={port + 1}"
        )


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


async def _prepare_server(api: str, auth: str | None) -> None:
    """The work pool, and the automations that mark runs as crashed whose process is gone."""
    from prefect.client.orchestration import PrefectClient
    from prefect.client.schemas.actions import WorkPoolCreate
    from prefect.exceptions import ObjectAlreadyExists

    from flows.silent_runs import silent_runs

    async with PrefectClient(api, auth_string=auth) as client:
        with contextlib.suppress(ObjectAlreadyExists):
            await client.create_work_pool(WorkPoolCreate(name=POOL, type="process"))
        for wanted in silent_runs():
            found = await client.read_automations_by_name(wanted.name)
            if not found:
                await client.create_automation(wanted)
            elif found[0].description != wanted.description:  # an update forgets the runs that are being watched
                await client.update_automation(found[0].id, wanted)


def find_stack(root: Path, asked: Mapping[str, str]) -> Stack:
    """The stack of this folder on the ports asked for (by names of PORTS), else those it had last, else PORTS' own.

    Raises StackError for a port that is none, or another than a running stack's.
    """
    known = load_own_stack(root)
    ports = {
        name.lower(): _port(name, asked.get(name)) or getattr(known, name.lower(), 0) or own
        for name, own in PORTS.items()
    }
    stack = Stack(root, auth=known.auth if known else new_secret(), **ports)
    if known and stack.supervisor() is not None:
        for name in ports:
            port, runs = getattr(stack, name), getattr(known, name)
            if runs and port != runs:
                raise StackError(
                    f"{name.upper()} is {port}, but this folder's stack runs with {runs}. Leave it out, or stop that "
                    "one first: make down"
                )
    return stack


def _port(name: str, given: str | None) -> int | None:
    if not given:
        return None
    if not given.isdecimal() or not 1 <= int(given) <= 65535:
        raise StackError(f"{name} is {given!r}; a port is a whole number from 1 to 65535, such as make up {name}=4300")
    return int(given)


def main(argv: list[str] | None = None) -> int:
    """`python -m flows.stack VERB`, in the project's folder; ports from the variables of PORTS.

    apply and work are for stacks that something else runs (docker/compose.yaml): they need PREFECT_API_URL alone.
    """
    parser = argparse.ArgumentParser(prog="python -m flows.stack", description=__doc__)
    parser.add_argument("verb", choices=["up", "restart", "down", "apply", "work"])
    options = parser.parse_args(argv)
    try:
        if options.verb == "work":
            work()
        elif options.verb == "apply":
            apply(os.environ, Path.cwd())
        elif options.verb == "down":
            print("Stopped." if down(find_stack(Path.cwd(), {})) else "Nothing was running.")
        else:
            if options.verb == "restart":
                down(find_stack(Path.cwd(), {}))
            bring_up(find_stack(Path.cwd(), os.environ))
    except (HydraError, OSError, KeyboardInterrupt) as error:
        message, code = exit_of(error)
        print(f"flows.stack {options.verb}: {message}", file=sys.stderr)
        return code
    return 0


def bring_up(stack: Stack) -> None:
    """`up`, and what a person wants to know of it."""
    known = load_own_stack(stack.root)
    was_running = stack.supervisor() is not None
    if was_running and known is None:
        raise StackError("this folder's stack was started by an earlier version of hydra_ml: make down, then make up")
    up(stack)
    print(_ADDRESSES.format(stack=stack, logs=stack.root / ".logs"))
    if was_running and known and known.llm != known.llm_mark(os.environ):
        print("The worker was started with other OPENAI_* values than this shell has: `make restart` passes these on.")


_ADDRESSES = """\
Prefect  {stack.prefect_url}/dashboard   flows, schedules, runs
MLflow   {stack.mlflow_url}/#/experiments   runs; models and releases: {stack.mlflow_url}/#/models
Data     {stack.kept.docs_url}   what came in, row checks
Password each asks once: Prefect for all of PREFECT_API_AUTH_STRING of `hydra-ml env`, the others for user and password
Logs     {logs}   (make logs)
Shell    eval "$(hydra-ml env)"   so that prefect and mlflow commands find them
A run    prefect deployment run nightly/nightly --watch
Stop     make down"""


if __name__ == "__main__":
    sys.exit(main())
