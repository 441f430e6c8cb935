"""Bought LLM answers kept on disk, so that no run pays twice: a SQLite file of answers by key digest.

Holds answers, token counts and what servers tell of their models; no prompt. Several processes may use one file; a
kill loses nothing that was put. Beside every answer stands a sum over it and its key; one that is damaged counts as
never bought. Whom an answer is about stands there as a salted digest, noted whenever it is asked for; one that was
bought before that was noted, and not asked for since, may be anybody's.
"""

from __future__ import annotations

import hashlib
import logging
import os
import sqlite3
import zlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType

from hydra_ml.errors import ArtifactError
from hydra_ml.io.sqlite_file import TROUBLE, open_shared, scrub
from hydra_ml.llm.chat import Answer

VERSION = 1
_NOBODYS = "NOT EXISTS (SELECT 1 FROM owners WHERE owners.key = answers.key)"
_OWN = (
    "EXISTS (SELECT 1 FROM owners WHERE owners.key = answers.key AND owner = ?)"
    " AND NOT EXISTS (SELECT 1 FROM owners WHERE owners.key = answers.key AND owner != ?)"
)
log = logging.getLogger(__name__)
_HAS_TEXT = "trim(answers.text, char(9, 10, 13, 32)) != ''"
_PUT = f"""
INSERT INTO answers VALUES (?, ?, ?, ?) ON CONFLICT (key) DO UPDATE
SET text = excluded.text, tokens_in = excluded.tokens_in, tokens_out = excluded.tokens_out WHERE NOT {_HAS_TEXT}
"""
# The sum is of the answer that stays, which is not this one where an earlier one had text.
_ADD_SUM = """
INSERT OR REPLACE INTO sums
SELECT key, ?5 FROM answers WHERE key = ?1 AND text = ?2 AND tokens_in = ?3 AND tokens_out = ?4
"""
SALT_BYTES = 16
KEYS_PER_QUERY = 900  # below SQLite's bound on variables
_TABLES = f"""
BEGIN IMMEDIATE;
CREATE TABLE IF NOT EXISTS version (number INTEGER NOT NULL);
INSERT INTO version SELECT {VERSION} WHERE NOT EXISTS (SELECT 1 FROM version);
CREATE TABLE IF NOT EXISTS answers (
    key BLOB PRIMARY KEY, text TEXT NOT NULL, tokens_in INTEGER NOT NULL, tokens_out INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS told (name BLOB PRIMARY KEY, served TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS sums (key BLOB PRIMARY KEY, sum INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS owners (key BLOB NOT NULL, owner BLOB NOT NULL, PRIMARY KEY (key, owner)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS salt (value BLOB NOT NULL);
COMMIT;
"""


def _salt(db: sqlite3.Connection) -> bytes:
    """What owners' digests are made with, and its sum: with another one nobody's answers would be found. Raises
    sqlite3.DatabaseError if it is damaged."""
    fresh = os.urandom(SALT_BYTES)
    whole = fresh + zlib.crc32(fresh).to_bytes(4, "big")
    db.execute("INSERT INTO salt SELECT ? WHERE NOT EXISTS (SELECT 1 FROM salt)", (whole,))
    kept = db.execute("SELECT value FROM salt").fetchone()[0]
    if not isinstance(kept, bytes) or zlib.crc32(kept[:SALT_BYTES]).to_bytes(4, "big") != kept[SALT_BYTES:]:
        raise sqlite3.DatabaseError("the salt of its owners is damaged")
    return kept[:SALT_BYTES]


def _sum(key: bytes, text: str, tokens_in: int, tokens_out: int) -> int:
    """CRC-32 over all of them: any few bits that turned show."""
    return zlib.crc32(f"{tokens_in} {tokens_out} {text}".encode(), zlib.crc32(key))


def _whole(key: bytes, row: Sequence[object], kept: object) -> Answer | None:
    """The answer of a row (text, tokens in and out); None if it is damaged. One of an earlier version has no sum."""
    text, tokens_in, tokens_out = row
    if not (isinstance(text, str) and isinstance(tokens_in, int) and isinstance(tokens_out, int)):
        return None
    if kept is not None and kept != _sum(key, text, tokens_in, tokens_out):
        return None
    return Answer(text, tokens_in, tokens_out)


