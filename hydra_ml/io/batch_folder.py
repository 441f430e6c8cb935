"""The working folder of one batch of requests: what is asked, shard by shard, and what is answered so far.

    data/predictions/<task>/<name>-<batch id>.parquet     the predictions, when all is done
    data/predictions/<task>/<name>-<batch id>/            batch.json, written last when the batch is laid out
        requests-00000.parquet  shard-00000.parquet       a shard's requests, and its result: there whole or not at all
        dead_letters.jsonl  report.json                   report.json is written last: it marks the batch as finished

Requests' texts are kept here while the batch runs and go when it is finished.
"""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from hydra_ml.errors import ArtifactError, DataError
from hydra_ml.io.bounded_json import checked_as, parse_json
from hydra_ml.io.files import load_json_as, save_json
from hydra_ml.io.parquet_rows import damage_told
from hydra_ml.io.predictions import (
    TASK,
    DeadLetter,
    joined_predictions,
    load_dead_letters,
    save_dead_letters,
    save_predictions,
)
from hydra_ml.io.row_files import parts_of
from hydra_ml.io.tables import load_typed, save_table
from hydra_ml.records import Record, Request, shard_of_user

COLUMNS = ["request_id", "user_id", "input", "line", "history"]
ASKED = pa.schema(
    [
        *(pa.field(name, pa.string(), nullable=False) for name in COLUMNS[:3]),
        pa.field("line", pa.int64(), nullable=False),
        pa.field("history", pa.string()),
    ]
)
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class BatchFacts:
    """What a batch is of."""

    batch_id: str
    content: str  # digest of the file of requests
    task: str  # folder
    release: str  # version
    shard_sizes: tuple[int, ...] = ()  # requests in each; `lay_out` adds them


@dataclass(frozen=True)
class FinishedBatch:
    """What a batch came to, as `finish` was given it."""

    batch: dict[str, Any]
    shards: list[dict[str, Any]]


