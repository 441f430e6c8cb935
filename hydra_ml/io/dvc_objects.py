"""The content that DVC keeps, in its cache and on its remotes, searched through and taken out of both.

Objects have no names but digests, and old versions of the data are lists of these. What held somebody is removed, with
the lists and remembered runs that name it: those versions cannot be had again. The present version is not touched.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from hydra_ml.errors import ArtifactError, VersionsError
from hydra_ml.io.files import atomic_path
from hydra_ml.tasks.task import Task

LIST = ".dir"  # ending of the digest of a folder's list
UNKNOWN = "0" * 32  # a digest that no content has
_YAML = YAML()


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


def others_objects(root: Path, tasks: Sequence[Task]) -> set[str]:
    """The content that the present version of everything but these tasks is made of."""
    own = {task.folder for task in tasks}
    texts = [file.read_text("utf-8") for file in root.glob("data/**/*.dvc") if file.stem not in own]
    stages = _stages(root / "dvc.lock", _YAML)
    texts += [str(stage) for name, stage in stages.items() if name.partition("@")[2] not in own]
    named = {digest for text in texts for digest in re.findall(r"\b[0-9a-f]{32}(?:\.dir)?", text)}
    for place, store in _stores(root):
        for digest in sorted(named) if place == "cache" else ():
            path = store.oid_to_path(digest)
            if digest.endswith(LIST) and store.fs.exists(path):
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


def locked_stages(lock: Path, task: Task) -> list[str]:
    """The task's stages that DVC's lock file knows. Raises ArtifactError if it cannot be read."""
    return [name for name in _stages(lock, _YAML) if name.endswith(f"@{task.folder}")]


def make_anew(lock: Path, task: Task, stages: Collection[str]) -> None:
    """Have the next run make what these stages of the task made anew, though nothing they read has changed since: the
    lock file no longer knows their first input, and no run before is remembered."""
    document = _stages(lock, _YAML, whole=True)
    for stage in stages:
        entry = document["stages"].get(f"{stage}@{task.folder}") if document else None
        if entry and entry.get("deps"):
            entry["deps"][0]["md5"] = UNKNOWN
    if document:
        with atomic_path(lock) as partial, partial.open("w", encoding="utf-8") as file:
            _YAML.dump(document, file)
    for run in [path for path in (lock.parent / ".dvc" / "cache" / "runs").rglob("*") if path.is_file()]:
        if f"--task {task.folder}\n" in run.read_text("utf-8", errors="replace"):
            run.unlink()


def _stages(lock: Path, yaml: YAML, *, whole: bool = False) -> Any:
    if not lock.is_file():
        return {}
    try:
        document = yaml.load(lock.read_text("utf-8"))
        return document if whole else document["stages"]
    except (YAMLError, KeyError, TypeError) as error:
        raise ArtifactError(f"{lock}: not DVC's lock file ({error!r}). `git checkout {lock}`.") from error


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
