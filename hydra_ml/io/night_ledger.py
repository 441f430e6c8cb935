"""The books of a night: what all who ask the LLM in it have spent, and what each has in flight.

Beside the answers, in the response cache's file. A request reserves the most it could take in the very transaction that
looks whether there is room for it, so processes that ask at once cannot pass the allowance together.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from hydra_ml.errors import ArtifactError
from hydra_ml.io.sqlite_file import TROUBLE, open_shared
from hydra_ml.llm.budget import Usage

_TABLES = """
BEGIN IMMEDIATE;
CREATE TABLE IF NOT EXISTS spent (
    night TEXT PRIMARY KEY, calls INTEGER NOT NULL, tokens_in INTEGER NOT NULL, tokens_out INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS reserved (
    ticket INTEGER PRIMARY KEY AUTOINCREMENT, night TEXT NOT NULL, owner TEXT NOT NULL, until REAL NOT NULL,
    calls INTEGER NOT NULL, tokens_in INTEGER NOT NULL, tokens_out INTEGER NOT NULL
);
COMMIT;
"""
_SPEND = """
INSERT INTO spent VALUES (?1, ?2, ?3, ?4) ON CONFLICT (night) DO UPDATE
SET calls = calls + ?2, tokens_in = tokens_in + ?3, tokens_out = tokens_out + ?4
"""
_IN_FLIGHT = """
SELECT owner, sum(calls), sum(tokens_in), sum(tokens_out) FROM reserved WHERE night = ? AND until > ? GROUP BY owner
"""
_RESERVE = "INSERT INTO reserved (night, owner, until, calls, tokens_in, tokens_out) VALUES (?, ?, ?, ?, ?, ?)"


class NightLedger:
    """The `Night` of all processes that name the same one. Use as a context manager, or call `close`."""

    def __init__(self, path: Path, night: str, *, hold_s: float) -> None:
        """hold_s: after so long a reservation counts no more, for whoever made it is gone. Raises ArtifactError."""
        self.path = path
        self.night = night
        self._hold_s = hold_s
        self._owner = _process(os.getpid())
        try:
            self._db = open_shared(path, isolation_level=None)
            self._db.executescript(_TABLES)
        except TROUBLE as error:
            raise self._unusable(error) from error

    def used(self) -> tuple[Usage, Usage]:
        """What is spent, and what live processes have in flight."""
        try:
            return self._used()
        except TROUBLE as error:
            raise self._unusable(error) from error

    def reserve(self, most: Usage, fits: Callable[[Usage, Usage], bool]) -> int | None:
        """A ticket, if it fits what everybody has spent and reserved; nobody else can reserve meanwhile."""
        try:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                ticket = None
                if fits(*self._used()):
                    row = (self.night, self._owner, time.time() + self._hold_s)
                    ticket = self._db.execute(_RESERVE, (*row, *_counts(most))).lastrowid
            finally:
                self._db.execute("COMMIT")
        except TROUBLE as error:
            raise self._unusable(error) from error
        return ticket

    def settle(self, ticket: int | None, took: Usage) -> None:
        """Spent now, and the ticket given back."""
        try:
            self._db.execute("BEGIN IMMEDIATE")
            self._db.execute(_SPEND, (self.night, *_counts(took)))
            if ticket is not None:
                self._db.execute("DELETE FROM reserved WHERE ticket = ? OR until < ?", (ticket, time.time()))
            self._db.execute("COMMIT")
        except TROUBLE as error:
            raise self._unusable(error) from error

    def _used(self) -> tuple[Usage, Usage]:
        query = "SELECT calls, tokens_in, tokens_out FROM spent WHERE night = ?"
        calls, tokens_in, tokens_out = self._db.execute(query, (self.night,)).fetchone() or (0, 0, 0)
        in_flight = Usage()
        for owner, *counts in self._db.execute(_IN_FLIGHT, (self.night, time.time())).fetchall():
            if owner == self._owner or _may_live(owner):
                in_flight += Usage(counts[0], tokens_in=counts[1], tokens_out=counts[2])
        return Usage(calls, tokens_in=tokens_in, tokens_out=tokens_out), in_flight

    def _unusable(self, error: Exception) -> ArtifactError:
        return ArtifactError(
            f"{self.path}: the books of the night's LLM budget cannot be used ({error}). Check free space and "
            "permissions of its folder; if the file is damaged, move it away, and its answers will be asked again."
        )

    def close(self) -> None:
        """Release the file."""
        self._db.close()

    def __enter__(self) -> NightLedger:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _counts(usage: Usage) -> tuple[int, int, int]:
    return usage.calls, usage.tokens_in, usage.tokens_out


def _process(pid: int) -> str:
    """Names a process of this machine as no other is named, before or after; "" if there is none of this id."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace").rpartition(")")[2].split()
        here = f"{socket.gethostname()} {os.readlink('/proc/self/ns/pid')}"  # containers count their processes anew
    except OSError:
        return "" if Path("/proc/self").exists() else f"{socket.gethostname()} - {pid} -"
    return "" if status[0] in "ZX" else f"{here} {pid} {status[19]}"  # its start, in ticks since boot


def _may_live(owner: str) -> bool:
    """Whether a process may still be at it; of another machine's, nobody here can tell before its time is up."""
    host, room, pid, started = owner.rsplit(" ", 3)
    here = _process(os.getpid()).rsplit(" ", 3)
    if started == "-" or [host, room] != here[:2]:
        return True
    return _process(int(pid)) == owner
