"""forget: takes a user, or one record of theirs, out of everything that is kept, and writes a signed receipt.

    plan_forget   what is kept, store by store, nothing changed
    forget        all of it out, in steps that can be repeated: a run that was killed is gone on with by the same call
    verify        the stores searched again for what a receipt names, by digests

What is kept is listed in `jobs.forget_stores`. While the work goes on, ids and texts that are searched for stand in a
journal that only its owner may read.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, get_args

from filelock import FileLock

from hydra_ml.errors import DataError, HydraError, VersionsError
from hydra_ml.io import dvc as versions
from hydra_ml.io.dvc_objects import locked_stages, make_anew
from hydra_ml.io.files import load_json
from hydra_ml.io.forgotten import ALL, allow_return, load_forgotten, remember
from hydra_ml.io.history_store import remove_drops, rewrite_drops
from hydra_ml.io.layout import TRAINERS, Part, Stage, common_folder, task_folder
from hydra_ml.io.mark_finding import as_document, find_marks, from_document
from hydra_ml.io.mlflow.forgetting import check_reachable, run_files
from hydra_ml.io.mlflow.registry import Registry
from hydra_ml.io.orchestrator import read_schedule
from hydra_ml.io.receipts import FOLDER, LOCK, Signature, check, load_receipt, save_private, sign
from hydra_ml.io.record_reader import read_id
from hydra_ml.io.traces import KINDS, Fields, Marks, mark_digest
from hydra_ml.jobs.forget_refit import refit_heads
from hydra_ml.jobs.forget_signatures import signatures_lost, signing_lines
from hydra_ml.jobs.forget_stores import Place, Store, data_files, stores
from hydra_ml.jobs.ingest import need_earlier_drops, publish
from hydra_ml.jobs.ingest_alone import alone
from hydra_ml.params import Params
from hydra_ml.tasks.task import Task

CACHE = Path(".cache")
log = logging.getLogger(__name__)
STAGES = {f"data/{stage}" for stage in get_args(Stage)}
DROPS: tuple[Part, ...] = ("history", "withdrawn")
WITH_VERSIONS: tuple[Part, ...] = ("raw", *DROPS)
REMAINS = (
    "Bases, and figures of whole runs, learned from many users at once: they stay until the nightly has made new ones.",
    "Backups, other clones and their caches, and what was sent to the LLM's provider, are out of this project's reach.",
    "Whoever asks again for the user is answered by the shared head; what is asked then is kept as any request is.",
)


@dataclass(frozen=True)
class Plan:
    """What is kept of the user."""

    marks: Marks
    found: Mapping[str, Sequence[str]]  # store -> where in it; stores without anything are left out
    unfinished: bool = False  # a run before this one was cut short


@dataclass
class Verified:
    """What a second search came to."""

    signature: Signature
    found: dict[str, list[str]] = field(default_factory=dict)  # store -> where; empty: nothing

    @property
    def is_good(self) -> bool:
        """Whether the receipt is as it was signed here, and nothing was found."""
        return self.signature.is_whole and self.signature.is_ours and not self.found


def here(data: Path, tasks: Sequence[Task]) -> Place:
    """The project that the working directory is."""
    root = Path().resolve()
    return Place(root, data.resolve(), root / CACHE, Registry(cache=CACHE), tasks)


def plan_forget(user: str, place: Place, *, record: str = "", task: str = ALL) -> Plan:
    """What `forget` would take out. Raises DataError if nothing is kept of them, StoreError or VersionsError if a store
    cannot be reached."""
    user_id = read_id(user, "user_id")
    for one in place.tasks:
        check_reachable(place.registry, one)
    journal = _journal(place, user_id, record, task)
    if journal.exists():
        marks = from_document(load_json(journal)["marks"])
    else:
        runs = [path for one in place.tasks for path in run_files(place.registry, one)]
        marks = find_marks([*data_files(place), *runs], user_id, record, "" if task == ALL else task)
    found = {store.name: where for store in stores(place, {}) if (where := store.find(marks))}
    known = not record or any(name.startswith("data/") for name in found)
    if (not found or not known) and not journal.exists():
        what = f"record {record!r} of user {user!r}" if record else f"user {user!r}"
        told = ", ".join(one.name for one in place.tasks)
        raise DataError(
            f"{what}: nothing is kept of it in {told}, and nothing was changed. `hydra-ml show` looks one up."
        )
    return Plan(marks, found, journal.exists())


def forget(plan: Plan, place: Place, params: Params, *, task: str = ALL, say: Callable[[str], None] = log.info) -> Path:
    """Take out what the plan names; the path of the receipt. Done again after a kill, it goes on where it was.

    Raises what `plan_forget` and the stores raise; and DataError if something is found again at the end, because some
    other run wrote it meanwhile: run the same again.
    """
    marks = plan.marks
    path = _journal(place, marks.user_id, marks.record_id, task)
    path.parent.mkdir(parents=True, exist_ok=True)
    with alone(common_folder(place.data, "incoming")), FileLock(place.root / FOLDER / LOCK):
        now = datetime.now(UTC).isoformat(timespec="seconds")
        journal: dict[str, Any] = {"begun_at": now, "marks": as_document(marks), "drops": {}, "stores": {}}
        journal = load_json(path) if path.exists() else journal
        save_private(journal, path)
        remember(place.data, task, marks, journal["begun_at"])
        _rewrite_history(place, marks, journal, path)
        for store in stores(place, journal["drops"]):
            if store.name == "DVC versions":
                _version(place, journal)
            done = journal["stores"].get(store.name) or {"before": store.digest(), "removed": 0}
            done["removed"] += store.take_out(marks)
            journal["stores"][store.name] = {**done, "after": store.digest()}
            save_private(journal, path)
            if done["removed"]:
                say(f"{store.name}: {done['removed']:,} taken out")
        if marks.record_id:
            journal["refitted"] = refit_heads(place, marks.user_id, params, journal["drops"])
        left = [store.name for store in stores(place, {}) if _found(store, marks)]
        if left:
            raise DataError(
                f"{', '.join(left)}: holds what was taken out a moment ago: another run wrote it. Let it end, "
                "and run the same again: it goes on."
            )
        journal["not_published"] = _published(place, params)
        journal["sign_again"] = unsigned = signatures_lost(place, params, journal["begun_at"])
        for line in signing_lines(unsigned):
            say(line)
        receipt = sign(_receipt(place, marks, journal, task), place.root)
        kept = path.with_name(f"{path.stem}-{datetime.now(UTC):%Y-%m-%dT%H-%M-%S}.json")
        save_private(receipt, kept)
        path.unlink()
    return kept


def let_return(user: str, place: Place, *, record: str = "", task: str = ALL) -> bool:
    """Let a forgotten user, or record, come in again; whether they were on the list."""
    user_id = read_id(user, "user_id")
    return allow_return(place.data, task, _bare(user_id, record))


def verify(path: Path, place: Place, user: str = "") -> Verified:
    """Search every store again for what the receipt names. user: whose it is said to be, for pages and caches, which
    digests cannot be looked for in. Raises DataError if the receipt is another's, ArtifactError if it is none."""
    receipt = load_receipt(path)
    done = Verified(check(receipt, place.root))
    found = {kind: frozenset(receipt["marks"].get(kind, ())) for kind in KINDS}
    task = "" if receipt["task"] == ALL else receipt["task"]
    is_word = receipt.get("is_word", False)
    every = [Marks("", receipt["record"], found, Fields.now(), receipt["salt"], task, is_word)]
    if user:
        user_id = read_id(user, "user_id")
        if mark_digest(receipt["salt"], "user", user_id) not in found["user"]:
            raise DataError(f"{path}: is not of user {user!r}.")
        every += [] if receipt["record"] else [replace(_bare(user_id, ""), task=task, is_word=is_word)]
    for store in stores(place, {}):
        for marks in every:
            if where := _found(store, marks):
                done.found[store.name] = sorted({*done.found.get(store.name, ()), *where})
    return done