class BatchFolder:
    """One batch on disk. Knows no release and no LLM."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.predictions = path.with_name(f"{path.name}.parquet")
        self.dead_letters = path / "dead_letters.jsonl"

    @property
    def is_finished(self) -> bool:
        """Whether report and predictions are there; a batch whose predictions were deleted is to be done again."""
        return (self.path / "report.json").exists() and self.predictions.exists()

    def facts(self) -> BatchFacts:
        """batch.json. Raises ArtifactError if it is missing or damaged."""
        return load_json_as(BatchFacts, self.path / "batch.json")

    def known_facts(self) -> BatchFacts | None:
        """batch.json; None, and a line in the log, if it cannot be read: such a batch hides no other, and is laid out
        anew when its requests are scored again."""
        try:
            return self.facts()
        except ArtifactError as error:
            log.warning("%s: counts as no batch. %s", self.path, error)
            return None

    def report(self) -> FinishedBatch:
        """report.json, as `finish` was given it. Raises ArtifactError if it is missing or damaged."""
        return load_json_as(FinishedBatch, self.path / "report.json")

    def lay_out(
        self, facts: BatchFacts, requests: Sequence[Request], refused: Sequence[DeadLetter], *, per_shard: int
    ) -> None:
        """Write the requests by shard, all of a user in one, about `per_shard` each; then batch.json.

        Whatever stood in the folder goes: a plan that was killed, or a batch whose predictions were deleted.
        """
        shutil.rmtree(self.path, ignore_errors=True)
        n_shards = -(-len(requests) // per_shard)
        members: dict[int, list[Request]] = {}
        for request in requests:
            members.setdefault(shard_of_user(request.user_id, n_shards), []).append(request)
        shards = [members[number] for number in sorted(members)]
        for shard, some in enumerate(shards):
            rows = [(r.request_id, r.user_id, r.input, r.line, _packed(r.history)) for r in some]
            save_table(pd.DataFrame(rows, columns=COLUMNS).astype({"history": "str"}), self._asked(shard))
        save_dead_letters(refused, self.path / "refused.jsonl")
        save_json({**asdict(facts), "shard_sizes": [len(some) for some in shards]}, self.path / "batch.json")

    def asked(self, shard: int) -> list[Request]:
        """The shard's requests, in the order of the file. Raises ArtifactError if they are missing or damaged."""
        rows = load_typed(self._asked(shard), ASKED)
        with damage_told(self._asked(shard), ArtifactError, f"Delete {self.path} and score the same requests again."):
            histories = [None if pd.isna(packed) else _unpacked(packed) for packed in rows["history"]]
        columns = (rows[name] for name in COLUMNS[:-1])
        return [Request(*row) for row in zip(*columns, histories, strict=True)]

    def has(self, shard: int) -> bool:
        """Whether the shard is scored."""
        return self._result(shard).exists() or self.is_finished

    def keep(self, shard: int, predictions: pd.DataFrame, report: Mapping[str, Any]) -> None:
        """Save a shard's result, the requests without a prediction among them, and its report."""
        save_json(report, self._result(shard).with_suffix(".json"))
        save_predictions(predictions, self._result(shard))

    def shard_report(self, shard: int) -> dict[str, Any]:
        """The report of a scored shard."""
        kept = self._result(shard).with_suffix(".json")
        if not self.is_finished:
            return load_json_as(dict[str, Any], kept)
        shards = self.report().shards
        if shard >= len(shards):
            raise ArtifactError(f"{self.path / 'report.json'}: tells of {len(shards)} shards, not of shard {shard}.")
        return shards[shard]

    def joined(self) -> tuple[pa.Table, list[DeadLetter]]:
        """Every shard's predictions in the order of the requests, and every dead letter by line. Raises ArtifactError
        if a shard is not scored."""
        n_shards = len(self.facts().shard_sizes)
        missing = [shard for shard in range(n_shards) if not self._result(shard).exists()]
        if missing:
            raise ArtifactError(
                f"{self.path}: {len(missing)} of {n_shards} shards are not scored, the first {missing[0]}. Score the "
                "same requests again to go on."
            )
        lines: dict[str, int] = {}
        for shard in range(n_shards):
            rows = load_typed(self._asked(shard), ASKED)
            lines.update(zip(rows["request_id"], rows["line"].tolist(), strict=True))
        scored, unanswered = joined_predictions([self._result(shard) for shard in range(n_shards)], lines)
        letters = [*load_dead_letters(self.path / "refused.jsonl"), *unanswered]
        return scored, sorted(letters, key=lambda letter: letter.line)

    def finish(self, predictions: pa.Table, letters: Sequence[DeadLetter], report: Mapping[str, Any]) -> None:
        """Write the batch's results, the report last."""
        save_dead_letters(letters, self.dead_letters)
        tasks = pa.array([self.facts().task] * len(predictions), pa.string())
        save_predictions(predictions.append_column(TASK, tasks), self.predictions)
        save_json(report, self.path / "report.json")

    def clear(self) -> None:
        """Remove what a finished batch no longer needs, requests' texts first; who comes late reads report.json."""
        for pattern in ("requests-*", "shard-*", "refused.jsonl"):
            for path in self.path.glob(pattern):
                path.unlink(missing_ok=True)

    def discard(self) -> None:
        """Remove a batch that nothing was scored of; batch.json first, so that a half-removed one counts as none."""
        (self.path / "batch.json").unlink(missing_ok=True)
        shutil.rmtree(self.path, ignore_errors=True)

    def _asked(self, shard: int) -> Path:
        return self.path / f"requests-{shard:05d}.parquet"

    def _result(self, shard: int) -> Path:
        return self.path / f"shard-{shard:05d}.parquet"


def begun_batch(home: Path, content: str, release: str) -> BatchFolder | None:
    """The newest unfinished batch of this content below `home`; "" stands for any release."""
    begun = []
    for path in home.glob("*/batch.json"):
        facts = BatchFolder(path.parent).known_facts()
        fits = facts is not None and facts.content == content and release in ("", facts.release)
        if fits and not (path.parent / "report.json").exists():
            begun.append(path)
    return BatchFolder(max(begun, key=lambda path: path.stat().st_mtime).parent) if begun else None


def clear_finished(home: Path) -> None:
    """Remove texts that finished batches below `home` still hold, because a kill came before they were cleared."""
    for path in home.glob("*/requests-*"):
        batch = BatchFolder(path.parent)
        if batch.is_finished:
            batch.clear()


def content_of(path: Path) -> str:
    """32 hex digits over the bytes of a file, or of a folder's files of rows. Raises DataError if it cannot be read."""
    total = hashlib.blake2b(digest_size=16)
    for part in parts_of(path):
        if part.exists() and not part.is_file():
            raise DataError(f"{part}: is no file. Name a file of requests.")  # a pipe would never end
        try:
            with part.open("rb") as file:
                while block := file.read(1 << 20):
                    total.update(block)
        except OSError as error:
            raise DataError(f"{part}: cannot be read ({error.strerror}). Name a file of requests.") from error
    return total.hexdigest()


def _packed(history: Sequence[Record] | None) -> str | None:
    return None if history is None else json.dumps([asdict(record) for record in history], ensure_ascii=False)


def _unpacked(packed: str) -> tuple[Record, ...]:
    return checked_as(tuple[Record, ...], parse_json(packed))
