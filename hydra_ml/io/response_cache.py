"""Bought LLM answers kept on disk, so that no run pays twice: a SQLite file of answers by key digest.

Holds answers, token counts and what servers tell of their models; no prompt. Several processes may use one file; a
kill loses nothing that was put.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType

from hydra_ml.errors import ArtifactError
from hydra_ml.io.sqlite_file import open_shared
from hydra_ml.llm.chat import Answer

VERSION = 1
_HAS_TEXT = "trim(answers.text, char(9, 10, 13, 32)) != ''"
_PUT = f"""
INSERT INTO answers VALUES (?, ?, ?, ?) ON CONFLICT (key) DO UPDATE
SET text = excluded.text, tokens_in = excluded.tokens_in, tokens_out = excluded.tokens_out WHERE NOT {_HAS_TEXT}
"""
KEYS_PER_QUERY = 900  # below SQLite's bound on variables
_TABLES = f"""
BEGIN IMMEDIATE;
CREATE TABLE IF NOT EXISTS version (number INTEGER NOT NULL);
INSERT INTO version SELECT {VERSION} WHERE NOT EXISTS (SELECT 1 FROM version);
CREATE TABLE IF NOT EXISTS answers (
    key BLOB PRIMARY KEY, text TEXT NOT NULL, tokens_in INTEGER NOT NULL, tokens_out INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS told (name BLOB PRIMARY KEY, served TEXT NOT NULL) WITHOUT ROWID;
COMMIT;
"""


class ResponseCache:
    """The on-disk `AnswerStore`. Use as a context manager, or call `close`."""

    def __init__(self, path: Path) -> None:
        """Opens or makes the file. Raises ArtifactError if it is damaged or no response cache of this version."""
        self.path = path
        try:
            self._db = open_shared(path, isolation_level=None)
            self._db.executescript(_TABLES)
            found = self._db.execute("SELECT number FROM version").fetchone()[0]
        except sqlite3.Error as error:
            raise self._unusable(error) from error
        if found != VERSION:
            self._db.close()
            raise ArtifactError(
                f"{path}: response cache of version {found}; this program reads version {VERSION}. Move the file away; "
                "its answers will be asked again."
            )

    def get_many(self, keys: Sequence[str]) -> dict[str, Answer]:
        """The stored answers among `keys` (32 hex digits each)."""
        found: dict[str, Answer] = {}
        try:
            for start in range(0, len(keys), KEYS_PER_QUERY):
                some = [bytes.fromhex(key) for key in keys[start : start + KEYS_PER_QUERY]]
                marks = ",".join("?" * len(some))
                rows = self._db.execute(
                    # Earlier versions kept answers without text, which are none: they are asked again.
                    f"SELECT key, text, tokens_in, tokens_out FROM answers WHERE key IN ({marks}) AND {_HAS_TEXT}",
                    some,
                )
                found.update(
                    (key.hex(), Answer(text, tokens_in, tokens_out)) for key, text, tokens_in, tokens_out in rows
                )
        except sqlite3.Error as error:
            raise self._unusable(error) from error
        return found

    def put_many(self, answers: Mapping[str, Answer]) -> None:
        """Keep these answers; of two answers to one key the first with text stays."""
        rows = [(bytes.fromhex(key), a.text, a.tokens_in, a.tokens_out) for key, a in answers.items()]
        try:
            self._db.execute("BEGIN IMMEDIATE")
            self._db.executemany(_PUT, rows)
            self._db.execute("COMMIT")
        except sqlite3.Error as error:
            raise self._unusable(error) from error

    def told(self, name: str) -> str:
        """What a server last said of its model; "" for nothing."""
        try:
            row = self._db.execute("SELECT served FROM told WHERE name = ?", (bytes.fromhex(name),)).fetchone()
        except sqlite3.Error as error:
            raise self._unusable(error) from error
        return str(row[0]) if row else ""

    def tell(self, name: str, served: str) -> None:
        """Keep what a server says of its model."""
        try:
            self._db.execute("INSERT OR REPLACE INTO told VALUES (?, ?)", (bytes.fromhex(name), served))
        except sqlite3.Error as error:
            raise self._unusable(error) from error

    def __len__(self) -> int:
        return int(self._db.execute("SELECT count(*) FROM answers").fetchone()[0])

    def _unusable(self, error: sqlite3.Error) -> ArtifactError:
        return ArtifactError(
            f"{self.path}: the response cache cannot be used ({error}). If it is damaged, delete it with its -wal and "
            "-shm neighbours, and its answers will be asked again; else check free space and permissions of its folder."
        )

    def close(self) -> None:
        """Release the file."""
        self._db.close()

    def __enter__(self) -> ResponseCache:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
