"""What tells that something kept is of one user, or of one record: ids and texts, plain or as digests.

Plain marks are collected while a user is forgotten and go with the journal; a receipt keeps their digests alone: who
has it can search again, and reads nothing there of what is to be forgotten.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal
from unicodedata import normalize

from hydra_ml.io.record_reader import Fault, read_text
from hydra_ml.io.task_files import known_tasks
from hydra_ml.records import content_digest, normalized
from hydra_ml.shown_text import visible, visible_lines
from hydra_ml.tasks import as_folder

Kind = Literal["user", "query", "request", "record", "text"]
KINDS: tuple[Kind, ...] = ("user", "query", "request", "record", "text")
# Fields that name a row, by what they name it after.
ID_FIELDS: dict[str, Kind] = {
    "query_id": "query",
    "request_id": "request",
    "record_id": "record",
    "source_record_id": "record",
    "row_id": "text",
}
_OWN_WORDS = ("text", "input", "answer", "gold", "output", "prediction", "generic_prediction", "value", "history")
_VERDICTS = {"accepted", "chosen", "edited", "rating", "rejected"}  # a row with one is feedback
SHORTEST = 6  # characters of a text that is searched for in pages: shorter ones stand anywhere
_PSEUDO = re.compile(r"(.+)/([0-9a-f]{16})", re.DOTALL)  # a pseudo-query is named "<user>/<record>"
# An id within an id is another's, but for the user's own queries: "u10" stands neither in "u10/3" nor in "a@u10".
_BEFORE, _AFTER = r"(?<![\w-])(?<!\w[/@+])", r"(?![\w-]|[/@+](?![0-9a-f]{16}\b)\w)"
_NAMED = r"\buser(?:s|_?ids?)?\b[\s\"'\\=:,\[(>]{1,6}"  # what stands before an id where a text says that it is one
_WORD = r"[^\s\"'<>&,;:()\[\]{}]+"


@dataclass(frozen=True)
class Fields:
    """What tables call the things that marks are looked for in."""

    users: tuple[str, ...]  # that say whose a row is: ours, and what the tasks' own tables call it
    texts: frozenset[str]  # that hold what somebody wrote or was answered, rather than a date or a figure

    @classmethod
    def now(cls) -> Fields:
        """Those of all tasks known in this folder."""
        tasks = known_tasks().values()
        keys = {key for task in tasks for key in task.item_keys}
        texts = frozenset({*_OWN_WORDS, *keys, *(f"item.{key}" for key in keys), "row_id"})
        return cls(tuple(dict.fromkeys(["user_id", *(task.user_key for task in tasks)])), texts)

    def owner(self, row: Mapping[str, Any]) -> str | None:
        """The user id that a row names, read as every entrance reads it; None if it names nobody."""
        for name in self.users:
            if row.get(name) not in (None, ""):
                try:
                    return read_text({"user_id": row[name]}, "user_id")
                except Fault:
                    return None
        return None


@dataclass(frozen=True)
class Marks:
    """The ids and texts of one user, or of one record of theirs."""

    user_id: str  # "" of marks that are digests
    record_id: str  # "" for all of the user
    found: Mapping[Kind, Collection[str]]  # sets of values, or of their digests
    fields: Fields
    salt: str = ""  # of the digests; "" where the values themselves are kept
    task: str = ""  # folder of the only task meant; "" for every task
    is_word: bool = False  # the user id is also a word that others write: in pages it tells only where it is named

    @property
    def whole_user(self) -> bool:
        """Whether all of the user is meant."""
        return not self.record_id

    def has(self, kind: Kind, value: object) -> bool:
        """Whether the value is one of the marks of this kind."""
        if not isinstance(value, str) or not value:
            return False
        if (mark_digest(self.salt, kind, value) if self.salt else value) in self.found[kind]:
            return True
        own = _PSEUDO.fullmatch(value) if kind == "query" else None
        return own is not None and (
            (self.whole_user and self.has("user", own[1])) or (not self.whole_user and self.has("record", own[2]))
        )

    def is_user(self, row: Mapping[str, Any]) -> bool | None:
        """Whether the row says that it is the user's; None if it names nobody."""
        owner = self.fields.owner(row)
        return None if owner is None else self.has("user", owner)

    def covers(self, row: Mapping[str, Any], *, mine: bool | None = None) -> bool:
        """Whether the row is to go. mine: what the rows around it say of whose it is; None if nothing."""
        if self.task and isinstance(row.get("task"), str) and as_folder(row["task"]) != as_folder(self.task):
            return False
        of_user = self.is_user(row)
        mine = mine if of_user is None else of_user
        if mine is False:
            return False
        if self.task and "task" not in row and _VERDICTS & row.keys():  # which task it is of, its request tells
            return self.has("request", as_id(row.get("request_id")))
        if of_user and self.whole_user:
            return True
        named = any(self.has(kind, as_id(row.get(field))) for field, kind in ID_FIELDS.items() if kind != "text")
        if named or any(self.has("text", row[name]) for name in row if name in self.fields.texts):
            return True
        return self.whole_user and "profile" in row and of_user is None and self.has("query", row.get("id"))

    def stands_in(self, page: str) -> bool:
        """Whether a page, a log or any other text without fields holds an id or a text of these marks."""
        if self.salt:
            return self._digest_stands_in(page)
        page = f"{page}\n{html.unescape(page)}" if "&" in page else page
        for kind in KINDS:
            for value in self.found[kind]:
                before = _BEFORE if self._tells(kind, value) else self._named(kind)
                if not before or _plain_part(value) not in page:
                    continue
                forms = {re.escape(form) for form in _forms(value) if form in page}
                if any(re.search(f"{before}{form}{_AFTER}", page) for form in forms):
                    return True
        return False

    def _digest_stands_in(self, page: str) -> bool:
        """By words, and by the texts between tags."""
        whole = {html.unescape(line).strip() for line in lines(page)}
        words = {*whole, *(one for word in re.findall(_WORD, page) for one in (word, word.rstrip(".!?")))}
        if any(self.has(kind, word) for word in words for kind in KINDS if self._tells(kind, word)):
            return True
        if not self.whole_user:
            return False
        named = {word for line in whole for word in re.findall(f"{_NAMED}({_WORD})", line)}
        named |= {word for line in whole for word in re.findall(f"{_NAMED}(.+)", line)}
        return any(self.has("user", normalize("NFC", word)) for word in named)

    def _named(self, kind: Kind) -> str:
        """What must stand before an id that may be there by chance; "" if nothing makes it sure."""
        return _NAMED if kind == "user" and self.whole_user else ""

    def _tells(self, kind: Kind, value: str) -> bool:
        """Whether a value in a page is no chance: a number is anybody's, and so is a short or a common word."""
        if kind == "user" and (not self.whole_user or self.is_word):
            return False
        return len(value) >= (3 if kind == "user" else SHORTEST) and not value.isdigit()

    def digests(self, salt: str) -> Marks:
        """The same marks as digests."""
        made = {kind: sorted(mark_digest(salt, kind, value) for value in self.found[kind]) for kind in KINDS}
        told = mark_digest(salt, "record", self.record_id) if self.record_id else ""
        found = {kind: frozenset(values) for kind, values in made.items()}
        return Marks("", told, found, self.fields, salt, self.task, self.is_word)


