"""A trained base on disk: base.safetensors and manifest.json; the heads fitted on it are `io.head_bank`'s.

Weights are safetensors, never pickle. The file's digest stands in the manifest and is checked on loading.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.numpy import load_file, save_file
from torch import nn

from hydra_ml.errors import ArtifactError, OtherVersionError
from hydra_ml.io.files import atomic_path, file_digest, load_json, save_json
from hydra_ml.model.fit_base import SharedPart

SCHEMA_VERSION = 2


def save_base(shared: SharedPart, folder: Path, manifest: dict[str, Any]) -> str:
    """Write the shared part and return its digest; `manifest` adds task, component, encoder and fit settings."""
    tensors = {f"base.{name}": tensor.numpy() for name, tensor in shared.base.state_dict().items()}
    tensors |= {"theta_0": shared.theta_0, "prior": shared.prior}
    with atomic_path(folder / "base.safetensors") as partial:
        save_file({name: np.ascontiguousarray(value) for name, value in tensors.items()}, partial)
    digest = file_digest(folder / "base.safetensors")
    facts = {"head": shared.head, "width": shared.width, "digest": digest, "schema_version": SCHEMA_VERSION}
    save_json({**manifest, **facts}, folder / "manifest.json")
    return digest


def load_base(folder: Path, new_base: Callable[[], nn.Module]) -> tuple[SharedPart, dict[str, Any]]:
    """The shared part and its manifest. Raises ArtifactError if missing, damaged, of another version, or unlike what
    `new_base` builds."""
    manifest = load_json(folder / "manifest.json")
    check_schema(manifest, folder)
    tensors = _checked_tensors(folder / "base.safetensors", manifest["digest"])
    theta_0, prior = tensors.pop("theta_0"), tensors.pop("prior")
    base = new_base()
    try:
        base.load_state_dict({name.removeprefix("base."): torch.from_numpy(value) for name, value in tensors.items()})
    except RuntimeError as error:
        raise ArtifactError(
            f"{folder}: the stored base does not fit params.yaml (encoder, width). Run `dvc repro`. {error}"
        ) from error
    return SharedPart(base.eval(), manifest["head"], manifest["width"], theta_0, prior), manifest


def check_schema(manifest: Mapping[str, Any], folder: Path) -> None:
    """Raises OtherVersionError if the base in `folder`, of this manifest, is not one that this version reads."""
    if (found := manifest.get("schema_version")) != SCHEMA_VERSION:
        raise OtherVersionError(
            f"{folder}: base of schema {found!r}; this version reads {SCHEMA_VERSION}. Train it anew with `dvc repro`; "
            "a release made before is served by the version that made it."
        )


def _checked_tensors(path: Path, digest: str) -> dict[str, np.ndarray]:
    if not path.is_file():
        raise ArtifactError(f"{path}: missing, though its manifest names it. Run `dvc repro` or `dvc checkout`.")
    if file_digest(path) != digest:
        raise ArtifactError(
            f"{path}: content differs from its manifest (damaged or edited). Run `dvc checkout` or `dvc repro`."
        )
    tensors: dict[str, np.ndarray] = load_file(path)
    return tensors
