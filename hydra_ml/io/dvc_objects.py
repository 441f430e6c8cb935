"""The content that DVC keeps, in its cache and on its remotes, searched through and taken out of both.

Objects have no names but digests, and old versions of the data are lists of these. What held somebody is removed, with
the lists and remembered runs that name it: those versions cannot be had again. The present version is not touched.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from hydra_ml.errors import ArtifactError, VersionsError
from hydra_ml.io.files import atomic_path
from hydra_ml.tasks.task import Task

LIST = ".dir"  # ending of the digest of a folder's list


@dataclass(frozen=True)
class Object:
    """One piece of content in one place."""

    place: str  # "cache", or the name of a remote
    digest: str


def objects_with(root: Path, holds: Callable[[bytes], bool]) -> list[Object]:
    """Those whose content `holds`, in the cache and on every remote, lists of folders aside. All are read. Raises
    VersionsError if a remote cannot be reached: what lies there would stay."""
    return [
        Object(place, digest)
        for place, store in _stores(root)
        for digest, content in _contents(store, place)
        if not digest.endswith(LIST) and holds(content)
    ]


def present_objects(root: Path) -> set[str]:
    """The content that the present version of the data is made of: what the .dvc files and the lock file name."""
    files = [*root.glob("data/**/*.dvc"), *([root / "dvc.lock"] if (root / "dvc.lock").is_file() else [])]
    named = {
        digest for file in files for digest in re.findall(r"\bmd5: ([0-9a-f]{32}(?:\.dir)?)", file.read_text("utf-8"))
    }
    lists = {digest for digest in named if digest.endswith(LIST)}
    for place, store in _stores(root):
        for digest in sorted(lists) if place == "cache" else ():
            path = store.oid_to_path(digest)
            if store.fs.exists(path):
                named |= _named(Path(path).read_bytes())
    return named


def remove_objects(root: Path, objects: list[Object]) -> int:
    """Remove them, in every place, and what names them: folders' lists and remembered runs. Returns how many of all
    these went."""
    gone, removed = {found.digest for found in objects}, 0
    for place, store in _stores(root):
        lists = {digest: content for digest, content in _contents(store, place) if digest.endswith(LIST)}
        naming = {digest for digest, content in lists.items() if gone & _named(content)}
        for digest in sorted(gone | naming):
            path = store.oid_to_path(digest)
            if store.fs.exists(path):
                store.fs.remove(path)
                removed += 1
        gone |= naming
    for run in [path for path in (root / ".dvc" / "cache" / "runs").rglob("*") if path.is_file()]:
        text = run.read_text("utf-8", errors="replace")
        if any(digest in text for digest in gone):
            run.unlink()
            removed += 1
    return removed


def forget_runs(lock: Path, task: Task) -> list[str]:
    """Take the task's stages out of DVC's lock file, so that the next run makes what they made anew; their names."""
    if not lock.is_file():
        return []
    yaml = YAML()
    try:
        document = yaml.load(lock.read_text("utf-8"))
        names = [name for name in document["stages"] if name.endswith(f"@{task.folder}")]
    except (YAMLError, KeyError, TypeError) as error:
        raise ArtifactError(f"{lock}: not DVC's lock file ({error!r}). `git checkout {lock}`.") from error
    for name in names:
        del document["stages"][name]
    if names:
        with atomic_path(lock) as partial, partial.open("w", encoding="utf-8") as file:
            yaml.dump(document, file)
    return names


def _stores(root: Path) -> Iterator[tuple[str, Any]]:
    """The cache and each remote, as DVC's own stores of objects."""
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    if not (root / ".dvc").is_dir():
        return
    try:
        with Repo(str(root)) as repo:
            yield "cache", repo.cache.local
            for name in repo.config.get("remote", {}):
                yield name, repo.cloud.get_remote_odb(name)
    except (DvcException, OSError) as error:
        raise VersionsError(
            f"DVC's objects cannot be read ({type(error).__name__}: {error}). See `dvc remote list`: what lies on a "
            "remote that is out of reach would stay."
        ) from error


def _contents(store: Any, place: str) -> Iterator[tuple[str, bytes]]:
    if not store.fs.exists(store.path):
        return
    for digest in sorted(store.all()):
        with store.fs.open(store.oid_to_path(digest), "rb") as file:
            content = file.read()
        yield digest, content if isinstance(content, bytes) else io.BytesIO(content).getvalue()


def _named(content: bytes) -> set[str]:
    """The digests that a folder's list names."""
    try:
        return {str(entry["md5"]) for entry in json.loads(content)}
    except (ValueError, KeyError, TypeError):
        return set()
