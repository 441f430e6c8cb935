"""Where something of a user may be kept: the one table of stores that `jobs.forget` goes through, and searches again.

A store knows how to find what the marks cover, and how to take it out so that doing it again changes nothing. All of
data/ is a store, folder by folder, so that a folder somebody adds is searched too.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from hydra_ml.io.batch_folder import BatchFolder, content_of
from hydra_ml.io.dvc_objects import Object, objects_with, others_objects, remove_objects
from hydra_ml.io.feature_cache import keep_only, n_foreign
from hydra_ml.io.files import load_json, save_json
from hydra_ml.io.forgotten import NAME
from hydra_ml.io.head_bank import rewrite_bank
from hydra_ml.io.mark_finding import texts_in
from hydra_ml.io.mlflow.forgetting import ReleasesRewriter, run_files, unnamed_banks, without_user
from hydra_ml.io.mlflow.registry import Registry
from hydra_ml.io.orchestrator import forget_in_prefect, found_in_prefect
from hydra_ml.io.response_cache import ResponseCache
from hydra_ml.io.rewriting import heads_names, holds, n_rows, rest_of, take_out
from hydra_ml.io.task_files import known_tasks
from hydra_ml.io.traces import Marks
from hydra_ml.tasks.task import Task


@dataclass(frozen=True)
class Place:
    """The project, as its stores are reached."""

    root: Path
    data: Path
    cache: Path
    registry: Registry
    tasks: Sequence[Task]  # meant; of all others nothing is touched


@dataclass(frozen=True)
class Store:
    """One place where something of a user may be kept."""

    name: str
    find: Callable[[Marks], list[str]]  # where something is found, in words for the operator: files, versions
    take_out: Callable[[Marks], int]  # how much went: rows, answers, versions
    digest: Callable[[], str]  # of all that the store holds now; "" where it is not there
    by_user: bool = False  # it knows whose something is, and not from which records: of one record nothing is found


def data_files(place: Place) -> list[Path]:
    """All files below data/ that may hold something of the tasks meant."""
    others = {*known_tasks()} - {task.folder for task in place.tasks}
    return [
        path
        for path in sorted(place.data.rglob("*"))
        if path.is_file()
        and path.name != NAME
        and not path.name.endswith((".lock", ".partial", ".dvc"))
        and not others & {*path.relative_to(place.data).parts}
    ]


def stores(place: Place, drops: dict[str, str]) -> list[Store]:
    """Every store, in the order that they are gone through. drops: new names of drops, as they were rewritten."""
    by_folder: dict[str, list[Path]] = {}
    for path in data_files(place):
        by_folder.setdefault(path.relative_to(place.data).parts[0], []).append(path)
    found = [_folder_store(place, name, drops) for name in sorted(by_folder)]
    for task in place.tasks:
        found += [_heads_store(place, task, drops), _unnamed_store(place, task), _runs_store(place, task)]
    found += [_answers_store(place), _vectors_store(place), _work_store(place), _versions_store(place)]
    return [*found, _prefect_store()]


def _folder_store(place: Place, name: str, drops: dict[str, str]) -> Store:
    """A folder of data/, whatever lies in it."""

    def files() -> list[Path]:
        return [path for path in data_files(place) if path.relative_to(place.data).parts[0] == name]

    def found(marks: Marks) -> list[str]:
        return [str(path.relative_to(place.root)) for path in files() if holds(path, marks)]

    def out(marks: Marks) -> int:
        """How much went. Banks first: their shards are no files to be rewritten alone."""
        gone = sum(_bank_without(path.parent, marks) for path in files() if path.name == "manifest.json")
        for path in files():
            if not path.exists() or path.suffix == ".safetensors":
                continue  # a batch that went with its last prediction; a bank's shard
            before = content_of(path) if name == "requests" else ""
            taken = take_out(path, marks)
            gone += taken
            if taken and before and path.exists():
                _follow_requests(place, before, content_of(path))
            if taken and name == "predictions" and path.suffix == ".parquet" and not n_rows(path):
                path.unlink()  # of a batch nothing is left
                shutil.rmtree(path.with_suffix(""), ignore_errors=True)
            if path.exists() and path.suffix == ".json" and drops:
                _rename_drops(path, drops)
        return gone

    return Store(f"data/{name}", found, out, lambda: _digest(files()))


def _bank_without(folder: Path, marks: Marks) -> int:
    """Take the user out of a head bank of a stage; whether one was there. A record's head is fitted anew by the next
    run of the stage."""
    shards = [*folder.glob("heads-*.safetensors")]
    everything = replace(marks, record_id="")
    if not any(holds(shard, everything) for shard in shards):
        return 0
    rewrite_bank(folder, [marks.user_id])
    return 1


def _follow_requests(place: Place, before: str, now: str) -> None:
    """Have the batches of a rewritten file of requests know it again, or it would be scored once more."""
    for path in (place.data / "predictions").glob("*/*/batch.json"):
        facts = BatchFolder(path.parent).known_facts()
        if facts is not None and facts.content == before:
            save_json({**load_json(path), "content": now}, path)


def _rename_drops(path: Path, drops: dict[str, str]) -> None:
    """Have a report, a manifest or the watch for drift name rewritten drops as they are called now."""
    document = load_json(path)
    new = dict(document) if isinstance(document, dict) else {}
    for key in {"history", "drops"} & new.keys():
        named = new[key]
        if isinstance(named, list) and all(isinstance(name, str) for name in named):
            now = dict.fromkeys(str(drops.get(name, name)) for name in named)
            new[key] = [name for name in (sorted(now) if key == "history" else now) if name]
        elif isinstance(named, dict):
            of_task = {task: drops.get(name, name) for task, name in named.items()}
            new[key] = {task: name for task, name in of_task.items() if name}
    if new and new != document:
        save_json(new, path)


def _heads_store(place: Place, task: Task, drops: dict[str, str]) -> Store:
    rewriter = ReleasesRewriter(place.registry, task)

    def found(marks: Marks) -> list[str]:
        return [
            f"{part} version {version}" for part, all_of in rewriter.versions_with(marks).items() for version in all_of
        ]

    def out(marks: Marks) -> int:
        at = datetime.now(UTC).isoformat(timespec="seconds")
        done = rewriter.take_out([marks.user_id], at=at, drops=drops, resuming=True)
        return sum(map(len, done.heads.values()))

    return Store(f"MLflow registry, {task.name}", found, out, rewriter.digest, by_user=True)


def _unnamed_store(place: Place, task: Task) -> Store:
    """Heads that were uploaded and registered by nobody, or whose version was deleted."""

    def banks(marks: Marks) -> list[Path]:
        everything = replace(marks, record_id="")
        found = unnamed_banks(place.registry, task)
        return [bank for bank in found if any(holds(shard, everything) for shard in bank.glob("heads-*.safetensors"))]

    def out(marks: Marks) -> int:
        """How many banks had the user."""
        held = banks(marks)
        for bank in held:
            without_user(bank, marks.user_id)
        return len(held)

    def digest() -> str:
        """Over the shards of them all."""
        return _digest([path for bank in unnamed_banks(place.registry, task) for path in sorted(bank.glob("heads-*"))])

    name = f"MLflow models of no version, {task.name}"
    return Store(name, lambda marks: [bank.parent.name for bank in banks(marks)], out, digest, by_user=True)


def _runs_store(place: Place, task: Task) -> Store:
    def files() -> list[Path]:
        return [*run_files(place.registry, task)]

    return Store(
        f"MLflow runs, {task.name}",
        lambda marks: [path.name for path in files() if holds(path, marks)],
        lambda marks: sum(take_out(path, marks) for path in files()),
        lambda: _digest(files()),
    )


def _answers_store(place: Place) -> Store:
    path = place.cache / "responses.sqlite"

    def found(marks: Marks) -> list[str]:
        if not path.exists() or marks.salt:  # whose an answer is stands there under another salt
            return []
        with ResponseCache(path) as cache:
            own, _ = cache.answers_of(marks.user_id)
        return [f"{own:,} answers about the user"] if own else []

    def out(marks: Marks) -> int:
        if not path.exists():
            return 0
        with ResponseCache(path) as cache:
            return sum(cache.forget_user(marks.user_id))

    return Store("LLM answers", found, out, lambda: _digest([path]), by_user=True)


def _vectors_store(place: Place) -> Store:
    """Vectors of texts: those stay that stand in a row of data/, which is somebody else's by then."""

    def files() -> list[Path]:
        return sorted(place.cache.glob("features-*.sqlite"))

    def out(marks: Marks) -> int:
        paths = files()
        every = [path for path in sorted(place.data.rglob("*")) if path.is_file() and path.name != NAME]
        texts = texts_in(every, marks.fields) if paths else set()
        return sum(keep_only(path, texts) for path in paths)

    def found(marks: Marks) -> list[str]:
        texts = [] if marks.salt else sorted(marks.found["text"])
        return [path.name for path in files() if n_foreign(path, texts)]

    return Store("text vectors", found, out, lambda: _digest(files()))