def as_id(value: object) -> str:
    """An id as every entrance reads it, a number as its text; "" of what is none."""
    if isinstance(value, str):
        return value
    try:
        return read_text({"id": value}, "id")
    except Fault:
        return ""


def mark_digest(salt: str, kind: str, value: str) -> str:
    """32 hex digits of an id or a text under the project's salt."""
    return content_digest("\x1f".join((salt, kind, value)))


@lru_cache(maxsize=1 << 16)
def _plain_part(value: str) -> str:
    """The longest part of a value that every form of it has: most pages hold none."""
    return max(re.findall("[A-Za-z0-9 ]+", value), key=len, default="")


@lru_cache(maxsize=1 << 16)  # one user's texts, sought in every page
def _forms(value: str) -> frozenset[str]:
    """A value as pages, tables and JSON write it, in either spelling of Unicode."""
    spelled = {value, normalize("NFC", value), normalize("NFD", value)}
    told = {*spelled, *map(visible, spelled), *map(visible_lines, spelled)}
    told |= {one.replace('"', '""') for one in spelled}  # in CSV
    return frozenset(told) | {
        json.dumps(one, ensure_ascii=is_ascii)[1:-1] for one in spelled for is_ascii in (True, False)
    }


def lines(page: str) -> Iterator[str]:
    """The lines of a page and the texts between its tags."""
    yield from (part for line in page.splitlines() for part in re.split(r"<[^>]*>", line) if part.strip())


def told_forms(text: str) -> set[str]:
    """The text, and how tables that hold no texts name it."""
    return {text, content_digest(normalized(text))}
