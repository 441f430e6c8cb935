"""Trained components on disk: a base folder, and a head bank folder that belongs to exactly one base.

    base/    base.safetensors  manifest.json
    heads/   heads-00000-of-00001.safetensors ...  users.parquet  manifest.json

Weights are safetensors, never pickle. Every file's digest stands in a manifest and is checked on loading.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from safetensors.numpy import load_file, save_file
from torch import nn

from hydra_ml.errors import ArtifactError
from hydra_ml.io.tables import atomic_path, load_json, load_table, save_json, save_table
from hydra_ml.model.fit_base import SharedPart
from hydra_ml.model.heads import Heads

SCHEMA_VERSION = 1
USERS_PER_SHARD = 4096
MAX_SHARDS = 64


def save_base(shared: SharedPart, folder: Path, manifest: dict[str, Any]) -> str:
    """Write the shared part and return its digest; `manifest` adds task, component, encoder and fit settings."""
    tensors = {f"base.{name}": tensor.numpy() for name, tensor in shared.base.state_dict().items()}
    tensors["theta_0"] = shared.theta_0
    tensors["evidence_weights"] = shared.evidence_weights
    with atomic_path(folder / "base.safetensors") as partial:
        save_file({name: np.ascontiguousarray(value) for name, value in tensors.items()}, partial)
    digest = file_digest(folder / "base.safetensors")
    facts = {"head": shared.head, "width": shared.width, "digest": digest, "schema_version": SCHEMA_VERSION}
    save_json({**manifest, **facts}, folder / "manifest.json")
    return digest


def load_base(folder: Path, new_base: Callable[[], nn.Module]) -> tuple[SharedPart, dict[str, Any]]:
    """The shared part and its manifest. Raises ArtifactError if missing, damaged, or unlike what `new_base` builds."""
    manifest = load_json(folder / "manifest.json")
    tensors = _checked_tensors(folder / "base.safetensors", manifest["digest"])
    theta_0, weights = tensors.pop("theta_0"), tensors.pop("evidence_weights")
    base = new_base()
    try:
        base.load_state_dict({name.removeprefix("base."): torch.from_numpy(value) for name, value in tensors.items()})
    except RuntimeError as error:
        raise ArtifactError(
            f"{folder}: the stored base does not fit params.yaml (encoder, width). Run `dvc repro`. {error}"
        ) from error
    return SharedPart(base.eval(), manifest["head"], manifest["width"], theta_0, weights), manifest


def save_heads(heads: Heads, folder: Path, manifest: dict[str, Any]) -> None:
    """Write a head bank: users spread over shards by a stable hash of their id, sorted within a shard.

    `manifest` adds task, component, base_digest and fit settings. Same heads give the same bytes.
    """
    n_shards = min(MAX_SHARDS, max(1, -(-len(heads.user_ids) // USERS_PER_SHARD)))
    shard_of = np.array([shard_of_user(user_id, n_shards) for user_id in heads.user_ids], dtype=np.int64)
    order = np.argsort(np.array(heads.user_ids, dtype=str), kind="stable")
    index, shards = [], []
    for shard in range(n_shards):
        rows = order[shard_of[order] == shard] if len(order) else order
        name = f"heads-{shard:05d}-of-{n_shards:05d}.safetensors"
        with atomic_path(folder / name) as partial:
            save_file({"heads": np.ascontiguousarray(heads.table[rows])}, partial)
        shards.append({"file": name, "n_users": len(rows), "digest": file_digest(folder / name)})
        index.append(
            pd.DataFrame({"user_id": [heads.user_ids[i] for i in rows], "shard": shard, "row": range(len(rows))})
        )
    save_table(pd.concat(index, ignore_index=True), folder / "users.parquet")
    facts = {"schema_version": SCHEMA_VERSION, "head": heads.kind, "width": heads.width, "shards": shards}
    save_json({**manifest, **facts, "n_users": len(heads.user_ids)}, folder / "manifest.json")


def load_heads(folder: Path, *, base_digest: str) -> Heads:
    """The head bank. Raises ArtifactError if missing, damaged, or fitted on another base than `base_digest`."""
    manifest = load_json(folder / "manifest.json")
    if manifest["base_digest"] != base_digest:
        raise ArtifactError(
            f"{folder}: heads were fitted on base {manifest['base_digest']}, not on {base_digest}. "
            "Heads only mean something on their own base: refit them with `dvc repro`."
        )
    index = load_table(folder / "users.parquet")
    tables = [_checked_tensors(folder / shard["file"], shard["digest"])["heads"] for shard in manifest["shards"]]
    return Heads(manifest["head"], manifest["width"], tuple(index["user_id"]), np.concatenate(tables))


def shard_of_user(user_id: str, n_shards: int) -> int:
    """The shard a user lives in, the same on every machine and run."""
    return int.from_bytes(hashlib.blake2b(user_id.encode("utf-8"), digest_size=8).digest(), "big") % n_shards


def file_digest(path: Path) -> str:
    """32 hex digits over a file's bytes."""
    return hashlib.blake2b(path.read_bytes(), digest_size=16).hexdigest()


def _checked_tensors(path: Path, digest: str) -> dict[str, np.ndarray]:
    if not path.is_file():
        raise ArtifactError(f"{path}: missing, though its manifest names it. Run `dvc repro` or `dvc checkout`.")
    if file_digest(path) != digest:
        raise ArtifactError(
            f"{path}: content differs from its manifest (damaged or edited). Run `dvc checkout` or `dvc repro`."
        )
    tensors: dict[str, np.ndarray] = load_file(path)
    return tensors
