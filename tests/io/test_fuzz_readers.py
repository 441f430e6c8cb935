"""Every reader of a stored file ends in a value or in an error of ours, whatever the bytes; what is checked by a
digest comes back as it was or not at all."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from hydra_ml.errors import HydraError
from hydra_ml.io.feature_cache import CachedEncoder
from hydra_ml.io.files import file_digest, load_json, save_json
from hydra_ml.io.head_bank import HeadBank, save_heads
from hydra_ml.io.history_store import append_drop, changed_users, drop_names, n_records, records_of
from hydra_ml.io.lamp.files import (
    Question,
    outputs_path,
    questions_path,
    read_golds,
    read_questions,
    read_split,
    write_split,
)
from hydra_ml.io.own_stack import OwnStack, load_own_stack, save_own_stack
from hydra_ml.io.params_file import load_params, set_params
from hydra_ml.io.response_cache import ResponseCache
from hydra_ml.io.weights import load_base, save_base
from hydra_ml.llm.chat import Answer
from hydra_ml.model.base import DualBase
from hydra_ml.model.fit_base import SharedPart
from hydra_ml.model.heads import Heads
from hydra_ml.records import RECORD_COLUMNS
from hydra_ml.sample import generate
from hydra_ml.tasks import get_task
from tests.fuzzing import Reading, misbehaviours

MOVIES = get_task("LaMP_2")
SHORT, LONG = 60, 5000


def lamp_folder(root: Path, dated: bool = True) -> Path:
    sample = generate("LaMP_2", seed=1, n_users=2)
    entries = sample.questions["train"][:3]
    questions = [Question(e["id"], e["input"], tuple(e["profile"][:3]), e["user_id"], e["date"]) for e in entries]
    write_split(root, "train", MOVIES, questions, {e["id"]: sample.golds["train"][e["id"]] for e in entries})
    return root


def questions(root: Path) -> Reading:
    path = questions_path(lamp_folder(root), "train")
    return Reading(lambda: read_questions(path, MOVIES), [path])


def golds(root: Path) -> Reading:
    path = outputs_path(lamp_folder(root), "train")
    return Reading(lambda: read_golds(path), [path])


def split(root: Path) -> Reading:
    folder = lamp_folder(root)
    return Reading(
        lambda: read_split(folder, "train", MOVIES), [questions_path(folder, "train"), outputs_path(folder, "train")]
    )


def a_bank(root: Path) -> tuple[Path, Callable[[], object]]:
    names = tuple(f"user {i}" for i in range(12))
    table = np.random.default_rng(0).normal(size=(12, 5)).astype(np.float32)
    save_heads(Heads("residual", 5, names, table), root, {"task": "LaMP_2", "base_digest": "b"})

    def read() -> None:
        bank = HeadBank(root, base_digest="b")
        heads = bank.heads_of(["user 3", "user 7", "nobody"])
        assert heads.table.shape == (len(heads.user_ids), 5 if bank.width == 5 else heads.table.shape[1])
        bank.user_ids()

    return next(root.glob("*.safetensors")), read


def bank_manifest(root: Path) -> Reading:
    _, read = a_bank(root)
    return Reading(read, [root / "manifest.json"])


def bank_shard(root: Path) -> Reading:
    shard, read = a_bank(root)
    whole = (root / "manifest.json").read_bytes()

    def sign(rng: random.Random) -> None:
        """Half of the time the manifest names what lies there now."""
        if rng.random() < 0.5:
            manifest = json.loads(whole)
            manifest["shards"][0]["digest"] = file_digest(shard)
            save_json(manifest, root / "manifest.json")

    return Reading(read, [shard], sign, lambda: (root / "manifest.json").write_bytes(whole))


def base(root: Path) -> Reading:
    torch.manual_seed(0)
    ones = np.ones(6, dtype=np.float32)
    save_base(SharedPart(DualBase(8, 4, 0.1).eval(), "residual", 6, ones, ones), root, {"task": "LaMP_2"})
    manifest, weights = root / "manifest.json", root / "base.safetensors"
    whole = manifest.read_bytes()

    def sign(rng: random.Random) -> None:
        if rng.random() < 0.5 and manifest.read_bytes() == whole:
            save_json({**json.loads(whole), "digest": file_digest(weights)}, manifest)

    return Reading(
        lambda: load_base(root, lambda: DualBase(8, 4, 0.1)),
        [manifest, weights],
        sign,
        lambda: manifest.write_bytes(whole),
    )


class Known:
    """Encodes a text into the numbers of its own bytes."""

    dim = 32

    def encode(self, texts: Sequence[str], *, done: Any = None) -> np.ndarray:
        rows = [np.random.default_rng(list(text.encode()) or [0]).normal(size=self.dim) for text in texts]
        return np.array(rows, dtype=np.float32).reshape(len(texts), self.dim)


def neighbours_gone(path: Path) -> Callable[[], object]:
    def remove() -> None:
        for each in path.parent.glob(f"{path.name}?*"):
            each.unlink()

    return remove


def feature_cache(root: Path) -> Reading:
    path, texts = root / "features.sqlite", [f"text {i}" for i in range(40)]
    right = Known().encode(texts)

    def read() -> None:
        with CachedEncoder(Known, path, dim=Known.dim) as cached:
            assert np.array_equal(cached.encode(texts), right), "other vectors"

    read()
    return Reading(read, [path], restore=neighbours_gone(path))


def response_cache(root: Path) -> Reading:
    path = root / "llm.sqlite"
    answers = {f"{i:032x}": Answer(f"answer {i}", i, i + 1) for i in range(60)}

    def read() -> None:
        with ResponseCache(path) as cache:
            found = cache.get_many([*answers])
            assert all(answers[key] == answer for key, answer in found.items()), "other answers"
            cache.put_many(answers)

    read()
    return Reading(read, [path], restore=neighbours_gone(path))


def history_drop(root: Path) -> Reading:
    rows = [(f"u{i % 5}", f"r{i}", f"text {i}", "asked", "comedy", f"20{i:02d}") for i in range(20)]
    name = append_drop(root, pd.DataFrame(rows, columns=list(RECORD_COLUMNS)))
    users = [f"u{i}" for i in range(5)]
    right = records_of(root, users)

    def read() -> None:
        assert records_of(root, users).equals(right), "other records"
        assert changed_users(root, ()) == users, "other users"
        assert n_records(root, name or "") == 20
        drop_names(root)

    return Reading(read, [root / f"{name}.parquet"])


def params_file(root: Path) -> Reading:
    path = root / "params.yaml"
    path.write_bytes(Path("params.yaml").read_bytes())

    def read() -> None:
        with suppress(HydraError):
            set_params(path, {"seed": 3})
        load_params(path)

    return Reading(read, [path])


def own_stack(root: Path) -> Reading:
    save_own_stack(OwnStack(4200, 5000, "a:b"), root)
    (path,) = (each for each in root.rglob("*") if each.is_file())
    kept = root / "kept.json"
    kept.write_bytes(path.read_bytes())

    def read() -> None:
        path.write_bytes(kept.read_bytes())
        load_own_stack(root)
        load_json(kept)

    return Reading(read, [kept])


READERS = (
    questions, golds, split, bank_manifest, bank_shard, base, feature_cache, response_cache, history_drop, params_file,
    own_stack,
)  # fmt: skip


@pytest.mark.parametrize("n", [SHORT, pytest.param(LONG, marks=[pytest.mark.slow, pytest.mark.timeout(1800)])])
@pytest.mark.parametrize("build", READERS, ids=lambda build: build.__name__)
def test_any_bytes_end_in_a_value_or_an_error_of_ours(build: Callable[[Path], Reading], n: int, tmp_path: Path) -> None:
    reading = build(tmp_path)
    found = misbehaviours(reading, n)
    assert not found, found.most_common(5)
