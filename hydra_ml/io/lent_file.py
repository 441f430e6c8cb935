"""A file lent out: it says something else while a block runs, and what it said before afterwards.

A note beside the file keeps what it said. The process that lends holds a lock on the note, which the system lifts when
that process ends in whatever way; so a note that can be locked was left by one that was killed, and whoever reads the
file next puts it back.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from hydra_ml.io.files import atomic_path

log = logging.getLogger(__name__)


@contextmanager
def lent(path: Path, make: Callable[[], tuple[bytes, str]]) -> Iterator[None]:
    """The file with another content while the block runs, byte for byte as it was afterwards; one that somebody else
    changed meanwhile is left to them. Waits for others who have it.

    make: the content, and what it changes in words; called once the file is as its owner wrote it. What it raises
    leaves the file alone.
    """
    with _locked(_note(path), wait=True) as note:
        assert note is not None
        _put_back(path, note)  # of one that was killed while this one waited
        before = path.read_bytes() if path.exists() else b""
        try:
            content, what = make()
            note.seek(0)
            note.truncate()
            note.write(json.dumps({"before": before.decode(), "lent": _digest(content), "what": what}).encode())
            note.flush()
            os.fsync(note.fileno())
            _write(path, content)
            try:
                yield
            finally:
                if path.read_bytes() == content:
                    _write(path, before)
        finally:
            _note(path).unlink(missing_ok=True)


def take_back(path: Path) -> None:
    """Put the file back if a process that lent it was killed; one that is still lent stays as it is."""
    if not _note(path).exists():
        return
    with _locked(_note(path), wait=False) as note:
        if note is not None:
            _put_back(path, note)
            _note(path).unlink(missing_ok=True)


def _put_back(path: Path, note: BinaryIO) -> None:
    """What the note says, if the file is as it was lent. A note that breaks off was written before the file changed."""
    note.seek(0)
    try:
        said = json.loads(note.read())
        before, lent_as, what = said["before"].encode(), said["lent"], said["what"]
        now = path.read_bytes()
    except (ValueError, KeyError, TypeError, AttributeError, FileNotFoundError):
        return
    if now == before:
        return
    if _digest(now) == lent_as:
        _write(path, before)
        log.warning("%s: what had changed %s for one run was killed; the file is as it was before.", path, what)
    else:
        log.warning(
            "%s: what had changed %s for one run was killed, and the file was edited since. It is left as it is: see "
            "whether these are as you want them.",
            path,
            what,
        )


@contextmanager
def _locked(path: Path, *, wait: bool) -> Iterator[BinaryIO | None]:
    """The note, open and locked; None if another has it and this one does not wait."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        with os.fdopen(descriptor, "r+b") as note:
            try:
                fcntl.flock(note, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if not wait:
                    yield None
                    return
                log.warning("Another run has %s; waiting for it to end.", path.name)
                fcntl.flock(note, fcntl.LOCK_EX)
            if os.fstat(note.fileno()).st_nlink:  # else another put it away meanwhile: this is no note any more
                yield note
                return


def _note(path: Path) -> Path:
    return path.with_name(f".{path.name}.before")


def _digest(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=16).hexdigest()


def _write(path: Path, content: bytes) -> None:
    with atomic_path(path) as partial:
        partial.write_bytes(content)
