"""Real servers on free ports of this machine, in a thread or as a process."""

from __future__ import annotations

import socket
import subprocess
import threading
import time
from typing import Any

import httpx2
import uvicorn


class RunningServer:
    """An ASGI application on a free port of this machine."""

    def __init__(self, app: Any) -> None:
        self._socket = socket.socket()
        self._socket.bind(("127.0.0.1", 0))
        self.address = f"http://127.0.0.1:{self._socket.getsockname()[1]}/v1"
        self._server = uvicorn.Server(
            uvicorn.Config(app, log_config=None, log_level="critical", timeout_graceful_shutdown=1)
        )
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [self._socket]}, daemon=True)
        self._thread.start()
        while not self._server.started:
            time.sleep(0.005)

    def die(self) -> None:
        """Stop without finishing what is in flight; may be called from within a request."""
        self._server.should_exit = self._server.force_exit = True

    def close(self) -> None:
        self.die()
        self._thread.join(timeout=5)


def free_port() -> int:
    """A port that nobody holds at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(url: str, server: subprocess.Popen[bytes]) -> None:
    """Until the server's process answers there."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and server.poll() is None:
        try:
            if httpx2.get(url, timeout=5).status_code == 200:
                return
        except httpx2.HTTPError:
            time.sleep(0.3)
    raise AssertionError(f"no server at {url}")
