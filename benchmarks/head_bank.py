"""A million heads on disk: opening them, reading a thousand, updating ten thousand.

Peers hold a file or an MLflow model per user. Files are read back from the page cache, and nobody calls fsync, in the
bank as in the product; what durable writes and cold reads would cost stands in the notes, beside the disk's own limit.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
from safetensors.numpy import load_file, save_file

from benchmarks.compare import Row, Side, Spread, compare, share_of_limit
from hydra_ml.io.head_bank import HeadBank, save_heads, update_bank
from hydra_ml.model.heads import Heads
from hydra_ml.records import shard_of_user

WIDTH = 67  # numbers of a residual head
N_FILES, N_MODELS = 1000, 10  # users the peers really hold; speeds per user do not depend on how many there are
ABOUT = {"base_digest": "base"}


@dataclass(frozen=True)
class Disk:
    """What the benchmark works on: a bank, and a sample of users in each peer's way."""

    root: Path
    n_users: int
    read: list[str]
    changed: Heads
    files: list[Path]
    models: list[str]

    @property
    def bank(self) -> HeadBank:
        """The bank, opened anew."""
        return HeadBank(self.root / "bank", base_digest="base")


class HeadModel(mlflow.pyfunc.PythonModel):  # type: ignore[misc]
    """One user's head as a model of its own."""

    def __init__(self, head: np.ndarray) -> None:
        self.head = head

    def predict(self, context: Any, model_input: np.ndarray) -> np.ndarray:
        """The head's scores of rows [B, H]."""
        return np.asarray(model_input) @ self.head[:-1] + self.head[-1]


def rows(*, quick: bool) -> list[Row]:
    """Opening, reading and updating."""
    n_users, n_read, n_changed = (20_000, 100, 200) if quick else (1_000_000, 1000, 10_000)
    repeats = 2 if quick else 5
    with tempfile.TemporaryDirectory() as folder:
        disk = prepare(Path(folder), n_users, n_read, n_changed, n_models=2 if quick else N_MODELS)
        return [*opening(disk, repeats), *reading(disk, repeats), *updating(disk, repeats)]


def opening(disk: Disk, repeats: int) -> list[Row]:
    """Until it is known who has a head and where; of a file per user, the folder is listed."""
    times, manifest = 20, disk.root / "bank" / "manifest.json"
    parsing = seconds(lambda: json.loads(manifest.read_text("utf-8")))

    def limit(reached: Spread) -> dict[str, Any]:
        return share_of_limit("parsing the manifest alone", "openings/s", 1 / parsing, reached.median)

    listed = Side("files", lambda: len(os.listdir(disk.root / "files")), len(disk.files) / disk.n_users)
    return compare(
        f"head bank opened, {disk.n_users:,} users",
        "openings/s",
        Side("HeadBank", lambda: [disk.bank for _ in range(times)], times),
        {"a safetensors file per user, listed": (listed, None)},
        repeats=repeats,
        limit=limit,
        notes={**notes(disk), "ms to open": round(seconds(lambda: disk.bank) * 1e3, 2), "goal": "under 50 ms"},
    )


def reading(disk: Disk, repeats: int) -> list[Row]:
    """Random users' heads: by a bank just opened, which checks every shard it touches, and by one that has.

    Of a file per user nothing is checked, and a folder of a thousand files is kinder than one of a million.
    """
    opened, n_read = disk.bank, len(disk.read)
    touched = shards_of(opened, disk.read)
    peers = {
        "a safetensors file per user": (Side("files", lambda: [load_file(path) for path in disk.files], N_FILES), None),
        "an MLflow model per user": (
            Side("models", lambda: [mlflow.pyfunc.load_model(uri) for uri in disk.models], len(disk.models)),
            None,
        ),
    }
    n_bytes = sum(path.stat().st_size for path in touched)
    about = {
        **notes(disk),
        "shards touched": len(touched),
        "MB in them": round(n_bytes / 1e6, 1),
        "MB of heads asked for": round(n_read * (WIDTH) * 4 / 1e6, 2),
        **cold_read(touched, lambda: disk.bank.heads_of(disk.read)),
    }
    warm = n_bytes / seconds(lambda: read_one_by_one(touched)) / 1e6

    def limit(reached: Spread) -> dict[str, Any]:
        return share_of_limit("reading the same shards, warm", "MB/s", warm, reached.median * n_bytes / n_read / 1e6)

    return [
        row
        for work, side in (
            ("first read, digests checked", Side("heads_of", lambda: disk.bank.heads_of(disk.read), n_read)),
            ("read again", Side("heads_of", lambda: opened.heads_of(disk.read), n_read)),
        )
        for row in compare(
            f"{n_read:,} heads of {disk.n_users:,}, {work}",
            "heads/s",
            side,
            peers,
            repeats=repeats,
            limit=limit,
            notes=about,
        )
    ]


