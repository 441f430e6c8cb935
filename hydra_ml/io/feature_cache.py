"""Text vectors kept on disk by content and encoder digest, so that no text is encoded twice across stages and runs.

Holds digests and vectors only, no text. A lost or foreign cache costs time, never correctness: every row carries a sum
over both, and a row, or a file, that is damaged is made anew.
"""

from __future__ import annotations

import logging
import sqlite3
import zlib
from collections.abc import Callable, Collection, Sequence
from contextlib import closing
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

import numpy as np
from tqdm import tqdm

from hydra_ml.errors import ArtifactError
from hydra_ml.io.sqlite_file import TROUBLE, is_damage, open_shared, remove_file, scrub
from hydra_ml.records import content_digest

if TYPE_CHECKING:
    from hydra_ml.model.encoder import TextEncoder

KEYS_PER_QUERY = 900  # below SQLite's bound on variables
TEXTS_PER_COMMIT = 2048  # what a kill can cost
SUM_BYTES = 4
PAGE_BYTES = 8192  # holds five vectors of 384 numbers; 4096 holds two, and leaves a quarter empty
log = logging.getLogger(__name__)


def _sum(digest: bytes, vector: bytes) -> bytes:
    """CRC-32 over both: any few bits that turned, and a vector that came to another text's digest, show."""
    return zlib.crc32(vector, zlib.crc32(digest)).to_bytes(SUM_BYTES, "little")


def n_foreign(path: Path, texts: Collection[str]) -> int:
    """How many of the texts have a vector in the file. Raises ArtifactError if it cannot be read."""
    try:
        with closing(open_shared(path, page_bytes=PAGE_BYTES)) as db:
            ask = "SELECT count(*) FROM vectors WHERE digest = ?"
            return sum(db.execute(ask, (bytes.fromhex(content_digest(text)),)).fetchone()[0] for text in texts)
    except TROUBLE as error:
        raise ArtifactError(f"{path}: the feature cache cannot be read ({error}).") from error


def keep_only(path: Path, texts: Collection[str]) -> int:
    """Remove every vector whose text is not among these, so that no page of the file holds it; how many went.

    Raises ArtifactError if the file cannot be written; a damaged one is removed whole.
    """
    kept = [(bytes.fromhex(content_digest(text)),) for text in texts]
    try:
        with closing(open_shared(path, page_bytes=PAGE_BYTES)) as db:
            db.execute("PRAGMA secure_delete=ON")
            with db:
                db.execute("CREATE TEMP TABLE kept (digest BLOB PRIMARY KEY) WITHOUT ROWID")
                db.executemany("INSERT OR IGNORE INTO kept VALUES (?)", kept)
                gone = db.execute("DELETE FROM vectors WHERE digest NOT IN (SELECT digest FROM kept)").rowcount
            scrub(db)
    except TROUBLE as error:
        if not is_damage(error):
            raise ArtifactError(
                f"{path}: the feature cache cannot be written ({error}). Run the same again."
            ) from error
        remove_file(path)
        gone = 0
    return gone