def _found(store: Store, marks: Marks) -> list[str]:
    """What must not be there: where a store does not tell records apart, the user may be in it for the others."""
    return [] if marks.record_id and store.by_user else store.find(marks)


def _bare(user_id: str, record_id: str) -> Marks:
    found = {kind: frozenset[str]() for kind in KINDS} | {
        "user": frozenset({user_id}),
        "record": frozenset({record_id}),
    }
    return Marks(user_id, record_id, found, Fields.now())


def _journal(place: Place, user_id: str, record_id: str, task: str) -> Path:
    salt = load_forgotten(place.data).salt
    name = mark_digest(salt, task, f"{user_id}\x1f{record_id}")[:16]
    found = sorted((place.root / FOLDER).glob("*.journal"))
    for path in found:  # the salt is made with the first who is forgotten, after their journal
        marks = load_json(path)["marks"]
        if (marks["user"], marks["record"], marks["task"] or ALL) == (user_id, record_id, task):
            return path
    return place.root / FOLDER / f"{name}.journal"


def _rewrite_history(place: Place, marks: Marks, journal: dict[str, Any], path: Path) -> None:
    """Rewrite the drops: the new ones first, then the journal says their names, then the old ones go."""
    for task in place.tasks:
        for part in DROPS:
            folder = task_folder(place.data, part, task)
            if part == "history" and (place.root / ".dvc").is_dir():
                need_earlier_drops(folder, place.root)
            journal["drops"] |= rewrite_drops(folder, marks)
            save_private(journal, path)
            gone = remove_drops(folder, journal["drops"])
            name = f"data/{part}"
            before = journal["stores"].get(name, {}).get("removed", 0)
            journal["stores"][name] = {"before": "", **journal["stores"].get(name, {}), "removed": before + gone}