class ResponseCache:
    """The on-disk `AnswerStore`. Use as a context manager, or call `close`."""

    def __init__(self, path: Path) -> None:
        """Opens or makes the file. Raises ArtifactError if it is damaged or no response cache of this version."""
        self.path = path
        try:
            self._db = open_shared(path, isolation_level=None)
        except TROUBLE as error:
            raise self._unusable(error) from error
        try:
            self._db.executescript(_TABLES)
            found = self._db.execute("SELECT number FROM version").fetchone()[0]
            self._salt = _salt(self._db)
        except TROUBLE as error:
            self._db.close()  # else what it began locks the file while this process lives
            raise self._unusable(error) from error
        if found != VERSION:
            self._db.close()
            raise ArtifactError(
                f"{path}: response cache of version {found}; this program reads version {VERSION}. Move the file away; "
                "its answers will be asked again."
            )

    def get_many(self, keys: Sequence[str]) -> dict[str, Answer]:
        """The stored answers among `keys` (32 hex digits each). Damaged ones go, and are not among them."""
        found: dict[str, Answer] = {}
        damaged: list[bytes] = []
        try:
            for start in range(0, len(keys), KEYS_PER_QUERY):
                some = [bytes.fromhex(key) for key in keys[start : start + KEYS_PER_QUERY]]
                marks = ",".join("?" * len(some))
                rows = self._db.execute(
                    # Earlier versions kept answers without text, which are none: they are asked again.
                    f"SELECT answers.key, text, tokens_in, tokens_out, sum FROM answers LEFT JOIN sums USING (key)"
                    f" WHERE answers.key IN ({marks}) AND {_HAS_TEXT}",
                    some,
                )
                asked = set(some)
                for key, *row, kept in rows:
                    if key not in asked:
                        continue
                    answer = _whole(key, row, kept)
                    if answer is None:
                        damaged.append(key)
                    else:
                        found[key.hex()] = answer
            self._forget(damaged)
        except TROUBLE as error:
            raise self._unusable(error) from error
        return found

    def _forget(self, damaged: Sequence[bytes]) -> None:
        """Make room for the answers that are asked again in the place of these. Raises sqlite3.Error."""
        if not damaged:
            return
        log.warning("%s: %d answers are damaged: they are asked again", self.path, len(damaged))
        with self._writing():
            for table in ("answers", "sums"):
                self._db.executemany(f"DELETE FROM {table} WHERE key = ?", [(key,) for key in damaged])

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """One transaction; undone, so that others may write, if the block fails."""
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._db.execute("COMMIT")
        except BaseException:
            with suppress(*TROUBLE):
                self._db.execute("ROLLBACK")
            raise

    def put_many(self, answers: Mapping[str, Answer]) -> None:
        """Keep these answers; of two answers to one key the first with text stays."""
        rows = [(bytes.fromhex(key), a.text, a.tokens_in, a.tokens_out) for key, a in answers.items()]
        try:
            with self._writing():
                self._db.executemany(_PUT, rows)
                self._db.executemany(_ADD_SUM, [(*row, _sum(*row)) for row in rows])
        except TROUBLE as error:
            raise self._unusable(error) from error

    def note_owners(self, owners: Mapping[str, Collection[str]]) -> None:
        """Keep whom the answers of these keys are about, beside those noted before; answers may come later."""
        rows = [(bytes.fromhex(key), self._owner(user_id)) for key, users in owners.items() for user_id in users]
        if not rows:
            return
        try:
            with self._writing():
                self._db.executemany("INSERT OR IGNORE INTO owners VALUES (?, ?)", rows)
        except TROUBLE as error:
            raise self._unusable(error) from error

    def answers_of(self, user_id: str) -> tuple[int, int]:
        """How many answers are about the user and nobody else, and how many may be anybody's."""
        try:
            own = self._db.execute(f"SELECT count(*) FROM answers WHERE {_OWN}", (self._owner(user_id),) * 2)
            anybodys = self._db.execute(f"SELECT count(*) FROM answers WHERE {_NOBODYS}")
            return int(own.fetchone()[0]), int(anybodys.fetchone()[0])
        except TROUBLE as error:
            raise self._unusable(error) from error

    def forget_user(self, user_id: str) -> tuple[int, int]:
        """Remove the answers that are about the user and nobody else, and those that may be anybody's, so that no page
        of the file holds them; how many of each."""
        counts = self.answers_of(user_id)
        owner = self._owner(user_id)
        try:
            self._db.execute("PRAGMA secure_delete=ON")
            with self._writing():
                self._db.execute(f"DELETE FROM answers WHERE {_OWN} OR {_NOBODYS}", (owner, owner))
                self._db.execute("DELETE FROM owners WHERE owner = ?", (owner,))
                self._db.execute("DELETE FROM sums WHERE key NOT IN (SELECT key FROM answers)")
            scrub(self._db)
        except TROUBLE as error:
            raise self._unusable(error) from error
        return counts

    def _owner(self, user_id: str) -> bytes:
        return hashlib.blake2b(user_id.encode(), digest_size=16, key=self._salt).digest()

    def told(self, name: str) -> str:
        """What a server last said of its model; "" for nothing."""
        try:
            row = self._db.execute("SELECT served FROM told WHERE name = ?", (bytes.fromhex(name),)).fetchone()
        except TROUBLE as error:
            raise self._unusable(error) from error
        return str(row[0]) if row else ""

    def tell(self, name: str, served: str) -> None:
        """Keep what a server says of its model."""
        try:
            self._db.execute("INSERT OR REPLACE INTO told VALUES (?, ?)", (bytes.fromhex(name), served))
        except TROUBLE as error:
            raise self._unusable(error) from error

    def __len__(self) -> int:
        return int(self._db.execute("SELECT count(*) FROM answers").fetchone()[0])

    def _unusable(self, error: Exception) -> ArtifactError:
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
