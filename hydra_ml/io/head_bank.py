"""A head bank on disk: every user's head, spread over shards by a stable hash of the user id, opened lazily.

    manifest.json   base_digest, shards (file, n_users, digest, version), n_users, and what the caller adds
    heads-00003-of-00064.safetensors   heads float32 [n, P], user_ids uint8 [n, W] (UTF-8, zero-padded), sorted by id

Opening reads the manifest alone, looking users up reads only their shards, and an update writes only the shards it
touches: the manifest of the new version names the earlier version that holds each other shard. So the cost of both
follows the users at hand, whatever the size of the bank.

Inside this module a shard's user ids are `names`, a sorted bytes array [n] of fixed width: looked up by bisection, and
decoded for nobody but the users asked for. Padding cannot be told from an id's own end, so no id may end in NUL.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import Field
from safetensors import SafetensorError
from safetensors.numpy import load, save

from hydra_ml.errors import ArtifactError, DataError, OtherVersionError
from hydra_ml.io.files import atomic_path, load_json_as, save_json
from hydra_ml.model.heads import HeadKind, Heads, n_parameters, no_heads
from hydra_ml.model.interfaces import wrong_base
from hydra_ml.records import shard_of_user

SCHEMA_VERSION = 3
USERS_PER_SHARD = 1024  # 266 kB at h = 64: what an update of one user rewrites
MAX_SHARDS = 4096
MAX_WIDTH = 65_536  # far beyond what params allow; only to refuse nonsense


@dataclass(frozen=True)
class Shard:
    """One file of a bank."""

    file: Annotated[str, Field(pattern=r"^heads-\d{5}-of-\d{5}\.safetensors$")]
    n_users: Annotated[int, Field(ge=0)]
    digest: str  # of the file's bytes
    version: str = ""  # the registered heads version that holds the file; "": the folder of the manifest itself


@dataclass(frozen=True)
class _Facts:
    """What of a manifest the bank itself needs."""

    head: HeadKind
    width: Annotated[int, Field(gt=0, le=MAX_WIDTH)]
    n_users: Annotated[int, Field(ge=0)]
    shards: Annotated[list[Shard], Field(min_length=1)]


def save_heads(heads: Heads, folder: Path, manifest: dict[str, Any]) -> None:
    """Write a whole bank. `manifest` adds task, component, base_digest and fit settings. Same heads, same bytes.

    Raises DataError if a user id ends in NUL.
    """
    n_shards = min(MAX_SHARDS, max(1, -(-len(heads.user_ids) // USERS_PER_SHARD)))
    names, members = _names(heads.user_ids), _by_shard(heads.user_ids, n_shards)
    shards = [
        _write_shard(folder, shard, n_shards, names[rows], heads.table[rows])
        for shard, rows in ((shard, members.get(shard, [])) for shard in range(n_shards))
    ]
    _write_manifest(folder, {**manifest, "head": heads.kind, "width": heads.width}, shards)


def update_bank(
    old: HeadBank,
    changed: Heads,
    folder: Path,
    *,
    old_version: str,
    manifest: dict[str, Any],
    removed: Collection[str] = (),
) -> list[int]:
    """Write the version after `old`, which is registered as `old_version`; returns the numbers of the shards written.

    Users of `changed` get their new heads, `removed` ones lose theirs. The number of shards stays until a whole bank is
    saved again. Raises ArtifactError if a touched shard of `old` is damaged, DataError if a user id ends in NUL.
    """
    n_shards = len(old.shards)
    names, gone = _names(changed.user_ids), _names(tuple(removed))
    rows_of, gone_of = _by_shard(changed.user_ids, n_shards), _by_shard(tuple(removed), n_shards)
    shards = [replace(shard, version=shard.version or old_version) for shard in old.shards]
    touched = sorted(rows_of.keys() | gone_of.keys())
    for shard in touched:
        rows, lost = rows_of.get(shard, []), gone[gone_of.get(shard, [])]
        here, table = old.read_shard(shard)
        stays = ~np.isin(here, np.concatenate([names[rows], lost]))
        comes = [row for row in rows if names[row] not in lost]
        shards[shard] = _write_shard(
            folder,
            shard,
            n_shards,
            np.concatenate([here[stays], names[comes]]),
            np.concatenate([table[stays], changed.table[comes]]),
        )
    _write_manifest(folder, {**manifest, "head": old.kind, "width": old.width}, shards)
    return touched


def rewrite_bank(
    folder: Path, removed: Collection[str], *, given: Heads | None = None, shared: Mapping[tuple[str, str], Shard] = {}
) -> list[Shard]:
    """Take users out of the shards that lie in a bank's own folder, in place, and put heads in; all its own shards
    as they are now. Others' heads stay as they are, bit for bit.

    given: heads to put in, after. shared: shards of earlier versions as they are now, by (version, file).
    The new shards are written beside the old, then the manifest, then they are renamed: a bank that a kill leaves
    between the last two is refused by its readers, and completed when this is called again.
    """
    facts = load_json_as(_Facts, folder / "manifest.json")
    manifest = load_json_as(dict[str, Any], folder / "manifest.json")
    for entry in facts.shards:  # what a kill left
        fresh = folder / f".{entry.file}.fresh"
        if fresh.exists() and _digest(fresh.read_bytes()) == entry.digest:
            os.replace(fresh, folder / entry.file)
    comes = given if given is not None else no_heads(facts.head, facts.width)
    names, gone, rows_of = _names(comes.user_ids), _names(tuple(removed)), _by_shard(comes.user_ids, len(facts.shards))
    shards, written = list(facts.shards), {}
    for number, entry in enumerate(shards):
        if entry.version:
            now = shared.get((entry.version, entry.file))
            shards[number] = replace(now, version=entry.version) if now else entry
            continue
        here, table = _unpacked(load((folder / entry.file).read_bytes()), None, n_parameters(facts.head, facts.width))
        rows = rows_of.get(number, [])
        stays = ~np.isin(here, np.concatenate([gone, names[rows]]))
        if stays.all() and not rows:
            continue
        both = np.concatenate([here[stays], names[rows]]), np.concatenate([table[stays], comes.table[rows]])
        fresh = folder / f".{entry.file}.fresh"
        shards[number] = _write_shard(folder, number, len(shards), *both, to=fresh)
        written[entry.file] = fresh
    if shards != list(facts.shards):
        _write_manifest(folder, manifest, shards)
    for file, fresh in written.items():
        os.replace(fresh, folder / file)
    return [shard for shard in shards if not shard.version]


class HeadBank:
    """A heads folder, opened lazily. Raises ArtifactError if it is missing, damaged, or fitted on another base."""

    def __init__(self, folder: Path, *, base_digest: str, folder_of: Callable[[str], Path] | None = None) -> None:
        """folder_of: the folder of a registered heads version, for shards shared with an earlier one."""
        self.folder = folder
        self.manifest: dict[str, Any] = load_json_as(dict[str, Any], folder / "manifest.json")
        if self.manifest.get("schema_version") != SCHEMA_VERSION:
            raise OtherVersionError(
                f"{folder}: head bank of schema {self.manifest.get('schema_version')!r}; this version reads "
                f"{SCHEMA_VERSION}. Refit with `dvc repro`."
            )
        if wrong := wrong_base(self.manifest, base_digest):
            raise ArtifactError(f"{folder}: {wrong}. Refit them on their own base with `dvc repro`.")
        facts = load_json_as(_Facts, folder / "manifest.json")
        self.kind, self.width, self.n_users, self.shards = facts.head, facts.width, facts.n_users, facts.shards
        self._folder_of = folder_of
        self._intact: dict[int, tuple[int, int]] = {}  # shards that were as the manifest says, at that time and size

    def heads_of(self, user_ids: Iterable[str]) -> Heads:
        """The heads of those of the users that have one, sorted by shard and user id; memory follows these alone."""
        found: list[str] = []
        tables = [np.zeros((0, n_parameters(self.kind, self.width)), dtype=np.float32)]
        wanted = sorted(user_id for user_id in set(user_ids) if not user_id.endswith("\0"))
        names = _names(wanted)
        for shard, members in sorted(_by_shard(wanted, len(self.shards)).items()):
            here, table = self.read_shard(shard)
            position = np.searchsorted(here, names[members])
            present = np.append(here, b"")[position] == names[members]  # the end is nobody
            found += [wanted[i] for i, is_here in zip(members, present, strict=True) if is_here]
            tables.append(table[position[present]])
        return Heads(self.kind, self.width, tuple(found), np.concatenate(tables))

    def user_ids(self) -> list[str]:
        """Everybody who has a head, by shard; reads every shard."""
        names = [name for shard in range(len(self.shards)) for name in self.read_shard(shard)[0].tolist()]
        try:
            return [name.decode() for name in names]
        except UnicodeDecodeError as error:
            raise ArtifactError(f"{self.folder}: holds a user id that is no UTF-8. Refit with `dvc repro`.") from error

    def read_shard(self, shard: int) -> tuple[np.ndarray, np.ndarray]:
        """User ids as sorted bytes [n], and heads float32 [n, P], of one shard.

        Its digest is checked on the first read, and again whenever the file's time or size has changed.
        """
        entry = self.shards[shard]
        path = self._home(entry) / entry.file
        try:
            facts = path.stat()
            content = path.read_bytes()
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            raise ArtifactError(
                f"{path}: missing, though {self.folder / 'manifest.json'} names it. Restore the file (`dvc checkout`, "
                "or the registered version that holds it), or refit with `dvc repro`."
            ) from None
        state = (facts.st_mtime_ns, facts.st_size)
        if self._intact.get(shard) != state and _digest(content) != entry.digest:
            raise ArtifactError(
                f"{path}: content differs from {self.folder / 'manifest.json'} (damaged or edited). Restore it with "
                "`dvc checkout`, go back with `hydra-ml rollback`, or refit with `dvc repro`."
            )
        self._intact[shard] = state
        try:
            return _unpacked(load(content), entry.n_users, n_parameters(self.kind, self.width))
        except (SafetensorError, ValueError, LookupError, TypeError) as error:
            raise ArtifactError(f"{path}: no shard of this bank ({error}). Refit with `dvc repro`.") from error

    def _home(self, entry: Shard) -> Path:
        if not entry.version:
            return self.folder
        if self._folder_of is None:
            raise ArtifactError(
                f"{self.folder}: shard {entry.file} is held by registered version {entry.version}; open this bank "
                "through the registry."
            )
        return self._folder_of(entry.version)


def _unpacked(tensors: dict[str, np.ndarray], n_users: int | None, n_numbers: int) -> tuple[np.ndarray, np.ndarray]:
    """User ids as sorted bytes [n], and heads float32 [n, P]. Raises ValueError or KeyError if they are not that."""
    padded, heads = np.ascontiguousarray(tensors["user_ids"]), tensors["heads"]  # uint8 [n, W]
    n_users = len(padded) if n_users is None else n_users
    if padded.dtype != np.uint8 or padded.ndim != 2 or len(padded) != n_users or not padded.shape[1]:
        raise ValueError(f"user ids are {padded.dtype} {padded.shape}")
    if heads.dtype != np.float32 or heads.shape != (n_users, n_numbers):
        raise ValueError(f"heads are {heads.dtype} {heads.shape}, expected float32 {(n_users, n_numbers)}")
    names: np.ndarray = padded.view(f"S{padded.shape[1]}").reshape(-1)  # [n, 1] -> [n]
    return names, heads


def _by_shard(user_ids: Collection[str], n_shards: int) -> dict[int, list[int]]:
    """Positions of the users that live in each shard; shards without any are left out."""
    members: dict[int, list[int]] = {}
    for i, user_id in enumerate(user_ids):
        members.setdefault(shard_of_user(user_id, n_shards), []).append(i)
    return members


def _names(user_ids: Sequence[str]) -> np.ndarray:
    """The ids in UTF-8, zero-padded: bytes [n] that sort as the ids do."""
    for user_id in user_ids:
        if user_id.endswith("\0"):
            raise DataError(
                f"user id {user_id!r} ends in NUL, which a head bank cannot keep. Give the user another id."
            )
    return np.array([user_id.encode("utf-8") for user_id in user_ids], dtype=np.bytes_)


def _write_shard(
    folder: Path, shard: int, n_shards: int, names: np.ndarray, table: np.ndarray, *, to: Path | None = None
) -> Shard:
    order = np.argsort(names)
    width = max(1, int(np.char.str_len(names).max(initial=1)))  # of these users' own ids: same heads, same bytes
    padded = names[order].astype(f"S{width}").view(np.uint8).reshape(-1, width)  # [n] -> [n, W]
    content = save({"heads": np.ascontiguousarray(table[order]), "user_ids": padded})
    file = f"heads-{shard:05d}-of-{n_shards:05d}.safetensors"
    with atomic_path(to or folder / file) as partial:
        partial.write_bytes(content)
    return Shard(file, len(names), _digest(content))


def _write_manifest(folder: Path, facts: dict[str, Any], shards: list[Shard]) -> None:
    entries = [{name: value for name, value in asdict(shard).items() if value != ""} for shard in shards]
    total = sum(shard.n_users for shard in shards)
    save_json(
        {**facts, "schema_version": SCHEMA_VERSION, "shards": entries, "n_users": total}, folder / "manifest.json"
    )


def _digest(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=16).hexdigest()