def _version(place: Place, journal: dict[str, Any]) -> None:
    """Have DVC know the data as it is now; and have it make the stages' outputs anew, where somebody was taken out."""
    if not (place.root / ".dvc").is_dir():
        return
    folders = [task_folder(place.data, part, task) for part in WITH_VERSIONS for task in place.tasks]
    folders.append(place.data / "feedback" / "store")
    tracked = [at for at in folders if at.is_dir() and at.with_name(f"{at.name}.dvc").exists()]
    versions.track([at.relative_to(place.root) for at in tracked], place.root)
    lock = place.root / "dvc.lock"
    if any(journal["stores"].get(name, {}).get("removed") for name in STAGES):
        for task in place.tasks:
            versions.commit(locked_stages(lock, task), place.root)
            make_anew(lock, task, ["prepare", *TRAINERS.values()])


def _published(place: Place, params: Params) -> str:
    if not (place.root / ".dvc").is_dir():
        return ""
    try:
        publish(place.data, params)
        if params.nightly.push and (place.root / "dvc.lock").is_file():
            versions.push((), place.root)
    except VersionsError as error:
        log.warning("What was rewritten is not published: %s", error)
        return str(error).partition("\n")[0]
    return ""


def _receipt(place: Place, marks: Marks, journal: Mapping[str, Any], task: str) -> dict[str, Any]:
    """What is signed: digests and figures, no id and no text of the user."""
    salt = load_forgotten(place.data).salt
    digests = marks.digests(salt)
    return {
        "kind": "forget",
        "schema_version": 1,
        "user": mark_digest(salt, "user", marks.user_id),
        "record": digests.record_id,
        "task": task,
        "tasks": [one.folder for one in place.tasks],
        "begun_at": journal["begun_at"],
        "done_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "stores": journal["stores"],
        "refitted": journal.get("refitted", {}),
        "base": _bases(place),
        "not_published": journal["not_published"],
        "sign_again": journal["sign_again"],
        "remains": list(REMAINS),
        "salt": salt,
        "is_word": marks.is_word,
        "marks": {kind: sorted(digests.found[kind]) for kind in KINDS},
    }


def receipt_page(receipt: Mapping[str, Any], path: str) -> str:
    """The receipt's figures as a page: no id and no digest of anybody."""
    lines = ["# Forgotten", "", "| store | taken out |", "|---|---:|"]
    lines += [f"| {name} | {one['removed']:,} |" for name, one in sorted(receipt["stores"].items()) if one["removed"]]
    bases = [f"{task}: base of release {one['champion']} until {one['until']}" for task, one in receipt["base"].items()]
    told = [*signing_lines(receipt.get("sign_again", {})), *bases, *receipt["remains"]]
    return "\n".join([*lines, "", *(f"- {line}" for line in told), "", f"Receipt: {path}", ""])


def _bases(place: Place) -> dict[str, Any]:
    """Of each task the release whose base may still have learned from the user, and when the next one is made."""
    try:
        due = next((run.at for run in read_schedule().next_runs if run.deployment == "nightly"), "")
    except HydraError:
        due = ""
    live = {task.folder: place.registry.aliases(task).get("champion", "") for task in place.tasks}
    until = "the next nightly has made a release without the user and the gate has let it pass"
    return {task: {"champion": version, "until": until, "nightly_due": due} for task, version in live.items()}
