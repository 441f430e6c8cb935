"""What holds around every change of the tasks' data by drops: one process at a time, and a failing disk told once."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from hydra_ml.errors import DataError

NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
LOCK_WAIT_S = 600.0  # for another ingest to end


@contextmanager
def alone(incoming: Path) -> Iterator[None]:
    """Wait for another ingest to end. Raises DataError if it does not."""
    incoming.mkdir(parents=True, exist_ok=True)
    lock = FileLock(incoming / ".lock")  # the system frees it when its process ends, however that happens
    try:
        lock.acquire(timeout=LOCK_WAIT_S)
    except Timeout:
        raise DataError(
            f"{incoming}: another ingest has been at work for {LOCK_WAIT_S:.0f} s. Let it end or stop it; run again."
        ) from None
    try:
        yield
    finally:
        lock.release()


@contextmanager
def told_of_disk(path: Path) -> Iterator[None]:
    """Turn a failing disk into one DataError."""
    try:
        yield
    except OSError as error:
        where = f" at {error.filename}" if error.filename else ""
        advice = "free some space" if error.errno in NO_ROOM else "mend that"
        raise DataError(
            f"{path}: could not be taken in, the disk failed{where} ({error.strerror or error}). No file is left "
            f"half-written and the drop waits where it is: {advice}, and run again."
        ) from error
