"""A server that writes the very bytes a test hands it, one answer per request, and remembers what it was asked."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterable, Iterator

Reply = bytes | Iterable[bytes]  # a whole answer, head included, or its pieces


def http(body: bytes, status: str = "200 OK", **headers: str) -> bytes:
    """An answer with a head that is true of the body, but for the headers given."""
    names = {"content_type": "application/json", "content_length": str(len(body)), "connection": "close"} | headers
    head = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in names.items())
    return f"HTTP/1.1 {status}\r\n{head}\r\n".encode() + body


class RawServer:
    """Answers POST with `replies` in turn, the last of them for ever."""

    def __init__(self, replies: list[Reply]) -> None:
        self.requests: list[bytes] = []
        self._replies = replies
        self._closing = threading.Event()
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.address = f"http://127.0.0.1:{self._socket.getsockname()[1]}/v1"
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while not self._closing.is_set():
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        with connection:
            try:
                request = read_request(connection)
                if request.startswith(b"GET "):  # what it serves: it does not say
                    connection.sendall(http(b"", "404 Not Found"))
                    return
                self.requests.append(request)
                reply = self._replies[min(len(self.requests), len(self._replies)) - 1]
                for piece in [reply] if isinstance(reply, bytes) else reply:
                    if self._closing.is_set():
                        return
                    connection.sendall(piece)
            except OSError:  # who asked has gone
                return

    def close(self) -> None:
        self._closing.set()
        self._socket.close()


def read_request(connection: socket.socket) -> bytes:
    """Head and body of one request; b"" if the peer left."""
    data = b""
    while b"\r\n\r\n" not in data:
        if not (piece := connection.recv(65536)):
            return data
        data += piece
    head, _, body = data.partition(b"\r\n\r\n")
    length = next((int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), 0)
    while len(body) < length and (piece := connection.recv(65536)):
        body += piece
    return head + b"\r\n\r\n" + body


def slowly(reply: bytes, pause_s: float) -> Iterator[bytes]:
    """An answer a byte at a time, after its head."""
    head, end, body = reply.partition(b"\r\n\r\n")
    yield head + end
    for at in range(len(body)):
        time.sleep(pause_s)
        yield body[at : at + 1]
