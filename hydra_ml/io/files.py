"""Files written whole or not at all, JSON documents, and digests of content.

Every write goes to a temporary neighbour and is renamed over the target, so a killed stage leaves the old file or none.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from hydra_ml.errors import ArtifactError
from hydra_ml.io.bounded_json import checked_as, parse_json
from hydra_ml.shown_text import visible

T = TypeVar("T")
LONGEST_NAME = 150  # bytes of a name from outside; file systems take 255 of a name with all that is put around it


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """A temporary sibling of `path` to write to; renamed over `path` when the block ends well, removed otherwise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}.partial")  # of this writer alone
    try:
        yield partial
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def save_json(document: Any, path: Path) -> None:
    """Write a document as indented JSON with sorted keys."""
    with atomic_path(path) as partial:
        partial.write_text(
            json.dumps(document, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n", "utf-8"
        )


def load_json(path: Path) -> Any:
    """The document at `path`. Raises ArtifactError if it is missing or not JSON."""
    try:
        return parse_json(path.read_text("utf-8"))
    except FileNotFoundError:
        raise ArtifactError(f"{path}: no such file. Run `dvc repro` to make it.") from None
    except IsADirectoryError:
        raise ArtifactError(f"{path}: is a folder, no JSON file.") from None
    except ValueError as error:
        raise ArtifactError(f"{path}: not JSON ({error}). Delete it and run `dvc repro`.") from error


def load_json_as(kind: type[T], path: Path) -> T:
    """The document at `path` as a dataclass, or another type, of its shape; keys that it does not know are overlooked.
    Raises ArtifactError if the file is missing, not JSON, or something else."""
    document = load_json(path)
    try:
        return checked_as(kind, document)
    except ValueError as error:
        raise ArtifactError(f"{path}: not what was written there ({error}). Delete it, and make it anew.") from error


def readable(path: Path | str) -> str:
    """A path or name as text that can be printed and stored: bytes that are no UTF-8, and characters that are not
    seen, are written out."""
    return visible(os.fsencode(path).decode("utf-8", "backslashreplace"))


def short_name(name: str) -> str:
    """The name, for others to be made of it: readable, and if it is long cut before its ending."""
    told = readable(name)
    if len(told.encode()) <= LONGEST_NAME:
        return told
    ending = Path(told).suffix if len(Path(told).suffix.encode()) <= 20 else ""
    return told.encode()[: LONGEST_NAME - len(ending.encode())].decode("utf-8", "ignore") + ending


def file_digest(path: Path) -> str:
    """32 hex digits over a file's bytes."""
    return hashlib.blake2b(path.read_bytes(), digest_size=16).hexdigest()


def folder_digest(folder: Path) -> str:
    """16 hex digits over the names and contents of every file below `folder`: equal content, equal digest."""
    total = hashlib.blake2b(digest_size=8)
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        total.update(os.fsencode(path.relative_to(folder).as_posix()))  # a name need not be UTF-8
        total.update(hashlib.blake2b(path.read_bytes()).digest())
    return total.hexdigest()
