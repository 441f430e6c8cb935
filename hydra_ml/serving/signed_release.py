"""Signatures over releases: the operator's word that a release is the one looked at, kept as tags of its version.

Signed is the manifest whole: parts with the digests of all their weights, data, settings, task. Whoever can write to
the registry can then put up another release, but not under the operator's name.
"""

from __future__ import annotations

import json

from hydra_ml.errors import ArtifactError
from hydra_ml.io.mlflow.registry import Registry
from hydra_ml.io.signing import SigningKey, key_name, sign, verify
from hydra_ml.release import Release
from hydra_ml.tasks.task import Task

SIGNATURE, SIGNED_BY = "signature", "signed_by"  # tags


def sign_release(task: Task, registry: Registry, which: str, key: SigningKey) -> tuple[str, str]:
    """Sign the release that an alias or a version names; its version, and the name of the key. Raises ArtifactError if
    it is not there or was altered."""
    version, release = registry.release(task, which)
    name = key_name(key.public)
    registry.tag_release(task, version, {SIGNATURE: sign(_content(release), key), SIGNED_BY: name})
    return version, name


def signature_fault(task: Task, registry: Registry, version: str, release: Release, public: str) -> str:
    """Why the release does not count as signed with this public key; "" if it does. Raises ParamsError if that is no
    key."""
    tags = registry.release_tags(task, version)
    if verify(_content(release), tags.get(SIGNATURE, ""), public):
        return ""
    if not tags.get(SIGNATURE):
        return "it is not signed"
    return f"its signature, of key {tags.get(SIGNED_BY) or 'unknown'}, is none of key {key_name(public)} over it"


def check_signature(task: Task, registry: Registry, version: str, release: Release, public: str) -> None:
    """Raises ArtifactError unless the release is signed with the key; nothing is asked for where `public` is ""."""
    if public and (fault := signature_fault(task, registry, version, release, public)):
        raise ArtifactError(
            f"{task.name}: release {version} is not opened: {fault}, and `promote.require_signature` in params.yaml "
            f"asks for one. Look at it (`hydra-ml releases show {version}`), then "
            f"`hydra-ml releases sign {version} --key KEY`."
        )


def _content(release: Release) -> bytes:
    return json.dumps(release.document(), sort_keys=True, ensure_ascii=False).encode()
