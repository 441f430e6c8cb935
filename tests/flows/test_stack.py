"""`make up` and `make down`: idempotent, and clear about what is in the way."""

from __future__ import annotations

import os
import signal
import socket

import pytest

from flows.stack import Stack, StackError, down, main, up

pytestmark = pytest.mark.timeout(600)


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
        up(Stack(tmp_path, 0, 0))


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