def _work_store(place: Place) -> Store:
    """Work of updates that is kept to be gone on with: begun anew, where it knows the user."""

    def folders() -> list[Path]:
        return [path for task in place.tasks for path in sorted((place.cache / "update_heads" / task.folder).glob("*"))]

    def files() -> list[Path]:
        return [path for folder in folders() for path in sorted(folder.rglob("*")) if path.is_file()]

    def knows(folder: Path, marks: Marks) -> bool:
        return any(holds(path, replace(marks, record_id="")) for path in folder.rglob("*") if path.is_file())

    def out(marks: Marks) -> int:
        known = [folder for folder in folders() if knows(folder, marks)]
        for folder in known:
            shutil.rmtree(folder)
        return len(known)

    return Store(
        "work of update_heads",
        lambda marks: [folder.name for folder in folders() if knows(folder, marks)],
        out,
        lambda: _digest(files()),
        by_user=True,
    )


def _versions_store(place: Place) -> Store:
    """Content of versions of the data. What other tasks need now stays."""

    def objects(marks: Marks, *, heads: bool) -> list[Object]:
        """heads: banks with the user's head too, of one record: it was learned from that."""
        of_user = replace(marks, record_id="")

        def is_meant(content: bytes) -> bool:
            is_bank = heads and heads_names(content) is not None
            return rest_of(content, of_user if is_bank else marks) is not None

        others = others_objects(place.root, place.tasks)
        return [one for one in objects_with(place.root, is_meant) if one.digest not in others]

    return Store(
        "DVC versions",
        lambda marks: [f"{one.place}: {one.digest}" for one in objects(marks, heads=False)],
        lambda marks: remove_objects(place.root, objects(marks, heads=True)),
        lambda: "",
    )


def _prefect_store() -> Store:
    return Store("Prefect server", found_in_prefect, forget_in_prefect, lambda: "")


def _digest(files: Sequence[Path]) -> str:
    """32 hex digits over the files' contents, whatever they are called; "" for none."""
    total = hashlib.blake2b(digest_size=16)
    for path in files:
        if path.exists():
            total.update(hashlib.blake2b(path.read_bytes()).digest())
    return total.hexdigest() if files else ""