class CachedEncoder:
    """A `TextEncoder` that remembers, and is loaded when the first unknown text comes.

    One encoder per file: `path` carries the encoder's digest. Safe with several processes; use as a context manager or
    call `close`.
    """

    def __init__(self, load: Callable[[], TextEncoder], path: Path, *, dim: int, progress: str = "") -> None:
        self._load = load
        self._encoder: TextEncoder | None = None
        self.dim = dim
        self.progress = progress  # label of the progress bar; "" shows none
        self.path = path
        try:
            self._db = self._opened()
        except TROUBLE as error:
            self._begin_anew(error)

    def _opened(self) -> sqlite3.Connection:
        # The offline model encodes in a worker thread while its owner waits: one caller at a time, any thread.
        db = open_shared(self.path, page_bytes=PAGE_BYTES, check_same_thread=False)
        try:
            # Rows in the order they came, keys in an index beside them: a table ordered by digest (WITHOUT ROWID) is
            # written all over and spills each vector to a page of its own: 4 times slower to read, 6 times to write.
            db.execute("CREATE TABLE IF NOT EXISTS vectors (digest BLOB PRIMARY KEY, vector BLOB NOT NULL)")
        except TROUBLE:
            db.close()
            raise
        return db

    def _begin_anew(self, error: Exception) -> None:
        """Put an empty file in the place of a damaged one. Raises ArtifactError if it is not damage that ails it."""
        if not is_damage(error):
            raise self._unusable(error) from error
        log.warning(
            "%s: the feature cache is damaged (%s) and begun anew: its texts are encoded again", self.path, error
        )
        try:
            if hasattr(self, "_db"):
                self._db.close()
            remove_file(self.path)
            self._db = self._opened()
        except TROUBLE as second:
            raise self._unusable(second) from second

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Unit vectors of the texts, float32 [N, D], in order; only texts never seen before are computed. Raises
        ArtifactError if the file cannot be read or written."""
        distinct = list(dict.fromkeys(texts))
        digests = [bytes.fromhex(content_digest(text)) for text in distinct]
        vectors = np.empty((len(distinct), self.dim), dtype=np.float32)  # [M, D]
        missing = np.flatnonzero(~self._read(digests, vectors))
        if len(missing) and self._encoder is None:
            self._encoder = self._load()
        show = bool(self.progress) and len(missing) > 256
        with tqdm(total=len(missing), desc=self.progress, unit=" texts", disable=not show) as bar:
            for start in range(0, len(missing), TEXTS_PER_COMMIT):
                some = missing[start : start + TEXTS_PER_COMMIT]
                assert self._encoder is not None  # loaded above: there is something missing
                vectors[some] = self._encoder.encode([distinct[i] for i in some], done=bar.update)
                self._write([digests[i] for i in some], vectors[some])
        if len(distinct) == len(texts):
            return vectors
        position = {text: i for i, text in enumerate(distinct)}
        return vectors[[position[text] for text in texts]]  # [M, D] -> [N, D]

    def _read(self, digests: list[bytes], vectors: np.ndarray) -> np.ndarray:
        """Fills the rows of `vectors` [M, D] whose digest is known: bool [M]."""
        position = {digest: i for i, digest in enumerate(digests)}
        found = np.zeros(len(digests), dtype=bool)
        n_damaged = 0
        for start in range(0, len(digests), KEYS_PER_QUERY):
            some = digests[start : start + KEYS_PER_QUERY]
            marks = ",".join("?" * len(some))
            try:
                rows = self._db.execute(
                    f"SELECT digest, vector FROM vectors WHERE digest IN ({marks})", some
                ).fetchall()
            except TROUBLE as error:
                self._begin_anew(error)
                return np.zeros(len(digests), dtype=bool)
            whole = [(digest, self._vector(digest, row)) for digest, row in rows if digest in position]
            good = [(position[digest], vector) for digest, vector in whole if vector is not None]
            n_damaged += len(rows) - len(good)
            places = [place for place, _ in good]
            joined = np.frombuffer(b"".join(vector for _, vector in good), np.float32)
            vectors[places], found[places] = joined.reshape(len(good), self.dim), True
        if n_damaged:
            log.warning("%s: %d vectors are damaged: their texts are encoded again", self.path, n_damaged)
        return found

    def _vector(self, digest: bytes, row: object) -> bytes | None:
        """The vector in a row; None if the row is damaged. Rows of earlier versions have no sum and are taken as is."""
        n_bytes = 4 * self.dim
        if not isinstance(row, bytes) or len(row) not in (n_bytes, n_bytes + SUM_BYTES):
            return None
        vector, kept = row[:n_bytes], row[n_bytes:]
        return vector if not kept or kept == _sum(digest, vector) else None

    def _write(self, digests: list[bytes], vectors: np.ndarray) -> None:
        whole = [(digest, vector.tobytes()) for digest, vector in zip(digests, vectors, strict=True)]
        rows = [(digest, vector + _sum(digest, vector)) for digest, vector in whole]
        try:
            with self._db:
                self._db.executemany("INSERT OR REPLACE INTO vectors VALUES (?, ?)", rows)
        except TROUBLE as error:
            self._begin_anew(error)  # what is computed is at hand all the same

    def _unusable(self, error: Exception) -> ArtifactError:
        return ArtifactError(
            f"{self.path}: not a usable feature cache ({error}). Check free space and permissions of its folder; if it "
            "is damaged, delete it with its -wal and -shm neighbours, and its texts will be encoded again."
        )

    def close(self) -> None:
        """Release the file."""
        self._db.close()

    def __enter__(self) -> CachedEncoder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
