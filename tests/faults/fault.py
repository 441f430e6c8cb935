"""A fault at the n-th thing that this process does to files below a folder: the kill of a machine, or a disk that is
full or read-only from then on.

Python tells an audit hook of every file that is opened to write, renamed, linked or removed, before it is done: so the
points are named by what is done there, and the product needs no hook of its own.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
from pathlib import Path
from typing import Any, Literal

Kind = Literal["none", "kill", "full", "readonly"]
_CHANGES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "os.symlink", "shutil.rmtree", "os.truncate"}
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


def arm(kind: Kind, at: int, root: Path, trace: Path) -> None:
    """From now on: the `at`-th change below root meets the fault. Each change is named in `trace`, a line each."""
    told = os.open(trace, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    seen = 0

    def hook(event: str, args: tuple[Any, ...]) -> None:
        """Called by Python before each event."""
        nonlocal seen
        place = _changed(event, args)
        if place is None or not place.startswith(f"{root}{os.sep}"):
            return
        seen += 1
        os.write(told, f"{event} {os.path.relpath(place, root)}\n".encode("utf-8", "replace"))
        if kind == "kill" and seen == at:
            os.kill(os.getpid(), signal.SIGKILL)
        if kind in ("full", "readonly") and seen >= at and event not in ("os.remove", "shutil.rmtree", "os.rmdir"):
            number = errno.ENOSPC if kind == "full" else errno.EROFS
            raise OSError(number, os.strerror(number), place)

    sys.addaudithook(hook)


def _changed(event: str, args: tuple[Any, ...]) -> str | None:
    """The path that the event is about to change; None if it changes none."""
    if event == "open":
        path, _, flags = args
        is_write = isinstance(flags, int) and bool(flags & _WRITES)
        return os.path.abspath(os.fsdecode(path)) if is_write and isinstance(path, str | bytes) else None
    if event in _CHANGES:
        path = args[1] if event in ("os.rename", "os.link", "os.symlink") else args[0]
        return os.path.abspath(os.fsdecode(path)) if isinstance(path, str | bytes | os.PathLike) else None
    return None