def updating(disk: Disk, repeats: int) -> list[Row]:
    """A new version with some heads changed, written to a fresh folder; files are replaced, models logged again."""
    bank, n_changed = disk.bank, len(disk.changed.user_ids)

    def update() -> None:
        shutil.rmtree(disk.root / "new", ignore_errors=True)
        update_bank(bank, disk.changed, disk.root / "new", old_version="1", manifest=ABOUT)

    def replace_files() -> None:
        for path, head in zip(disk.files, disk.changed.table, strict=False):
            save_file({"head": head}, path.with_suffix(".partial"))
            os.replace(path.with_suffix(".partial"), path)

    n_files = min(len(disk.files), n_changed)
    update()
    written = list((disk.root / "new").iterdir())
    n_bytes = sum(path.stat().st_size for path in written)
    content = b"".join(path.read_bytes() for path in written)
    durable = seconds(lambda: (update(), sync((disk.root / "new").iterdir())))
    disk_mb_s = n_bytes / seconds(lambda: write_durably(disk.root / "one", content)) / 1e6

    def limit(reached: Spread) -> dict[str, Any]:
        return share_of_limit(
            "one file of the same bytes, fsync; the update followed by fsync",
            "MB/s",
            disk_mb_s,
            n_bytes / durable / 1e6,
        )

    return compare(
        f"{n_changed:,} heads of {disk.n_users:,} updated",
        "heads/s",
        Side("update_bank", update, n_changed),
        {
            "a safetensors file per user": (Side("files", replace_files, n_files), None),
            "an MLflow model per user": (
                Side("models", lambda: log_models(disk.changed.table[: len(disk.models)]), len(disk.models)),
                None,
            ),
        },
        repeats=repeats,
        limit=limit,
        notes={**notes(disk), "MB written": round(n_bytes / 1e6, 1), "update and fsync, s": round(durable, 2)},
    )


def prepare(root: Path, n_users: int, n_read: int, n_changed: int, *, n_models: int) -> Disk:
    """Random heads on disk in every side's way; MLflow as ours uses it, on SQLite."""
    random = np.random.default_rng(0)
    user_ids = [f"user-{i:07d}" for i in range(n_users)]
    table = random.normal(size=(n_users, WIDTH)).astype(np.float32)
    save_heads(Heads("residual", WIDTH, tuple(user_ids), table), root / "bank", ABOUT)
    (root / "files").mkdir()
    files = [root / "files" / f"{user_id}.safetensors" for user_id in user_ids[:N_FILES]]
    for path, head in zip(files, table, strict=False):
        save_file({"head": head}, path)
    logging.getLogger("mlflow").setLevel(logging.ERROR)
    mlflow.set_tracking_uri(f"sqlite:///{root / 'mlflow.db'}")
    mlflow.set_experiment(experiment_id=mlflow.create_experiment("heads", artifact_location=str(root / "models")))
    some = [user_ids[i] for i in random.choice(n_users, n_changed, replace=False)]
    changed = Heads("residual", WIDTH, tuple(some), table[:n_changed])
    read = [user_ids[i] for i in random.choice(n_users, n_read, replace=False)]
    return Disk(root, n_users, read, changed, files, log_models(table[:n_models]))


def log_models(heads: Sequence[np.ndarray]) -> list[str]:
    """A logged model per head, in one run; their addresses."""
    with mlflow.start_run():
        return [
            mlflow.pyfunc.log_model(name="head", python_model=HeadModel(head), pip_requirements=["numpy"]).model_uri
            for head in heads
        ]


def shards_of(bank: HeadBank, user_ids: Sequence[str]) -> list[Path]:
    """The files that hold the users."""
    touched = sorted({shard_of_user(user_id, len(bank.shards)) for user_id in user_ids})
    return [bank.folder / bank.shards[shard].file for shard in touched]


def cold_read(paths: Sequence[Path], read: Callable[[], object]) -> dict[str, float]:
    """Seconds that `read` takes, and MB/s of plainly reading the files, after the page cache was asked to drop them."""
    sync(paths)
    n_bytes = sum(path.stat().st_size for path in paths)
    forget(paths)
    plain = seconds(lambda: read_one_by_one(paths), times=1)
    forget(paths)
    return {"cold read, s": round(seconds(read, times=1), 2), "disk, cold, MB/s": round(n_bytes / plain / 1e6)}


def read_one_by_one(paths: Iterable[Path]) -> None:
    """Every byte, none kept."""
    for path in paths:
        path.read_bytes()


def forget(paths: Iterable[Path]) -> None:
    """Ask the page cache to drop the files. A hint: a virtual disk may still have them in its host's memory."""
    for path in paths:
        with path.open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def sync(paths: Iterable[Path]) -> None:
    """Wait until the files are on the disk."""
    for path in paths:
        with path.open("rb") as file:
            os.fsync(file.fileno())


def write_durably(path: Path, content: bytes) -> None:
    """One new file, on the disk when this returns."""
    path.unlink(missing_ok=True)
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def seconds(work: Callable[[], object], *, times: int = 3) -> float:
    """The median of several runs."""

    def once() -> float:
        started = time.perf_counter()
        work()
        return time.perf_counter() - started

    return statistics.median(once() for _ in range(times))


def notes(disk: Disk) -> dict[str, Any]:
    """What a reader must know."""
    return {
        "sample": f"of the peers, {len(disk.files):,} files and {len(disk.models)} models stand for {disk.n_users:,}",
        "numbers a head": WIDTH,
        "threads": 1,
        "precision": "float32",
        "versions": {name: version(name) for name in ("safetensors", "mlflow", "numpy")},
    }
