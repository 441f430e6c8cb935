"""Opening a SQLite file that several processes make and fill."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from filelock import FileLock

WAIT_S = 60  # for another process to end its write
# What SQLite says of a file that is none of its own, or no more what we made; the low byte of its codes.
DAMAGED = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_FORMAT, sqlite3.SQLITE_ERROR}

# What it raises: the latter where its message quotes a damaged file.
TROUBLE = (sqlite3.Error, UnicodeDecodeError)
SMALLEST = 512  # bytes of a file that holds anything; SQLite takes a shorter one for locked, and waits


def is_damage(error: Exception) -> bool:
    """Whether the file is damaged, rather than locked, full or not to be written to."""
    return isinstance(error, UnicodeDecodeError) or (getattr(error, "sqlite_errorcode", 0) & 0xFF) in DAMAGED


def remove_file(path: Path) -> None:
    """Remove a SQLite file and what SQLite keeps beside it."""
    with FileLock(path.with_name(path.name + ".lock")):
        for name in (path.name, f"{path.name}-wal", f"{path.name}-shm"):
            path.with_name(name).unlink(missing_ok=True)


def scrub(db: sqlite3.Connection) -> None:
    """Write the file anew without what was deleted, and empty its log. Raises sqlite3.Error, where others hold it."""
    db.execute("VACUUM")
    db.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def open_shared(path: Path, *, page_bytes: int = 4096, **options: object) -> sqlite3.Connection:
    """A connection to the file, made with its folder where it is not there, that waits for other writers.

    The switch to the write-ahead log does not wait as other statements do: of two processes that open a new file at
    once, one is told "database is locked". So files are opened one by one. Raises one of TROUBLE, OSError.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_name(path.name + ".lock")):
        if path.exists() and 0 < path.stat().st_size < SMALLEST:
            cut = sqlite3.DatabaseError("file is cut short")
            cut.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
            raise cut
        db = sqlite3.connect(path, timeout=WAIT_S, **options)  # type: ignore[call-overload]
        try:
            db.execute(f"PRAGMA page_size={page_bytes}")  # of a new file; an old one keeps its own
            db.execute("PRAGMA journal_mode=WAL")
            db.execute("PRAGMA synchronous=NORMAL")  # a power cut may cost the last rows, never the file
        except TROUBLE:
            db.close()
            raise
    assert isinstance(db, sqlite3.Connection)
    return db
