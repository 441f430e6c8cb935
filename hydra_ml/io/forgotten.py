"""Who was forgotten: data/forgotten.json, so that what comes again is refused and nothing is learned of it.

Holds salted digests, no id and no text. Git keeps it, for other clones must refuse the same; whoever has the file and
guesses an id can tell whether it is there, and no more.
"""

from __future__ import annotations

import secrets
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path

from hydra_ml.errors import ArtifactError
from hydra_ml.io.arrivals import at_and_below
from hydra_ml.io.files import atomic_path, load_json_as, save_json
from hydra_ml.io.mark_finding import own_rows
from hydra_ml.io.rewriting import rest_of
from hydra_ml.io.traces import KINDS, Fields, Kind, Marks, mark_digest
from hydra_ml.records import Record

NAME = "forgotten.json"
ALL = "*"  # in the place of a task: every task
COME_AGAIN = "`hydra-ml forget USER --allow-return` lets them come again"
_KEPT: dict[bool, tuple[Kind, ...]] = {True: ("user", "request"), False: ("user", "record", "text")}


@dataclass(frozen=True)
class Stone:
    """One user, or one record of theirs."""

    record: str  # digest of the record's id; "" for all of the user
    marks: dict[str, list[str]]  # kind -> digests
    tasks: dict[str, str]  # folder, or ALL -> when, ISO 8601


@dataclass(frozen=True)
class Forgotten:
    """All of them."""

    salt: str = ""
    stones: Sequence[Stone] = ()

    @cached_property
    def _users(self) -> Mapping[str, set[str]]:
        """The tasks that each user was forgotten in, by digest."""
        return {one: {*stone.tasks} for stone in self.stones if not stone.record for one in stone.marks["user"]}

    @cached_property
    def _records(self) -> Mapping[str, set[str]]:
        return {stone.record: {*stone.tasks} for stone in self.stones if stone.record}

    def has_user(self, task: str, user_id: str) -> bool:
        """Whether the user of a task (its folder) was forgotten."""
        return bool(self._users and self._users.get(mark_digest(self.salt, "user", user_id), set()) & {task, ALL})

    def has_record(self, task: str, user_id: str, record_id: str) -> bool:
        """Whether this record was forgotten, or all of its user."""
        if self._records and self._records.get(mark_digest(self.salt, "record", record_id), set()) & {task, ALL}:
            return True
        return self.has_user(task, user_id)

    def rest(self, task: str, records: Sequence[Record]) -> list[Record]:
        """The records that were not forgotten, in order."""
        return [one for one in records if not self.has_record(task, one.user_id, one.record_id)]

    def has_said(self, task: str, record: Record) -> bool:
        """Whether what became this record is of a user who was forgotten, or of a record that was, by id or text."""
        row = {**asdict(record), "task": task}
        return any(marks.covers(row) for marks in self._every)

    @cached_property
    def _every(self) -> list[Marks]:
        return self.marks()

    def marks(self) -> list[Marks]:
        """What to look for in what comes in."""
        fields = Fields.now()
        return [
            Marks("", stone.record, _sets(stone), fields, self.salt, "" if task == ALL else task)
            for stone in self.stones
            for task in stone.tasks
        ]


def load_forgotten(data: Path) -> Forgotten:
    """The list below the data folder; an empty one where nobody was forgotten. Raises ArtifactError if it is damaged:
    nothing may come in then that might be somebody's."""
    path = data / NAME
    if not path.exists():
        return Forgotten()
    try:
        stored = load_json_as(_Stored, path)
    except ArtifactError as error:
        raise ArtifactError(
            f"{path}: the list of who was forgotten cannot be read, so nothing comes in. `git checkout {path}`."
        ) from error
    return Forgotten(stored.salt, tuple(stored.stones))


def remember(data: Path, task: str, marks: Marks, at: str) -> Forgotten:
    """Add a user, or one record, by plain marks; the list. Done again, it changes nothing but to add marks."""
    now = load_forgotten(data)
    salt = now.salt or secrets.token_hex(16)
    digests = marks.digests(salt)
    found = {str(kind): sorted(digests.found[kind]) for kind in _KEPT[marks.whole_user]}
    before = next((stone for stone in now.stones if _is_of(stone, digests)), Stone(digests.record_id, {}, {}))
    both = {kind: sorted({*before.marks.get(kind, ()), *values}) for kind, values in found.items()}
    stone = Stone(before.record, both, {task: at, **before.tasks})
    rest = [one for one in now.stones if one is not before]
    now = replace(now, salt=salt, stones=(*rest, stone))
    _save(data, now)
    return now


def allow_return(data: Path, task: str, marks: Marks) -> bool:
    """Take a user, or one record, off the list for a task (ALL: for every one); whether it stood there."""
    now = load_forgotten(data)
    if not now.stones:
        return False
    digests, kept, stood = marks.digests(now.salt), [], False
    for stone in now.stones:
        gone = _is_of(stone, digests) and (task == ALL or task in stone.tasks)
        stood |= gone
        tasks = {name: at for name, at in stone.tasks.items() if gone and name != task} if task != ALL else {}
        kept += [stone] if not gone else [replace(stone, tasks=tasks)] if tasks else []
    if stood:
        _save(data, replace(now, stones=tuple(kept)))
    return stood


def leave_out(path: Path, data: Path, requests: Collection[str] = ()) -> int:
    """Rewrite what came in (a file, or a folder of files) without the rows of those who were forgotten; how many went.
    requests: ids of theirs, for rows that name nobody. A file of which nothing is left stays, empty. Raises
    ArtifactError if the list cannot be read."""
    forgotten, gone = load_forgotten(data), 0
    marks = forgotten.marks() if forgotten.stones else []
    if requests:
        none = {kind: frozenset[str]() for kind in KINDS}
        marks.append(Marks("", "", {**none, "request": frozenset(requests)}, Fields.now()))
    files = [file for file in at_and_below(path) if file.is_file()] if marks else []
    marks = [_with_questions(one, files) for one in marks]
    for file in files:
        content = before = file.read_bytes()
        for one in marks:
            rest = rest_of(content, one) if content else None
            if rest is not None:
                content, gone = rest.content or b"", gone + rest.rows
        if content != before:
            with atomic_path(file) as partial:
                partial.write_bytes(content)
    return gone


def _with_questions(marks: Marks, files: Sequence[Path]) -> Marks:
    """The marks with the ids of the user's questions in LaMP files, whose answers name no user."""
    rows = [row for file in files for row in own_rows(file.read_bytes(), marks) if "profile" in row]
    ids = {mark_digest(marks.salt, "query", str(row["id"])) for row in rows if row.get("id")}
    return replace(marks, found={**marks.found, "query": frozenset({*marks.found["query"], *ids})}) if ids else marks


@dataclass(frozen=True)
class _Stored:
    salt: str
    stones: list[Stone]


def _sets(stone: Stone) -> dict[Kind, frozenset[str]]:
    return {kind: frozenset(stone.marks.get(kind, ())) for kind in KINDS}


def _is_of(stone: Stone, digests: Marks) -> bool:
    """Whether the stone is of the user, or record, that these digests are of."""
    if stone.record or digests.record_id:
        return stone.record == digests.record_id
    return bool({*stone.marks["user"]} & {*digests.found["user"]})


def _save(data: Path, now: Forgotten) -> None:
    save_json({"salt": now.salt, "stones": [asdict(stone) for stone in now.stones]}, data / NAME)
