"""A file lent out: it says something else while a block runs, and what it said before afterwards.

A note beside the file keeps what it said. The process that lends holds a lock, which the system lifts when that process
ends in whatever way; so where there is a note and the lock is free, the process was killed, and whoever reads the file
next puts it back.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from hydra_ml.io.files import atomic_path

log = logging.getLogger(__name__)


@contextmanager
def lent(path: Path, make: Callable[[], tuple[bytes, str]]) -> Iterator[None]:
    """The file with another content while the block runs, byte for byte as it was afterwards; one that somebody else
    changed meanwhile is left to them. Waits for others who have it.

    make: the content, and what it changes in words; called once the file is as its owner wrote it. What it raises
    leaves the file alone.
    """
    with _held(_lock(path), path):
        _put_back(path)  # of one that was killed while this one waited
        content, what = make()
        before = path.read_bytes()
        _write(_note(path), json.dumps({"before": before.decode(), "lent": _digest(content), "what": what}).encode())
        try:
            _write(path, content)
            yield
        finally:
            if path.read_bytes() == content:
                _write(path, before)
            _note(path).unlink(missing_ok=True)


@contextmanager
def _held(lock: FileLock, path: Path) -> Iterator[None]:
    try:
        lock.acquire(timeout=0)
    except Timeout:
        log.warning("Another run has changed %s for itself; waiting for it to end.", path)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def take_back(path: Path) -> None:
    """Put the file back if a process that lent it was killed; one that is still lent stays as it is."""
    if not _note(path).exists():
        return
    try:
        with _lock(path).acquire(timeout=0):
            _put_back(path)
    except Timeout:
        pass


def _put_back(path: Path) -> None:
    """What the note says, if there is one and the file is as it was lent; the note is done with then."""
    try:
        said = json.loads(_note(path).read_bytes())
        before, lent_as, what, now = said["before"].encode(), said["lent"], said["what"], path.read_bytes()
    except FileNotFoundError:
        return
    except (ValueError, KeyError, TypeError, AttributeError):
        log.warning("%s cannot be read: it is no note of ours, and is taken away.", _note(path))
        before = now = b""
    if now != before and _digest(now) == lent_as:
        _write(path, before)
        log.warning("%s: what had changed %s for one run was killed; the file is as it was before.", path, what)
    elif now != before:
        log.warning(
            "%s: what had changed %s for one run was killed, and the file was edited since. It is left as it is: see "
            "whether these are as you want them.",
            path,
            what,
        )
    _note(path).unlink(missing_ok=True)


def _note(path: Path) -> Path:
    return path.with_name(f".{path.name}.before")


def _lock(path: Path) -> FileLock:
    return FileLock(path.with_name(f".{path.name}.lock"), mode=0o600)


def _digest(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=16).hexdigest()


def _write(path: Path, content: bytes) -> None:
    with atomic_path(path) as partial:
        partial.write_bytes(content)
