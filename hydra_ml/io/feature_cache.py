"""Text vectors kept on disk by content and encoder digest, so that no text is encoded twice across stages and runs.

Holds digests and vectors only, no text. A lost or foreign cache costs time, never correctness.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

import numpy as np
from tqdm import tqdm

from hydra_ml.errors import ArtifactError
from hydra_ml.io.sqlite_file import open_shared
from hydra_ml.records import content_digest

if TYPE_CHECKING:
    from hydra_ml.model.encoder import TextEncoder

KEYS_PER_QUERY = 900  # below SQLite's bound on variables
TEXTS_PER_COMMIT = 2048  # what a kill can cost
PAGE_BYTES = 8192  # holds five vectors of 384 numbers; 4096 holds two, and leaves a quarter empty


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
            # The offline model encodes in a worker thread while its owner waits: one caller at a time, any thread.
            self._db = open_shared(path, page_bytes=PAGE_BYTES, check_same_thread=False)
            # Rows in the order they came, keys in an index beside them: a table ordered by digest (WITHOUT ROWID) is
            # written all over and spills each vector to a page of its own: 4 times slower to read, 6 times to write.
            self._db.execute("CREATE TABLE IF NOT EXISTS vectors (digest BLOB PRIMARY KEY, vector BLOB NOT NULL)")
        except sqlite3.Error as error:
            raise self._unusable(error) from error

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Unit vectors of the texts, float32 [N, D], in order; only texts never seen before are computed. Raises
        ArtifactError if the file is damaged or cannot be written."""
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
        for start in range(0, len(digests), KEYS_PER_QUERY):
            some = digests[start : start + KEYS_PER_QUERY]
            marks = ",".join("?" * len(some))
            try:
                rows = self._db.execute(
                    f"SELECT digest, vector FROM vectors WHERE digest IN ({marks})", some
                ).fetchall()
                stored = np.frombuffer(b"".join(vector for _, vector in rows), np.float32).reshape(len(rows), self.dim)
            except (sqlite3.Error, ValueError) as error:
                raise self._unusable(error) from error
            places = [position[digest] for digest, _ in rows]
            vectors[places], found[places] = stored, True
        return found

    def _write(self, digests: list[bytes], vectors: np.ndarray) -> None:
        rows = [(digest, vector.tobytes()) for digest, vector in zip(digests, vectors, strict=True)]
        try:
            with self._db:
                self._db.executemany("INSERT OR IGNORE INTO vectors VALUES (?, ?)", rows)
        except sqlite3.Error as error:
            raise self._unusable(error) from error

    def _unusable(self, error: Exception) -> ArtifactError:
        return ArtifactError(
            f"{self.path}: not a usable feature cache ({error}). If it is damaged, delete it with its -wal and -shm "
            "neighbours, and its texts will be encoded again; else check free space and permissions of its folder."
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
