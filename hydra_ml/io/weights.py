"""A trained base on disk: base.safetensors and manifest.json; the heads fitted on it are `io.head_bank`'s.

Weights are safetensors, never pickle. The file's digest stands in the manifest and is checked on loading.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from pydantic import Field
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file
from torch import nn

from hydra_ml.errors import ArtifactError, OtherVersionError
from hydra_ml.io.files import atomic_path, file_digest, load_json_as, save_json
from hydra_ml.model.fit_base import SharedPart
from hydra_ml.model.heads import HeadKind, n_parameters

SCHEMA_VERSION = 2


@dataclass(frozen=True)
class _Facts:
    """What of a manifest the weights themselves need."""

    head: HeadKind
    width: Annotated[int, Field(gt=0, le=65_536)]
    digest: str


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
    manifest = load_json_as(dict[str, Any], folder / "manifest.json")
    check_schema(manifest, folder)
    facts = load_json_as(_Facts, folder / "manifest.json")
    tensors = _checked_tensors(folder / "base.safetensors", facts)
    theta_0, prior = tensors.pop("theta_0"), tensors.pop("prior")
    base = new_base()
    try:
        base.load_state_dict({name.removeprefix("base."): torch.from_numpy(value) for name, value in tensors.items()})
    except (RuntimeError, TypeError) as error:  # the latter: numbers of a kind that torch does not have
        raise ArtifactError(
            f"{folder}: the stored base does not fit params.yaml (encoder, width). Run `dvc repro`. {error}"
        ) from error
    return SharedPart(base.eval(), facts.head, facts.width, theta_0, prior), manifest


def check_schema(manifest: Mapping[str, Any], folder: Path) -> None:
    """Raises OtherVersionError if the base in `folder`, of this manifest, is not one that this version reads."""
    if (found := manifest.get("schema_version")) != SCHEMA_VERSION:
        raise OtherVersionError(
            f"{folder}: base of schema {found!r}; this version reads {SCHEMA_VERSION}. Train it anew with `dvc repro`; "
            "a release made before is served by the version that made it."
        )


def _checked_tensors(path: Path, facts: _Facts) -> dict[str, np.ndarray]:
    if not path.is_file():
        raise ArtifactError(f"{path}: missing, though its manifest names it. Run `dvc repro` or `dvc checkout`.")
    if file_digest(path) != facts.digest:
        raise ArtifactError(
            f"{path}: content differs from its manifest (damaged or edited). Run `dvc checkout` or `dvc repro`."
        )
    try:
        tensors: dict[str, np.ndarray] = load_file(path)
        expected = (n_parameters(facts.head, facts.width),)
        for name in ("theta_0", "prior"):
            if tensors[name].dtype != np.float32 or tensors[name].shape != expected:
                raise ValueError(f"{name} is {tensors[name].dtype} {tensors[name].shape}, expected float32 {expected}")
    except (SafetensorError, ValueError, LookupError, TypeError) as error:
        raise ArtifactError(f"{path}: no base of its manifest ({error}). Run `dvc repro`.") from error
    return tensors
