"""`make up` and `make down`: idempotent, and clear about what is in the way."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx2
import pytest
from websockets.exceptions import ConnectionClosed, InvalidHandshake
from websockets.sync.client import connect

from flows.stack import HEALTH_S, StackError, down, find_stack, main, up
from flows.stack_place import Stack
from hydra_ml.io.orchestrator import POOL, read_workers
from hydra_ml.io.own_stack import KEPT, save_own_stack
from hydra_ml.io.private_files import open_to_others
from tests.servers import free_port

pytestmark = pytest.mark.timeout(600)
ROOT = Path(__file__).parents[2]


def test_a_taken_port_is_named_with_its_remedy(tmp_path):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(StackError, match=f"MLFLOW_PORT {port} .* make up MLFLOW_PORT={port + 1}"):
            up(Stack(tmp_path, 0, port))
    assert not (tmp_path / ".logs").exists(), "nothing was started"


def test_supervisord_that_cannot_start_says_why(tmp_path):
    with pytest.raises(StackError, match="supervisord did not start"):
        up(Stack(tmp_path, 0, 0, docs_port=0))


def test_down_when_nothing_runs_is_no_error(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["down"]) == 0
    assert capsys.readouterr().out == "Nothing was running.\n"


def test_a_pid_file_of_another_life_is_not_believed(tmp_path):
    (tmp_path / ".logs").mkdir()
    (tmp_path / ".logs/supervisord.pid").write_text(str(os.getpid()))
    assert Stack(tmp_path, 1, 2).supervisor() is None
    assert down(Stack(tmp_path, 1, 2)) is False


def test_a_dead_worker_is_started_again(product):
    def workers():
        return [pid for pid, line in product.processes().items() if "prefect worker start" in line]

    (old,) = workers()
    os.kill(old, signal.SIGKILL)
    product.until(lambda: [pid for pid in workers() if pid != old], 60, "another worker")
    assert old not in workers()


@pytest.mark.parametrize("value", ["80000", "0", "abc", "-1"])
def test_a_port_that_is_none_is_one_message(tmp_path, monkeypatch, capsys, value):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_PORT", value)
    assert main(["up"]) == 1
    assert f"MLFLOW_PORT is '{value}'; a port is a whole number from 1 to 65535" in capsys.readouterr().err


def test_ports_and_secret_are_remembered(tmp_path):
    first = find_stack(tmp_path, {"PREFECT_PORT": "4301"})
    assert (first.prefect_port, first.mlflow_port) == (4301, 5000)
    save_own_stack(first.kept, tmp_path)
    assert (tmp_path / KEPT).stat().st_mode & 0o777 == 0o600
    again = find_stack(tmp_path, {"MLFLOW_PORT": "5301"})
    assert (again.prefect_port, again.mlflow_port, again.auth) == (4301, 5301, first.auth)


def test_other_ports_than_those_of_the_running_stack_are_refused_at_once(product):
    with pytest.raises(StackError, match=f"PREFECT_PORT is 4999, but .* runs with {product.stack.prefect_port}"):
        find_stack(product.root, {"PREFECT_PORT": "4999"})


def test_a_program_that_ends_again_and_again_is_told_with_its_last_words(tmp_path):
    conf = (ROOT / "supervisord.conf").read_text("utf-8")
    lines = [
        "command = sh -c 'echo the database is broken; exit 3'" if line.startswith("command") else line
        for line in conf.splitlines()
        if not line.startswith("    --")
    ]
    (tmp_path / "supervisord.conf").write_text("\n".join(lines))
    stack = Stack(tmp_path, free_port(), free_port(), docs_port=free_port())
    began = time.monotonic()
    try:
        with pytest.raises(StackError, match=r"(?s)mlflow ended . times .*the database is broken.*make restart"):
            up(stack)
        assert time.monotonic() - began < HEALTH_S / 2, "not only when patience ends"
    finally:
        down(stack)


def test_a_page_of_another_address_can_start_nothing(product):
    """What a web page that the operator visits may try: its own origin, its own name for this host, no password."""
    api = f"{product.stack.prefect_url}/api"
    page = {"Origin": "https://evil.example", "Host": "evil.example"}
    asked = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type"}
    preflight = httpx2.options(f"{api}/flows/", headers={**page, **asked})
    assert preflight.status_code == 400
    assert "access-control-allow-origin" not in preflight.headers
    for headers in (page, {"Origin": page["Origin"]}, {}):
        answer = httpx2.post(f"{api}/flows/", json={"name": "theirs"}, headers=headers)
        assert answer.status_code in (401, 403), headers
    stolen = {name: value for name, value in product.credentials().items() if name == "Authorization"}
    assert httpx2.post(f"{api}/flows/", json={"name": "theirs"}, headers=stolen).status_code == 403, "CSRF"
    assert product.ask("/flows/filter", {"flows": {"name": {"any_": ["theirs"]}}}) == []


def test_a_page_of_another_address_hears_and_sends_no_events(product):
    """Browsers let every page open a WebSocket to every address, and an event starts deployments."""
    for path in ("/events/in", "/events/out", "/logs/out"):
        address = f"{product.stack.prefect_url.replace('http', 'ws')}/api{path}"
        with pytest.raises(InvalidHandshake):
            connect(address)
        with connect(address, subprotocols=["prefect"], origin="https://evil.example") as socket:
            socket.send(json.dumps({"type": "auth", "token": "guessed"}))
            with pytest.raises(ConnectionClosed, match="Invalid token"):
                socket.recv(timeout=10)


def test_mlflow_and_the_docs_answer_their_own_pages_with_the_password_alone(product):
    mlflow, docs = product.stack.mlflow_url, product.stack.kept.docs_url
    login = tuple(product.stack.auth.split(":"))
    new = f"{mlflow}/api/2.0/mlflow/experiments/create"
    own = {"Origin": mlflow}
    for headers in ({"Origin": "https://evil.example"}, {"Host": "evil.example"}, {"Origin": "http://127.0.0.1:9"}):
        for auth in (None, login):  # a browser sends along what it was once given
            assert httpx2.post(new, json={"name": "theirs"}, headers=headers, auth=auth).status_code == 403, headers
            assert httpx2.get(docs, headers=headers, auth=auth).status_code == 403, headers
        asked = {**headers, "Access-Control-Request-Method": "POST"}
        assert "access-control-allow-origin" not in httpx2.options(new, headers=asked).headers
    for auth in (None, ("hydra", "guessed")):
        for address in (f"{mlflow}/", f"{mlflow}/api/2.0/mlflow/experiments/search?max_results=5", docs):
            assert httpx2.get(address, auth=auth, headers=own if auth else {}).status_code in (401, 403), address
        assert httpx2.post(new, json={"name": "theirs"}, auth=auth).status_code == 401
    experiments = f"{mlflow}/ajax-api/2.0/mlflow/experiments/search?max_results=1000"
    known = httpx2.get(experiments, auth=login, headers=own).raise_for_status().json()["experiments"]
    assert "theirs" not in {one["name"] for one in known}
    assert httpx2.get(f"{mlflow}/", auth=login).raise_for_status().text.startswith("<!doctype html>")
    (product.root / "data/docs/index.html").write_text("<p>what came in</p>")
    assert "what came in" in httpx2.get(docs, auth=login, headers={"Origin": docs}).raise_for_status().text


def test_prefects_own_page_is_served_and_may_ask(product):
    page = {**product.credentials(), "Origin": product.stack.prefect_url}
    api = f"{product.stack.prefect_url}/api"
    shown = httpx2.get(f"{product.stack.prefect_url}/dashboard", headers={"Accept": "text/html"})
    assert "<html" in shown.raise_for_status().text
    answer = httpx2.post(f"{api}/flows/filter", json={}, headers=page).raise_for_status()
    assert answer.headers["access-control-allow-origin"] == product.stack.prefect_url


def test_only_the_worker_has_the_llms_key_and_all_that_is_made_is_private(monkeypatch, start_product):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-planted-in-the-environment")
    with start_product("private") as own:
        holders = {
            line
            for pid, line in own.processes().items()
            if b"sk-planted-in-the-environment" in Path(f"/proc/{pid}/environ").read_bytes()
        }
        assert len(holders) == 1
        assert "prefect worker start" in holders.pop()
        assert open_to_others(own.root) == []
        assert (own.root / "data/raw").stat().st_mode & 0o777 == 0o700, "what lay open before is closed"


def test_commands_find_the_stack_of_their_folder(product):
    bare = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "MLFLOW_"))}

    def said(*line: str, **environment: str) -> str:
        whole = bare | {"PYTHONPATH": str(product.root)} | environment
        done = subprocess.run(
            [sys.executable, "-m", *line], cwd=product.root, env=whole, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    exported = dict(line.removeprefix("export ").split("=", 1) for line in said("hydra_ml", "env").splitlines())
    assert exported == product.stack.kept.addresses()
    assert "nightly/nightly" in said("prefect", "deployment", "ls", **exported)
    assert json.loads(said("hydra_ml", "status", "--json"))["problem"] == ""


def test_its_temporary_folder_is_its_own(product):
    (worker,) = [pid for pid, line in product.processes().items() if "prefect worker start" in line]
    environment = Path(f"/proc/{worker}/environ").read_bytes().split(b"\0")
    assert b"TMPDIR=" + os.fsencode(product.root / ".tmp") in environment
    assert (product.root / ".tmp").stat().st_mode & 0o777 == 0o700


def test_without_a_worker_nothing_is_up(product):
    (worker,) = read_workers(POOL, product.stack.kept)[:1]
    assert worker.online
    assert worker.seen_at > datetime.now(UTC) - timedelta(minutes=5)
    assert read_workers("no such pool", product.stack.kept) == []
